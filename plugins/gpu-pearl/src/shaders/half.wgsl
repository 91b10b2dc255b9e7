// The product by half-precision matrices, for devices that have no others: entries are exact as halves, and the sums of one
// slice are exact as 32-bit floats (128 * 127 * 127 is below 2^24, whatever the order), so they are added to integers
// slice by slice. A subgroup owns a part of the block; its sums go through shared memory, from where each lane adds those
// of its own hash tile. So nothing is known of how a driver lays out matrices, and nothing need be.

// Halves of a row in shared memory: 32 columns of k, and 8 of padding, so that rows do not meet in one bank.
const PITCH = 40u;

// 128 rows of A, then 128 of B transposed.
var<workgroup> tiles: array<f16, 10240>;
// Sums on their way from the matrices to the lanes: some fragments of each subgroup.
var<workgroup> stash: array<f32, STASH>;
// What a fragment of sums begins with.
var<workgroup> zeros: array<f32, FRAGMENT>;

// Sixteen entries of an operand into their place: `piece` counts half rows.
fn keep(piece: u32, words: vec4<u32>) {
    let to = piece / 2u * PITCH + piece % 2u * 16u;
    /*KEEP*/
}

fn rotated(word: u32, x: u32) -> u32 {
    return ((word << 13u) | (word >> 19u)) ^ x;
}

@compute @workgroup_size(THREADS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) invocation: u32,
) {
    let item = chunk.first + group.x;
    if item >= chunk.end {
        return;
    }
    let row_block = item % chunk.row_blocks;
    let column_block = item / chunk.row_blocks;
    // Subgroups of another size than this was written for compute nonsense, in their own memory, and fail the self-test.
    let own = subgroup % SUBGROUPS;
    let held = invocation % LANES;
    let part_row = own / PARTS_ACROSS * PART_ROWS;
    let part_column = own % PARTS_ACROSS * PART_COLUMNS;
    let place = own * STASHED * FRAGMENT + held;
    for (var i = lane; i < FRAGMENT; i += THREADS) {
        zeros[i] = 0.0;
    }
    /*SUMS*/
    /*WORDS*/
    let piece = lane % 256u;
    let from_a = row_block * chunk.used_words * 32u + piece / 2u * 4u + piece % 2u;
    let from_b = column_block * chunk.used_words * 32u + piece / 2u * 4u + piece % 2u;
    /*FIRST*/
    // Half of 64 columns at a time.
    var step = 0u;
    workgroupBarrier();
    for (var slice = 0u; slice < chunk.slices; slice++) {
        /*BEGIN*/
        for (var word = 0u; word < chunk.slice_words; word += 8u) {
            workgroupBarrier();
            /*PLACE*/
            workgroupBarrier();
            // What the next step needs is on its way meanwhile; there is room to read one step too far.
            step += 1u;
            let ahead = step / 2u * 512u + step % 2u * 2u;
            /*NEXT*/
            for (var depth = 0u; depth < 32u; depth += SIDE) {
                /*MULTIPLY*/
            }
        }
        var x = 0u;
        /*FOLD*/
        switch slice % 16u {
            /*ROTATE*/
        }
    }
    let tile = chunk.lanes[held / 4u][held % 4u];
    let row = row_block * 128u + part_row + (tile & 0xffffu);
    let column = column_block * 128u + part_column + (tile >> 16u);
    if row + chunk.row_extent <= chunk.m && column + chunk.column_extent <= chunk.n {
        judge(/*MESSAGE*/, row, column);
    }
}

// The same instruction on registers alone.
@compute @workgroup_size(THREADS)
fn limit(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < 10240u; i += THREADS) {
        tiles[i] = f16(i32((i * 7u + group.x) % 5u) - 2);
    }
    // Sums that begin alike would be one sum to a compiler.
    for (var i = lane; i < STASH; i += THREADS) {
        stash[i] = f32(i);
    }
    workgroupBarrier();
    let left = coopLoadT<COOP<f16, A>>(&tiles[0], PITCH);
    let right = coopLoad<COOP<f16, B>>(&tiles[5120], PITCH);
    /*LIMIT_SUMS*/
    for (var round = 0u; round < chunk.slices; round++) {
        /*LIMIT_STEPS*/
    }
    workgroupBarrier();
    /*LIMIT_STORE*/
    workgroupBarrier();
    if bitcast<u32>(stash[lane]) == 0x9e3779b9u {
        atomicAdd(&hits.count, 1u);
    }
}
