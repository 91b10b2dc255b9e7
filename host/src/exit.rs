//! The exit statuses of the `pearlbed` command, in one table.
//!
//! Scripts and service managers depend on these numbers: they never change their meaning. The same table is in
//! `docs/exit-statuses.md`; a test compares the two.

use std::process::ExitCode;

/// How a `pearlbed` process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked; for `status`: running and earning.
    Ok = 0,
    /// The command failed, or `doctor` found a failure, or `status` cannot tell.
    Failed = 1,
    /// The command line itself was wrong.
    Usage = 2,
    /// `status`: no session is running.
    Stopped = 3,
    /// `status`: a session runs but does not earn.
    NotEarning = 4,
    /// The network asks for a certificate version that the provider, or the gateway, does not speak.
    NeedsUpdate = 5,
    /// Trying again will not help: the configuration, or what it names, has to be changed first.
    Futile = 6,
    /// `pool test`: the pool cannot be reached.
    PoolUnreachable = 10,
    /// `pool test`: its certificate is not trusted, or it does not speak TLS.
    PoolUntrusted = 11,
    /// `pool test`: it refuses the login.
    PoolRefused = 12,
    /// `pool test`: it gives no job that can be worked on.
    PoolNoJob = 13,
    /// A bug in pearlbed: it panicked and wrote a report.
    Panicked = 101,
}

impl Exit {
    /// Every status with the words of the public table, in the order of the numbers.
    pub const TABLE: [(Self, &'static str); 12] = [
        (Self::Ok, "the command did what it was asked; `status`: running and earning"),
        (Self::Failed, "the command failed; `doctor`: a check failed; `status`: cannot tell"),
        (Self::Usage, "the command line was wrong"),
        (Self::Stopped, "`status`: no session is running"),
        (Self::NotEarning, "`status`: a session is running but not earning"),
        (Self::NeedsUpdate, "the network wants a certificate version that nobody here speaks"),
        (
            Self::Futile,
            "trying again will not help: the configuration, or what it names, has to be changed first",
        ),
        (Self::PoolUnreachable, "`pool test`: the pool cannot be reached"),
        (Self::PoolUntrusted, "`pool test`: the pool's certificate is not trusted"),
        (Self::PoolRefused, "`pool test`: the pool refuses the login"),
        (Self::PoolNoJob, "`pool test`: the pool gives no job that can be worked on"),
        (Self::Panicked, "a bug in pearlbed; the message says where the report lies"),
    ];

    /// The status with this number; [`Self::Failed`] for a number that is none.
    pub fn from_code(code: u8) -> Self {
        Self::TABLE.iter().map(|(exit, _)| *exit).find(|exit| exit.code() == code).unwrap_or(Self::Failed)
    }

    /// The number that the operating system is given.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_as_what_it_was() {
        for (exit, _) in Exit::TABLE {
            assert_eq!(Exit::from_code(exit.code()), exit);
        }
        assert_eq!(Exit::from_code(77), Exit::Failed);
    }

    /// What a service manager is told in the packaged units, so that it does not try again for ever.
    #[test]
    fn the_units_do_not_start_again_what_trying_again_does_not_help() {
        for unit in [
            include_str!("../../packaging/systemd/system/pearlbed.service"),
            include_str!("../../packaging/systemd/user/pearlbed.service"),
        ] {
            let line = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus="));
            let named: Vec<u8> = line.unwrap().split(' ').map(|status| status.parse().unwrap()).collect();
            assert_eq!(named, [Exit::Usage, Exit::NeedsUpdate, Exit::Futile].map(Exit::code));
        }
    }

    #[test]
    fn the_document_shows_this_table() {
        let document = include_str!("../../docs/exit-statuses.md");
        let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
        let table = Exit::TABLE.map(|(exit, meaning)| format!("| {} | {meaning} |", exit.code()));
        assert_eq!(rows, table);
    }
}
