// What every product kernel ends with: the jackpots of its tiles, and the list of those within the bound.

struct Chunk {
    // The first block of the chunk, counted down the columns of blocks, and the block after its last.
    first: u32,
    end: u32,
    // Blocks of A.
    row_blocks: u32,
    // Rows of A and of B transposed.
    m: u32,
    n: u32,
    // Words of a row that are multiplied.
    used_words: u32,
    // Words of a slice, and slices.
    slice_words: u32,
    slices: u32,
    bound: array<vec4<u32>, 2>,
    // For kernels by matrices: the first row and column of each lane's tile in its part (row | column << 16), and how far a
    // tile reaches.
    lanes: array<vec4<u32>, 16>,
    row_extent: u32,
    column_extent: u32,
}

@group(0) @binding(0) var<uniform> chunk: Chunk;
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> state: array<u32>;

struct Hits {
    count: atomic<u32>,
    unused: u32,
    // Row, column and jackpot of each: ten words.
    list: array<u32>,
}

@group(0) @binding(4) var<storage, read_write> hits: Hits;

const SEED = 16u;

// Hashes the words of the tile at `row` and `column`, and lists it where the jackpot is within the bound.
fn judge(words: array<u32, 16>, row: u32, column: u32) {
    let key = array<u32, 8>(
        state[SEED], state[SEED + 1u], state[SEED + 2u], state[SEED + 3u],
        state[SEED + 4u], state[SEED + 5u], state[SEED + 6u], state[SEED + 7u],
    );
    let jackpot = compress(key, words, 0u, 64u, 27u);
    // From the highest word down: the first that differs decides.
    var within = true;
    for (var i = 0u; i < 8u; i++) {
        let limit = chunk.bound[i / 4u][i % 4u];
        if jackpot[i] != limit {
            within = jackpot[i] < limit;
        }
    }
    if within {
        let index = atomicAdd(&hits.count, 1u);
        if index < HITS_MAX {
            hits.list[index * 10u] = row;
            hits.list[index * 10u + 1u] = column;
            for (var i = 0u; i < 8u; i++) {
                hits.list[index * 10u + 2u + i] = jackpot[i];
            }
        }
    }
}
