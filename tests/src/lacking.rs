//! A kernel that lacks a mechanism, played for a command by a filter of system calls around it, as a container's is.
//!
//! What the host asks is answered as such a kernel answers. The filter stays for all that the command starts.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// What is lacking, with the error that is answered where it is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lacking {
    /// Landlock: `ENOSYS` for a kernel without it, `EOPNOTSUPP` for one where it is switched off, `EPERM` for a container.
    pub landlock: Option<i32>,
    /// seccomp's user notification: `EINVAL` for a kernel without it, `EBUSY` for a process that is watched already.
    pub notification: Option<i32>,
}

/// `SECCOMP_SET_MODE_FILTER` and `SECCOMP_GET_NOTIF_SIZES`.
const SET_FILTER: u32 = 1;
const GET_SIZES: u32 = 3;

impl Lacking {
    /// Has `command` run so.
    pub fn around(self, command: &mut Command) {
        let program = self.program();
        let install = move || {
            let header = libc::sock_fprog {
                len: u16::try_from(program.len()).expect("it is short"),
                filter: program.as_ptr().cast_mut(),
            };
            // SAFETY: both calls take numbers, and the second reads a program that lives.
            let answer = unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const header)
            };
            if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between the two it makes system calls alone.
        unsafe { command.pre_exec(install) };
    }

    fn program(self) -> Vec<sock_filter> {
        // Offsets in `struct seccomp_data`: the number, and the low halves of the first two arguments.
        let (number, operation, flags) = (load(0), load(16), load(24));
        let mut program = vec![number];
        if let Some(errno) = self.landlock {
            for call in [
                libc::SYS_landlock_create_ruleset,
                libc::SYS_landlock_add_rule,
                libc::SYS_landlock_restrict_self,
            ] {
                program.extend([unless(call_number(call), 1), fail(errno)]);
            }
        }
        if let Some(errno) = self.notification {
            program.push(unless(call_number(libc::SYS_seccomp), 9));
            program.push(operation);
            // A kernel that knows it says so also to who is watched already.
            program.extend([unless(GET_SIZES, 1), if errno == libc::EBUSY { allow() } else { fail(errno) }]);
            program.push(unless(SET_FILTER, 5));
            program.extend([flags, and(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32)]);
            program.extend([unless(0, 1), allow(), fail(errno)]);
        }
        program.push(allow());
        program
    }
}

fn call_number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("numbers of system calls are small")
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn and(mask: u32) -> sock_filter {
    sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: mask }
}

/// Jumps over `over` instructions unless what was loaded is `value`.
fn unless(value: u32, over: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: 0, jf: over, k: value }
}

fn fail(errno: i32) -> sock_filter {
    let k = libc::SECCOMP_RET_ERRNO | (errno.unsigned_abs() & libc::SECCOMP_RET_DATA);
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k }
}

fn allow() -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }
}
