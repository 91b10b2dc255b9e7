//! Answers and ends in words: what is no answer, and why there is none.

use std::time::Duration;

use pearlbed_plugin_api::MiningCapabilities;

use super::super::reason::Reason;
use super::Impurity;
use super::limits::{ANSWER_BYTES_MAX, CHANNEL_GONE, MEMORY_BYTES};
use super::wire::{Answer, Change};
use crate::sandbox::{Captured, Crash, Ending};
use crate::text;

/// More than any machine does in a second: the whole network's rate was 1.3e19 in May 2026.
const HASHRATE_MAX: f64 = 1e18;
/// What to do about a plugin that does what it must not.
pub const REPORT: &str = "report it to its author, or remove it";

/// What `detect` answered, if it is an answer.
pub fn check(answer: Answer) -> Result<MiningCapabilities, Reason> {
    let wrong = |what: String| {
        Err(Reason::new("bad-answer", format!("its answer is none: {what}"), "report it to its author"))
    };
    if let Some(reason) = &answer.reason {
        if reason.len() > ANSWER_BYTES_MAX {
            return wrong(format!("its reason has {} bytes, more than {ANSWER_BYTES_MAX}", reason.len()));
        }
        if text::printable(reason) != *reason {
            return wrong("its reason holds control characters".into());
        }
    }
    if let Some(rate) = answer.estimated_hashrate {
        if !rate.is_finite() || rate < 0.0 {
            return wrong(format!("it estimates a hashrate of {rate}"));
        }
        if rate > HASHRATE_MAX {
            return wrong(format!("it estimates a hashrate of {rate:e} H/s, which no machine has"));
        }
    }
    if !answer.supported && answer.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return wrong("it says no without a reason".into());
    }
    let mut capabilities = MiningCapabilities::supported();
    capabilities.supported = answer.supported;
    capabilities.reason = answer.reason;
    capabilities.estimated_hashrate = answer.estimated_hashrate;
    Ok(capabilities)
}

pub fn explain_ending(ending: Ending, crash: Option<&Crash>, phase: &str, stderr: &Captured) -> Reason {
    let said = last_words(&stderr.text)
        .map(|line| format!(" (it said: {})", text::quotation(line, 120)))
        .unwrap_or_default();
    if is_full(ending.memory_peak_bytes) {
        let limit = text::bytes(MEMORY_BYTES);
        return Reason::new(
            "out-of-memory",
            format!("it used up its {limit} of memory {phase} and died: {ending}"),
            REPORT,
        );
    }
    match (ending.signal, ending.status) {
        (None, Some(CHANNEL_GONE)) => Reason::new(
            "closed-channel",
            format!("it closed descriptors that it did not open {phase}"),
            REPORT,
        ),
        (None, Some(status)) => {
            Reason::new("exited", format!("it ended its process with status {status} {phase}{said}"), REPORT)
        }
        (Some(libc::SIGKILL | libc::SIGTERM), _) => {
            Reason::new("killed", format!("its process was killed {phase}: {ending}{said}"), REPORT)
        }
        _ => Reason::new(
            "crashed",
            format!("it crashed {phase}: {}{said}", Crash::words(crash, ending)),
            REPORT,
        ),
    }
}

/// No answer in the time that it had; `memory` is what it had taken by then.
pub fn timed_out(time: Duration, phase: &str, memory: u64) -> Reason {
    let time = text::duration(time);
    let hoard = match memory {
        // Filling the memory takes its time, too, on a machine that has much to do.
        hoard if hoard > MEMORY_BYTES / 4 => format!(", and had taken {} of memory", text::bytes(hoard)),
        _ => String::new(),
    };
    Reason::new(
        "timed-out",
        format!("it did not answer within {time} {phase}{hoard}"),
        "`probe_timeout` in [plugins] gives it longer on a busy machine, `--probe-timeout` for once; else report it to its author",
    )
}

/// An answer, and no look at what was left behind in all the time that there was.
pub fn held_up(time: Duration) -> Reason {
    let time = text::duration(time);
    Reason::new(
        "timed-out",
        format!(
            "it answered, and kept its process from being looked at within {time}: what it left behind is not known"
        ),
        "report it to its author; `--probe-timeout` gives it longer",
    )
}

/// What a plugin left behind, as the end of the sentence "it …".
pub fn left_behind(change: Change) -> String {
    let words = match change {
        Change::Exhausted => "left no memory or descriptor to look at its process with",
        Change::Signals => "changed the handling of signals",
        Change::Umask => "changed the mask of new files",
        Change::Folder => "changed the working directory",
        Change::Environment => "changed the environment",
        Change::Locale => "changed the locale",
        Change::Priority => "changed the priority of the process",
        Change::Processors => "changed on which processors the process runs",
        Change::Rounding => "changed how numbers are rounded",
        Change::Limits => "changed resource limits",
        Change::Alarm => "left an alarm running",
        Change::ClosedDescriptors => "closed descriptors that it did not open",
        Change::ReplacedDescriptors => "put other files in the place of those that it found open",
        Change::LeftDescriptors(count) => return format!("left {count} descriptors open"),
        Change::Output => "changed how its output is written",
    };
    words.into()
}

/// Nothing to make a process with: the machine's lack, and not the plugin's fault.
pub fn lack(errno: i32) -> Reason {
    let err = std::io::Error::from_raw_os_error(errno);
    let what = match errno {
        libc::EAGAIN => "this user or container may have no more processes or threads",
        libc::EMFILE | libc::ENFILE => "no more files may be opened",
        libc::ETOOMANYREFS => {
            "another program of this user has too many open files under way between processes"
        }
        libc::ENOMEM => "there is not enough memory",
        _ => "no confined process could be made",
    };
    let fix = crate::remedy::for_process(&err).unwrap_or_else(|| "run the command again".into());
    Reason::new("no-probe", format!("it was not probed: {what} ({err})"), fix)
}

/// Whether a process that had so much memory in use died of its own limit.
pub fn is_full(peak: u64) -> bool {
    peak >= MEMORY_BYTES / 10 * 8
}

/// The system took its process for the memory of all, of which the group may have `limit`: a lack, and not its fault.
pub fn starved(limit: Option<u64>, phase: &str) -> Reason {
    let limit = limit.map_or_else(String::new, |bytes| format!(" ({})", text::bytes(bytes)));
    Reason::new(
        "no-probe",
        format!(
            "it was not probed: the system ended its process {phase} because the memory of the control group{limit} was used up"
        ),
        "raise that limit, or end what else uses memory there; `pearlbed plugins inspect` on it alone says more",
    )
}

/// Memory of a kind that no limit of the kernel counts.
pub fn overdrawn(phase: &str) -> Reason {
    let limit = text::bytes(MEMORY_BYTES);
    Reason::new("out-of-memory", format!("it used up its {limit} of memory {phase} and was ended"), REPORT)
}

/// The line of `stderr` that says most: a panic's message, else the last one.
fn last_words(stderr: &str) -> Option<&str> {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let panicked = lines.clone().skip_while(|line| !line.contains(" panicked at ")).nth(1);
    panicked.or_else(|| lines.next_back())
}

/// The same reason with what it tried before.
pub fn with_attempts(mut reason: Reason, impurities: &[Impurity]) -> Reason {
    if !impurities.is_empty() {
        let tried: Vec<&str> = impurities.iter().take(3).map(|impurity| &*impurity.finding).collect();
        reason.reason = format!("{}; it {}", reason.reason, tried.join(", "));
    }
    reason
}

pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("a {what}") } else { format!("{number} {what}s") }
}
