// What the kernels for NVIDIA's cards have in common: words, BLAKE3's compression, and what a card says of threads.
// The subset of CUDA that clang compiles without any of NVIDIA's files.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

#define KERNEL extern "C" __attribute__((global)) void
#define DEVICE __attribute__((device)) inline __attribute__((always_inline))
#define SHARED __attribute__((shared))
#define UNROLL _Pragma("unroll")

#define THREAD ((u32)__nvvm_read_ptx_sreg_tid_x())
#define GROUP ((u32)__nvvm_read_ptx_sreg_ctaid_x())
#define BARRIER() __syncthreads()

// Where things lie in the state of an operand, in words: as in common.wgsl.
enum { JOB_KEY = 0, DRAW_KEY = 8, SEED_RULE = 12, SEED = 16 };
// Flags of BLAKE3's compression function.
enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8, KEYED = 16, ONE_BLOCK = 27 };

DEVICE u32 rotate(u32 x, int right) {
    return (x >> right) | (x << (32 - right));
}

#define MIX(a, b, c, d, x, y) \
    v[a] += v[b] + m[x]; v[d] = rotate(v[d] ^ v[a], 16); \
    v[c] += v[d]; v[b] = rotate(v[b] ^ v[c], 12); \
    v[a] += v[b] + m[y]; v[d] = rotate(v[d] ^ v[a], 8); \
    v[c] += v[d]; v[b] = rotate(v[b] ^ v[c], 7);
#define ROUND(a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q) \
    MIX(0, 4, 8, 12, a, b) MIX(1, 5, 9, 13, c, d) MIX(2, 6, 10, 14, e, f) MIX(3, 7, 11, 15, g, h) \
    MIX(0, 5, 10, 15, i, j) MIX(1, 6, 11, 12, k, l) MIX(2, 7, 8, 13, n, o) MIX(3, 4, 9, 14, p, q)

// The chaining value `cv` and sixteen words to the next chaining value; counters stay below 2^32.
DEVICE void compress(u32 cv[8], const u32 m[16], u32 counter, u32 length, u32 flags) {
    u32 v[16] = {cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7], 0x6a09e667u, 0xbb67ae85u,
                 0x3c6ef372u, 0xa54ff53au, counter, 0, length, flags};
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
    UNROLL for (int i = 0; i < 8; i++) cv[i] = v[i] ^ v[i + 8];
}

DEVICE void load(u32 to[8], const u32 *from) {
    UNROLL for (int i = 0; i < 8; i++) to[i] = from[i];
}
