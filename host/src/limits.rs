//! What whoever started this process lets it have (`ulimit`, a unit, a container), where that is too little to mine with.
//!
//! Who meets such a limit in the middle of things sees an error of something else: a plugin that is not found, a socket that
//! cannot be made. So it is looked at before, and said once, with its own remedy. A soft limit of open files that is too low
//! is raised, as far as the hard one lets us; nothing else is changed, and what lies in a control group is looked at elsewhere
//! (`hardware::group`, the supervisor).

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::text::bytes;

/// Open files that every session has to itself. Counted: one with one miner on the devnet starts with 24 and not with 22.
const FILES_NEEDED: u64 = 40;
/// Open files for each further miner: its pipes, its plugin, and the listener of its confinement.
const FILES_OF_A_MINER: u64 = 8;
/// So many are plenty, for the miner port and whoever watches, too. More are asked for nobody: some programs walk through
/// all that there may be.
const FILES_WANTED: u64 = 1024;
/// Memory that a process has to be able to map: its own threads, and a plugin with its matrices.
const ADDRESSES_WANTED_BYTES: u64 = 1 << 30;
/// With less, this program may not come so far as to say why.
const ADDRESSES_NEEDED_BYTES: u64 = 128 << 20;
/// Smaller files hold neither a record nor a proof.
const FILE_NEEDED_BYTES: u64 = 64 << 10;
/// Smaller files may not hold the log.
const FILE_WANTED_BYTES: u64 = 16 << 20;

/// Something of which there is too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// A stable name: `open-files`, `proc`, `file-size`, `processor-time`, `addresses`.
    pub of: &'static str,
    /// What there is, and what is needed: a phrase.
    pub finding: String,
    /// What to do.
    pub fix: String,
    /// Nothing can be mined so, however often it is tried.
    pub forbids: bool,
}

/// Raises the limit of open files to what is plenty, as far as this process may. For itself and what it starts from here on.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(FILES_WANTED, |most| most.min(FILES_WANTED));
    if current.is_some_and(|soft| soft < wanted) {
        // Who is refused has what it had, which is looked at all the same.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Whether a process may map so little memory that an error for want of memory, or of a thread, may well come from there.
pub fn has_few_addresses() -> bool {
    addresses().is_some_and(|(most, _)| most < ADDRESSES_WANTED_BYTES)
}

/// How much a process may map, and the option of `ulimit` that says so; nothing where there is no limit.
fn addresses() -> Option<(u64, &'static str)> {
    let limits = [(Resource::As, "-v"), (Resource::Data, "-d")];
    limits.into_iter().filter_map(|(resource, option)| Some((getrlimit(resource).current?, option))).min()
}

/// What forbids a session with so many miners here, or gets in its way.
pub fn shortages(miners: usize) -> Vec<Shortage> {
    let mut found: Vec<Shortage> = [
        proc_is_missing(Path::new("/proc")),
        open_files(getrlimit(Resource::Nofile).current, miners),
        file_size(getrlimit(Resource::Fsize).current),
        processor_time(getrlimit(Resource::Cpu).current),
        addresses().and_then(|(most, option)| few_addresses(most, option)),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.sort_by_key(|shortage| !shortage.forbids);
    found
}

/// The first that forbids a session with so many miners.
pub fn forbids(miners: usize) -> Option<Shortage> {
    shortages(miners).into_iter().find(|shortage| shortage.forbids)
}

/// Where so little memory may be mapped that this program may end without a word of its own.
pub fn may_end_without_a_word() -> Option<Shortage> {
    let (most, option) = addresses().filter(|(most, _)| *most < ADDRESSES_NEEDED_BYTES)?;
    few_addresses(most, option)
}

fn proc_is_missing(proc: &Path) -> Option<Shortage> {
    if !cfg!(target_os = "linux") || proc.join("self/exe").is_symlink() {
        return None;
    }
    Some(Shortage {
        of: "proc",
        finding: "/proc is not mounted here: pearlbed finds itself there, and whoever it starts".into(),
        fix: "mount it (`mount -t proc proc /proc`), or give the container or chroot its own".into(),
        forbids: true,
    })
}

fn open_files(most: Option<u64>, miners: usize) -> Option<Shortage> {
    let further = u64::try_from(miners).unwrap_or(u64::MAX).saturating_sub(1);
    let needed = FILES_NEEDED.saturating_add(further.saturating_mul(FILES_OF_A_MINER));
    let most = most.filter(|most| *most < needed)?;
    Some(Shortage {
        of: "open-files",
        finding: format!("a process may have {most} files open here, and a session needs {needed}"),
        fix: "raise the hard limit of open files (`ulimit -Hn`, `LimitNOFILE=` of the unit, `--ulimit nofile=` of the container)"
            .into(),
        forbids: true,
    })
}

fn file_size(most: Option<u64>) -> Option<Shortage> {
    let most = most.filter(|most| *most < FILE_WANTED_BYTES)?;
    Some(Shortage {
        of: "file-size",
        finding: format!("no file may be larger than {} here", bytes(most)),
        fix: "raise the limit of the size of files (`ulimit -f`, `LimitFSIZE=` of the unit)".into(),
        forbids: most < FILE_NEEDED_BYTES,
    })
}

fn processor_time(most: Option<u64>) -> Option<Shortage> {
    let most = most?;
    let s = if most == 1 { "" } else { "s" };
    Some(Shortage {
        of: "processor-time",
        finding: format!("each process is ended after {most} second{s} of processor time"),
        fix: "lift that limit (`ulimit -t unlimited`, `LimitCPU=infinity` of the unit)".into(),
        forbids: false,
    })
}

fn few_addresses(most: u64, option: &str) -> Option<Shortage> {
    (most < ADDRESSES_WANTED_BYTES).then(|| Shortage {
        of: "addresses",
        finding: format!("a process may map {} of memory here", bytes(most)),
        fix: format!("raise that limit to {} at least (`ulimit {option}`)", bytes(ADDRESSES_WANTED_BYTES)),
        forbids: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_little_is_named_with_its_own_remedy_and_what_is_enough_is_not() {
        assert_eq!(
            (open_files(None, 1), open_files(Some(40), 1), open_files(Some(48), 2)),
            (None, None, None)
        );
        let few = open_files(Some(12), 1).unwrap();
        assert!(
            few.forbids && few.finding.contains("12 files") && few.finding.contains("needs 40"),
            "{few:?}"
        );
        assert!(few.fix.contains("ulimit -Hn"), "{few:?}");
        assert!(open_files(Some(47), 2).unwrap().finding.contains("needs 48"));
        assert!(open_files(Some(u64::MAX - 1), usize::MAX).is_some(), "no number overflows");
        assert_eq!((file_size(None), file_size(Some(1 << 30)), processor_time(None)), (None, None, None));
        assert!(file_size(Some(0)).unwrap().forbids && !file_size(Some(1 << 20)).unwrap().forbids);
        assert!(processor_time(Some(1)).unwrap().finding.contains("after 1 second of"));
        assert_eq!(few_addresses(4 << 30, "-v"), None);
        assert!(few_addresses(50_000 << 10, "-d").unwrap().fix.contains("ulimit -d"));
    }

    #[test]
    fn a_folder_without_this_process_is_no_proc() {
        let empty = tempfile::tempdir().unwrap();
        let missing = proc_is_missing(empty.path());
        assert_eq!(missing.is_some(), cfg!(target_os = "linux"));
        assert_eq!(proc_is_missing(Path::new("/proc")), None);
    }
}
