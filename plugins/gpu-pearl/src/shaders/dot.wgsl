// The product by packed dot products of four entries. 256 invocations multiply a block of 128 rows by 128 columns.

// 32 bytes of k of 128 rows, word by word.
var<workgroup> tile_a: array<vec4<u32>, 256>;
var<workgroup> tile_b: array<vec4<u32>, 256>;
// The sixteen words of each invocation.
var<workgroup> words: array<u32, 4096>;

@compute @workgroup_size(256)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let item = chunk.first + group.x;
    if item >= chunk.end {
        return;
    }
    let row_block = item % chunk.row_blocks;
    let column_block = item / chunk.row_blocks;
    let down = lane / 16u;
    let across = lane % 16u;
    for (var i = 0u; i < 16u; i++) {
        words[i * 256u + lane] = 0u;
    }
    /*SUMS*/
    var at_a = row_block * chunk.used_words * 32u + lane;
    var at_b = column_block * chunk.used_words * 32u + lane;
    // What the next step needs is on its way while this one is multiplied; there is room to read one step too far.
    var next_a = a[at_a];
    var next_b = b[at_b];
    for (var slice = 0u; slice < chunk.slices; slice++) {
        for (var step = 0u; step < chunk.slice_words; step += 8u) {
            workgroupBarrier();
            tile_a[lane] = next_a;
            tile_b[lane] = next_b;
            workgroupBarrier();
            at_a += 256u;
            at_b += 256u;
            next_a = a[at_a];
            next_b = b[at_b];
            for (var word = 0u; word < 8u; word++) {
                let a0 = tile_a[word * 32u + down * 2u];
                let a1 = tile_a[word * 32u + down * 2u + 1u];
                let b0 = tile_b[word * 32u + across * 2u];
                let b1 = tile_b[word * 32u + across * 2u + 1u];
                /*STEPS*/
            }
        }
        /*FOLD*/
        let place = (slice % 16u) * 256u + lane;
        let old = words[place];
        words[place] = ((old << 13u) | (old >> 19u)) ^ x;
    }
    workgroupBarrier();
    // The words of four invocations are those of a tile: rotation distributes over exclusive or.
    if lane < 64u {
        let i = lane / 8u;
        let j = lane % 8u;
        let row = row_block * SIDE + i * 16u;
        let column = column_block * SIDE + j * 16u;
        if row + 16u <= chunk.m && column + 16u <= chunk.n {
            let corner = i * 32u + j * 2u;
            var message: array<u32, 16>;
            for (var w = 0u; w < 16u; w++) {
                message[w] = words[w * 256u + corner] ^ words[w * 256u + corner + 1u]
                    ^ words[w * 256u + corner + 16u] ^ words[w * 256u + corner + 17u];
            }
            judge(message, row, column);
        }
    }
}

// The same instruction on registers alone: what the device could do at most. Each sum's operand is another sum, so that
// nothing can be left out.
@compute @workgroup_size(256)
fn limit(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * 256u + lane;
    /*LIMIT_SUMS*/
    for (var round = 0u; round < chunk.slices; round++) {
        /*LIMIT_STEPS*/
    }
    var x = 0u;
    /*LIMIT_FOLD*/
    if x == 0x9e3779b9u {
        atomicAdd(&hits.count, 1u);
    }
}
