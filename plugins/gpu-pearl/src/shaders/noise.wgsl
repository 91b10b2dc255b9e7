// From the seed to the packed operand: draws both factors of the noise, adds it, and lays the words out as the product
// reads them.

// A block of 32 random bytes (section 4 of the protocol).
fn random_block(slot: u32, index: u32) -> array<u32, 8> {
    var message: array<u32, 16>;
    message[slot] = index + 1u;
    message[8] = select(0x65745f41u, 0x65745f42u, operand.side == 1u);
    message[9] = 0x726f736eu;
    return compress(key_of(SEED), message, 0u, 64u, ONE_BLOCK);
}

// 32 entries of the dense factor an invocation.
@compute @workgroup_size(64)
fn dense_factor(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * ACROSS + group.x) * 64u + lane;
    if index >= operand.rows * (operand.rank / 32u) {
        return;
    }
    let block = random_block(0u, index);
    for (var i = 0u; i < 8u; i++) {
        // Six bits less 32, as a signed byte.
        let six = (block[i] & 0x3f3f3f3fu) ^ 0x20202020u;
        let sign = six & 0x20202020u;
        dense[index * 8u + i] = six | (sign << 1u) | (sign << 2u);
    }
}

// Eight pairs of the sparse factor an invocation.
@compute @workgroup_size(64)
fn sparse_factor(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * ACROSS + group.x) * 64u + lane;
    if index * 2u >= operand.row_words {
        return;
    }
    let block = random_block(1u, index);
    let mask = operand.rank - 1u;
    for (var i = 0u; i < 8u; i++) {
        let word = block[i];
        let plus = word & mask;
        // The high half of a product of 64 bits, in which `mask` has ten at most.
        let high = (mask * (word >> 16u) + ((mask * (word & 0xffffu)) >> 16u)) >> 16u;
        let minus = plus ^ (1u + high);
        pairs[index * 8u + i] = plus | (minus << 16u);
    }
}

// The dense factor of the workgroup's rows, word by word.
var<workgroup> factor: array<u32, 4096>;

fn entry(word: u32, index: u32) -> i32 {
    return extractBits(i32(word), (index & 3u) * 8u, 8u);
}

// 32 words of each of a few rows a workgroup: as many rows as have room for their factor, 128 at most.
@compute @workgroup_size(128)
fn pack(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rank_words = operand.rank / 4u;
    let height = min(128u, 4096u / rank_words);
    let first = group.y * height;
    for (var i = lane; i < height * rank_words; i += 128u) {
        let row = first + i / rank_words;
        var word = 0u;
        if row < operand.rows {
            word = dense[row * rank_words + i % rank_words];
        }
        factor[(i % rank_words) * height + i / rank_words] = word;
    }
    workgroupBarrier();
    let offset = lane % height;
    let row = first + offset;
    let end = min(operand.used_words, (group.x + 1u) * 32u);
    for (var word = group.x * 32u + lane / height; word < end; word += 128u / height) {
        var noised = 0u;
        if row < operand.rows {
            let raw = draw(row * operand.row_words + word);
            for (var i = 0u; i < 4u; i++) {
                let pair = pairs[word * 4u + i];
                let plus = pair & 0xffffu;
                let minus = pair >> 16u;
                let noise = entry(factor[(plus >> 2u) * height + offset], plus)
                    - entry(factor[(minus >> 2u) * height + offset], minus);
                noised |= (u32(entry(raw, i) + noise) & 0xffu) << (i * 8u);
            }
        }
        let block = row / 128u;
        var place = (block * operand.used_words + word) * 128u + row % 128u;
        if operand.layout_ == 1u {
            place = (block * operand.used_words + word / 16u * 16u) * 128u + (row % 128u) * 16u + word % 16u;
        }
        packed[place] = noised;
    }
}
