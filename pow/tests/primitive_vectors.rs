//! The vectors of everything below a complete proof, file by file.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{ConfigVector, HeaderVector, bytes, compact, digest, seed_rule, vectors};
use pearl_pow::commitment::{LEAF_LEN, Tree, leaf_value, leaves_of_rows, recompute_root, root};
use pearl_pow::difficulty::{PENALTY_RANK_MIN, penalized_factor};
use pearl_pow::keys::{SALT_A, SALT_B, salted_root};
use pearl_pow::noise::{Noise, dense_factor_row, sparse_factor};
use pearl_pow::opening::Matrix;
use pearl_pow::pattern::PatternError;
use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::shares::PoolConvention;
use pearl_pow::{
    CompactTarget, Header, MiningConfiguration, NoiseSeeds, PeriodicPattern, SeedRule, Side, Target, job_key,
};
use serde::Deserialize;
use serde_json::Value;

fn u64_of(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn str_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn u64s_of(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(u64_of).collect()
}

fn i8s_of(value: &Value) -> Vec<i8> {
    value.as_array().unwrap().iter().map(|entry| i8::try_from(entry.as_i64().unwrap()).unwrap()).collect()
}

fn as_i8(bytes: Vec<u8>) -> Vec<i8> {
    bytes.into_iter().map(|byte| byte as i8).collect()
}

fn as_u8(entries: &[i8]) -> Vec<u8> {
    entries.iter().map(|&entry| entry as u8).collect()
}

#[test]
fn headers_serialise_as_the_reference_does_and_other_lengths_are_refused() {
    let file: Value = vectors("01_header.json");
    let headers: Vec<HeaderVector> = serde_json::from_value(file["headers"].clone()).unwrap();
    assert!(!headers.is_empty());
    for vector in headers {
        let header = Header::new(
            vector.version,
            digest(&vector.prev_block_display),
            digest(&vector.merkle_root_display),
            vector.timestamp,
            compact(&vector.nbits).0,
        );
        assert_eq!(header.to_string(), vector.bytes);
        let read = Header::try_from(bytes(&vector.bytes).as_slice()).unwrap();
        assert_eq!(read, header);
        assert_eq!(read.version(), vector.version);
        assert_eq!(read.prev_block(), digest(&vector.prev_block_display));
        assert_eq!(read.merkle_root(), digest(&vector.merkle_root_display));
        assert_eq!(read.timestamp(), vector.timestamp);
        assert_eq!(read.nbits(), compact(&vector.nbits));
    }
    for length in file["invalid_lengths"].as_array().unwrap() {
        assert!(Header::try_from(vec![0; u64_of(&length["len"]) as usize].as_slice()).is_err());
    }
}

#[test]
fn configurations_serialise_as_the_reference_does_and_forbidden_bytes_are_refused() {
    let file: Value = vectors("02_config.json");
    let configs: Vec<ConfigVector> = serde_json::from_value(file["configs"].clone()).unwrap();
    assert!(!configs.is_empty());
    for vector in configs {
        let config = vector.config();
        assert_eq!(config.to_bytes().to_vec(), bytes(&vector.bytes));
        assert_eq!(MiningConfiguration::from_bytes(&bytes(&vector.bytes)), Ok(config));
        assert_eq!(config.dot_product_length(), vector.dot_product_length);
    }
    for vector in file["invalid"].as_array().unwrap() {
        let refused = MiningConfiguration::from_bytes(&bytes(str_of(&vector["bytes"])));
        assert!(refused.is_err(), "{}", vector["what"]);
    }
}

#[test]
fn patterns_of_lists_are_the_canonical_ones() {
    let file: Value = vectors("03_pattern.json");
    for vector in file["from_list"].as_array().unwrap() {
        let list = u64s_of(&vector["list"]);
        let pattern = match PeriodicPattern::from_offsets(&list) {
            Ok(pattern) => pattern,
            Err(err) => {
                assert!(vector["error"].is_string(), "{list:?}: {err}");
                continue;
            }
        };
        assert!(vector["error"].is_null(), "{list:?} is {pattern:?}");
        let shape: Vec<Vec<u64>> =
            pattern.loops().iter().map(|step| vec![u64::from(step.stride), u64::from(step.length)]).collect();
        assert_eq!(shape, vector["shape"].as_array().unwrap().iter().map(u64s_of).collect::<Vec<_>>());
        assert_eq!(pattern.to_bytes().to_vec(), bytes(str_of(&vector["bytes"])));
        assert_eq!(PeriodicPattern::from_bytes(&pattern.to_bytes()), Ok(pattern));
        assert_eq!(u64::from(pattern.period()), u64_of(&vector["period"]));
        assert_eq!(u64::from(pattern.size()), u64_of(&vector["size"]));
        assert_eq!(u64::from(pattern.max_offset()), u64_of(&vector["max"]));
        assert_eq!(pattern.offsets().map(u64::from).collect::<Vec<_>>(), list);
    }
    for vector in file["from_list_invalid"].as_array().unwrap() {
        assert!(PeriodicPattern::from_offsets(&u64s_of(&vector["list"])).is_err(), "{vector}");
    }
}

#[test]
fn encoded_patterns_are_read_in_canonical_form_only() {
    let file: Value = vectors("03_pattern.json");
    for vector in file["from_bytes"].as_array().unwrap() {
        let read = PeriodicPattern::from_bytes(&bytes(str_of(&vector["bytes"])));
        match &vector["error"] {
            Value::Null => assert_eq!(read.unwrap().to_bytes().to_vec(), bytes(str_of(&vector["bytes"]))),
            Value::String(error) => {
                let expected = match read.unwrap_err() {
                    PatternError::NotCanonical { .. } => "Using non-canonical representation",
                    PatternError::BrokenStride { .. } => "A single stride must not be broken",
                    PatternError::PeriodTooLarge => "Pattern must have period <= 2^24",
                    PatternError::Length { .. } => "Expected 6 bytes",
                    other => panic!("{other}"),
                };
                assert!(error.starts_with(expected), "{error}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn tiles_of_a_dimension_come_in_the_reference_miners_order() {
    let file: Value = vectors("03_pattern.json");
    for vector in file["partitions"].as_array().unwrap() {
        let pattern = PeriodicPattern::from_offsets(&u64s_of(&vector["list"])).unwrap();
        let partition = pattern.partition(u64_of(&vector["dim"]));
        if vector["error"].is_string() {
            assert!(matches!(partition, Err(PatternError::NotAMultiple { .. })), "{vector}");
            continue;
        }
        let bases: Vec<u64> = partition.unwrap().collect();
        assert_eq!(bases, u64s_of(&vector["tile_offsets_in_order"]));
        let tile = |base: Option<&u64>| pattern.tile(*base.unwrap()).collect::<Vec<_>>();
        assert_eq!(tile(bases.first()), u64s_of(&vector["first_tile"]));
        assert_eq!(tile(bases.last()), u64s_of(&vector["last_tile"]));
    }
}

#[test]
fn compact_targets_and_bounds_are_the_references() {
    let file: Value = vectors("04_difficulty.json");
    for vector in file["nbits_to_target"].as_array().unwrap() {
        let target = compact(str_of(&vector["nbits"])).target();
        assert_eq!(target.to_string(), str_of(&vector["target"]));
        // The compact form keeps 23 bits, so it is not above the target and loses less than one part in 2^15.
        let back = CompactTarget::from_target(target).target();
        assert!(back <= target && target.0 - back.0 <= target.0 >> 15_usize, "{vector}");
    }
    for vector in file["bounds"].as_array().unwrap() {
        let contiguous = |field: &str| PeriodicPattern::contiguous(u64_of(&vector[field]) as u32).unwrap();
        let config = MiningConfiguration::dense(
            u64_of(&vector["common_dim"]) as u32,
            u64_of(&vector["rank"]) as u16,
            contiguous("h"),
            contiguous("w"),
        );
        let target = compact(str_of(&vector["nbits"])).target();
        assert_eq!(config.hashes_per_attempt(), u128::from(u64_of(&vector["factor"])));
        let bound = target.plain_bound(&config);
        assert_eq!(format!("{bound:064x}"), str_of(&vector["bound"]));
        let fits = target.0.checked_mul(config.hashes_per_attempt().try_into().unwrap()).is_some();
        assert_eq!(!fits, vector["saturated"].as_bool().unwrap());
        assert_eq!(penalized_factor(&config), u128::from(u64_of(&vector["penalized_factor"])));
        let penalized = target.checked_penalized_bound(&config).map(|bound| format!("{bound:064x}"));
        assert_eq!(penalized.as_deref(), vector["penalized_target_bound"].as_str());
        assert_eq!(config.rank < PENALTY_RANK_MIN, vector["rank_rule_zero_hash"].is_string());
    }
}

#[derive(Deserialize)]
struct CommitmentCase {
    name: String,
    m: usize,
    n: usize,
    header: HeaderVector,
    config: ConfigVector,
    a_seed: u64,
    bt_seed: u64,
    a_first16: Vec<i8>,
    bt_first16: Vec<i8>,
    a_blake3_of_bytes: String,
    bt_blake3_of_bytes: String,
    job_key: String,
    hash_a: String,
    hash_b: String,
    legacy: SeedsVector,
    salted: SeedsVector,
    a_bytes: Option<String>,
    bt_bytes: Option<String>,
}

#[derive(Deserialize)]
struct SeedsVector {
    bound_a: Option<String>,
    bound_b: Option<String>,
    b_noise_seed: String,
    a_noise_seed: String,
}

#[derive(Deserialize)]
struct CommitmentCases {
    cases: Vec<CommitmentCase>,
}

impl CommitmentCase {
    fn header(&self) -> Header {
        Header::from_hex(&self.header.bytes).unwrap()
    }

    fn matrices(&self) -> (Vec<i8>, Vec<i8>) {
        let k = self.config.common_dim as usize;
        (test_matrix(self.a_seed, self.m * k), test_matrix(self.bt_seed, self.n * k))
    }
}

#[test]
fn commitments_and_seeds_are_the_references() {
    let cases = vectors::<CommitmentCases>("05_commitment.json").cases;
    assert!(!cases.is_empty());
    for case in cases {
        let (a, bt) = case.matrices();
        assert_eq!((&a[..16], &bt[..16]), (case.a_first16.as_slice(), case.bt_first16.as_slice()));
        assert_eq!(blake3::hash(&as_u8(&a)).to_string(), case.a_blake3_of_bytes);
        assert_eq!(blake3::hash(&as_u8(&bt)).to_string(), case.bt_blake3_of_bytes);
        if let (Some(a_bytes), Some(bt_bytes)) = (&case.a_bytes, &case.bt_bytes) {
            assert_eq!((as_i8(bytes(a_bytes)), as_i8(bytes(bt_bytes))), (a.clone(), bt.clone()));
        }

        let config = case.config.config();
        let key = job_key(&case.header(), &config);
        assert_eq!(key, digest(&case.job_key), "{}", case.name);
        let (hash_a, hash_b) = (root(&key, &a), root(&key, &bt));
        assert_eq!((hash_a, hash_b), (digest(&case.hash_a), digest(&case.hash_b)), "{}", case.name);
        assert_eq!((Tree::new(&key, &a).root(), Tree::new(&key, &bt).root()), (&hash_a, &hash_b));

        let (m, n) = (case.m as u32, case.n as u32);
        for (rule, expected) in [(SeedRule::Legacy, &case.legacy), (SeedRule::Salted, &case.salted)] {
            let seeds = NoiseSeeds::derive(rule, &key, (&hash_a, m), (&hash_b, n));
            assert_eq!(seeds.a, digest(&expected.a_noise_seed), "{} {rule}", case.name);
            assert_eq!(seeds.b, digest(&expected.b_noise_seed), "{} {rule}", case.name);
        }
        assert_eq!(salted_root(Side::A, &hash_a, m), digest(case.salted.bound_a.as_deref().unwrap()));
        assert_eq!(salted_root(Side::BT, &hash_b, n), digest(case.salted.bound_b.as_deref().unwrap()));
    }
}

/// `rows` rows of noise, starting with row 0.
fn noise_rows(side: Side, seed: &[u8; 32], rank: u16, rows: u32, columns: u32) -> Vec<i8> {
    let noise = Noise::new(side, seed, rank, columns);
    (0..rows).flat_map(|row| noise.row(row).collect::<Vec<_>>()).collect()
}

#[test]
fn noise_factors_and_noise_are_the_references() {
    let file: Value = vectors("06_noise.json");
    let mut kinds = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let seed_a = digest(str_of(&case["a_noise_seed"]));
        let seed_b = digest(str_of(&case["b_noise_seed"]));
        let (k, rank) = (u64_of(&case["k"]) as u32, u64_of(&case["rank"]) as u16);
        kinds.push(str_of(&case["kind"]).to_owned());
        match str_of(&case["kind"]) {
            "full" => {
                for (side, seed, dense, pairs, noise) in [
                    (Side::A, &seed_a, "e_al", "e_ar_pairs", "noise_a"),
                    (Side::BT, &seed_b, "e_br_t", "e_bl_pairs", "noise_bt"),
                ] {
                    for (row, expected) in case[dense].as_array().unwrap().iter().enumerate() {
                        let mut entries = vec![0; usize::from(rank)];
                        dense_factor_row(side, seed, row as u32, &mut entries);
                        assert_eq!(entries, i8s_of(expected), "{dense}");
                    }
                    let found: Vec<Vec<u64>> = sparse_factor(side, seed, rank, k)
                        .iter()
                        .map(|pair| vec![u64::from(pair.plus), u64::from(pair.minus)])
                        .collect();
                    let expected: Vec<Vec<u64>> =
                        case[pairs].as_array().unwrap().iter().map(u64s_of).collect();
                    assert_eq!(found, expected, "{pairs}");
                    let rows = case[noise].as_array().unwrap();
                    let expected: Vec<i8> = rows.iter().flat_map(i8s_of).collect();
                    assert_eq!(noise_rows(side, seed, rank, rows.len() as u32, k), expected, "{noise}");
                }
            }
            "digest" => {
                let noise_a = noise_rows(Side::A, &seed_a, rank, u64_of(&case["m"]) as u32, k);
                let noise_bt = noise_rows(Side::BT, &seed_b, rank, u64_of(&case["n"]) as u32, k);
                assert_eq!(noise_a[..32], i8s_of(&case["noise_a_row0_first32"]));
                assert_eq!(noise_bt[noise_bt.len() - 32..], i8s_of(&case["noise_bt_last_row_last32"]));
                assert_eq!(blake3::hash(&as_u8(&noise_a)).to_string(), str_of(&case["noise_a_blake3"]));
                assert_eq!(blake3::hash(&as_u8(&noise_bt)).to_string(), str_of(&case["noise_bt_blake3"]));
            }
            "rows" => {
                for (side, seed, rows, expected) in
                    [(Side::A, &seed_a, "rows", "noise_a_rows"), (Side::BT, &seed_b, "cols", "noise_bt_rows")]
                {
                    let noise = Noise::new(side, seed, rank, k);
                    for (row, expected) in u64s_of(&case[rows]).iter().zip(case[expected].as_array().unwrap())
                    {
                        let found: Vec<i8> = noise.row(*row as u32).collect();
                        assert_eq!(found, as_i8(bytes(str_of(expected))), "row {row}");
                    }
                }
            }
            other => panic!("no kind {other}"),
        }
    }
    assert!(["full", "digest", "rows"].iter().all(|kind| kinds.iter().any(|found| found == kind)));
}

#[test]
fn transcripts_and_jackpots_are_the_references() {
    let commitments = vectors::<CommitmentCases>("05_commitment.json").cases;
    let file: Value = vectors("07_transcript.json");
    let mut minima = 0;
    for case in file["cases"].as_array().unwrap() {
        let name = str_of(&case["commitment_case"]);
        let commitment = commitments.iter().find(|commitment| commitment.name == name).unwrap();
        let config = commitment.config.config();
        let (a, bt) = commitment.matrices();
        let k = config.common_dim as usize;
        let product = Product::new(
            &commitment.header(),
            &config,
            seed_rule(str_of(&case["seed_derivation"])),
            Matrix::new(&a, k).unwrap(),
            Matrix::new(&bt, k).unwrap(),
        );
        assert_eq!(product.seeds().a, digest(str_of(&case["a_noise_seed"])));
        assert_eq!(product.seeds().b, digest(str_of(&case["b_noise_seed"])));
        // The vectors count tiles of whole periods only.
        let tiles = |pattern: &PeriodicPattern, rows: usize| pattern.partition(rows as u64).unwrap().count();
        assert_eq!(tiles(&config.rows, commitment.m), u64_of(&case["row_tiles"]) as usize);
        assert_eq!(tiles(&config.cols, commitment.n), u64_of(&case["col_tiles"]) as usize);

        for tile in case["tiles"].as_array().unwrap() {
            let (rows, cols) = (u64s_of(&tile["rows"]), u64s_of(&tile["cols"]));
            let attempt = product.attempt(rows[0], cols[0]);
            assert_eq!((&attempt.rows, &attempt.cols), (&rows, &cols));
            let hex = |words: &[u32]| words.iter().map(|word| format!("{word:08x}")).collect::<Vec<_>>();
            let expected =
                |field: &str| tile[field].as_array().unwrap().iter().map(str_of).collect::<Vec<_>>();
            if !expected("xor_per_slice").is_empty() {
                assert_eq!(hex(&attempt.xors), expected("xor_per_slice"));
            }
            assert_eq!(hex(attempt.transcript.words()), expected("words"));
            assert_eq!(attempt.transcript.message().to_vec(), bytes(str_of(&tile["message_bytes"])));
            assert_eq!(attempt.jackpot, digest(str_of(&tile["jackpot_hash"])));
            assert_eq!(format!("{:064x}", attempt.number()), str_of(&tile["jackpot_as_number"]));
        }
        let minimum = &case["minimum_over_all_tiles"];
        if minimum.is_object() {
            let best = product.attempts().min_by_key(|attempt| attempt.number()).unwrap();
            assert_eq!(best.rows[0], u64_of(&minimum["rows0"]));
            assert_eq!(best.cols[0], u64_of(&minimum["cols0"]));
            assert_eq!(format!("{:064x}", best.number()), str_of(&minimum["jackpot_as_number"]));
            minima += 1;
        }
    }
    assert!(minima > 0);
}

/// The byte generator of the Merkle vectors.
fn data(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn trees_leaf_values_and_siblings_are_the_references() {
    let file: Value = vectors("08_merkle.json");
    for tree in file["trees"].as_array().unwrap() {
        let count = u64_of(&tree["leaves"]);
        let key = digest(str_of(&tree["key"]));
        let data = data(u64_of(&tree["data_seed"]), count as usize * LEAF_LEN);
        let leaves: Vec<&[u8; LEAF_LEN]> = data.as_chunks().0.iter().collect();
        let expected_root = digest(str_of(&tree["root"]));
        assert_eq!(root(&key, &data), expected_root);
        let built = Tree::new(&key, &data);
        assert_eq!((built.root(), built.leaf_count()), (&expected_root, count));

        let expected: Vec<[u8; 32]> =
            tree["leaf_cvs"].as_array().unwrap().iter().map(|value| digest(str_of(value))).collect();
        let mut from_leaves = None;
        if count > 1 {
            let values: Vec<[u8; 32]> =
                leaves.iter().enumerate().map(|(index, leaf)| leaf_value(&key, index as u64, leaf)).collect();
            assert_eq!(values, expected);
            from_leaves = Some(Tree::from_nodes(&key, count, 0, values).unwrap());
            assert_eq!(from_leaves.as_ref().unwrap().root(), &expected_root);
        }

        for proof in tree["proofs"].as_array().unwrap() {
            let indices = u64s_of(&proof["leaf_indices"]);
            let siblings: Vec<[u8; 32]> =
                proof["siblings"].as_array().unwrap().iter().map(|value| digest(str_of(value))).collect();
            assert_eq!(built.siblings(&data, &indices), siblings);
            if let Some(tree) = &from_leaves {
                assert_eq!(tree.siblings(&data, &indices), siblings);
            }
            let opened: Vec<_> = indices.iter().map(|&index| (index, leaves[index as usize])).collect();
            let recomputed = recompute_root(&key, count, &opened, &siblings).unwrap();
            assert_eq!((recomputed.root, recomputed.surplus_siblings), (expected_root, 0));
        }
    }
    for vector in file["leaf_indices_from_rows"].as_array().unwrap() {
        let found: Vec<u64> = leaves_of_rows(&u64s_of(&vector["rows"]), u64_of(&vector["k"])).collect();
        assert_eq!(found, u64s_of(&vector["leaf_indices"]));
    }
}

#[test]
fn salts_and_seed_chain_are_the_references_pinned_constants() {
    let file: Value = vectors("11_pinned_reference.json");
    for (name, salt) in [("salt_a", SALT_A), ("salt_b", SALT_B)] {
        assert_eq!(salt, digest(str_of(&file[name]["blake3"])));
        assert_eq!(salt, *blake3::hash(str_of(&file[name]["text"]).as_bytes()).as_bytes());
    }
    let mut dense = 0;
    for case in file["seed_chain"].as_array().unwrap().iter().filter(|case| case["moe"].is_null()) {
        let name = str_of(&case["name"]);
        let rule = if name.starts_with("legacy") { SeedRule::Legacy } else { SeedRule::Salted };
        let key = digest(str_of(&case["job_key"]));
        let a = (&digest(str_of(&case["hash_a"])), u64_of(&case["m"]) as u32);
        let bt = (&digest(str_of(&case["hash_b"])), u64_of(&case["n"]) as u32);
        let seeds = NoiseSeeds::derive(rule, &key, a, bt);
        assert_eq!(seeds.a, digest(str_of(&case["a_noise_seed"])), "{name}");
        assert_eq!(seeds.b, digest(str_of(&case["b_noise_seed"])), "{name}");
        assert_eq!(NoiseSeeds::seed_b(rule, &key, bt), seeds.b);
        dense += 1;
    }
    assert_eq!(dense, 2);
    // The remaining case is a mixture of experts, which this crate does not do.
}

#[test]
fn the_configuration_of_the_references_stored_proof_is_read_and_written_alike() {
    let file: Value = vectors("11_pinned_reference.json");
    let fixture = &file["upstream_v2_fixture"];
    let config = MiningConfiguration::from_bytes(&bytes(str_of(&fixture["config_bytes"]))).unwrap();
    assert_eq!(config.to_bytes().to_vec(), bytes(str_of(&fixture["config_bytes"])));
    assert!(config.rows.is_base(u64_of(&fixture["t_rows"])));
    assert!(config.cols.is_base(u64_of(&fixture["t_cols"])));
    let header = Header::from_hex(str_of(&fixture["header_bytes"])).unwrap();
    let number = pearl_pow::difficulty::jackpot_number(&digest(str_of(&fixture["hash_jackpot"])));
    assert!(number <= header.nbits().target().plain_bound(&config));
}

#[test]
fn pool_difficulties_map_to_the_targets_of_both_conventions() {
    let file: Value = vectors("12_pool_targets.json");
    for vector in file["targets"].as_array().unwrap() {
        let difficulty = u64_of(&vector["diff"]);
        for (convention, field) in
            [(PoolConvention::Bitcoin, "target_pdiff"), (PoolConvention::PowerOfTwo, "target_2_224")]
        {
            let target = convention.target(difficulty).unwrap();
            assert_eq!(target.to_string(), str_of(&vector[field]));
            assert_eq!(Target::from_hex(str_of(&vector[field])), Ok(target));
            let back = convention.difficulty(target);
            assert!((back / difficulty as f64 - 1.0).abs() < 1e-9, "{difficulty} came back as {back}");
        }
    }
    assert_eq!(PoolConvention::Bitcoin.target(0), None);
    assert_eq!(PoolConvention::PowerOfTwo.target(0), None);
}
