// One operand on one of NVIDIA's cards: drawn, committed to, noised and packed. The same steps as commit.wgsl and
// noise.wgsl, which say more of each.
#include "common.cuh"

struct Operand {
    u32 rows, padded_rows, row_words, used_words, rank, leaves, root_node, nodes_of_16, side;
};
struct Reduction {
    // The first node that is read, how many there are, where the nodes above go, and whether they are the leaves.
    u32 from, count, to, is_first;
};
#define OPERAND \
    Operand operand, u32 *__restrict__ state, const u32 *__restrict__ other, u32 *__restrict__ nodes, \
        u32 *__restrict__ dense, u32 *__restrict__ pairs, u32 *__restrict__ packed

DEVICE u32 mix(u32 x) {
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    return x ^ (x >> 15);
}

// Four entries of the raw matrix: word `index` of it, counted through all rows.
DEVICE u32 draw(const u32 *state, u32 index) {
    u32 first = mix(index ^ state[DRAW_KEY]) + state[DRAW_KEY + 1];
    u32 word = mix(first ^ state[DRAW_KEY + 2]) + state[DRAW_KEY + 3];
    u32 seven = mix(word) & 0x7f7f7f7fu;
    return seven | ((seven & 0x40404040u) << 1);
}

// One leaf of 1024 bytes a thread, 64 threads.
KERNEL leaves(OPERAND) {
    u32 leaf = GROUP * 64 + THREAD;
    if (leaf >= operand.leaves) return;
    u32 end = operand.rows * operand.row_words;
    u32 value[8];
    load(value, state + JOB_KEY);
    _Pragma("unroll 1") for (u32 block = 0; block < 16; block++) {
        u32 message[16];
        UNROLL for (u32 i = 0; i < 16; i++) {
            u32 index = leaf * 256 + block * 16 + i;
            u32 word = draw(state, index);
            // The last leaf is padded with zeros.
            message[i] = index < end ? word : 0;
        }
        u32 flags = KEYED | (block == 0 ? CHUNK_START : 0) | (block == 15 ? CHUNK_END : 0);
        compress(value, message, leaf, 64, flags);
    }
    UNROLL for (u32 i = 0; i < 8; i++) nodes[leaf * 8 + i] = value[i];
}

// 256 nodes of one height become one, eight levels above: 128 threads each.
KERNEL reduce(OPERAND, Reduction reduction) {
    static SHARED u32 level[2048];
    u32 lane = THREAD, block = GROUP, start = block * 256;
    bool is_last = reduction.count <= 256;
    u32 count = reduction.count - start < 256 ? reduction.count - start : 256;
    for (u32 i = lane; i < count * 8; i += 128) level[i] = nodes[(reduction.from + start) * 8 + i];
    for (u32 height = 1; height <= 8; height++) {
        BARRIER();
        u32 above = count / 2;
        u32 value[8] = {0};
        if (lane < above) {
            u32 message[16];
            UNROLL for (u32 i = 0; i < 16; i++) message[i] = level[lane * 16 + i];
            load(value, state + JOB_KEY);
            compress(value, message, 0, 64, KEYED | PARENT | (is_last && count == 2 ? ROOT : 0));
        } else if (lane == above && count % 2 == 1) {
            // What has no neighbour moves up as it is.
            load(value, level + lane * 16);
        }
        BARRIER();
        count = (count + 1) / 2;
        if (lane < count) {
            bool is_kept = height == 4 && reduction.is_first == 1;
            UNROLL for (u32 i = 0; i < 8; i++) {
                level[lane * 8 + i] = value[i];
                if (is_kept) nodes[(operand.nodes_of_16 + block * 16 + lane) * 8 + i] = value[i];
            }
        }
    }
    BARRIER();
    if (lane < 8) nodes[(reduction.to + block) * 8 + lane] = level[lane];
}

// The seed, by one thread.
KERNEL seed(OPERAND) {
    static const u32 iv[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                              0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
    u32 root[8], message[16] = {0};
    load(root, nodes + operand.root_node * 8);
    if (state[SEED_RULE] == 1) {
        UNROLL for (int i = 0; i < 8; i++) message[i] = root[i];
        message[8] = operand.rows;
        // The salt of this side, which the processor laid beside the key.
        load(root, state + 24);
        compress(root, message, 0, 64, ONE_BLOCK);
    }
    u32 value[8];
    UNROLL for (int i = 0; i < 8; i++) {
        message[i] = operand.side == 1 ? state[JOB_KEY + i] : other[SEED + i];
        message[8 + i] = root[i];
        value[i] = iv[i];
    }
    compress(value, message, 0, 64, CHUNK_START | CHUNK_END | ROOT);
    UNROLL for (int i = 0; i < 8; i++) state[SEED + i] = value[i];
}

// A block of 32 random bytes (section 4 of the protocol).
DEVICE void random_block(u32 value[8], const u32 *state, u32 side, u32 slot, u32 index) {
    u32 message[16] = {0};
    message[0] = slot == 0 ? index + 1 : 0;
    message[1] = slot == 1 ? index + 1 : 0;
    message[8] = side == 1 ? 0x65745f42u : 0x65745f41u;
    message[9] = 0x726f736eu;
    load(value, state + SEED);
    compress(value, message, 0, 64, ONE_BLOCK);
}

// 32 entries of the dense factor a thread, 64 threads.
KERNEL dense_factor(OPERAND) {
    u32 index = GROUP * 64 + THREAD;
    if (index >= operand.rows * (operand.rank / 32)) return;
    u32 block[8];
    random_block(block, state, operand.side, 0, index);
    UNROLL for (u32 i = 0; i < 8; i++) {
        // Six bits less 32, as a signed byte.
        u32 six = (block[i] & 0x3f3f3f3fu) ^ 0x20202020u;
        u32 sign = six & 0x20202020u;
        dense[index * 8 + i] = six | (sign << 1) | (sign << 2);
    }
}

// Eight pairs of the sparse factor a thread, 64 threads.
KERNEL sparse_factor(OPERAND) {
    u32 index = GROUP * 64 + THREAD;
    if (index * 2 >= operand.row_words) return;
    u32 block[8];
    random_block(block, state, operand.side, 1, index);
    u32 mask = operand.rank - 1;
    UNROLL for (u32 i = 0; i < 8; i++) {
        u32 plus = block[i] & mask;
        u32 high = (u32)((u64)mask * block[i] >> 32);
        pairs[index * 8 + i] = plus | ((plus ^ (1 + high)) << 16);
    }
}

DEVICE int entry(u32 word, u32 index) {
    return (int)(signed char)(word >> ((index & 3) * 8));
}

// 32 words of each of a few rows a group of 128 threads: as many rows as have room for their factor, 128 at most. The
// groups count through the words first.
KERNEL pack(OPERAND) {
    static SHARED u32 factor[4096];
    u32 lane = THREAD, rank_words = operand.rank / 4;
    u32 height = 4096 / rank_words < 128 ? 4096 / rank_words : 128;
    u32 across = (operand.row_words + 31) / 32;
    u32 first = GROUP / across * height, part = GROUP % across;
    for (u32 i = lane; i < height * rank_words; i += 128) {
        u32 row = first + i / rank_words;
        u32 word = row < operand.rows ? dense[row * rank_words + i % rank_words] : 0;
        factor[(i % rank_words) * height + i / rank_words] = word;
    }
    BARRIER();
    u32 offset = lane % height, row = first + offset;
    u32 end = operand.used_words < (part + 1) * 32 ? operand.used_words : (part + 1) * 32;
    for (u32 word = part * 32 + lane / height; word < end; word += 128 / height) {
        u32 noised = 0;
        if (row < operand.rows) {
            u32 raw = draw(state, row * operand.row_words + word);
            UNROLL for (u32 i = 0; i < 4; i++) {
                u32 pair = pairs[word * 4 + i], plus = pair & 0xffff, minus = pair >> 16;
                int noise = entry(factor[(plus >> 2) * height + offset], plus) -
                            entry(factor[(minus >> 2) * height + offset], minus);
                noised |= ((u32)(entry(raw, i) + noise) & 0xff) << (i * 8);
            }
        }
        // Blocks of 128 rows, cut into 64 columns, row by row.
        u32 block = row / 128;
        packed[(block * operand.used_words + word / 16 * 16) * 128 + (row % 128) * 16 + word % 16] = noised;
    }
}
