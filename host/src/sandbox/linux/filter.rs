//! Builds and installs a seccomp filter: a small assembler for the few shapes of program that are needed.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

/// What the kernel is told to do with a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let it happen.
    Allow,
    /// Fail it with this number.
    Errno(i32),
    /// Let the parent decide.
    Notify,
}

/// A condition on one argument of a system call, which is named by its index.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// The argument is not zero.
    NotZero(usize),
    /// One of these bits is set in the low half of the argument.
    AnyBit(usize, u32),
    /// The low half of the argument under this mask is this number: for C's `int` arguments.
    Masked(usize, u32, u32),
}

/// One line of a rule: where every test holds, the action. The next line is for what is left.
#[derive(Clone, Debug)]
pub struct Line {
    pub when: Vec<Test>,
    pub action: Action,
}

/// What happens to one system call: the first line whose tests hold.
#[derive(Clone, Debug)]
pub struct Rule {
    pub number: i64,
    pub lines: Vec<Line>,
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const AUDIT_ARCH: Option<u32> = None;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn arg_low(index: usize) -> u32 {
    16 + 8 * index as u32
}
const fn arg_high(index: usize) -> u32 {
    arg_low(index) + 4
}

/// The program: `rules` by number; numbers from `first_unknown` on do not exist; the rest is allowed.
pub fn assemble(rules: &[Rule], first_unknown: u32, foreign: Action) -> Vec<sock_filter> {
    let mut program =
        vec![load(ARCH), jump(BPF_JEQ, AUDIT_ARCH.unwrap_or(0), 1, 0), ret(foreign), load(NUMBER)];
    program.extend([jump(BPF_JGE, first_unknown, 0, 1), ret(Action::Errno(libc::ENOSYS))]);
    for rule in rules {
        let number = u32::try_from(rule.number).expect("system call numbers are small");
        let mut body = vec![];
        for line in &rule.lines {
            body.extend(assemble_line(line));
        }
        // What no line was for, and the number again for the rules that follow a body that fell through: none does.
        body.push(ret(Action::Allow));
        let length = u8::try_from(body.len()).expect("a rule has few lines");
        program.push(jump(BPF_JEQ, number, 0, length));
        program.extend(body);
    }
    program.push(ret(Action::Allow));
    program
}

fn assemble_line(line: &Line) -> Vec<sock_filter> {
    // From the end: each test jumps over all that follows in its line when it does not hold.
    let mut code = vec![ret(line.action)];
    for test in line.when.iter().rev() {
        let over = u8::try_from(code.len()).expect("a line has few tests");
        let mut part = match *test {
            Test::NotZero(index) => vec![
                load(arg_high(index)),
                jump(BPF_JEQ, 0, 0, 2),
                load(arg_low(index)),
                jump(BPF_JEQ, 0, over, 0),
            ],
            Test::AnyBit(index, bits) => vec![load(arg_low(index)), and(bits), jump(BPF_JEQ, 0, over, 0)],
            Test::Masked(index, mask, value) => {
                vec![load(arg_low(index)), and(mask), jump(BPF_JEQ, value, 0, over)]
            }
        };
        part.extend(code);
        code = part;
    }
    code
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn and(mask: u32) -> sock_filter {
    sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: mask }
}

fn jump(kind: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | kind | BPF_K) as u16, jt, jf, k: value }
}

fn ret(action: Action) -> sock_filter {
    let k = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | (errno as u32 & libc::SECCOMP_RET_DATA),
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
    };
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k }
}

/// Whether filters can be installed here.
///
/// # Errors
///
/// Why they cannot: the kernel's own error.
pub fn supported() -> io::Result<()> {
    if AUDIT_ARCH.is_none() {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    action_is_available(libc::SECCOMP_RET_ERRNO)
}

/// Whether the kernel can let the parent decide, with the structures that this program was built for.
pub fn can_notify() -> bool {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: the operation writes three 16-bit numbers to the structure, which lives.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &mut sizes) };
    // SECCOMP_USER_NOTIF_FLAG_CONTINUE came with Linux 5.5; a kernel that knows the sizes but not the flag refuses
    // the response, and the call then fails as if it were refused.
    answer == 0
        && usize::from(sizes.seccomp_notif) <= super::desk::NOTIFICATION_BYTES_MAX
        && usize::from(sizes.seccomp_notif_resp) <= super::desk::NOTIFICATION_BYTES_MAX
        && action_is_available(libc::SECCOMP_RET_USER_NOTIF).is_ok()
}

fn action_is_available(action: u32) -> io::Result<()> {
    // SAFETY: the operation reads one 32-bit number, which lives.
    match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &action) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Installs `program` for this thread and all that it starts. Returns the listener, where one was asked for.
pub fn install(program: &[sock_filter], notify: bool) -> io::Result<Option<OwnedFd>> {
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    let set = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies `len` instructions from `filter`, both of which live.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &header) }
    };
    let answer = if notify {
        // With the second flag only a deadly signal interrupts a call that the parent looks at (Linux 5.19).
        match set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
            -1 => set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
            fd => fd,
        }
    } else {
        set(0)
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call returned a new descriptor that nothing else owns.
        fd if notify => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })),
        _ => Ok(None),
    }
}
