//! What sessions refused of a provider's proofs, with what the verifier and its diagnosis say of each today.

use std::path::Path;

use pearl_pow::diagnosis::diagnose;
use pearl_pow::verify::{Job, verify_canonical};
use pearl_pow::{Header, Rejection, Target};
use serde::Serialize;

use crate::text::printable_path;
use crate::work::refused::{self, ReadFile};

/// One refused proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The file that holds it, which `pearlbed verify` reads.
    pub path: String,
    /// The stage at which it was refused.
    pub stage: String,
    /// What did not fit.
    pub message: String,
    /// The mistake behind it, where one can be told.
    pub cause: Option<String>,
    /// The mistake was tried out, and is it.
    pub confirmed: bool,
}

/// Those of `provider` in the folder `dir`, newest first.
pub fn refused(dir: &Path, provider: &str) -> Vec<Refused> {
    let files = refused::read(dir).into_iter();
    files
        .filter_map(|(path, file)| {
            let refusal = file.refused.clone().filter(|refusal| refusal.provider == provider)?;
            let (cause, confirmed) = match why(&file) {
                Some((mistake, confirmed)) => (Some(mistake), confirmed),
                None => (None, false),
            };
            let path = printable_path(&path);
            Some(Refused { path, stage: refusal.stage, message: refusal.why, cause, confirmed })
        })
        .collect()
}

/// The mistake behind a refused proof, and whether it is certain.
fn why(file: &ReadFile) -> Option<(String, bool)> {
    let job = &file.found.job;
    let job = Job {
        header: Header::from_bytes(job.header),
        target: Some(Target::from_le_bytes(job.target)),
        certificate: job.certificate_version.try_into().ok()?,
        rank_penalty: job.rank_penalty,
    };
    mistake(&job, &file.found.proof, &verify_canonical(&job, &file.found.proof).err()?)
}

/// The mistake behind the refusal of `bytes`, and whether it is certain.
pub fn mistake(job: &Job, bytes: &[u8], rejection: &Rejection) -> Option<(String, bool)> {
    let diagnosis = diagnose(job, bytes, rejection)?;
    Some((diagnosis.mistake.to_string(), diagnosis.confirmed))
}
