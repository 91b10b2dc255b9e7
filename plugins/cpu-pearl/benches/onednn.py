"""The int8 matrix product of oneDNN, to hold this provider against in the same run.

    pip install onednn-cpu-gomp        (or the distribution's libdnnl; OpenMP's libgomp besides)
    python3 onednn.py [path of pearlbed [folder of its plugins]]

Prints hashes (multiply-accumulates) per second of processor time, times the threads, for the default shape, u8 x s8 into
32 bits: the product alone, without the noise, commitment, folding and hashing that a round of mining has. Once with the
instructions that this provider uses, and once with whatever oneDNN likes best (AMX, where there is any). With a path,
`pearlbed bench` takes turns with it, and its whole rounds are told as a ratio. Without oneDNN it says so, and ends well.
"""

import ctypes
import ctypes.util
import json
import os
import pathlib
import random
import subprocess
import sys
import time

M, N, K = 1024, 8192, 2048
THREADS = 2
TURNS = 5
# What oneDNN may use; an empty word leaves it to itself. Read once in a process, so each has a process of its own.
SETS = {"AVX512_CORE_VNNI": "avx512-vnni", "": "its own choice"}


def library():
    """oneDNN, from the environment's folder or the system's; None where it is not."""
    places = sorted(pathlib.Path(sys.prefix, "lib").glob("libdnnl.so*"))
    for name in [*map(str, places), ctypes.util.find_library("dnnl")]:
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError as err:
            print(f"{name}: {err}", file=sys.stderr)
    return None


def product(dnnl):
    """Multiplies once: u8 A by s8 B into s32 C, all row after row."""
    size, integer, real = ctypes.c_int64, ctypes.c_int32, ctypes.c_float
    letter, offset = ctypes.c_char(b"N"), ctypes.c_char(b"F")
    draw = random.Random(1)
    a, b = (ctypes.create_string_buffer(draw.randbytes(count), count) for count in (M * K, K * N))
    c, zero = (integer * (M * N))(), integer(0)
    gemm = dnnl.dnnl_gemm_u8s8s32
    gemm.restype = ctypes.c_int
    sizes = [size(M), size(N), size(K)]
    left = [ctypes.byref(a), size(K), ctypes.c_uint8(0)]
    right = [ctypes.byref(b), size(N), ctypes.c_int8(0)]
    out = [real(0), ctypes.byref(c), size(N), ctypes.byref(zero)]

    def run():
        status = gemm(letter, letter, offset, *sizes, real(1), *left, *right, *out)
        assert status == 0, f"oneDNN ends with status {status}"

    return run


def rate(run, seconds=0.7):
    runs, begun, spent = 0, time.time(), time.process_time()
    while time.time() - begun < seconds:
        run()
        runs += 1
    return runs * M * N * K / (time.process_time() - spent) * THREADS


def measured(instructions):
    """The same in a process of its own."""
    own = dict(os.environ, OMP_NUM_THREADS=str(THREADS), ONEDNN_CHILD="1")
    # Threads that spin while they wait would be booked as work.
    own["OMP_WAIT_POLICY"] = "passive"
    if instructions:
        own["ONEDNN_MAX_CPU_ISA"] = own["DNNL_MAX_CPU_ISA"] = instructions
    return float(subprocess.run([sys.executable, __file__], env=own, check=True, capture_output=True, text=True).stdout)


def ours(pearlbed, folder):
    """Whole rounds by processor time: the limit times the ratio to it."""
    command = [pearlbed, "bench", "--json", "--provider", "cpu-pearl", "--seconds", "2", "--extra", f"threads={THREADS}"]
    command += ["--plugin-dir", folder] if folder else []
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report["peak"] * report["peak_ratio"]


def quartiles(values):
    values = sorted(values)
    return [values[round((len(values) - 1) * share)] for share in (0.25, 0.5, 0.75)]


def main():
    if library() is None:
        print("skipped: oneDNN is not here (pip install onednn-cpu-gomp, or the distribution's libdnnl)")
        return
    pearlbed, folder = (sys.argv[1:] + [None, None])[:2]
    theirs, own, ratios = {name: [] for name in SETS}, [], {name: [] for name in SETS}
    for _ in range(TURNS):
        turn = {name: measured(name) for name in SETS}
        for name, value in turn.items():
            theirs[name].append(value)
        if pearlbed:
            own.append(ours(pearlbed, folder))
            for name, value in turn.items():
                ratios[name].append(own[-1] / value)
    for name, label in SETS.items():
        low, middle, high = (value / 1e9 for value in quartiles(theirs[name]))
        print(f"oneDNN, u8 x s8, {label}: {middle:.0f} GH/s (quartiles {low:.0f} to {high:.0f}), {THREADS} threads")
    if own:
        low, middle, high = (value / 1e9 for value in quartiles(own))
        print(f"cpu-pearl, whole rounds: {middle:.0f} GH/s (quartiles {low:.0f} to {high:.0f}), {THREADS} threads")
        for name, label in SETS.items():
            low, middle, high = quartiles(ratios[name])
            print(f"cpu-pearl to oneDNN with {label}: {middle:.2f} times (quartiles {low:.2f} to {high:.2f})")


if os.environ.get("ONEDNN_CHILD"):
    run = product(library())
    run()
    print(rate(run))
else:
    main()
