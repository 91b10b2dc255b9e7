//! What a library does to those beside it: uses up what a user or a machine has once, keeps it, or makes others look guilty.
//!
//! Each way says on standard error what came of it.

use std::ffi::{CString, c_void};
use std::mem::zeroed;
use std::time::Duration;

/// Tries `what`, if it is one of the ways here.
pub fn crowd(what: &str, argument: &str) -> bool {
    let path = CString::new(argument).unwrap_or_default();
    // SAFETY: none is promised: each call below is a fault on purpose, in a process that is made to survive it.
    unsafe {
        match what {
            "pass-files" => say(what, pass_files(own_pair(), libc::SYS_sendmsg)),
            "pass-many-files" => say(what, pass_files(own_pair(), libc::SYS_sendmmsg)),
            "pass-files-to-host" => say(what, pass_files(crate::hijack::channel(), libc::SYS_sendmsg)),
            "output-impatient" => {
                for fd in 0..3 {
                    let flags = libc::fcntl(fd, libc::F_GETFL);
                    say(what, libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK).into());
                }
            }
            "output-narrow" => {
                (1..3).for_each(|fd| say(what, libc::fcntl(fd, libc::F_SETPIPE_SZ, 4096).into()))
            }
            "output-packets" => (1..3).for_each(|fd| {
                say(what, libc::fcntl(fd, libc::F_SETFL, libc::O_WRONLY | libc::O_DIRECT).into());
            }),
            "spin" => {
                spin(argument.parse().unwrap_or(500));
                say(what, 0);
            }
            "spin-on" => {
                spin(argument.parse().unwrap_or(500));
                loop {
                    std::hint::spin_loop();
                }
            }
            "churn" => {
                // Each is followed by another, so that no list of them is ever true.
                fn churn(from: std::time::Instant) {
                    while from.elapsed() < Duration::from_millis(2) {
                        std::hint::spin_loop();
                    }
                    _ = std::thread::Builder::new()
                        .stack_size(16 << 10)
                        .spawn(|| churn(std::time::Instant::now()));
                }
                (0..16).for_each(|_| churn(std::time::Instant::now()));
                std::thread::sleep(Duration::from_secs(600));
            }
            "hold-threads" => {
                let sleep = || std::thread::sleep(Duration::from_secs(600));
                let wanted = argument.parse().unwrap_or(511);
                let made = (0..wanted)
                    .take_while(|_| std::thread::Builder::new().stack_size(16 << 10).spawn(sleep).is_ok())
                    .count();
                say(what, made as i64);
                std::thread::sleep(Duration::from_secs(3));
            }
            // Within what a probe may have, for a while.
            "hold-memory" => {
                let mut held = vec![0_u8; argument.parse::<usize>().unwrap_or(100) << 20];
                held.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
                say(what, held.len() as i64);
                std::thread::sleep(Duration::from_millis(500));
            }
            "hoard-files" => say(what, hoard_files()),
            "hoard-dropped" => say(what, hoard_dropped(false)),
            "hoard-dropped-file" => say(what, hoard_dropped(true)),
            "flock" => {
                say(what, open(&path).map_or(-1, |fd| libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB).into()))
            }
            "record-lock" => say(what, record_lock(&path, libc::F_SETLK)),
            "open-lock" => say(what, record_lock(&path, 37)),
            "decoys" => {
                for number in 0..100 {
                    _ = std::fs::write(format!("/nowhere-{number}"), "");
                    _ = std::fs::rename(format!("/nowhere-{number}"), "/nowhere");
                    _ = std::fs::create_dir(format!("/nowhere-{number}"));
                    _ = std::fs::remove_file(format!("/nowhere-{number}"));
                }
                _ = std::net::TcpStream::connect("192.0.2.1:25");
            }
            "watch" => {
                let fd = libc::inotify_init1(0);
                say(what, fd.into());
                say(what, libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_ALL_EVENTS).into());
            }
            // F_NOTIFY, of accesses and changes.
            "watch-folder" => say(what, open(&path).map_or(-1, |fd| libc::fcntl(fd, 1026, 3).into())),
            "watch-all" => say(what, libc::fanotify_init(0, 0).into()),
            "attempt-and-die" => attempt_and(|| _ = libc::kill(libc::getpid(), libc::SIGKILL)),
            "attempt-and-exit" => attempt_and(|| libc::_exit(0)),
            "attempt-and-crash" => attempt_and(|| std::ptr::null_mut::<u8>().write_volatile(1)),
            _ => return false,
        }
    }
    true
}

fn say(what: &str, answer: i64) {
    let err = std::io::Error::last_os_error();
    if answer < 0 { eprintln!("{what}: {err}") } else { eprintln!("{what}: it worked ({answer})") }
}

unsafe fn open(path: &std::ffi::CStr) -> Option<i32> {
    // SAFETY: the path ends, and the flags need no mode.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    (fd >= 0).then_some(fd)
}

fn own_pair() -> Option<i32> {
    let mut ends = [0; 2];
    // SAFETY: the call writes two numbers.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    (made == 0).then_some(ends[0])
}

/// Sends a hundred open files at a time, without anybody who takes them, until it is told no; answers how many went.
unsafe fn pass_files(socket: Option<i32>, call: libc::c_long) -> i64 {
    let Some(socket) = socket else { return -1 };
    let files = [0_i32; 100];
    let mut control = [0_u64; 64];
    let mut sent = 0;
    // SAFETY: the message and all that it points to live until the call has returned, and the control data fits.
    unsafe {
        let mut part = libc::iovec { iov_base: c"x".as_ptr().cast_mut().cast(), iov_len: 1 };
        let mut message: libc::mmsghdr = zeroed();
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
        message.msg_hdr.msg_control = control.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = libc::CMSG_SPACE(size_of_val(&files) as u32) as _;
        let head = libc::CMSG_FIRSTHDR(&message.msg_hdr);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(size_of_val(&files) as u32) as _;
        libc::CMSG_DATA(head).cast::<[i32; 100]>().write_unaligned(files);
        for _ in 0..40 {
            let answer = if call == libc::SYS_sendmmsg {
                libc::syscall(call, socket, &raw mut message, 1, libc::MSG_DONTWAIT)
            } else {
                libc::syscall(call, socket, &raw const message.msg_hdr, libc::MSG_DONTWAIT)
            };
            if answer < 0 {
                return if sent == 0 { -1 } else { sent };
            }
            sent += 100;
        }
    }
    sent
}

fn spin(wanted: usize) {
    for _ in 0..wanted {
        let spin = || loop {
            std::hint::spin_loop();
        };
        if std::thread::Builder::new().stack_size(16 << 10).spawn(spin).is_err() {
            return;
        }
    }
}

/// Files in memory that are never mapped, until it is told no: at most two GiB, so that the machine survives it.
unsafe fn hoard_files() -> i64 {
    let block = vec![1_u8; 1 << 20];
    let mut written = 0;
    // SAFETY: the name ends, and the block is as long as said.
    unsafe {
        while written < 2 << 30 {
            let fd = libc::memfd_create(c"x".as_ptr(), 0);
            if fd < 0 {
                return -1;
            }
            for _ in 0..4 {
                written += libc::write(fd, block.as_ptr().cast(), block.len()).max(0) as i64;
            }
        }
    }
    written
}

/// Shared memory that is filled and then dropped from the process, but not from the machine.
unsafe fn hoard_dropped(by_file: bool) -> i64 {
    let bytes: usize = if by_file { 16 << 20 } else { 64 << 20 };
    let mut held = 0;
    // SAFETY: each byte written lies in a mapping of its own.
    unsafe {
        while held < 1536 << 20 {
            let fd = if by_file { libc::memfd_create(c"x".as_ptr(), 0) } else { -1 };
            if by_file && (fd < 0 || libc::ftruncate(fd, bytes as i64) < 0) {
                return -1;
            }
            let anonymous = if by_file { 0 } else { libc::MAP_ANONYMOUS };
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED | anonymous, fd, 0);
            if at == libc::MAP_FAILED {
                return -1;
            }
            (0..bytes).step_by(4096).for_each(|page| at.cast::<u8>().add(page).write_volatile(1));
            libc::madvise(at, bytes, libc::MADV_DONTNEED);
            libc::close(fd);
            held += bytes;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    held as i64
}

unsafe fn record_lock(path: &std::ffi::CStr, command: i32) -> i64 {
    // SAFETY: the structure is plain numbers and lives.
    unsafe {
        let Some(fd) = open(path) else { return -1 };
        let mut lock: libc::flock = zeroed();
        lock.l_type = libc::F_RDLCK as i16;
        libc::fcntl(fd, command, (&raw const lock).cast::<c_void>()).into()
    }
}

/// Tries what is refused on many threads, and ends the process while that is looked at.
fn attempt_and(end: impl FnOnce()) {
    for _ in 0..8 {
        std::thread::spawn(|| {
            loop {
                // SAFETY: the call takes nothing.
                unsafe { libc::setsid() };
            }
        });
    }
    std::thread::sleep(Duration::from_millis(3));
    end();
}
