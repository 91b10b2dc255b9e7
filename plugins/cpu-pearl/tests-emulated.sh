#!/usr/bin/env bash
# Runs this provider's tests on processors that this machine does not have, under qemu's user-mode emulation:
# aarch64 with and without the dot-product extension, and x86-64 without AVX2. Ends well with a line
# `skipped: <reason>` where the tools cannot be had.
#
# Needs the Rust target aarch64-unknown-linux-gnu and, from the system, qemu-user, gcc-aarch64-linux-gnu and
# libc6-dev-arm64-cross (their names on Debian; installed here when the script may).
set -euo pipefail
cd "$(dirname "$0")/../.."

target=aarch64-unknown-linux-gnu
sysroot=/usr/aarch64-linux-gnu
packages=(qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
# Fewer proofs than natively: emulation is slower, and the kernels have been compared before they count.
export PEARL_PROOFS="${PEARL_PROOFS:-300}"

skip() {
    echo "skipped: $1"
    exit 0
}

present() {
    command -v qemu-aarch64 >/dev/null && command -v aarch64-linux-gnu-gcc >/dev/null && [ -e "$sysroot/lib/libc.so.6" ]
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the emulated tests are made for Linux on x86-64, and this is $(uname -sm)"
if ! present; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y --no-install-recommends "${packages[@]}" \
            >/dev/null 2>&1 || true
    fi
    present || skip "aarch64 needs ${packages[*]}, which are not installed"
fi
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    # Where the download is blocked this hangs rather than fails.
    timeout 120 rustup target add "$target" >/dev/null 2>&1 || true
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] ||
        skip "the Rust target $target is not installed and could not be downloaded"
fi

timeout 300 cargo fetch --quiet --locked --target "$target" ||
    skip "what the tests depend on could not be fetched for $target"

# Builds the unit tests for the target in $1 and prints the program's path.
build() {
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
        cargo test --locked -p cpu-pearl --lib --no-run --target "$1" --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}

# Runs the program $3 with the emulator $1 as processor $2, which must have exactly the kernels $4.
check() {
    echo "== $1 -cpu $2: $4"
    local out
    out=$($1 -cpu "$2" "$3" --show-output 2>&1) || {
        echo "$out" >&2
        exit 1
    }
    grep -qxF "kernels: $4" <<<"$out" || {
        echo "expected the kernels $4 and found: $(grep '^kernels: ' <<<"$out")" >&2
        exit 1
    }
    grep '^test result' <<<"$out"
}

program=$(build "$target")
check "qemu-aarch64 -L $sysroot" max "$program" "neon-dotprod portable"
check "qemu-aarch64 -L $sysroot" neoverse-n1 "$program" "neon-dotprod portable"
check "qemu-aarch64 -L $sysroot" cortex-a72 "$program" "portable"

# The host's own architecture under its own name, so that it shares the build of the ordinary tests.
program=$(cargo test --locked -p cpu-pearl --lib --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
check qemu-x86_64 Haswell "$program" "avx2 portable"
check qemu-x86_64 Nehalem "$program" "portable"
