// The product by NVIDIA's own matrix instructions (mma.sync.m16n8k32 of signed bytes; sm_80 and later). A group of eight
// warps multiplies a block of 128 rows by 256 columns, 64 x 64 a warp. A lane's hash tile is the set of sums that the
// instruction leaves with it: rows g, g + 8, ... and columns 2t, 2t + 1, 2t + 8, ... of its warp's part (g = lane / 4,
// t = lane % 4), so that folding exchanges nothing.
#include "common.cuh"

struct Chunk {
    // The first block of the chunk, counted down the columns of blocks, and the block after its last.
    u32 first, end, row_blocks;
    // Rows of A and of B transposed.
    u32 m, n;
    // Words of a row that are multiplied, words of a slice, and slices.
    u32 used_words, slice_words, slices;
    u32 bound[8];
};

enum { HITS_MAX = 1024, THREADS = 256, STAGES = 3, A_BYTES = 128 * 64, STAGE_BYTES = (128 + 256) * 64 };

// The stages' tiles, and then the sixteen words of each thread.
extern SHARED __attribute__((aligned(128))) unsigned char arena[];

DEVICE u32 shared_address(const void *pointer) {
    return (u32)(u64)(const __attribute__((address_space(3))) void *)pointer;
}

// 16 bytes from global to shared memory, on their way while others work.
DEVICE void copy_16(u32 to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// Four 8 x 8 matrices of 16-bit units, which are 8 rows of 16 bytes each.
DEVICE void load_matrices(u32 to[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from)
                 : "memory");
}

DEVICE void multiply(int sums[4], const u32 a[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Where the 16 bytes `piece` (of four) of row `row` lie in a tile: turned by row, so that eight rows read at once meet in
// no bank.
DEVICE u32 turned(u32 row, u32 piece) {
    return row * 64 + ((piece ^ (row >> 1 & 3)) * 16);
}

// Hashes the words of the tile at `row` and `column` with the seed of A, and lists it where the jackpot is within the
// bound.
DEVICE void judge(const u32 words[16], u32 row, u32 column, const u32 *state, const u32 bound[8], u32 *hits) {
    u32 jackpot[8];
    load(jackpot, state + SEED);
    compress(jackpot, words, 0, 64, ONE_BLOCK);
    // From the lowest word up: the highest that differs decides.
    bool within = true;
    UNROLL for (int i = 0; i < 8; i++) {
        if (jackpot[i] != bound[i]) within = jackpot[i] < bound[i];
    }
    if (!within) return;
    u32 index = (u32)__nvvm_atom_add_gen_i((int *)hits, 1);
    if (index >= HITS_MAX) return;
    hits[2 + index * 10] = row;
    hits[3 + index * 10] = column;
    UNROLL for (int i = 0; i < 8; i++) hits[4 + index * 10 + i] = jackpot[i];
}

KERNEL __attribute__((launch_bounds(THREADS, 1)))
product(Chunk chunk, const u32 *__restrict__ a, const u32 *__restrict__ b, const u32 *__restrict__ state, u32 *hits) {
    u32 item = chunk.first + GROUP, thread = THREAD, lane = thread % 32, warp = thread / 32;
    if (item >= chunk.end) return;
    u32 row_block = item % chunk.row_blocks, column_block = item / chunk.row_blocks;
    u32 part_row = warp / 4 * 64, part_column = warp % 4 * 64;
    u32 tiles = shared_address(arena);
    u32 *words = (u32 *)(arena + STAGES * STAGE_BYTES);
    UNROLL for (int i = 0; i < 16; i++) words[i * THREADS + thread] = 0;

    // A step is 64 bytes of k: 8 KiB of A, which lie together, and twice 8 KiB of B. A thread moves 16 bytes at a time.
    const unsigned char *from_a = (const unsigned char *)(a + (u64)row_block * chunk.used_words * 128) + thread * 16;
    const unsigned char *from_b =
        (const unsigned char *)(b + (u64)column_block * 2 * chunk.used_words * 128) + thread * 16;
    u64 block_bytes = (u64)chunk.used_words * 512;
    // 256 pieces further are 64 rows further, and rows that far apart are turned alike.
    u32 to = tiles + turned(thread / 4, thread % 4);
    // The rows of a matrix that this lane names to ldmatrix, for A and for B.
    u32 row_a = part_row + (lane & 15), piece_a = lane >> 4;
    u32 row_b = part_column + (lane & 7) + (lane >> 4) * 8, piece_b = lane >> 3 & 1;

    int sums[4][8][4];
    UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int j = 0; j < 8; j++)
            UNROLL for (int e = 0; e < 4; e++) sums[i][j][e] = 0;

    u32 steps = chunk.used_words / 16, asked = 0, filled = 0, used = 0;
#define ASK() \
    if (asked < steps) { \
        u64 at = (u64)asked * 8192; \
        u32 stage = to + filled * STAGE_BYTES; \
        UNROLL for (u32 i = 0; i < 2; i++) copy_16(stage + i * 4096, from_a + at + i * 4096); \
        UNROLL for (u32 i = 0; i < 4; i++) \
            copy_16(stage + A_BYTES + i * 4096, from_b + at + (i / 2) * block_bytes + (i % 2) * 4096); \
        asked++; \
        filled = filled == STAGES - 1 ? 0 : filled + 1; \
    } \
    asm volatile("cp.async.commit_group;" ::: "memory")
    ASK();
    ASK();
    _Pragma("unroll 1") for (u32 slice = 0; slice < chunk.slices; slice++) {
        _Pragma("unroll 1") for (u32 word = 0; word < chunk.slice_words; word += 16) {
            asm volatile("cp.async.wait_group 1;" ::: "memory");
            BARRIER();
            // Into the stage that everybody has left behind.
            ASK();
            u32 stage = tiles + used * STAGE_BYTES;
            used = used == STAGES - 1 ? 0 : used + 1;
            UNROLL for (u32 half = 0; half < 2; half++) {
                u32 left[4][4];
                UNROLL for (u32 i = 0; i < 4; i++)
                    load_matrices(left[i], stage + turned(row_a + i * 16, half * 2 + piece_a));
                UNROLL for (u32 j = 0; j < 4; j++) {
                    u32 right[4];
                    load_matrices(right, stage + A_BYTES + turned(row_b + j * 16, half * 2 + piece_b));
                    UNROLL for (u32 i = 0; i < 4; i++) {
                        multiply(sums[i][j * 2], left[i], right[0], right[1]);
                        multiply(sums[i][j * 2 + 1], left[i], right[2], right[3]);
                    }
                }
            }
        }
        u32 x = 0;
        UNROLL for (int i = 0; i < 4; i++)
            UNROLL for (int j = 0; j < 8; j++)
                UNROLL for (int e = 0; e < 4; e++) x ^= (u32)sums[i][j][e];
        u32 at = slice % 16 * THREADS + thread;
        words[at] = rotate(words[at], 19) ^ x;
    }
    u32 row = row_block * 128 + part_row + lane / 4, column = column_block * 256 + part_column + lane % 4 * 2;
    if (row + 57 <= chunk.m && column + 58 <= chunk.n) {
        u32 message[16];
        UNROLL for (int i = 0; i < 16; i++) message[i] = words[i * THREADS + thread];
        judge(message, row, column, state, chunk.bound, hits);
    }
}

// The same instruction on registers alone, eight sums a warp.
KERNEL __attribute__((launch_bounds(THREADS, 1)))
limit(Chunk chunk, const u32 *a, const u32 *b, const u32 *state, u32 *hits) {
    u32 start = THREAD + 1;
    u32 left[4] = {start, start * 3, start * 5, start * 7};
    int sums[8][4];
    UNROLL for (int i = 0; i < 8; i++)
        UNROLL for (int e = 0; e < 4; e++) sums[i][e] = i + e;
    _Pragma("unroll 1") for (u32 round = 0; round < chunk.slices; round++) {
        UNROLL for (int i = 0; i < 8; i++) multiply(sums[i], left, start * 11, start * 13);
    }
    int x = 0;
    UNROLL for (int i = 0; i < 8; i++)
        UNROLL for (int e = 0; e < 4; e++) x ^= sums[i][e];
    if (x == 0x1e3779b9) hits[0] = 1;
}
