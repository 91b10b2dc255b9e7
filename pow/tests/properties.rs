//! Properties that hold for every input, tried on random ones.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{ValidProofs, vectors};
use pearl_pow::address::{Address, AddressError, AddressKind, AddressNetwork};
use pearl_pow::commitment::{LEAF_LEN, OpeningError, Tree, recompute_root, root};
use pearl_pow::difficulty::PENALTY_RANK_MIN;
use pearl_pow::opening::{Matrix, MatrixOpening};
use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::transcript::tile_transcript;
use pearl_pow::{
    CertificateVersion, CompactTarget, Encoding, Header, Job, MiningConfiguration, PeriodicPattern,
    PlainProof, SeedRule, Target, U256, shares, verify, verify_bytes,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

fn opening() -> impl Strategy<Value = MatrixOpening> {
    let digest = any::<[u8; 32]>;
    let numbers = || vec(any::<u64>(), 0..5);
    (vec(any::<u8>(), 0..3), numbers(), any::<u64>(), digest(), vec(digest(), 0..4), numbers()).prop_map(
        |(leaves, leaf_indices, total_leaves, root, siblings, row_indices)| MatrixOpening {
            leaves: leaves.into_iter().map(|byte| [byte; LEAF_LEN]).collect(),
            leaf_indices,
            total_leaves,
            root,
            siblings,
            row_indices,
        },
    )
}

/// A canonical pattern, from loops that nest.
fn pattern() -> impl Strategy<Value = PeriodicPattern> {
    vec((2..=4_u64, 2..=4_u64), 0..=3).prop_map(|loops| {
        let mut offsets = vec![0];
        let mut extent = 1;
        for (index, &(factor, length)) in loops.iter().enumerate() {
            // The innermost loop may be contiguous.
            let stride = extent * if index == 0 { factor - 1 } else { factor };
            let inner = offsets.clone();
            for step in 1..length {
                offsets.extend(inner.iter().map(|offset| offset + step * stride));
            }
            extent = stride * length;
        }
        PeriodicPattern::from_offsets(&offsets).unwrap()
    })
}

fn config() -> impl Strategy<Value = MiningConfiguration> {
    (any::<u32>(), any::<u16>(), pattern(), pattern())
        .prop_map(|(k, rank, rows, cols)| MiningConfiguration::dense(k, rank, rows, cols))
}

fn target() -> impl Strategy<Value = Target> {
    (any::<[u8; 32]>(), 0..=256_usize).prop_map(|(bytes, shift)| {
        Target(Target::from_be_bytes(bytes).0.checked_shr(shift).unwrap_or_default())
    })
}

fn valid_proof(id: &str) -> (Job, PlainProof) {
    let proofs = vectors::<ValidProofs>("09_proofs_valid.json").proofs;
    let vector = proofs.iter().find(|proof| proof.id == id).unwrap();
    (vector.job(false), PlainProof::from_base64(&vector.proof_base64).unwrap().0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn proofs_of_any_content_come_back_from_their_bytes_and_from_their_text(
        numbers: [u64; 4], a in opening(), bt in opening(),
    ) {
        let [m, n, k, noise_rank] = numbers;
        let proof = PlainProof { m, n, k, noise_rank, a, bt };
        let bytes = proof.encode();
        prop_assert_eq!(bytes.len(), proof.encoded_len());
        prop_assert_eq!(PlainProof::decode(&bytes), Ok((proof.clone(), Encoding::Current)));
        prop_assert_eq!(PlainProof::decode(&bytes[..bytes.len() - 1]), Ok((proof.clone(), Encoding::LegacyV1)));
        prop_assert_eq!(PlainProof::from_base64(&proof.to_base64()), Ok((proof, Encoding::Current)));
        for cut in [2, 9, bytes.len() / 2, bytes.len()] {
            prop_assert!(PlainProof::decode(&bytes[..bytes.len() - cut]).is_err());
        }
        prop_assert!(PlainProof::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn headers_and_configurations_come_back_from_their_bytes(fields: [u32; 3], hash: [u8; 32], config in config()) {
        let header = Header::new(fields[0], hash, hash, fields[1], fields[2]);
        prop_assert_eq!(Header::try_from(header.as_bytes().as_slice()), Ok(header));
        prop_assert_eq!(Header::from_hex(&header.to_string()), Ok(header));
        prop_assert_eq!((header.prev_block(), header.timestamp()), (hash, fields[1]));
        prop_assert_eq!(MiningConfiguration::from_bytes(&config.to_bytes()), Ok(config));
    }

    #[test]
    fn patterns_partition_the_rows(pattern in pattern(), periods in 1..4_u64) {
        prop_assert_eq!(PeriodicPattern::from_bytes(&pattern.to_bytes()), Ok(pattern));
        let dimension = u64::from(pattern.period()) * periods;
        let mut times = vec![0; dimension as usize];
        for base in pattern.partition(dimension).unwrap() {
            for row in pattern.tile(base) {
                times[row as usize] += 1;
            }
        }
        prop_assert!(times.iter().all(|&times| times == 1), "{:?}", times);
    }

    #[test]
    fn tiles_of_a_partial_period_lie_inside_and_do_not_overlap(pattern in pattern(), dimension in 0..600_u64) {
        let mut seen = std::collections::BTreeSet::new();
        for base in pattern.bases(dimension) {
            let rows: Vec<u64> = pattern.tile(base).collect();
            prop_assert_eq!(PeriodicPattern::from_rows(&rows), Ok((pattern, base)));
            prop_assert!(rows.iter().all(|&row| row < dimension && seen.insert(row)));
        }
    }

    #[test]
    fn a_larger_target_never_has_a_smaller_bound(config in config(), first in target(), second in target()) {
        let (low, high) = (first.min(second), first.max(second));
        for rank_penalty in [false, true] {
            prop_assert!(low.bound(&config, rank_penalty) <= high.bound(&config, rank_penalty));
        }
        prop_assert!(low.bound(&config, true) <= low.bound(&config, false));
        // The product either fits or is cut to the largest number.
        let exact = low.0.widening_mul::<256, 4, 512, 8>(U256::from(config.hashes_per_attempt()));
        let cut = exact.min(ruint::Uint::<512, 8>::from(U256::MAX));
        prop_assert_eq!(ruint::Uint::<512, 8>::from(low.plain_bound(&config)), cut);
        if config.rank >= PENALTY_RANK_MIN {
            prop_assert!(low.penalized_bound(&config) <= low.plain_bound(&config));
        }
    }

    #[test]
    fn a_compact_target_is_the_largest_that_is_not_above(target in target()) {
        let compact = CompactTarget::from_target(target);
        prop_assert!(compact.target() <= target);
        prop_assert_eq!(CompactTarget::from_target(compact.target()), compact);
        if target.0.bit_len() <= 24 {
            // Short of three bytes nothing is lost; with the top bit of three set, the lowest byte is.
            prop_assert!(target.0 - compact.target().0 < U256::from(256_u64));
        } else if compact.0 & 0x007f_ffff != 0x007f_ffff {
            prop_assert!(CompactTarget(compact.0 + 1).target() > target);
        }
        prop_assert_eq!(Target::from_hex(&target.to_string()), Ok(target));
        prop_assert_eq!(Target::from_le_bytes(target.to_le_bytes()), target);
    }

    #[test]
    fn an_opening_of_given_leaves_is_that_of_the_whole_matrix(
        seed in 1..u64::MAX, rows in 3..400_usize, words in 4..40_usize,
        picked in btree_set(0..400_u64, 1..20),
    ) {
        let columns = 64 * words;
        let entries = test_matrix(seed, rows * columns);
        let picked: Vec<u64> = picked.into_iter().filter(|&row| row < rows as u64).collect();
        prop_assume!(!picked.is_empty());
        let tree = Tree::new(&[7; 32], &entries);
        let mut asked = 0;
        let leaf = |index: u64| {
            asked += 1;
            let mut leaf = [0; LEAF_LEN];
            let data = entries.iter().skip(index as usize * LEAF_LEN);
            leaf.iter_mut().zip(data).for_each(|(byte, &entry)| *byte = entry as u8);
            leaf
        };
        let opening = MatrixOpening::from_leaves(&tree, columns as u64, &picked, leaf);
        prop_assert_eq!(&opening, &MatrixOpening::new(&tree, Matrix::new(&entries, columns).unwrap(), &picked));
        prop_assert!(asked <= 16 * opening.leaves.len());
    }

    #[test]
    fn openings_of_any_leaves_lead_to_the_root_and_break_when_altered(
        key: [u8; 32],
        (count, opened) in (1..80_u64).prop_flat_map(|count| (Just(count), btree_set(0..count, 1..=count.min(12) as usize))),
        tail in 0..LEAF_LEN,
        victim: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let mut data: Vec<u8> = test_matrix(count, count as usize * LEAF_LEN).iter().map(|&entry| entry as u8).collect();
        data.truncate(data.len() - tail);
        let tree = Tree::new(&key, &data);
        prop_assert_eq!(*tree.root(), root(&key, &data));
        let indices: Vec<u64> = opened.into_iter().collect();
        let siblings = tree.siblings(&data, &indices);
        data.resize(count as usize * LEAF_LEN, 0);
        prop_assert_eq!(*blake3::keyed_hash(&key, &data).as_bytes(), *tree.root());

        let open = |data: &[u8], siblings: &[[u8; 32]]| {
            let leaves: Vec<_> = indices.iter().map(|&index| (index, &data.as_chunks().0[index as usize])).collect();
            recompute_root(&key, count, &leaves, siblings)
        };
        let sound = open(&data, &siblings).unwrap();
        prop_assert_eq!((sound.root, sound.surplus_siblings), (*tree.root(), 0));

        let mut altered = data.clone();
        let leaf = indices[victim.index(indices.len())] as usize;
        altered[leaf * LEAF_LEN + victim.index(LEAF_LEN)] ^= 1 << bit;
        prop_assert_ne!(open(&altered, &siblings).unwrap().root, *tree.root());
        if !siblings.is_empty() {
            let mut altered = siblings.clone();
            altered[victim.index(siblings.len())][victim.index(32)] ^= 1 << bit;
            prop_assert_ne!(open(&data, &altered).unwrap().root, *tree.root());
            let short = open(&data, &siblings[1..]);
            let missing = matches!(short, Err(OpeningError::MissingSibling { .. }));
            prop_assert!(missing, "{:?}", short);
        }
        let surplus = open(&data, &[siblings, vec![[7; 32]]].concat()).unwrap();
        prop_assert_eq!((surplus.root, surplus.surplus_siblings), (*tree.root(), 1));
    }

    #[test]
    fn addresses_come_back_and_a_mistyped_character_is_found(
        program: [u8; 32],
        network in prop::sample::select(vec![AddressNetwork::Mainnet, AddressNetwork::Testnet, AddressNetwork::Regtest]),
        kind in prop::sample::select(vec![AddressKind::Taproot, AddressKind::PayToMerkleRoot]),
        place: prop::sample::Index,
        replacement in prop::sample::select("qpzry9x8gf2tvdw0s3jn54khce6mua7l".bytes().collect::<Vec<u8>>()),
    ) {
        let address = Address { network, kind, program };
        let text = address.to_string();
        prop_assert_eq!(text.len(), network.prefix().len() + 60);
        prop_assert_eq!(text.parse(), Ok(address));
        prop_assert_eq!(text.to_ascii_uppercase().parse(), Ok(address));

        let start = network.prefix().len() + 1;
        let place = start + place.index(text.len() - start);
        let mut mistyped = text.clone().into_bytes();
        prop_assume!(mistyped[place] != replacement);
        mistyped[place] = replacement;
        let refused = String::from_utf8(mistyped).unwrap().parse::<Address>();
        prop_assert_eq!(refused, Err(AddressError::Checksum { position: Some(place + 1) }));
    }

    #[test]
    fn the_verifiers_transcript_is_the_reference_miners(seed in 1..u64::MAX, rank_log in 5..8_u32, slices in 1..20_usize) {
        let rank = 1_usize << rank_log;
        let k = rank * slices;
        let header = Header::new(1, [2; 32], [3; 32], 4, 5);
        let pattern = PeriodicPattern::from_offsets(&[0, 2]).unwrap();
        let config = MiningConfiguration::dense(k as u32, rank as u16, pattern, pattern);
        let (a, bt) = (test_matrix(seed, 4 * k), test_matrix(seed ^ u64::MAX, 4 * k));
        let matrix = |entries| Matrix::new(entries, k).unwrap();
        let product = Product::new(&header, &config, SeedRule::Salted, matrix(&a), matrix(&bt));
        let attempt = product.attempt(1, 0);
        let rows = |noised: &[i8], rows: &[u64]| {
            rows.iter().flat_map(|&row| noised[row as usize * k..][..k].to_vec()).collect::<Vec<i8>>()
        };
        let found = tile_transcript(
            &rows(product.a_noised(), &attempt.rows),
            &rows(product.bt_noised(), &attempt.cols),
            k,
            rank,
        );
        prop_assert_eq!(found.words(), attempt.transcript.words());
    }

    #[test]
    fn a_row_of_the_jackpots_chance_is_one_over_the_expected_attempts(config in config(), target in target()) {
        prop_assume!(config.slices() > 0);
        let hashes = shares::expected_hashes(&config, target, false);
        let attempts = hashes / config.hashes_per_attempt() as f64;
        prop_assert!((attempts * shares::success_probability(&config, target, false) - 1.0).abs() < 1e-9);
        prop_assert!(attempts >= 1.0 - 1e-9);
    }
}

/// Bytes of `proof` that are neither matrix entries nor digests, found by blanking those two ways.
fn structural_bytes(proof: &PlainProof) -> Vec<usize> {
    let blank = |value: u8| {
        let mut blank = proof.clone();
        for side in [&mut blank.a, &mut blank.bt] {
            side.leaves.iter_mut().for_each(|leaf| leaf.fill(value));
            side.siblings.iter_mut().for_each(|sibling| sibling.fill(value));
            side.root.fill(value);
        }
        blank.encode()
    };
    let (zeros, ones) = (blank(0), blank(0xff));
    (0..zeros.len()).filter(|&at| zeros[at] == ones[at]).collect()
}

#[test]
fn any_changed_byte_makes_a_proof_invalid() {
    for id in ["v1", "v5"] {
        let (job, proof) = valid_proof(id);
        let bytes = proof.encode();
        assert!(verify_bytes(&job, &bytes).is_ok());
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            // A single bit for most, several for some.
            changed[at] ^= [1, 0x80, 0x10, 0xff, 0x03][at % 5];
            assert!(verify_bytes(&job, &changed).is_err(), "{id}: byte {at} may be {:#04x}", changed[at]);
            changed[at] = bytes[at];
        }
    }
}

#[test]
fn any_value_of_a_byte_that_is_not_data_makes_a_proof_invalid() {
    let (job, proof) = valid_proof("v1");
    let bytes = proof.encode();
    let structural = structural_bytes(&proof);
    assert!(structural.len() > 200, "{}", structural.len());
    let mut changed = bytes.clone();
    for at in structural {
        for value in (0..=u8::MAX).filter(|&value| value != bytes[at]) {
            changed[at] = value;
            assert!(verify_bytes(&job, &changed).is_err(), "byte {at} may be {value:#04x}");
        }
        changed[at] = bytes[at];
    }
}

#[test]
fn a_proof_is_valid_for_its_own_header_version_and_no_other() {
    let (job, proof) = valid_proof("v3");
    assert!(verify(&job, &proof).is_ok());
    for at in 0..Header::LEN {
        let mut header = *job.header.as_bytes();
        header[at] ^= 1;
        let stale = Job { header: Header::from_bytes(header), ..job };
        assert!(verify(&stale, &proof).is_err(), "byte {at}");
    }
    for certificate in [CertificateVersion::V1, CertificateVersion::V2] {
        assert!(verify(&Job { certificate, ..job }, &proof).is_err());
    }
}

#[test]
fn a_share_knows_whether_it_is_a_block() {
    let (job, proof) = valid_proof("v4");
    let verified = verify(&job, &proof).unwrap();
    assert!(verified.meets(job.effective_target(), false));
    assert!(!verified.meets(Target(U256::ZERO), false));
    let exact = Target(verified.jackpot_number().div_ceil(U256::from(verified.config.hashes_per_attempt())));
    assert!(verified.meets(exact, false));
    assert!(!verified.meets(Target(exact.0 - U256::from(1_u64)), false));
}
