//! Rules and refusals one by one: parameters, decoding, addresses, shares.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{ValidProofs, vectors};
use pearl_pow::address::{Address, AddressError, AddressKind, AddressNetwork};
use pearl_pow::certificate::{CertificateVersion, UnsupportedCertificate};
use pearl_pow::parameters::{ParameterError, check_configuration, check_tile};
use pearl_pow::pattern::PatternError;
use pearl_pow::shares::{self, PoolConvention};
use pearl_pow::verify::{Job, verify};
use pearl_pow::{
    CompactTarget, DecodeError, MiningConfiguration, PeriodicPattern, PlainProof, Rejection, SeedRule, Side,
    Target, U256,
};

fn shape(k: u32, rank: u16, height: u32, width: u32) -> MiningConfiguration {
    let pattern = |length| PeriodicPattern::contiguous(length).unwrap();
    MiningConfiguration::dense(k, rank, pattern(height), pattern(width))
}

#[test]
fn certificate_versions_imply_a_seed_rule_and_unknown_ones_carry_their_number() {
    let rules: Vec<SeedRule> =
        (1..=3).map(|number| CertificateVersion::try_from(number).unwrap().seed_rule()).collect();
    assert_eq!(rules, [SeedRule::Legacy, SeedRule::Legacy, SeedRule::Salted]);
    for number in [0, 4, 5, u32::MAX] {
        let refused = CertificateVersion::try_from(number).unwrap_err();
        assert_eq!(refused, UnsupportedCertificate(number));
        assert!(refused.to_string().starts_with(&format!("certificate version {number} is not supported")));
        assert!(!refused.hint().is_empty());
    }
}

#[test]
fn every_parameter_rule_refuses_just_outside_of_its_limits() {
    type E = ParameterError;
    let good = [
        shape(1024, 64, 2, 16),
        shape(2048, 128, 16, 16),
        shape(4096, 32, 4, 8),
        shape(16384, 64, 4, 8),
        shape(65536, 128, 2, 30),
        shape(16384, 1024, 4, 8),
        shape(2112, 128, 4, 8),
    ];
    for config in good {
        assert_eq!(check_configuration(&config), Ok(()), "{config:?}");
    }
    let bad = [
        (shape(2048, 0, 4, 8), E::RankNotPowerOfTwo { rank: 0 }, 9),
        (shape(2048, 96, 4, 8), E::RankNotPowerOfTwo { rank: 96 }, 9),
        (shape(2048, 16, 4, 8), E::RankOutOfRange { rank: 16 }, 9),
        (shape(32768, 2048, 4, 8), E::RankOutOfRange { rank: 2048 }, 9),
        (shape(65600, 128, 4, 8), E::CommonDimTooLarge { k: 65600 }, 11),
        (shape(2080, 128, 4, 8), E::CommonDimNotMultipleOf64 { k: 2080 }, 12),
        (shape(960, 32, 4, 8), E::CommonDimTooSmall { k: 960 }, 13),
        (shape(1984, 128, 4, 8), E::CommonDimBelow16Ranks { k: 1984, rank: 128 }, 14),
        (shape(4160, 32, 4, 8), E::CommonDimAbove4RankSquared { k: 4160, rank: 32 }, 15),
        (shape(16448, 64, 4, 8), E::CommonDimAbove4RankSquared { k: 16448, rank: 64 }, 15),
        (shape(2048, 128, 3, 16), E::TileOdd { height: 3, width: 16 }, 16),
        (shape(2048, 128, 2, 14), E::TileTooSmall { height: 2, width: 14 }, 17),
        (shape(2048, 128, 2, 130), E::TileTooLarge { height: 2, width: 130 }, 17),
        (shape(65536, 128, 2, 64), E::TileBytesTooLarge { bytes: 66 * 65536 }, 20),
        (
            MiningConfiguration { experts: 4, top_k: 2, ..shape(2048, 128, 4, 8) },
            E::NotDense { experts: 4 },
            22,
        ),
    ];
    for (config, error, rule) in bad {
        assert_eq!(check_configuration(&config), Err(error), "{config:?}");
        assert_eq!(error.rule(), rule);
    }
    assert_eq!(check_tile(Side::A, 1 << 24, (1 << 24) - 1), Ok(()));
    let rows = (1 << 24) + 1;
    assert_eq!(check_tile(Side::BT, rows, 0), Err(E::TooManyRows { side: Side::BT, rows }));
    assert_eq!(check_tile(Side::A, 64, 64), Err(E::TileOutside { side: Side::A, last: 64, rows: 64 }));
}

fn valid(id: &str) -> (Job, PlainProof) {
    let proofs = vectors::<ValidProofs>("09_proofs_valid.json").proofs;
    let vector = proofs.iter().find(|proof| proof.id == id).unwrap();
    (vector.job(false), PlainProof::from_base64(&vector.proof_base64).unwrap().0)
}

#[test]
fn integers_that_are_too_wide_are_named() {
    let (job, proof) = valid("v1");
    type Change = fn(&mut PlainProof);
    let cases: [(Change, &str, u64); 4] = [
        (|proof| proof.m = 1 << 32, "m", u64::from(u32::MAX)),
        (|proof| proof.n = u64::MAX, "n", u64::from(u32::MAX)),
        (|proof| proof.k = 1 << 40, "k", u64::from(u32::MAX)),
        (|proof| proof.noise_rank = 1 << 16, "noise_rank", u64::from(u16::MAX)),
    ];
    for (change, name, widest) in cases {
        let mut proof = proof.clone();
        change(&mut proof);
        match verify(&job, &proof) {
            Err(Rejection::TooWide { field, limit, .. }) => assert_eq!((field, limit), (name, widest)),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn degenerate_proofs_are_refused_without_a_panic() {
    let (job, proof) = valid("v1");
    let empty = |side: &mut pearl_pow::MatrixOpening| {
        side.leaves.clear();
        side.leaf_indices.clear();
        side.siblings.clear();
        side.total_leaves = 0;
    };
    let changes: [&dyn Fn(&mut PlainProof); 9] = [
        &|proof| proof.noise_rank = 0,
        &|proof| proof.noise_rank = 65535,
        &|proof| {
            proof.k = 0;
            empty(&mut proof.a);
            empty(&mut proof.bt);
        },
        &|proof| proof.m = 0,
        &|proof| proof.a.row_indices.clear(),
        &|proof| proof.a.row_indices = vec![u64::MAX, 0],
        &|proof| proof.bt.leaf_indices[0] = proof.bt.leaf_indices[1],
        &|proof| proof.bt.siblings.clear(),
        &|proof| {
            proof.bt.leaf_indices.pop();
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut proof = proof.clone();
        change(&mut proof);
        assert!(verify(&job, &proof).is_err(), "change {index}");
    }
}

#[test]
fn decoding_says_where_it_failed() {
    let (_, proof) = valid("v1");
    let bytes = proof.encode();
    let with = |at: usize, value: u64| {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        PlainProof::decode(&bytes).unwrap_err()
    };
    let left = bytes.len() - 40;
    let (field, claimed) = ("leaf_data of A", u64::MAX);
    assert_eq!(with(32, claimed), DecodeError::TooLong { field, claimed, offset: 32, left });
    assert_eq!(with(32, 14), DecodeError::TooLong { field, claimed: 14, offset: 32, left });
    assert_eq!(with(40, 1023), DecodeError::LeafLength { field, index: 0, found: 1023, offset: 40 });
    assert_eq!(PlainProof::decode(&bytes[..20]), Err(DecodeError::Truncated { field: "k", offset: 20 }));
    assert_eq!(PlainProof::decode(&[]), Err(DecodeError::Truncated { field: "m", offset: 0 }));
    let last = bytes.len() - 1;
    let tagged = |tag| [&bytes[..last], &[tag][..]].concat();
    assert_eq!(PlainProof::decode(&tagged(1)), Err(DecodeError::MixtureOfExperts));
    assert_eq!(PlainProof::decode(&tagged(7)), Err(DecodeError::Tag { tag: 7, offset: last }));
    let surplus = [&bytes[..], &[0, 0]].concat();
    assert_eq!(PlainProof::decode(&surplus), Err(DecodeError::Surplus { surplus: 2, offset: last + 1 }));
    for text in ["AA", "A A=", "AAAA\n", "####"] {
        assert!(matches!(PlainProof::from_base64(text), Err(DecodeError::Base64 { .. })), "{text}");
    }
}

#[test]
fn pattern_refusals_carry_their_values() {
    let refused = |offsets: &[u64]| PeriodicPattern::from_offsets(offsets).unwrap_err();
    assert_eq!(refused(&[]), PatternError::Empty);
    assert_eq!(refused(&[3]), PatternError::FirstNotZero { first: 3 });
    assert_eq!(refused(&[0, 5, 5]), PatternError::NotIncreasing { previous: 5, next: 5 });
    assert_eq!(refused(&[0, 1, 3]), PatternError::NotPeriodic { offsets: 3 });
    assert_eq!(refused(&[0, 257]), PatternError::NotEncodable { stride: 257, length: 2 });
    assert_eq!(refused(&[0, u64::MAX]), PatternError::NotEncodable { stride: u64::MAX, length: 2 });
    let four: Vec<u64> =
        (0..16_u64).map(|bits| (0..4).map(|at| (bits >> at & 1) * 4_u64.pow(at)).sum()).collect();
    assert_eq!(refused(&four), PatternError::TooManyLoops { loops: 4 });
    assert_eq!(PeriodicPattern::from_rows(&[1, 9]).unwrap().1, 1);
    assert_eq!(PeriodicPattern::from_rows(&[8, 16]), Err(PatternError::InvalidBase { base: 8 }));
    assert_eq!(PeriodicPattern::contiguous(0), Err(PatternError::Empty));
    assert!(PeriodicPattern::contiguous(257).is_err());
}

#[test]
fn an_address_is_read_with_its_network_kind_and_program() {
    let text = "prl1zqu04ax80tw03rs0v90rel24a77z722yyrdum43fcdvdtfgug4svquahpxa";
    let address: Address = text.parse().unwrap();
    assert_eq!((address.network, address.kind), (AddressNetwork::Mainnet, AddressKind::PayToMerkleRoot));
    let program = common::bytes("071f5e98ef5b9f11c1ec2bc79faabdf785e528841b79bac5386b1ab4a388ac18");
    assert_eq!(address.program.to_vec(), program);
    assert_eq!(text.len(), 63);
}

#[test]
fn what_is_wrong_with_an_address_is_said() {
    use AddressNetwork::{Mainnet, Testnet};
    type E = AddressError;
    let good = Address { network: Mainnet, kind: AddressKind::Taproot, program: [7; 32] }.to_string();
    assert!(good.starts_with("prl1p"));
    let parse = |text: &str| text.parse::<Address>().unwrap_err();
    let encode = |version: u8, plain: bool| {
        use bech32::segwit::VERSION_1;
        use bech32::{ByteIterExt, Fe32, Fe32IterExt, Hrp};
        let version = if version == 1 { VERSION_1 } else { Fe32::try_from(version).unwrap() };
        let (hrp, data) = (Hrp::parse("prl").unwrap(), [7_u8; 32]);
        let symbols = data.iter().copied().bytes_to_fes();
        if plain {
            symbols.with_checksum::<bech32::Bech32>(&hrp).with_witness_version(version).chars().collect()
        } else {
            let symbols = symbols.with_checksum::<bech32::Bech32m>(&hrp);
            symbols.with_witness_version(version).chars().collect::<String>()
        }
    };
    assert_eq!(encode(1, false), good);

    assert_eq!(parse(""), E::Empty);
    assert_eq!(parse("prl"), E::NoPrefix);
    assert_eq!(parse("bc1p5cyxnuxmeuwuvkwfem96l"), E::UnknownPrefix { prefix: "bc".into() });
    assert_eq!(parse(&format!("{good}.rig1")), E::Character { character: '.', position: 64 });
    assert!(parse(&format!("{good}.rig1")).hint().unwrap().contains("worker"));
    assert_eq!(parse(&format!(" {good}")), E::Character { character: ' ', position: 1 });
    assert_eq!(parse(&good.replacen("prl1p", "prl1pb", 1)), E::Character { character: 'b', position: 6 });
    assert_eq!(parse(&good.replacen('p', "P", 1)), E::MixedCase);
    assert_eq!(parse(&good[..62]), E::Length { found: 62, expected: 63 });
    assert_eq!(parse(&format!("{good}q")), E::Length { found: 64, expected: 63 });
    assert_eq!(parse(&encode(1, true)), E::Bech32Checksum);
    assert_eq!(parse(&encode(0, false)), E::WitnessVersion { version: 0, prefix: "prl" });
    assert_eq!(parse(&encode(3, false)), E::WitnessVersion { version: 3, prefix: "prl" });
    assert!(parse(&encode(0, true)).hint().unwrap().contains("Taproot"));

    // Two wrong characters: still refused, and no place is claimed.
    let mut mistyped = good.clone().into_bytes();
    (mistyped[10], mistyped[20]) = (b'7', b'0');
    let mistyped = String::from_utf8(mistyped).unwrap();
    assert_eq!(parse(&mistyped), E::Checksum { position: None });
    // The prefix of another network does not make it an address of that network.
    assert!(matches!(parse(&format!("t{good}")), E::Checksum { .. }));

    assert!(Address::parse_for(&good, Mainnet).is_ok());
    let refused = Address::parse_for(&good, Testnet).unwrap_err();
    assert_eq!(refused, E::WrongNetwork { found: Mainnet, wanted: Testnet });
    assert!(refused.to_string().contains("`prl1…`") && refused.to_string().contains("`tprl1…`"));
}

#[test]
fn the_protocol_documents_figures_for_shares_and_blocks_come_out() {
    let near = |found: f64, expected: f64, tolerance: f64| {
        assert!((found / expected - 1.0).abs() < tolerance, "{found} is not about {expected}");
    };
    // Section 6.4: at 10^11 MAC/s, D = 26,000 takes 19 minutes, 888,888 takes 10.6 h, 2,097,152 takes 25 h.
    let rate = 1e11;
    for (difficulty, seconds) in [(26_000, 19.0 * 60.0), (888_888, 10.6 * 3600.0), (2_097_152, 25.0 * 3600.0)]
    {
        let target = PoolConvention::Bitcoin.target(difficulty).unwrap();
        let hashes = shares::expected_hashes_of_target(target);
        near(hashes, difficulty as f64 * 4.295e9, 1e-3);
        near(shares::expected_seconds(hashes, rate), seconds, 0.03);
        // The same whatever the tile, for rank 128; twice as much for rank 256 under the penalty.
        for config in [shape(2048, 128, 4, 8), shape(4096, 128, 16, 16)] {
            near(shares::expected_hashes(&config, target, true), hashes, 1e-9);
        }
        near(shares::expected_hashes(&shape(4096, 256, 4, 8), target, true), 2.0 * hashes, 1e-9);
        near(shares::expected_hashes(&shape(4096, 256, 4, 8), target, false), hashes, 1e-9);
    }
    near(shares::expected_hashes_of_target(CompactTarget(0x1801_d1b2).target()), 2.6e21, 0.02);
    assert_eq!(shares::expected_seconds(1.0, 0.0), f64::INFINITY);
    assert_eq!(shares::expected_hashes_of_target(Target(U256::ZERO)), f64::INFINITY);
    // With the easiest target every attempt is a share.
    let config = shape(2048, 128, 4, 8);
    near(shares::expected_hashes(&config, Target::MAX, true), config.hashes_per_attempt() as f64, 1e-9);
}
