//! Keeps proofs that the host's verifier refused, so that whoever wrote the provider can find out why.
//!
//! One file a proof in `<home>/runtime/refused/`, in the form of the store of found proofs ([`super::proofs`]) with the reason
//! beside it; `pearlbed verify FILE` reads it. Nothing here is ever sent to anybody.
//!
//! Bounded twice: a provider's first [`OF_A_PROVIDER_MAX`] in a session are kept, so that one that errs without end does not
//! write without end, and of all of them the newest [`REFUSED_MAX`].
//!
//! # Limitations
//!
//! A file is written without fsync: after a power cut it may be missing or broken, and costs nobody anything.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::proofs::{PROOF_BYTES_MAX, encode, read_bounded, read_file};
pub use super::proofs::{ReadFile, Refusal};
use super::{FoundProof, ProofId};
use crate::owned;

/// Refused proofs that are kept; the oldest go first.
pub const REFUSED_MAX: usize = 32;
/// Refused proofs of one provider that are kept in one session.
pub const OF_A_PROVIDER_MAX: usize = 8;

/// The folder, as one session writes to it.
#[derive(Debug)]
pub struct Refused {
    dir: PathBuf,
    kept: BTreeMap<String, HashSet<ProofId>>,
}

impl Refused {
    /// Writes to `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, kept: BTreeMap::new() }
    }

    /// Keeps a proof that was refused, unless enough of that provider are. Answers where it lies.
    ///
    /// # Errors
    ///
    /// What the disk said. Then nothing is kept of it, and it counts as kept, so that a full disk is not tried for ever.
    pub fn keep(&mut self, refusal: &Refusal, found: &FoundProof) -> io::Result<Option<PathBuf>> {
        let kept = self.kept.entry(refusal.provider.clone()).or_default();
        if found.proof.len() > PROOF_BYTES_MAX || kept.len() >= OF_A_PROVIDER_MAX {
            return Ok(None);
        }
        let id = ProofId::of(found);
        if !kept.insert(id.clone()) {
            return Ok(None);
        }
        owned::create_private(&self.dir)?;
        let at = found.found.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // Names begin with the time, so their order is the order of time.
        let path = self.dir.join(format!("{at:014}-{id}.json"));
        let mut file = owned::open_or_make(&path, File::options().write(true).truncate(true))?;
        let text = encode(&refusal.provider, found, Some(refusal));
        if let Err(err) = file.write_all(text.as_bytes()) {
            let _ = fs::remove_file(&path);
            return Err(err);
        }
        for old in names(&self.dir).iter().rev().skip(REFUSED_MAX) {
            let _ = fs::remove_file(old);
        }
        Ok(Some(path))
    }
}

/// Every readable file in `dir`, newest first.
pub fn read(dir: &Path) -> Vec<(PathBuf, ReadFile)> {
    let read = |path: PathBuf| {
        let file = read_bounded(&path).and_then(|text| read_file(&text)).ok()?;
        Some((path, file))
    };
    names(dir).into_iter().rev().filter_map(read).collect()
}

/// The files of this form in `dir`, oldest first.
fn names(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::work::WorkJob;

    fn found(seed: u32) -> FoundProof {
        FoundProof {
            job: WorkJob {
                header: [7; 76],
                target: [9; 32],
                certificate_version: 3,
                rank_penalty: true,
                height: Some(4),
                received: Instant::now(),
                origin: None,
                keeps_earlier: false,
            },
            proof: seed.to_le_bytes().to_vec(),
            found: SystemTime::UNIX_EPOCH + Duration::from_secs(seed.into()),
            block: false,
        }
    }

    fn refusal(provider: &str) -> Refusal {
        Refusal { provider: provider.into(), stage: "hash_a".into(), why: "the root does not fit".into() }
    }

    #[test]
    fn a_refused_proof_is_read_back_with_its_reason_and_a_provider_that_errs_without_end_is_kept_short() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("refused");
        let mut refused = Refused::new(dir.clone());
        for seed in 0..OF_A_PROVIDER_MAX as u32 {
            assert!(refused.keep(&refusal("one"), &found(seed)).unwrap().is_some());
            assert!(refused.keep(&refusal("one"), &found(seed)).unwrap().is_none(), "it is there already");
        }
        assert!(refused.keep(&refusal("one"), &found(99)).unwrap().is_none());
        assert!(refused.keep(&refusal("other"), &found(99)).unwrap().is_some());
        let read = read(&dir);
        assert_eq!(read.len(), OF_A_PROVIDER_MAX + 1);
        assert_eq!(read[0].1.refused, Some(refusal("other")), "the newest comes first");
        assert_eq!(read[1].1.refused, Some(refusal("one")));
        assert_eq!(read[1].1.found.proof, found(OF_A_PROVIDER_MAX as u32 - 1).proof);
    }

    #[test]
    fn of_all_of_them_the_newest_are_kept_and_what_is_too_large_is_not() {
        let home = tempfile::tempdir().unwrap();
        let mut refused = Refused::new(home.path().to_owned());
        for seed in 0..REFUSED_MAX as u32 + 5 {
            refused.keep(&refusal(&format!("p{}", seed / 4)), &found(seed)).unwrap();
        }
        fs::write(home.path().join("00000000000000-mine.json"), "{}").unwrap();
        let read = read(home.path());
        assert_eq!(read.len(), REFUSED_MAX);
        assert_eq!(read.last().unwrap().1.found.proof, found(5).proof);
        let mut large = found(1000);
        large.proof = vec![0; PROOF_BYTES_MAX + 1];
        assert!(refused.keep(&refusal("large"), &large).unwrap().is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_an_error_once() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("refused");
        fs::write(&file, b"").unwrap();
        let mut refused = Refused::new(file);
        assert!(refused.keep(&refusal("one"), &found(1)).is_err());
        assert!(refused.keep(&refusal("one"), &found(1)).unwrap().is_none());
    }
}
