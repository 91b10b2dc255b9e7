//! Keeps found proofs on disk until the network has taken or refused them.
//!
//! One file a proof in `<home>/runtime/proofs/`, written whole (temporary file, fsync, rename, fsync of the folder)
//! before the proof goes anywhere, and removed when it is settled. The name says whether it was handed over before:
//!
//! ```text
//! keep --> ID.proof --handed_over--> ID.sent --settle--> (gone)
//!              \-----------------------settle-----------/
//! ```
//!
//! A file that cannot be read back is moved to `quarantine/` and named, never used and never silently lost. The
//! store holds at most [`PROOFS_MAX`] proofs of at most [`PROOF_BYTES_MAX`] bytes, and `quarantine/` at most
//! [`QUARANTINE_MAX`] files.
//!
//! # Limitations
//!
//! The removal of a settled proof is not fsynced: after a power cut it may be handed over once more, which the
//! network answers as stale or as a duplicate.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{FoundProof, Origin, ProofId, WorkJob};
use crate::explain::Explain;
use crate::owned;
use crate::text::printable_os;

/// What is wrong with a file that was changed since it was written.
pub const CHECKSUM: &str = "its checksum does not fit";

/// Unsettled proofs that the store takes.
pub const PROOFS_MAX: usize = 256;

/// Bytes of the largest proof that the store takes: in base64 it still fits the gateway's line of 2^20 bytes
/// (protocol section 10) with the rest of the request.
pub const PROOF_BYTES_MAX: usize = (((1 << 20) - 2048) / 4) * 3;

/// Unreadable files that are kept for a person to look at; the oldest go first.
pub const QUARANTINE_MAX: usize = 16;

/// Settled proofs that are remembered, so that one found again is known.
const SETTLED_MAX: usize = 1024;

/// No file of ours is larger: the largest proof in base64, and its job.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The format of the files.
const SCHEMA: u32 = 1;

/// A proof with its name in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptProof {
    /// Its name.
    pub id: ProofId,
    /// The proof and its job. After a restart, the job counts as received when it was read back.
    pub found: FoundProof,
    /// Whether an earlier process may have handed it over.
    pub handed_over: bool,
}

impl KeptProof {
    /// A proof that the disk refused.
    pub(super) fn in_memory(found: FoundProof) -> Self {
        Self { id: name(&found), found, handed_over: false }
    }
}

/// What an earlier process left behind.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Its unsettled proofs, oldest first.
    pub proofs: Vec<KeptProof>,
    /// A line for each file that was not one of them.
    pub notes: Vec<String>,
}

/// The folder of unsettled proofs. Shared by the thread that finds and the task that settles.
#[derive(Debug)]
pub struct ProofStore {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Unsettled proofs and where they lie.
    paths: BTreeMap<ProofId, PathBuf>,
    /// The headers that they are for.
    headers: BTreeMap<ProofId, [u8; 76]>,
    settled: VecDeque<ProofId>,
    /// Those that lay there when it was opened.
    left: std::collections::BTreeSet<ProofId>,
    earlier: BTreeMap<String, Earlier>,
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum StoreError {
    #[error("failed to make the folder of found proofs `{}`", path.display())]
    MakeDir {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("failed to read the folder of found proofs `{}`", path.display())]
    ReadDir {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("failed to write the proof file `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("a proof of {bytes} bytes is over the limit of {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("{max} proofs are kept already")]
    Full { max: usize },
    #[error("this proof is known as {id}")]
    Known { id: ProofId },
}

impl Explain for StoreError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::MakeDir { path, err } | Self::ReadDir { path, err } | Self::Write { path, err } => {
                crate::remedy::for_file(err, path)
            }
            Self::TooLarge { .. } | Self::Full { .. } | Self::Known { .. } => None,
        }
    }

    fn exit(&self) -> crate::exit::Exit {
        match self {
            Self::MakeDir { err, .. } | Self::ReadDir { err, .. } | Self::Write { err, .. } => {
                crate::remedy::exit_for(err)
            }
            Self::TooLarge { .. } | Self::Full { .. } | Self::Known { .. } => crate::exit::Exit::Failed,
        }
    }
}

impl ProofStore {
    /// Opens the store in `dir` (made with mode 0700 if missing) and reads what an earlier process left.
    ///
    /// Half-written files are removed and unreadable ones quarantined; [`Self::take_earlier`] tells of them.
    ///
    /// # Errors
    ///
    /// - [`StoreError::MakeDir`], [`StoreError::ReadDir`]: the folder cannot be used.
    /// - [`StoreError::Write`]: nothing can be written in it. Better known before mining than after a find.
    pub fn open(dir: &Path) -> Result<Arc<Self>, StoreError> {
        owned::create_private(dir).map_err(|err| StoreError::MakeDir { path: dir.to_owned(), err })?;
        let mut state = State::default();
        read_earlier(dir, &mut state)?;
        // A read-only or full disk says so now.
        let probe = dir.join(".probe.tmp");
        let written = File::create(&probe).and_then(|mut file| file.write_all(b"probe"));
        let _ = fs::remove_file(&probe);
        written.map_err(|err| StoreError::Write { path: probe, err })?;
        Ok(Arc::new(Self { dir: dir.to_owned(), state: Mutex::new(state) }))
    }

    /// Writes a proof for the source `source` to disk. It survives a crash from the moment this returns.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Known`]: the same proof for the same job is kept, or was settled not long ago.
    /// - [`StoreError::Full`], [`StoreError::TooLarge`]: over a limit of the store.
    /// - [`StoreError::Write`]: the disk refused; nothing is left of the proof there.
    pub fn keep(&self, source: &str, found: &FoundProof) -> Result<KeptProof, StoreError> {
        let bytes = found.proof.len();
        if bytes > PROOF_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes, max: PROOF_BYTES_MAX });
        }
        let id = name(found);
        let path = self.dir.join(format!("{id}.proof"));
        {
            let mut state = self.lock();
            if state.paths.contains_key(&id) || state.settled.contains(&id) {
                return Err(StoreError::Known { id });
            }
            if state.paths.len() >= PROOFS_MAX {
                return Err(StoreError::Full { max: PROOFS_MAX });
            }
            // Taken before the slow part, so that two threads with one proof cannot both write it.
            state.paths.insert(id.clone(), path.clone());
            state.headers.insert(id.clone(), found.job.header);
        }
        if let Err(err) = write_whole(&self.dir, &path, encode(source, found, None).as_bytes()) {
            let mut state = self.lock();
            state.paths.remove(&id);
            state.headers.remove(&id);
            drop(state);
            return Err(StoreError::Write { path, err });
        }
        Ok(KeptProof { id, found: found.clone(), handed_over: false })
    }

    /// Notes on disk that a peer took the proof, so that a later process knows it may be on its way.
    ///
    /// Best effort: without the note, a later process may only say less about the proof.
    pub fn handed_over(&self, id: &ProofId) {
        let mut state = self.lock();
        let Some(path) = state.paths.get_mut(id) else { return };
        let sent = path.with_extension("sent");
        if fs::rename(&*path, &sent).is_ok() {
            *path = sent;
        }
    }

    /// Whether an earlier process left it there.
    pub fn was_left(&self, id: &ProofId) -> bool {
        self.lock().left.contains(id)
    }

    /// Forgets a proof that the network has taken or refused. Unknown ids are left alone.
    pub fn settle(&self, id: &ProofId) {
        let mut state = self.lock();
        state.headers.remove(id);
        if let Some(path) = state.paths.remove(id) {
            // If this fails, a later process settles it again.
            let _ = fs::remove_file(path);
        }
        if !state.settled.contains(id) {
            state.settled.push_back(id.clone());
            if state.settled.len() > SETTLED_MAX {
                state.settled.pop_front();
            }
        }
    }

    /// What an earlier process left for `source`; nothing the second time. Proofs for other sources stay where they
    /// are until their source runs again.
    pub fn take_earlier(&self, source: &str) -> Earlier {
        let mut state = self.lock();
        let mut earlier = state.earlier.remove(source).unwrap_or_default();
        if let Some(any) = state.earlier.remove("") {
            earlier.notes.extend(any.notes);
        }
        earlier
    }

    /// Unsettled proofs on disk for one header.
    pub fn of_header(&self, header: &[u8; 76]) -> usize {
        self.lock().headers.values().filter(|known| *known == header).count()
    }

    /// Unsettled proofs on disk, for whatever source.
    pub fn len(&self) -> usize {
        self.lock().paths.len()
    }

    /// Whether no proof waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same proof for the same job has the same name.
pub(super) fn name(found: &FoundProof) -> ProofId {
    let digest = digest("", found);
    ProofId(digest.to_hex()[..16].to_owned())
}

fn digest(source: &str, found: &FoundProof) -> blake3::Hash {
    let job = &found.job;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&job.header);
    hasher.update(&job.target);
    hasher.update(&job.certificate_version.to_le_bytes());
    hasher.update(&[u8::from(job.rank_penalty)]);
    hasher.update(&found.proof);
    hasher.update(source.as_bytes());
    // The name of a proof does not depend on where its job came from: nobody gets the same proof twice.
    if let Some(origin) = job.origin.as_ref().filter(|_| !source.is_empty()) {
        hasher.update(origin.pool.as_bytes());
        hasher.update(&[0]);
        hasher.update(origin.job_id.as_bytes());
    }
    hasher.finalize()
}

/// The file's content; hex and base64 so that a person can try a proof by hand with `pearlbed verify`.
#[derive(serde::Serialize, serde::Deserialize)]
struct ProofFile {
    schema: u32,
    source: String,
    header: String,
    target: String,
    certificate_version: u32,
    rank_penalty: bool,
    height: Option<u64>,
    found_unix_ms: u64,
    /// Where a pool's job came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<OriginText>,
    /// Of a proof that was refused: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
    proof: String,
    /// Over everything that matters, in hex.
    blake3: String,
}

/// A pool's job as a later process can know it again.
#[derive(serde::Serialize, serde::Deserialize)]
struct OriginText {
    pool: String,
    job_id: String,
}

/// Why the host's verifier refused a proof, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refusal {
    /// The provider's id.
    pub provider: String,
    /// The stage at which the verifier refused it.
    pub stage: String,
    /// What does not fit, as a phrase.
    pub why: String,
}

/// The text of a file of the store.
pub(super) fn encode(source: &str, found: &FoundProof, refused: Option<&Refusal>) -> String {
    let job = &found.job;
    let since = found.found.duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = ProofFile {
        schema: SCHEMA,
        source: source.to_owned(),
        header: hex(&job.header),
        target: hex(&job.target),
        certificate_version: job.certificate_version,
        rank_penalty: job.rank_penalty,
        height: job.height,
        found_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        origin: job
            .origin
            .as_ref()
            .map(|origin| OriginText { pool: origin.pool.to_string(), job_id: origin.job_id.to_string() }),
        refused: refused.cloned(),
        proof: BASE64.encode(&found.proof),
        blake3: digest(source, found).to_hex().to_string(),
    };
    serde_json::to_string(&file).expect("strings and numbers always become JSON")
}

/// A file of the store, or of the proofs that were refused, as whoever looks at one from outside reads it.
#[derive(Clone, Debug)]
pub struct ReadFile {
    /// The proof and its job.
    pub found: FoundProof,
    /// Why it was refused, if it was.
    pub refused: Option<Refusal>,
}

/// Reads the text of such a file.
///
/// # Errors
///
/// What is wrong with it, as half a sentence.
pub fn read_file(text: &[u8]) -> Result<ReadFile, String> {
    let (_, found, refused) = decode_all(text, Instant::now())?;
    Ok(ReadFile { found, refused })
}

fn decode(text: &[u8], now: Instant) -> Result<(String, FoundProof), String> {
    decode_all(text, now).map(|(source, found, _)| (source, found))
}

fn decode_all(text: &[u8], now: Instant) -> Result<(String, FoundProof, Option<Refusal>), String> {
    let file: ProofFile =
        serde_json::from_slice(text).map_err(|err| format!("it is not a proof file: {err}"))?;
    if file.schema != SCHEMA {
        return Err(format!("it has format {}, this host reads {SCHEMA}", file.schema));
    }
    let header =
        unhex(&file.header).and_then(|bytes| bytes.try_into().ok()).ok_or("its header is not 76 bytes")?;
    let target =
        unhex(&file.target).and_then(|bytes| bytes.try_into().ok()).ok_or("its target is not 32 bytes")?;
    let proof = BASE64.decode(&file.proof).map_err(|_| "its proof is not base64")?;
    let found = FoundProof {
        job: WorkJob {
            header,
            target,
            certificate_version: file.certificate_version,
            rank_penalty: file.rank_penalty,
            height: file.height,
            received: now,
            origin: file.origin.map(|origin| Origin {
                pool: origin.pool.into(),
                connection: 0,
                serial: 0,
                job_id: origin.job_id.into(),
            }),
            keeps_earlier: false,
        },
        proof,
        found: UNIX_EPOCH.checked_add(Duration::from_millis(file.found_unix_ms)).unwrap_or(SystemTime::now()),
        block: false,
    };
    if digest(&file.source, &found).to_hex().as_str() != file.blake3 {
        return Err(CHECKSUM.to_owned());
    }
    Ok((file.source, found, file.refused))
}

/// Fills `state` from the folder.
fn read_earlier(dir: &Path, state: &mut State) -> Result<(), StoreError> {
    let failed = |err| StoreError::ReadDir { path: dir.to_owned(), err };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    let now = Instant::now();
    let mut notes = Vec::new();
    for file_name in names {
        let path = dir.join(&file_name);
        let shown = printable_os(&file_name);
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("tmp") => {
                // Never renamed into place, so its proof was never handed over as kept.
                let _ = fs::remove_file(&path);
                notes.push(format!("removed the half-written proof file `{shown}`"));
            }
            Some("proof" | "sent") => {
                let read = read_bounded(&path).and_then(|text| decode(&text, now));
                match read {
                    Ok((source, found)) => {
                        let id = name(&found);
                        let handed_over = extension == Some("sent");
                        state.left.insert(id.clone());
                        state.headers.insert(id.clone(), found.job.header);
                        if state.paths.insert(id.clone(), path).is_none() {
                            let earlier = state.earlier.entry(source).or_default();
                            earlier.proofs.push(KeptProof { id, found, handed_over });
                        }
                    }
                    Err(why) => notes.push(quarantine(dir, &path, &shown, &why)),
                }
            }
            // The quarantine itself, and what a person put here.
            _ => {}
        }
    }
    for earlier in state.earlier.values_mut() {
        earlier.proofs.sort_by_key(|kept| kept.found.found);
    }
    state.earlier.entry(String::new()).or_default().notes = notes;
    Ok(())
}

/// Reads a regular file of a size that can be ours.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |err: io::Error| format!("it cannot be read: {err}");
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut text = Vec::new();
    let file = owned::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// Moves a file out of the way and says so.
fn quarantine(dir: &Path, path: &Path, shown: &str, why: &str) -> String {
    let room = dir.join("quarantine");
    let moved = owned::create_private(&room)
        .and_then(|()| fs::rename(path, room.join(path.file_name().expect("it was listed by name"))));
    trim(&room);
    match moved {
        Ok(()) => format!("moved the proof file `{shown}` to quarantine: {why}"),
        Err(err) => format!("left the proof file `{shown}` alone: {why}, and moving it failed: {err}"),
    }
}

/// Removes the oldest files of the quarantine beyond its limit.
fn trim(room: &Path) {
    let Ok(entries) = fs::read_dir(room) else { return };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| (entry.metadata().and_then(|metadata| metadata.modified()).ok(), entry.path()))
        .collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(QUARANTINE_MAX) {
        let _ = fs::remove_file(path);
    }
}

/// Writes `bytes` to `path` so that it holds either all of them, through a power cut too, or does not exist. The folder `dir`
/// is made again where somebody has removed it.
pub(super) fn write_whole(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let written = (|| {
        let options = &mut OpenOptions::new();
        options.write(true).truncate(true);
        let mut file = match owned::open_or_make(&tmp, options) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                owned::create_private(dir)?;
                owned::open_or_make(&tmp, options)?
            }
            opened => opened?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, path)?;
        // The name is only safe once the folder is.
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    written
}

/// Lowercase hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| digits[usize::from(digit)] as char)
        .collect()
}

/// The bytes of a hex string, or nothing if it is not one.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests;
