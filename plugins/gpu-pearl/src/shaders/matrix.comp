#version 460
// The product by int8 cooperative matrices. A subgroup owns a part of PART x PART of a block of 128 x 128; a lane's hash
// tile is the set of sums that it holds anyway, so nothing is exchanged between lanes. Which sums those are is the
// driver's business: the same source compiled with LAYOUT asks it.
//
// Compiled for each size of fragment (ROWS x COLUMNS x DEPTH) and subgroup (LANES): passed-through SPIR-V takes no
// constants at run time. `cargo xtask shaders` does it.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_EXT_control_flow_attributes : require

#define SUBGROUPS_ACROSS (128 / PART)
#define THREADS (SUBGROUPS_ACROSS * SUBGROUPS_ACROSS * LANES)
#define DOWN (PART / ROWS)
#define ACROSS (PART / COLUMNS)
// Words of a row in shared memory: 64 bytes and 16 of padding, so that rows do not meet in one bank.
#define PITCH 20
// 16-byte pieces of an operand that a thread moves in a step.
#define MOVES (512 / THREADS)
#define HITS_MAX 1024
// A software device compiles what is unrolled for minutes.
#if DEPTH == 8
#define DEPTHS [[dont_unroll]]
#else
#define DEPTHS [[unroll]]
#endif

layout(local_size_x = THREADS) in;

layout(set = 0, binding = 0, std140) uniform Chunk {
    uint first, end, row_blocks, m, n, used_words, slice_words, slices;
    uvec4 bound[2];
    // The first row and column of each lane's tile in its part (row | column << 16), and how far a tile reaches.
    uvec4 lanes[16];
    uint row_extent, column_extent;
} chunk;
layout(set = 0, binding = 1, std430) readonly buffer A { uvec4 a[]; };
layout(set = 0, binding = 2, std430) readonly buffer B { uvec4 b[]; };
layout(set = 0, binding = 3, std430) readonly buffer State { uint state[]; };
layout(set = 0, binding = 4, std430) buffer Hits { uint count; uint unused_; uint list[]; } hits;

#define FACTOR_A coopmat<int8_t, gl_ScopeSubgroup, ROWS, DEPTH, gl_MatrixUseA>
#define FACTOR_B coopmat<int8_t, gl_ScopeSubgroup, DEPTH, COLUMNS, gl_MatrixUseB>
#define SUMS coopmat<int32_t, gl_ScopeSubgroup, ROWS, COLUMNS, gl_MatrixUseAccumulator>

#if defined(LAYOUT)

// What each lane of one subgroup holds of a fragment: for each of its sums, row | column << 16 | 1 << 31. The list is that
// of LANES times the number of sums.
shared int numbers[ROWS * COLUMNS];

void main() {
    for (uint i = gl_LocalInvocationIndex; i < ROWS * COLUMNS; i += THREADS) {
        numbers[i] = int(i);
    }
    barrier();
    if (gl_SubgroupID != 0) {
        return;
    }
    SUMS sums;
    coopMatLoad(sums, numbers, 0, COLUMNS, gl_CooperativeMatrixLayoutRowMajor);
    if (gl_SubgroupInvocationID == 0) {
        hits.count = uint(sums.length());
        hits.unused_ = gl_SubgroupSize;
    }
    for (uint i = 0; i < sums.length(); i++) {
        uint number = uint(sums[i]);
        hits.list[gl_SubgroupInvocationID * sums.length() + i] =
            (number / COLUMNS) | ((number % COLUMNS) << 16) | (1u << 31);
    }
}

#elif defined(LIMIT)

// The same instruction on registers alone.
void main() {
    FACTOR_A left = FACTOR_A(int8_t(gl_SubgroupInvocationID + 1));
    FACTOR_B right = FACTOR_B(int8_t(gl_SubgroupInvocationID * 3 + 1));
    SUMS sums[8];
    [[unroll]] for (int i = 0; i < 8; i++) sums[i] = SUMS(i);
    for (uint round = 0; round < chunk.slices; round++) {
        [[unroll]] for (int i = 0; i < 8; i++) sums[i] = coopMatMulAdd(left, right, sums[i]);
    }
    int x = 0;
    [[unroll]] for (int i = 0; i < 8; i++) {
        for (uint e = 0; e < sums[i].length(); e++) x ^= sums[i][e];
    }
    if (x == 0x1e3779b9) hits.count = 1;
}

#else

shared uint tile_a[128 * PITCH];
shared uint tile_b[128 * PITCH];
// The sixteen words of each lane.
shared uint words[16 * THREADS];

uint rotate(uint x, int right) {
    return (x >> right) | (x << (32 - right));
}

#define MIX(a, b, c, d, x, y) \
    v[a] += v[b] + w[x]; v[d] = rotate(v[d] ^ v[a], 16); \
    v[c] += v[d]; v[b] = rotate(v[b] ^ v[c], 12); \
    v[a] += v[b] + w[y]; v[d] = rotate(v[d] ^ v[a], 8); \
    v[c] += v[d]; v[b] = rotate(v[b] ^ v[c], 7);
#define ROUND(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    MIX(0, 4, 8, 12, a, b) MIX(1, 5, 9, 13, c, d) MIX(2, 6, 10, 14, e, f) MIX(3, 7, 11, 15, g, h) \
    MIX(0, 5, 10, 15, i, j) MIX(1, 6, 11, 12, k, l) MIX(2, 7, 8, 13, m, n) MIX(3, 4, 9, 14, o, p)

// Hashes the words of the tile at `row` and `column` with the seed of A, and lists it where the jackpot is within the
// bound.
void judge(uint w[16], uint row, uint column) {
    uint v[16];
    [[unroll]] for (int i = 0; i < 8; i++) v[i] = state[16 + i];
    v[8] = 0x6a09e667u; v[9] = 0xbb67ae85u; v[10] = 0x3c6ef372u; v[11] = 0xa54ff53au;
    v[12] = 0; v[13] = 0; v[14] = 64; v[15] = 27;
    // The message's words in the order of each round.
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
    // From the lowest word up: the highest that differs decides.
    bool within = true;
    [[unroll]] for (int i = 0; i < 8; i++) {
        uint word = v[i] ^ v[i + 8];
        uint limit = chunk.bound[i / 4][i % 4];
        if (word != limit) within = word < limit;
    }
    if (within) {
        uint index = atomicAdd(hits.count, 1);
        if (index < HITS_MAX) {
            hits.list[index * 10] = row;
            hits.list[index * 10 + 1] = column;
            [[unroll]] for (int i = 0; i < 8; i++) hits.list[index * 10 + 2 + i] = v[i] ^ v[i + 8];
        }
    }
}

void main() {
    uint item = chunk.first + gl_WorkGroupID.x;
    if (item >= chunk.end) return;
    uint row_block = item % chunk.row_blocks;
    uint column_block = item / chunk.row_blocks;
    uint lane = gl_LocalInvocationIndex;
    uint part_row = gl_SubgroupID / SUBGROUPS_ACROSS * PART;
    uint part_column = gl_SubgroupID % SUBGROUPS_ACROSS * PART;
    // Subgroups need not be numbered like invocations: a lane's words have the place of its subgroup.
    uint place = gl_SubgroupID * LANES + gl_SubgroupInvocationID;
    [[unroll]] for (int i = 0; i < 16; i++) words[i * THREADS + place] = 0;

    SUMS sums[DOWN][ACROSS];
    [[unroll]] for (int i = 0; i < DOWN; i++) {
        [[unroll]] for (int j = 0; j < ACROSS; j++) sums[i][j] = SUMS(0);
    }
    // 64 bytes of k of 128 rows are 512 pieces.
    uint at_a = row_block * chunk.used_words * 32 + lane;
    uint at_b = column_block * chunk.used_words * 32 + lane;
    uvec4 next_a[MOVES], next_b[MOVES];
    [[unroll]] for (int i = 0; i < MOVES; i++) {
        next_a[i] = a[at_a + i * THREADS];
        next_b[i] = b[at_b + i * THREADS];
    }
    for (uint slice = 0; slice < chunk.slices; slice++) {
        for (uint word = 0; word < chunk.slice_words; word += 16) {
            barrier();
            [[unroll]] for (int i = 0; i < MOVES; i++) {
                uint piece = lane + i * THREADS;
                uint to = piece / 4 * PITCH + piece % 4 * 4;
                [[unroll]] for (int w = 0; w < 4; w++) {
                    tile_a[to + w] = next_a[i][w];
                    tile_b[to + w] = next_b[i][w];
                }
            }
            barrier();
            // What the next step needs is on its way meanwhile; there is room to read one step too far.
            at_a += 512;
            at_b += 512;
            [[unroll]] for (int i = 0; i < MOVES; i++) {
                next_a[i] = a[at_a + i * THREADS];
                next_b[i] = b[at_b + i * THREADS];
            }
            DEPTHS for (int depth = 0; depth < 64 / DEPTH; depth++) {
                FACTOR_A left[DOWN];
                [[unroll]] for (int i = 0; i < DOWN; i++) {
                    uint from = (part_row + i * ROWS) * PITCH + depth * (DEPTH / 4);
                    coopMatLoad(left[i], tile_a, from, PITCH, gl_CooperativeMatrixLayoutRowMajor);
                }
                [[unroll]] for (int j = 0; j < ACROSS; j++) {
                    FACTOR_B right;
                    uint from = (part_column + j * COLUMNS) * PITCH + depth * (DEPTH / 4);
                    coopMatLoad(right, tile_b, from, PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                    [[unroll]] for (int i = 0; i < DOWN; i++) {
                        sums[i][j] = coopMatMulAdd(left[i], right, sums[i][j]);
                    }
                }
            }
        }
        uint x = 0;
        [[unroll]] for (int i = 0; i < DOWN; i++) {
            [[unroll]] for (int j = 0; j < ACROSS; j++) {
                for (uint e = 0; e < sums[i][j].length(); e++) x ^= uint(sums[i][j][e]);
            }
        }
        uint at = slice % 16 * THREADS + place;
        words[at] = rotate(words[at], 19) ^ x;
    }
    uint tile = chunk.lanes[gl_SubgroupInvocationID / 4][gl_SubgroupInvocationID % 4];
    uint row = row_block * 128 + part_row + (tile & 0xffff);
    uint column = column_block * 128 + part_column + (tile >> 16);
    if (row + chunk.row_extent <= chunk.m && column + chunk.column_extent <= chunk.n) {
        uint message[16];
        [[unroll]] for (int i = 0; i < 16; i++) message[i] = words[i * THREADS + place];
        judge(message, row, column);
    }
}

#endif
