// From nothing to the seed: draws the raw matrix, hashes it leaf by leaf, and the leaves up to the root.

// One leaf of 1024 bytes an invocation.
@compute @workgroup_size(64)
fn leaves(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let leaf = (group.y * ACROSS + group.x) * 64u + lane;
    if leaf >= operand.leaves {
        return;
    }
    let end = operand.rows * operand.row_words;
    var value = key_of(JOB_KEY);
    for (var block = 0u; block < 16u; block++) {
        var message: array<u32, 16>;
        for (var i = 0u; i < 16u; i++) {
            let index = leaf * 256u + block * 16u + i;
            // The last leaf is padded with zeros.
            message[i] = select(0u, draw(index), index < end);
        }
        var flags = KEYED;
        if block == 0u {
            flags |= CHUNK_START;
        }
        if block == 15u {
            flags |= CHUNK_END;
        }
        value = compress(value, message, leaf, 64u, flags);
    }
    for (var i = 0u; i < 8u; i++) {
        nodes[leaf * 8u + i] = value[i];
    }
}

struct Reduction {
    // The first node that is read, how many there are, and where the nodes above them go.
    from_: u32,
    count: u32,
    to: u32,
    // Whether the nodes are the leaves.
    is_first: u32,
}

@group(1) @binding(0) var<uniform> reduction: Reduction;

var<workgroup> level: array<u32, 2048>;

// 256 nodes of one height become one, eight levels above: a workgroup each.
@compute @workgroup_size(128)
fn reduce(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = group.y * ACROSS + group.x;
    let start = block * 256u;
    let is_last = reduction.count <= 256u;
    var count = min(256u, max(reduction.count, start) - start);
    for (var i = lane; i < count * 8u; i += 128u) {
        level[i] = nodes[(reduction.from_ + start) * 8u + i];
    }
    for (var height = 1u; height <= 8u; height++) {
        workgroupBarrier();
        let above = count / 2u;
        var value: array<u32, 8>;
        if lane < above {
            var message: array<u32, 16>;
            for (var i = 0u; i < 16u; i++) {
                message[i] = level[lane * 16u + i];
            }
            var flags = KEYED | PARENT;
            if is_last && count == 2u {
                flags |= ROOT;
            }
            value = compress(key_of(JOB_KEY), message, 0u, 64u, flags);
        } else if lane == above && count % 2u == 1u {
            // What has no neighbour moves up as it is.
            for (var i = 0u; i < 8u; i++) {
                value[i] = level[lane * 16u + i];
            }
        }
        workgroupBarrier();
        count = (count + 1u) / 2u;
        if lane < count {
            for (var i = 0u; i < 8u; i++) {
                level[lane * 8u + i] = value[i];
                if height == 4u && reduction.is_first == 1u {
                    nodes[(operand.nodes_of_16 + block * 16u + lane) * 8u + i] = value[i];
                }
            }
        }
    }
    workgroupBarrier();
    if lane < 8u && count > 0u {
        nodes[(reduction.to + block) * 8u + lane] = level[lane];
    }
}

// The seed, by one invocation: binds the root to the number of rows where the rule says so, and hashes it with the job
// key, or for A with B's seed.
@compute @workgroup_size(1)
fn seed() {
    var root: array<u32, 8>;
    for (var i = 0u; i < 8u; i++) {
        root[i] = nodes[operand.root_node * 8u + i];
    }
    if state[SEED_RULE] == 1u {
        var message: array<u32, 16>;
        for (var i = 0u; i < 8u; i++) {
            message[i] = root[i];
        }
        message[8] = operand.rows;
        var salt = SALT_A;
        if operand.side == 1u {
            salt = SALT_B;
        }
        root = compress(salt, message, 0u, 64u, ONE_BLOCK);
    }
    var message: array<u32, 16>;
    for (var i = 0u; i < 8u; i++) {
        message[i] = select(other[SEED + i], state[JOB_KEY + i], operand.side == 1u);
        message[8u + i] = root[i];
    }
    let value = compress(IV, message, 0u, 64u, CHUNK_START | CHUNK_END | ROOT);
    for (var i = 0u; i < 8u; i++) {
        state[SEED + i] = value[i];
    }
}
