//! The counts of all sessions together, on disk: `<home>/runtime/pool-ledger.json`.
//!
//! Written whole after every outcome and before the share's own file goes, so a process that is killed at any moment
//! counts each share once. It is not fsynced: after a power cut, the last outcomes may be missing.
//!
//! A file that cannot be read is put aside under another name, and counting begins anew.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use crate::work::ProofId;

/// Settled shares that are remembered: their files may have outlived the process.
const SETTLED_MAX: usize = 512;
/// Pools that are remembered.
const POOLS_MAX: usize = 64;
/// The format of the file.
const SCHEMA: u32 = 1;
/// No file of ours is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The counts of every pool since the file was begun.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    pools: BTreeMap<String, Ledger>,
    settled: VecDeque<String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    pools: BTreeMap<String, Ledger>,
    settled: VecDeque<String>,
}

impl Book {
    /// Reads the book at `path`; the second value says what had to be put aside.
    pub fn open(path: &Path) -> (Self, Option<String>) {
        let read = std::fs::metadata(path).and_then(|metadata| {
            if metadata.len() > FILE_BYTES_MAX {
                Err(io::ErrorKind::FileTooLarge.into())
            } else {
                crate::owned::read(path)
            }
        });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return (Self::default(), None),
            Err(err) => return (Self::default(), Some(format!("the pools' ledger cannot be read: {err}"))),
        };
        match serde_json::from_slice::<File>(&bytes) {
            Ok(file) if file.schema == SCHEMA => (Self { pools: file.pools, settled: file.settled }, None),
            _ => {
                let aside = path.with_extension("unreadable");
                let _ = std::fs::rename(path, &aside);
                let note = format!(
                    "the pools' ledger was not readable; it is now `{}`",
                    crate::text::printable_path(&aside)
                );
                (Self::default(), Some(note))
            }
        }
    }

    /// Writes the book to `path`: whole, or not at all.
    ///
    /// # Errors
    ///
    /// What writing met.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File {
            schema: SCHEMA,
            pools: self.pools.iter().map(|(pool, ledger)| (pool.clone(), ledger.settled_part())).collect(),
            settled: self.settled.clone(),
        };
        let tmp = path.with_extension("tmp");
        let bytes = serde_json::to_vec(&file).expect("counts always become JSON");
        let mut written =
            crate::owned::open_or_make(&tmp, std::fs::File::options().write(true).truncate(true))?;
        io::Write::write_all(&mut written, &bytes)?;
        std::fs::rename(&tmp, path)
    }

    /// The counts of a pool, to be changed.
    pub fn of(&mut self, pool: &Arc<str>) -> &mut Ledger {
        if !self.pools.contains_key(&**pool) && self.pools.len() >= POOLS_MAX {
            // The one with the fewest shares is missed least.
            let least = self.pools.iter().min_by_key(|(_, ledger)| ledger.all_found().shares);
            if let Some(least) = least.map(|(pool, _)| pool.clone()) {
                self.pools.remove(&least);
            }
        }
        self.pools.entry(pool.to_string()).or_default()
    }

    /// The counts of a pool.
    pub fn get(&self, pool: &str) -> Option<&Ledger> {
        self.pools.get(pool)
    }

    /// A share has its outcome.
    pub fn settled(&mut self, id: &ProofId) {
        if self.settled.len() == SETTLED_MAX {
            self.settled.pop_front();
        }
        self.settled.push_back(id.to_string());
    }

    /// Whether a share has its outcome.
    pub fn is_settled(&self, id: &ProofId) -> bool {
        let id = id.to_string();
        self.settled.iter().any(|settled| *settled == id)
    }
}
