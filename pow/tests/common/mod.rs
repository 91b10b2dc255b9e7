//! Reading the vector files.
#![allow(dead_code, reason = "every test file uses another part")]

use pearl_pow::{
    CertificateVersion, CompactTarget, Header, Job, MiningConfiguration, PeriodicPattern, SeedRule,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Reads one of the vector files.
pub fn vectors<T: DeserializeOwned>(name: &str) -> T {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|err| panic!("{name}: {err}"))
}

/// Bytes from hex.
pub fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "hex has an even number of digits");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// 32 bytes from hex.
pub fn digest(hex: &str) -> [u8; 32] {
    bytes(hex).try_into().unwrap()
}

/// The `nbits` of the vectors: the number, not its bytes.
pub fn compact(hex: &str) -> CompactTarget {
    CompactTarget::from_hex(hex).unwrap()
}

pub fn seed_rule(name: &str) -> SeedRule {
    match name {
        "legacy" => SeedRule::Legacy,
        "salted" => SeedRule::Salted,
        other => panic!("no seed rule {other}"),
    }
}

/// A certificate version with that seed rule.
pub fn certificate(rule: &str) -> CertificateVersion {
    match seed_rule(rule) {
        SeedRule::Legacy => CertificateVersion::V2,
        SeedRule::Salted => CertificateVersion::V3,
    }
}

pub fn job(header: &str, rule: &str, nbits_override: Option<&str>, rank_penalty: bool) -> Job {
    Job {
        header: Header::from_hex(header).unwrap(),
        target: nbits_override.map(|nbits| compact(nbits).target()),
        certificate: certificate(rule),
        rank_penalty,
    }
}

#[derive(Deserialize)]
pub struct HeaderVector {
    pub version: u32,
    pub prev_block_display: String,
    pub merkle_root_display: String,
    pub timestamp: u32,
    pub nbits: String,
    pub bytes: String,
}

#[derive(Deserialize)]
pub struct ConfigVector {
    pub common_dim: u32,
    pub rank: u16,
    pub mma_type: u16,
    pub rows: Vec<u64>,
    pub cols: Vec<u64>,
    pub moe: Option<MoeVector>,
    pub dot_product_length: u32,
    pub bytes: String,
}

#[derive(Deserialize)]
pub struct MoeVector {
    pub e: u16,
    pub top_k: u16,
}

impl ConfigVector {
    pub fn config(&self) -> MiningConfiguration {
        let (rows, cols) =
            (PeriodicPattern::from_offsets(&self.rows), PeriodicPattern::from_offsets(&self.cols));
        let mut config = MiningConfiguration::dense(self.common_dim, self.rank, rows.unwrap(), cols.unwrap());
        if let Some(moe) = &self.moe {
            (config.experts, config.top_k) = (moe.e, moe.top_k);
        }
        config
    }
}

#[derive(Deserialize)]
pub struct ExpectedVector {
    pub verdict: String,
    pub error: Option<String>,
    pub verdict_with_rank_penalty: String,
    pub rank_penalty_error: Option<String>,
}

#[derive(Deserialize)]
pub struct ValidProof {
    pub id: String,
    pub seed_derivation: String,
    pub header: HeaderVector,
    pub nbits_override: Option<String>,
    pub m: usize,
    pub n: usize,
    pub config: ConfigVector,
    pub a_seed: u64,
    pub bt_seed: u64,
    pub a_rows: Vec<u64>,
    pub bt_rows: Vec<u64>,
    pub bound: String,
    pub jackpot_words: Vec<String>,
    pub jackpot_hash: String,
    pub jackpot_as_number: String,
    pub proof_bytes: usize,
    pub expected: ExpectedVector,
    pub proof_base64: String,
}

#[derive(Deserialize)]
pub struct ValidProofs {
    pub proofs: Vec<ValidProof>,
}

impl ValidProof {
    pub fn job(&self, rank_penalty: bool) -> Job {
        job(&self.header.bytes, &self.seed_derivation, self.nbits_override.as_deref(), rank_penalty)
    }
}

#[derive(Deserialize)]
pub struct MutatedProof {
    pub class: String,
    pub what: String,
    pub from: String,
    pub seed_derivation: String,
    pub header_bytes: String,
    pub nbits_override: Option<String>,
    pub expected: ExpectedVector,
    pub proof_base64: String,
}

impl MutatedProof {
    pub fn job(&self, rank_penalty: bool) -> Job {
        job(&self.header_bytes, &self.seed_derivation, self.nbits_override.as_deref(), rank_penalty)
    }

    pub fn bytes(&self) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(&self.proof_base64).unwrap()
    }
}

#[derive(Deserialize)]
pub struct InvalidProofs {
    pub invalid: Vec<MutatedProof>,
    pub special: Vec<MutatedProof>,
}
