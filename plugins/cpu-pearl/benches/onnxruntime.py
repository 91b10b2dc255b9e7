"""The int8 matrix products of onnxruntime, to hold this provider against: `pip install onnx onnxruntime numpy`.

Prints hashes (multiply-accumulates) per second of processor time, times the threads, for the default shape: the product
alone, without the noise, commitment, folding and hashing that a round of mining has. u8 x s8 is exact only on processors
with VNNI; elsewhere its 16-bit sums saturate.
"""

import time

import numpy
import onnxruntime
from onnx import TensorProto, helper

M, N, K = 1024, 8192, 2048
THREADS = 2
KINDS = {"u8": (TensorProto.UINT8, numpy.uint8, 0, 255), "s8": (TensorProto.INT8, numpy.int8, -127, 127)}
random = numpy.random.default_rng(1)


def entries(kind, *shape):
    _, dtype, low, high = KINDS[kind]
    return random.integers(low, high + 1, shape).astype(dtype)


def session(left, right):
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", KINDS[left][0], [M, K])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [M, N])],
        [helper.make_tensor("b", KINDS[right][0], [K, N], entries(right, K, N).tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def rate(product, a, seconds=0.6):
    runs, begun, spent = 0, time.time(), time.process_time()
    while time.time() - begun < seconds:
        product.run(None, {"a": a})
        runs += 1
    return runs * M * N * K / (time.process_time() - spent) * THREADS / 1e9


for left, right in [("u8", "u8"), ("u8", "s8"), ("s8", "s8")]:
    product, a = session(left, right), entries(left, M, K)
    product.run(None, {"a": a})
    rates = sorted(rate(product, a) for _ in range(9))
    print(f"{left} x {right}: {rates[4]:.0f} GH/s (quartiles {rates[2]:.0f} to {rates[6]:.0f}), {THREADS} threads")
