// What every kernel has in common: the operand's shape and state, and how an entry is drawn.

struct Operand {
    // Rows of the matrix, and rows with those of zeros that fill the last block.
    rows: u32,
    padded_rows: u32,
    // Words (four entries) of a row, and of its part that is multiplied.
    row_words: u32,
    used_words: u32,
    // Entries of a row of the dense factor.
    rank: u32,
    leaves: u32,
    // Where the root lies among the nodes, and those of sixteen leaves.
    root_node: u32,
    nodes_of_16: u32,
    // 0 for A, 1 for B transposed.
    side: u32,
    // How the packed words lie: 0 word by word over 128 rows, 1 row by row over 16 words.
    layout_: u32,
    unused0: u32,
    unused1: u32,
}

// What is known of an operand beside its entries; offsets are in words.
// 0 job key (8), 8 key of the drawing (4), 12 seed rule (0 legacy, 1 salted), 16 seed (8)
const JOB_KEY = 0u;
const DRAW_KEY = 8u;
const SEED_RULE = 12u;
const SEED = 16u;

@group(0) @binding(0) var<uniform> operand: Operand;
@group(0) @binding(1) var<storage, read_write> state: array<u32>;
@group(0) @binding(2) var<storage, read> other: array<u32>;
@group(0) @binding(3) var<storage, read_write> nodes: array<u32>;
@group(0) @binding(4) var<storage, read_write> dense: array<u32>;
@group(0) @binding(5) var<storage, read_write> pairs: array<u32>;
@group(0) @binding(6) var<storage, read_write> packed: array<u32>;

// Workgroups of a dispatch in its first dimension, at most.
const ACROSS = 32768u;

fn mix(start: u32) -> u32 {
    var x = start;
    x = (x ^ (x >> 16u)) * 0x21f0aaadu;
    x = (x ^ (x >> 15u)) * 0x735a2d97u;
    return x ^ (x >> 15u);
}

// Four entries of the raw matrix, -64 to 63 each: word `index` of it, counted through all rows.
fn draw(index: u32) -> u32 {
    let first = mix(index ^ state[DRAW_KEY]) + state[DRAW_KEY + 1u];
    let word = mix(first ^ state[DRAW_KEY + 2u]) + state[DRAW_KEY + 3u];
    let seven = mix(word) & 0x7f7f7f7fu;
    return seven | ((seven & 0x40404040u) << 1u);
}

fn key_of(start: u32) -> array<u32, 8> {
    return array<u32, 8>(
        state[start], state[start + 1u], state[start + 2u], state[start + 3u],
        state[start + 4u], state[start + 5u], state[start + 6u], state[start + 7u],
    );
}

// Flags of BLAKE3's compression function.
const CHUNK_START = 1u;
const CHUNK_END = 2u;
const PARENT = 4u;
const ROOT = 8u;
const KEYED = 16u;
// One block, hashed with a key.
const ONE_BLOCK = 27u;
