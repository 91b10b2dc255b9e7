//! `runtime/mining.json`: the one public record of the session that runs, in the shape that OpenJarvis reads.
//!
//! OpenJarvis' `mine status` shows `provider`, looks whether `gateway_pid` and `miner_loop_pid` are alive and reads
//! the counters behind `metrics_url`; its `mine stop` sends SIGTERM to both pids, waits two and five seconds, and
//! removes the file. So `gateway_pid` is our supervisor, which stops in order on SIGTERM, and `miner_loop_pid` is the
//! provider process. What is ours alone lies under `"pearlbed"`.
//!
//! The record informs; it decides nothing. Who may run a session is decided by the lock, and whether a recorded
//! process lives is asked of the kernel by pid *and* start time. Reading never changes the file, so that a record
//! that somebody else wrote, or half wrote, costs nobody a session.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::explain::Explain;
use crate::identity::ProcessIdentity;
use crate::{owned, remedy};

/// Larger files are not read: no record comes near it.
const BYTES_MAX: u64 = 1 << 20;

/// The record of one session. Keys that do not apply are left out of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Provider id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Model that an inference engine serves meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Payout address; empty on the devnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet_address: Option<String>,
    /// Unix time of the start, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole_seconds")]
    pub started_at: Option<u64>,
    /// Where work comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// Metrics as OpenJarvis' vLLM provider names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_metrics_url: Option<String>,
    /// Metrics as OpenJarvis' other providers name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_url: Option<String>,
    /// The process that hands proofs in: our supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_pid: Option<u32>,
    /// The process that mines: our provider process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miner_loop_pid: Option<u32>,
    /// Docker container that mines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// OpenAI-compatible address of an inference engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm_endpoint: Option<String>,
    /// What only pearlbed writes; absent in a record of somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pearlbed: Option<Own>,
    /// Keys of a record of somebody else's that are not known here, or hold something that is not understood.
    #[serde(skip)]
    pub strange: Vec<String>,
}

/// Our own part of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// The supervisor, or for an attached miner the process that recorded it.
    #[serde(flatten)]
    pub supervisor: ProcessIdentity,
    /// Control socket of the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Version of the pearlbed that wrote the record.
    pub version: String,
    /// Whether the record describes a miner that somebody else runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attached: bool,
    /// The pool that is mined for, in a session on pools that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<OwnPool>,
    /// Who is paid, in the order of the pools where there are any, each once; nobody on the devnet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pays: Vec<String>,
}

/// The pool of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnPool {
    /// Its address.
    pub address: String,
    /// Since when it is mined for, as Unix time.
    pub since: u64,
    /// Why it is not the first one of the configuration, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not_first: Option<String>,
}

/// OpenJarvis writes a float in some places and an integer in others.
fn whole_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let seconds = Option::<f64>::deserialize(deserializer)?;
    Ok(seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0).map(|seconds| seconds as u64))
}

/// The keys of a record of another program's.
const KEYS: [&str; 11] = [
    "provider",
    "model",
    "wallet_address",
    "started_at",
    "gateway_url",
    "gateway_metrics_url",
    "metrics_url",
    "gateway_pid",
    "miner_loop_pid",
    "container_id",
    "vllm_endpoint",
];

/// How much the clock that a record was written by may differ from the one that processes are started by.
const CLOCK_SLACK_SECONDS: u64 = 10;

/// What can be told of a session that somebody else recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// One of its processes is there.
    Runs,
    /// It names no process, or a container beside those that have ended: only who started it can tell.
    Unknown,
    /// Its processes have ended, or it names nothing at all.
    Ended,
}

/// What keeps a record from being read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SidecarError {
    #[error("cannot read the session record {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("the session record {} is not one: {problem}", path.display())]
    Corrupt { path: PathBuf, problem: String },
    #[error("cannot write the session record {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
}

impl Explain for SidecarError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Corrupt { .. } => {
                Some("`pearlbed stop` removes it, and `pearlbed start` writes a new one".into())
            }
            Self::Read { path, err } | Self::Write { path, err } => remedy::for_file(err, path),
        }
    }
}

impl Sidecar {
    /// Reads the record at `path`; none where there is no file.
    ///
    /// # Errors
    ///
    /// - [`SidecarError::Read`]: the file is there and cannot be read.
    /// - [`SidecarError::Corrupt`]: it is no record, whoever wrote it.
    pub fn read(path: &Path) -> Result<Option<Self>, SidecarError> {
        let read = |err| SidecarError::Read { path: path.to_owned(), err };
        let corrupt = |problem: String| SidecarError::Corrupt { path: path.to_owned(), problem };
        let bytes = match owned::read_at_most(path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A folder, a pipe, a device, or a file that is none of anybody's records: it is there, and it is none.
            Err(err) if err.raw_os_error() == Some(libc::EISDIR) => {
                return Err(corrupt("it is a folder".into()));
            }
            Err(err) if err.raw_os_error().is_none() => return Err(corrupt(err.to_string())),
            Err(err) => return Err(read(err)),
        };
        // By way of an object: a bare list of the right values would pass for a record otherwise.
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|err| corrupt(err.to_string()))?;
        Self::of_object(object).map(Some).map_err(|err| corrupt(err.to_string()))
    }

    /// The record in a JSON object. One of ours is right in every key; one of another program's may be of a version that is
    /// not known here, and its session is no less alive for that: what is not understood is left out, and named.
    fn of_object(object: serde_json::Map<String, serde_json::Value>) -> serde_json::Result<Self> {
        if object.contains_key("pearlbed") {
            return serde_json::from_value(object.into());
        }
        let (mut understood, mut strange) = (serde_json::Map::new(), Vec::new());
        for (key, value) in object {
            let alone = serde_json::Map::from_iter([(key.clone(), value.clone())]);
            let known = KEYS.contains(&&*key) && serde_json::from_value::<Self>(alone.into()).is_ok();
            if known {
                understood.insert(key, value);
            } else {
                strange.push(key);
            }
        }
        let record: Self = serde_json::from_value(understood.into())?;
        Ok(Self { strange, ..record })
    }

    /// Writes the record so that a reader sees the old one or the new one whole, and a crash leaves one of them:
    /// temporary file of mode 0600, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    ///
    /// [`SidecarError::Write`]; the old record is then still there, and nothing else is.
    pub fn write(&self, path: &Path) -> Result<(), SidecarError> {
        let mut json = serde_json::to_vec_pretty(self).expect("a record has text keys and plain values");
        json.push(b'\n');
        owned::replace(path, &json).map_err(|err| SidecarError::Write { path: path.to_owned(), err })
    }

    /// Removes the record at `path` if it is the one that `owner` wrote; answers whether it was removed.
    pub fn remove_own(path: &Path, owner: &ProcessIdentity) -> bool {
        let ours = matches!(Self::read(path), Ok(Some(Self { pearlbed: Some(own), .. })) if own.supervisor == *owner);
        ours && std::fs::remove_file(path).is_ok()
    }

    /// Which of the recorded processes of a record that is not ours are there. Pids alone name nobody, so this may
    /// be said and must not be acted upon. A process that is younger than the record is another that has the number now.
    pub fn foreign_pids_present(&self) -> Vec<u32> {
        let recorded = |pid: u32| {
            let begun = ProcessIdentity::started_unix(pid).zip(self.started_at);
            begun.is_none_or(|(started, recorded)| started <= recorded + CLOCK_SLACK_SECONDS)
        };
        let pids = [self.gateway_pid, self.miner_loop_pid];
        let present = pids.into_iter().flatten().filter(|&pid| ProcessIdentity::of(pid).is_some());
        present.filter(|&pid| recorded(pid)).collect()
    }

    /// What can be told of the session that a record describes which is not ours.
    pub fn foreign_life(&self) -> Life {
        if !self.foreign_pids_present().is_empty() {
            return Life::Runs;
        }
        // No process has the number 0.
        let pids = [self.gateway_pid, self.miner_loop_pid].into_iter().flatten().any(|pid| pid > 0);
        // A container, and whatever a key means that could not be read, may live on when the processes beside it have ended.
        let unread = self.strange.iter().any(|key| KEYS.contains(&&**key));
        let elsewhere = self.container_id.is_some() || self.vllm_endpoint.is_some() || unread;
        match pids {
            true if elsewhere => Life::Unknown,
            true => Life::Ended,
            false if *self == Self::default() => Life::Ended,
            false => Life::Unknown,
        }
    }

    /// The base address of metrics and the address of the page, as the two keys hold them: OpenJarvis appends `/metrics` to
    /// the one, and takes the other as it is.
    pub fn metrics_addresses(address: &str) -> (String, String) {
        let base = address.trim_end_matches('/');
        let base = base.strip_suffix("/metrics").unwrap_or(base).trim_end_matches('/');
        (base.to_owned(), format!("{base}/metrics"))
    }

    /// The page of metrics that the record names.
    pub fn metrics_page(&self) -> Option<String> {
        self.metrics_url
            .clone()
            .or_else(|| self.gateway_metrics_url.as_deref().map(|base| Self::metrics_addresses(base).1))
    }
}

/// Whole seconds since 1970, as records of ours write a moment.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record() -> Sidecar {
        Sidecar {
            provider: Some("cpu-pearl".into()),
            wallet_address: Some("prl1p".into()),
            started_at: Some(1_700_000_000),
            gateway_pid: Some(7),
            pearlbed: Some(Own {
                supervisor: ProcessIdentity::own(),
                socket: Some("/s".into()),
                version: "0.1.0".into(),
                attached: false,
                pool: None,
                pays: vec!["prl1p".into()],
            }),
            ..Sidecar::default()
        }
    }

    #[test]
    fn a_record_is_read_back_private_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.json");
        assert!(Sidecar::read(&path).unwrap().is_none());
        record().write(&path).unwrap();
        record().write(&path).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), Some(record()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_keys_are_those_that_openjarvis_reads() {
        let value = serde_json::to_value(record()).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["gateway_pid", "pearlbed", "provider", "started_at", "wallet_address"]);
        for key in ["pid", "start_time", "socket", "version"] {
            assert!(value["pearlbed"].get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_record_of_openjarvis_is_read_with_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.json");
        std::fs::write(
            &path,
            r#"{"provider":"cpu-pearl","started_at":1.7e9,"gateway_pid":1,"miner_loop_pid":null,"new":[1]}"#,
        )
        .unwrap();
        let read = Sidecar::read(&path).unwrap().unwrap();
        assert_eq!(
            (read.started_at, read.gateway_pid, read.miner_loop_pid),
            (Some(1_700_000_000), Some(1), None)
        );
        assert!(read.pearlbed.is_none());
        // A record of 2023 does not mean a process of today, whatever its number.
        assert_eq!((read.foreign_pids_present(), read.foreign_life()), (vec![], Life::Ended));
        let now = unix_seconds(SystemTime::now());
        let young = Sidecar { started_at: Some(now), ..read.clone() };
        assert_eq!((young.foreign_pids_present(), young.foreign_life()), (vec![1], Life::Runs));
        let undated = Sidecar { started_at: None, ..read };
        assert_eq!(undated.foreign_life(), Life::Runs);
    }

    #[test]
    fn a_record_without_processes_is_alive_for_all_we_know() {
        let container = Sidecar { container_id: Some("abc".into()), ..Sidecar::default() };
        let served = Sidecar { vllm_endpoint: Some("http://127.0.0.1:8000".into()), ..Sidecar::default() };
        let counted =
            Sidecar { metrics_url: Some("http://127.0.0.1:8339/metrics".into()), ..Sidecar::default() };
        let reached = Sidecar { gateway_url: Some("http://127.0.0.1:8337".into()), ..Sidecar::default() };
        let nameless = Sidecar { provider: Some("vllm-pearl".into()), ..Sidecar::default() };
        let zero = Sidecar { gateway_pid: Some(0), ..Sidecar::default() };
        for record in [&container, &served, &counted, &reached, &nameless, &zero] {
            assert_eq!(record.foreign_life(), Life::Unknown, "{record:?}");
        }
        assert_eq!(Sidecar::default().foreign_life(), Life::Ended);
        // Beside processes that have ended, a container may go on.
        let gone = Sidecar { gateway_pid: Some(7), started_at: Some(1), ..container };
        assert_eq!(gone.foreign_life(), Life::Unknown);
        assert_eq!(Sidecar { container_id: None, ..gone }.foreign_life(), Life::Ended);
    }

    #[test]
    fn a_record_of_another_program_that_is_not_understood_is_one_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.json");
        for (text, strange) in [
            (r#"{"provider":"vllm-pearl","container_id":5}"#, vec!["container_id"]),
            (r#"{"provider":"vllm-pearl","gateway_pid":"123","container_id":"a"}"#, vec!["gateway_pid"]),
            (
                r#"{"provider":"x","started_at":"2026-11-30T10:00:00Z","metrics_url":"http://h"}"#,
                vec!["started_at"],
            ),
            (r#"{"provider":"x","gateway_pid":-1}"#, vec!["gateway_pid"]),
            (r#"{"provider":"x","containers":["a","b"]}"#, vec!["containers"]),
        ] {
            std::fs::write(&path, text).unwrap();
            let record = Sidecar::read(&path).unwrap().unwrap();
            assert_eq!(
                (record.foreign_life(), record.strange),
                (Life::Unknown, strange.iter().map(ToString::to_string).collect()),
                "{text}"
            );
        }
        // Ours is right in every key, or none.
        std::fs::write(&path, r#"{"provider":"x","pearlbed":{"pid":"x"}}"#).unwrap();
        assert!(matches!(Sidecar::read(&path), Err(SidecarError::Corrupt { .. })));
    }

    #[test]
    fn metrics_have_a_base_and_a_page() {
        for given in ["http://h:1", "http://h:1/", "http://h:1/metrics", "http://h:1/metrics/"] {
            assert_eq!(Sidecar::metrics_addresses(given), ("http://h:1".into(), "http://h:1/metrics".into()));
        }
        let theirs = Sidecar { gateway_metrics_url: Some("http://h:1".into()), ..Sidecar::default() };
        assert_eq!(theirs.metrics_page().as_deref(), Some("http://h:1/metrics"));
    }

    #[test]
    fn what_is_no_record_is_explained_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.json");
        for bytes in [&b""[..], b"{", b"[]", b"\xff", br#"{"pearlbed":"x"}"#] {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(Sidecar::read(&path), Err(SidecarError::Corrupt { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(Sidecar::read(&path), Err(SidecarError::Corrupt { .. })));
    }

    #[test]
    fn only_the_writer_removes_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.json");
        record().write(&path).unwrap();
        let stranger = ProcessIdentity { start_time: 1, ..ProcessIdentity::own() };
        assert!(!Sidecar::remove_own(&path, &stranger));
        assert!(Sidecar::remove_own(&path, &ProcessIdentity::own()));
        assert!(!path.exists());
    }
}
