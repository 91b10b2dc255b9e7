//! Records of rejected shares, in `<home>/runtime/rejected` (pool protocol section 7.3).
//!
//! A pool's "invalid" tells header, seed rule, shape and bound not apart, so everything that a person needs to find out is
//! written down, the proof itself among it: `pearlbed verify FILE` reads such a record. The last [`REJECTED_MAX`] are
//! kept.
//!
//! [`REJECTED_MAX`]: super::desk::REJECTED_MAX

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pearl_pow::{CertificateVersion, Job, Target, Verified};
use serde::{Deserialize, Serialize};

use super::desk::{REJECTED_MAX, Rejected};
use super::tls::sha256;
use crate::work::proofs::hex;

/// What a record says it is.
pub const KIND: &str = "pearlbed-rejected-share";

/// One record, as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`KIND`].
    pub kind: String,
    /// Version of the form.
    pub schema: u32,
    /// The pool's address.
    pub pool: String,
    /// The share's name.
    pub share: String,
    /// Unix time, in seconds.
    pub at: u64,
    /// The pool's words.
    pub reply: String,
    /// The outcome.
    pub outcome: String,
    /// The pool's name for the job, as JSON text.
    pub job_id: String,
    /// The header, hex.
    pub header: String,
    /// SHA-256 of its bytes.
    pub header_sha256: String,
    /// The certificate version.
    pub cert_version: u32,
    /// The target as the pool sent it, most significant digit first.
    pub target: String,
    /// The target that was mined for: rounded to what pools check.
    pub rounded_target: String,
    /// What our verifier says.
    pub verifier: String,
    /// What our verifier found, where it accepts the proof.
    pub found: Option<Found>,
    /// Bytes of the proof.
    pub proof_bytes: usize,
    /// SHA-256 of them.
    pub proof_sha256: String,
    /// The proof, base64.
    pub proof: String,
}

/// What a verifier finds in a proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Rows of A.
    pub m: u32,
    /// Rows of B transposed.
    pub n: u32,
    /// Inner length.
    pub k: u32,
    /// Rank.
    pub rank: u16,
    /// Pattern of the tile's rows, as it stands in the configuration.
    pub rows_pattern: String,
    /// Pattern of its columns.
    pub cols_pattern: String,
    /// The jackpot as a number, most significant digit first.
    pub jackpot: String,
    /// The bound that it meets.
    pub bound: String,
}

impl Record {
    /// The record of a rejected share. Verifies the proof again: not for a tokio task.
    pub fn of(rejected: &Rejected, at: SystemTime) -> Self {
        let offer = &rejected.offer;
        let verified = CertificateVersion::try_from(offer.certificate_version)
            .map_err(|err| err.to_string())
            .and_then(|certificate| {
                let job =
                    Job { header: offer.header, target: Some(offer.target), certificate, rank_penalty: true };
                pearl_pow::verify_bytes(&job, &rejected.proof).map_err(|err| err.to_string())
            });
        Self {
            kind: KIND.to_owned(),
            schema: 1,
            pool: rejected.pool.to_string(),
            share: rejected.id.to_string(),
            at: at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            reply: rejected.reply.clone(),
            outcome: rejected.outcome.word().to_owned(),
            job_id: offer.job_id.to_string(),
            header: offer.header.to_string(),
            header_sha256: hex(&sha256(offer.header.as_bytes())),
            cert_version: offer.certificate_version,
            target: offer.sent.to_string(),
            rounded_target: offer.target.to_string(),
            verifier: match &verified {
                Ok(_) => "accepts it".to_owned(),
                Err(err) => format!("refuses it: {err}"),
            },
            found: verified.ok().map(|verified| Found::of(&verified)),
            proof_bytes: rejected.proof.len(),
            proof_sha256: hex(&sha256(&rejected.proof)),
            proof: BASE64.encode(&rejected.proof),
        }
    }

    /// Reads a record from a file's bytes; nothing where it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.kind == KIND)
    }

    /// Writes the record into `folder`, and removes the oldest beyond the limit.
    ///
    /// # Errors
    ///
    /// What writing met.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        crate::owned::create_private(folder)?;
        let mut names: Vec<_> = std::fs::read_dir(folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        // Names begin with the time, so their order is the order of time.
        names.sort();
        for old in names.iter().take((names.len() + 1).saturating_sub(REJECTED_MAX)) {
            let _ = std::fs::remove_file(old);
        }
        let path = folder.join(format!("{:012}-{}.json", self.at, self.share));
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers always become JSON");
        let mut file =
            crate::owned::open_or_make(&path, std::fs::File::options().write(true).truncate(true))?;
        io::Write::write_all(&mut file, &text)
    }
}

impl Found {
    fn of(verified: &Verified) -> Self {
        let config = &verified.config;
        Self {
            m: verified.m,
            n: verified.n,
            k: config.common_dim,
            rank: config.rank,
            rows_pattern: hex(&config.rows.to_bytes()),
            cols_pattern: hex(&config.cols.to_bytes()),
            jackpot: Target(verified.jackpot_number()).to_string(),
            bound: Target(verified.bound).to_string(),
        }
    }
}
