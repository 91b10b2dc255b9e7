//! Says where a confined process crashed: the child's half is a signal handler, the parent's half finds what it wrote.
//!
//! ```text
//! child: fault ──handler──> one line on standard error: signal, address, library+offset, thread
//!                    └────> what was there before, so that the process ends as it would have ended
//! ```
//!
//! The handler calls nothing but what a handler may: `open`, `read`, `write`, `prctl`, `sigaction`, `raise`, on memory
//! that was set aside for it. The foreign code shares the process and can write such a line itself; it then speaks about
//! its own end, and nobody believes it more than that.
//!
//! # Limitations
//!
//! - A library that handles these signals itself takes the place of this handler, and a thread of its own that overflows
//!   its stack leaves no room to run it: the signal alone is told then.
//! - Where the instruction lies in no library (an abort, a call of nothing) the nearest caller is looked for among the words
//!   on the stack, which may show one that has returned already: "near".

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::crash::MARK;

/// The signals that say that something is wrong with the code.
const SIGNALS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP];

/// The most mappings with code that are looked at.
const CODE_MAX: usize = 512;
/// The longest name of a library that is kept.
const NAME_MAX: usize = 64;
/// The words of the stack that are looked at for a caller.
const STACK_WORDS: usize = 4096;

/// A mapping that holds code.
#[derive(Clone, Copy)]
struct Code {
    start: usize,
    end: usize,
    /// Where the first mapping of the same file lies.
    base: usize,
    name: [u8; NAME_MAX],
    len: usize,
}

/// What the handler works with: its own stack could be too small for it.
struct Room {
    stack: [u8; 64 << 10],
    read: [u8; 4096],
    line: [u8; 512],
    map_line: [u8; 512],
    code: [Code; CODE_MAX],
    before: [libc::sigaction; 64],
    /// What the process's first thread is called, and with it every thread that nobody named.
    name: [u8; 16],
}

struct Shared(UnsafeCell<Room>);

// SAFETY: written by `install`, before there is a second thread, and by the one handler that wins `TAKEN`.
unsafe impl Sync for Shared {}

// SAFETY: every member is of numbers, for which zeroes are a value; no action is read before it was written.
static ROOM: Shared = Shared(UnsafeCell::new(unsafe { std::mem::zeroed() }));
/// A handler is at work, or was.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Has crashes of this process told. To be called while it has one thread.
pub fn install() {
    let room = ROOM.0.get();
    // SAFETY: the process has one thread, so nobody else looks at the room; the calls read structures that live, and the
    // stack lives as long as the process.
    unsafe {
        let stack = libc::stack_t { ss_sp: (&raw mut (*room).stack).cast(), ss_flags: 0, ss_size: 64 << 10 };
        // Where it is refused, the handler runs on what there was.
        libc::sigaltstack(&stack, std::ptr::null_mut());
        libc::prctl(libc::PR_GET_NAME, (&raw mut (*room).name).cast::<u8>());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        for signal in SIGNALS {
            libc::sigaction(signal, &action, &raw mut (*room).before[signal as usize]);
        }
    }
}

extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let room = ROOM.0.get();
    // SAFETY: the kernel passes descriptions that live during the call. The room is this handler's alone: a second fault,
    // also one of its own, finds it taken.
    unsafe {
        let code = (*info).si_code;
        if !TAKEN.swap(true, Ordering::AcqRel) {
            tell(room, signal, code, (*info).si_addr() as usize, context);
        }
        // A fault happens again, and meets what was there before: Rust's own words on a stack that overflowed. Anything
        // else is over once this returns.
        if code > 0 && matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
            libc::sigaction(signal, &raw const (*room).before[signal as usize], std::ptr::null_mut());
            return;
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &default, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// Where the thread was, and its stack pointer.
///
/// # Safety
///
/// `context` is what the kernel passed to a handler.
unsafe fn registers(context: *mut c_void) -> (usize, usize) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller vouches for the context.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let registers = &(*context).uc_mcontext.gregs;
        (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RSP as usize] as usize)
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        ((*context).uc_mcontext.pc as usize, (*context).uc_mcontext.sp as usize)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        (0, 0)
    }
}

/// Writes the line.
///
/// # Safety
///
/// `room` is nobody else's; `context` is the kernel's.
unsafe fn tell(room: *mut Room, signal: c_int, code: c_int, address: usize, context: *mut c_void) {
    // SAFETY: the caller vouches for both; the references are to different members.
    unsafe {
        let (at, stack) = registers(context);
        let room = &mut *room;
        let mut stack_end = 0;
        let count = read_maps(&mut room.read, &mut room.map_line, &mut room.code, stack, &mut stack_end);
        let code_of =
            |address: usize| room.code[..count].iter().find(|c| (c.start..c.end).contains(&address));
        let mut line = Line { text: &mut room.line, len: 0 };
        line.text(b"\n");
        line.text(MARK.as_bytes());
        line.text(b" signal=");
        line.number(signal as usize, 10);
        // A signal that somebody sent has no address.
        if code > 0 && signal != libc::SIGTRAP {
            line.text(b" address=0x");
            line.number(address, 16);
        }
        let library = code_of(at).filter(|code| !is_of_the_system(code));
        match library {
            Some(library) => line.place(b" at=", library, at),
            None => {
                if let Some(there) = code_of(at) {
                    line.place(b" at=", there, at);
                }
                let mut word = stack & !(size_of::<usize>() - 1);
                for _ in 0..STACK_WORDS {
                    if word == 0 || word + size_of::<usize>() > stack_end {
                        break;
                    }
                    // Below the end of the stack's own mapping, so it can be read.
                    let value = std::ptr::read_volatile(word as *const usize);
                    if let Some(caller) = code_of(value).filter(|code| !is_of_the_system(code)) {
                        line.place(b" near=", caller, value);
                        break;
                    }
                    word += size_of::<usize>();
                }
            }
        }
        let mut name = [0_u8; 16];
        if libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) == 0 && name != room.name {
            line.text(b" thread=");
            line.text(name.split(|byte| *byte == 0).next().unwrap_or_default());
        }
        line.text(b"\n");
        let (text, len) = (line.text.as_ptr(), line.len);
        libc::write(2, text.cast(), len);
    }
}

/// Whether it is the C library, or this program itself: what foreign code calls, and never what a reader looks for.
fn is_of_the_system(code: &Code) -> bool {
    let name = &code.name[..code.len];
    [&b"libc.so"[..], b"libc-", b"ld-linux", b"libpthread", b"pearlbed", b"ld-musl"]
        .iter()
        .any(|begin| name.starts_with(begin))
        || name == b"[vdso]"
}

/// Text in a buffer that does not grow.
struct Line<'a> {
    text: &'a mut [u8; 512],
    len: usize,
}

impl Line<'_> {
    fn text(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // The last byte is for the end of the line.
            let is_end = byte == b'\n';
            if self.len + usize::from(!is_end) < self.text.len() {
                self.text[self.len] = byte;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, mut number: usize, base: usize) {
        let mut digits = [0_u8; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[number % base];
            number /= base;
            if number == 0 || first == 0 {
                break;
            }
        }
        self.text(&digits[first..]);
    }

    fn place(&mut self, label: &[u8], code: &Code, address: usize) {
        self.text(label);
        for &byte in &code.name[..code.len] {
            // A name ends with a space in the line, so it has none.
            self.text(&[if byte.is_ascii_graphic() { byte } else { b'?' }]);
        }
        self.text(b"+0x");
        self.number(address.wrapping_sub(code.base), 16);
    }
}

/// Reads `/proc/self/maps`: which code lies where, and where the mapping ends that holds the stack at `stack`.
///
/// # Safety
///
/// Only in a process whose descriptors may be used, as in a handler.
unsafe fn read_maps(
    read: &mut [u8; 4096],
    line: &mut [u8; 512],
    code: &mut [Code; CODE_MAX],
    stack: usize,
    stack_end: &mut usize,
) -> usize {
    // SAFETY: the calls read a text that ends with a zero, and write into a buffer of the length that they are told.
    unsafe {
        let file = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return 0;
        }
        let mut maps = Maps { code, count: 0, file: ([0; NAME_MAX], 0, 0), stack, stack_end };
        let mut len = 0;
        loop {
            let got = libc::read(file, read.as_mut_ptr().cast(), read.len());
            if got <= 0 {
                break;
            }
            for &byte in &read[..got as usize] {
                if byte == b'\n' {
                    maps.line(&line[..len]);
                    len = 0;
                } else if len < line.len() {
                    line[len] = byte;
                    len += 1;
                }
            }
        }
        libc::close(file);
        maps.count
    }
}

struct Maps<'a> {
    code: &'a mut [Code; CODE_MAX],
    count: usize,
    /// The file that the last mapping was of: its name, the name's length, and where its first mapping lies.
    file: ([u8; NAME_MAX], usize, usize),
    stack: usize,
    stack_end: &'a mut usize,
}

impl Maps<'_> {
    /// A line such as `7f12-7f34 r-xp 00001000 08:01 42    /usr/lib/libfoo.so`.
    fn line(&mut self, line: &[u8]) {
        let (start, rest) = hexadecimal(line);
        let (end, rest) = hexadecimal(rest.strip_prefix(b"-").unwrap_or_default());
        if start <= self.stack && self.stack < end {
            *self.stack_end = end;
        }
        let is_code = rest.get(3) == Some(&b'x');
        // The path follows four fields, and may hold spaces.
        let mut fields = 0;
        let mut at = 0;
        while at < rest.len() && fields < 5 {
            let is_space = rest[at] == b' ';
            if is_space && rest.get(at + 1).is_some_and(|next| *next != b' ') {
                fields += 1;
            }
            at += 1;
        }
        let path = if fields == 5 { &rest[at..] } else { &[][..] };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = &name[..name.len().min(NAME_MAX)];
        if name.is_empty() || self.file.0[..self.file.1] != *name {
            self.file.0[..name.len()].copy_from_slice(name);
            self.file.1 = name.len();
            self.file.2 = start;
        }
        if is_code && !name.is_empty() && self.count < CODE_MAX {
            let (name, len, base) = self.file;
            self.code[self.count] = Code { start, end, base, name, len };
            self.count += 1;
        }
    }
}

/// The hexadecimal number at the beginning of `text`, and what follows it.
fn hexadecimal(text: &[u8]) -> (usize, &[u8]) {
    let mut number = 0_usize;
    let mut at = 0;
    while let Some(digit) = text.get(at).and_then(|byte| (*byte as char).to_digit(16)) {
        number = number.wrapping_mul(16).wrapping_add(digit as usize);
        at += 1;
    }
    (number, &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_named_by_its_file_and_counted_from_its_first_mapping() {
        const NONE: Code = Code { start: 0, end: 0, base: 0, name: [0; NAME_MAX], len: 0 };
        let mut code = Box::new([NONE; CODE_MAX]);
        let mut stack_end = 0;
        let mut maps = Maps {
            code: &mut code,
            count: 0,
            file: ([0; NAME_MAX], 0, 0),
            stack: 0x9100,
            stack_end: &mut stack_end,
        };
        for line in [
            "1000-2000 r--p 00000000 08:01 42                         /usr/lib/lib a.so",
            "2000-3000 r-xp 00001000 08:01 42                         /usr/lib/lib a.so",
            "3000-4000 rw-p 00002000 08:01 42                         /usr/lib/lib a.so",
            "5000-6000 r-xp 00000000 00:00 0 ",
            "7000-8000 r-xp 00000000 08:01 43                         /tmp/libb.so",
            "9000-a000 rw-p 00000000 00:00 0                          [stack]",
        ] {
            maps.line(line.as_bytes());
        }
        let count = maps.count;
        let seen: Vec<_> = code[..count]
            .iter()
            .map(|code| (code.start, code.end, code.base, String::from_utf8_lossy(&code.name[..code.len])))
            .collect();
        assert_eq!(
            seen,
            [(0x2000, 0x3000, 0x1000, "lib a.so".into()), (0x7000, 0x8000, 0x7000, "libb.so".into())]
        );
        assert_eq!(stack_end, 0xa000);
        let mut text = [0; 512];
        let mut line = Line { text: &mut text, len: 0 };
        line.place(b" at=", &code[0], 0x2345);
        line.text(&[b'x'; 600]);
        line.text(b"\n");
        let len = line.len;
        assert!(text.starts_with(b" at=lib?a.so+0x1345xx") && text[len - 1] == b'\n' && len == 512);
    }
}
