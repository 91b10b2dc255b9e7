//! The text of the kernels: WGSL files beside this one, and what is unrolled here.
//!
//! BLAKE3 and the products consist of hundreds of lines that differ in their indices alone. Written as loops they would
//! index arrays of registers, which no graphics processor has; so the lines are written out by the functions below.

use std::fmt::Write as _;

use pearl_pow::Digest;
use pearl_pow::keys::{SALT_A, SALT_B};

/// Hits of a chunk that are listed; those beyond are counted.
pub(crate) const HITS_MAX: u32 = 1024;

/// BLAKE3's initial value.
const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// The order in which a round takes the words that the round before took in order.
const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

/// Everything that happens to one operand: drawing, commitment, seed, noise and packing.
pub(crate) fn operand() -> String {
    [
        include_str!("shaders/common.wgsl"),
        &compress(),
        &constant("SALT_A", &SALT_A),
        &constant("SALT_B", &SALT_B),
        include_str!("shaders/commit.wgsl"),
        include_str!("shaders/noise.wgsl"),
    ]
    .concat()
}

/// The product by packed dot products: blocks of 128 × 128, 8 × 8 sums an invocation, and tiles of 16 × 16, which four
/// invocations share.
pub(crate) fn dot_product() -> String {
    let mut text = product();
    text.push_str(&format!("const SIDE = {DOT_BLOCK}u;\n"));
    text.push_str(include_str!("shaders/dot.wgsl"));
    let mut sums = String::new();
    let mut steps = String::new();
    let mut fold = String::from("var x = 0u;\n");
    for i in 0..8 {
        for j in 0..8 {
            _ = writeln!(sums, "var s{i}{j} = 0i;");
            _ = writeln!(steps, "s{i}{j} += dot4I8Packed(a{}[{}], b{}[{}]);", i / 4, i % 4, j / 4, j % 4);
            _ = writeln!(fold, "x ^= u32(s{i}{j});");
        }
    }
    let (mut limit_sums, mut limit_steps, mut limit_fold) = (String::new(), String::new(), String::new());
    for i in 0..16 {
        _ = writeln!(limit_sums, "var s{i} = i32(start * {}u);", 2 * i + 1);
        _ = writeln!(limit_steps, "s{i} += dot4I8Packed(u32(s{}), start);", (i + 1) % 16);
        _ = writeln!(limit_fold, "x ^= u32(s{i});");
    }
    text.replace("/*SUMS*/", &sums)
        .replace("/*STEPS*/", &steps)
        .replace("/*FOLD*/", &fold)
        .replace("/*LIMIT_SUMS*/", &limit_sums)
        .replace("/*LIMIT_STEPS*/", &limit_steps)
        .replace("/*LIMIT_FOLD*/", &limit_fold)
}

/// Rows and columns of a block of [`dot_product`].
pub(crate) const DOT_BLOCK: u32 = 128;

/// What all products have in common.
pub(crate) fn product() -> String {
    [&compress(), &format!("const HITS_MAX = {HITS_MAX}u;\n"), include_str!("shaders/product.wgsl")].concat()
}

/// Sixteen words and a chaining value to the next chaining value; counters stay below 2^32.
fn compress() -> String {
    let mut text = words("IV", &IV);
    text.push_str(
        "fn compress(cv: array<u32, 8>, m: array<u32, 16>, counter: u32, length: u32, flags: u32) -> array<u32, 8> {\n",
    );
    for i in 0..8 {
        _ = writeln!(text, "var v{i} = cv[{i}];");
    }
    for (i, word) in IV.iter().take(4).enumerate() {
        _ = writeln!(text, "var v{} = {word:#010x}u;", 8 + i);
    }
    text.push_str("var v12 = counter; var v13 = 0u; var v14 = length; var v15 = flags;\n");
    let mut order: [usize; 16] = std::array::from_fn(|i| i);
    for _ in 0..7 {
        for (i, [a, b, c, d]) in MIXED.iter().enumerate() {
            let [x, y] = [order[2 * i], order[2 * i + 1]];
            for (word, right_d, right_b) in [(x, 16, 12), (y, 8, 7)] {
                _ = writeln!(
                    text,
                    "v{a} += v{b} + m[{word}]; v{d} ^= v{a}; v{d} = (v{d} >> {right_d}u) | (v{d} << {}u);\n\
                     v{c} += v{d}; v{b} ^= v{c}; v{b} = (v{b} >> {right_b}u) | (v{b} << {}u);",
                    32 - right_d,
                    32 - right_b,
                );
            }
        }
        order = PERMUTATION.map(|from| order[from]);
    }
    let value: Vec<String> = (0..8).map(|i| format!("v{i} ^ v{}", i + 8)).collect();
    _ = writeln!(text, "return array<u32, 8>({});\n}}", value.join(", "));
    text
}

/// Columns, then diagonals, of the state.
const MIXED: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

fn constant(name: &str, digest: &Digest) -> String {
    words(name, &to_words(digest))
}

fn words(name: &str, words: &[u32; 8]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:#010x}u")).collect();
    format!("const {name} = array<u32, 8>({});\n", words.join(", "))
}

/// A digest as the words that kernels see.
pub(crate) fn to_words(digest: &Digest) -> [u32; 8] {
    std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|j| digest[4 * i + j])))
}

/// The digest that kernels see as `words`.
pub(crate) fn to_digest(words: &[u32; 8]) -> Digest {
    std::array::from_fn(|i| words[i / 4].to_le_bytes()[i % 4])
}
