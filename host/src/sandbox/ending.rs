//! How a process ended, in words.

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The exit status, unless a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The most memory that it had in use, in bytes.
    pub memory_peak_bytes: u64,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.signal, self.status) {
            (Some(signal), _) => f.write_str(&signal_name(signal)),
            (None, Some(status)) => write!(f, "exit status {status}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}

/// A signal with its meaning, such as `SIGSEGV (invalid memory access)`.
pub fn signal_name(signal: i32) -> String {
    let (name, meaning) = match signal {
        libc::SIGSEGV => ("SIGSEGV", "invalid memory access"),
        libc::SIGBUS => ("SIGBUS", "memory that is not there"),
        libc::SIGABRT => ("SIGABRT", "abort"),
        libc::SIGFPE => ("SIGFPE", "division by zero"),
        libc::SIGILL => ("SIGILL", "invalid instruction"),
        libc::SIGTRAP => ("SIGTRAP", "trap"),
        libc::SIGKILL => ("SIGKILL", "killed"),
        libc::SIGTERM => ("SIGTERM", "terminated"),
        libc::SIGSYS => ("SIGSYS", "bad system call"),
        libc::SIGXCPU => ("SIGXCPU", "processor time used up"),
        libc::SIGXFSZ => ("SIGXFSZ", "file size limit"),
        libc::SIGPIPE => ("SIGPIPE", "write to a closed pipe"),
        libc::SIGALRM => ("SIGALRM", "alarm"),
        _ => return format!("signal {signal}"),
    };
    format!("{name} ({meaning})")
}
