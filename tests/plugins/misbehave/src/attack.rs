//! What a library does that was written to get out: ways around the confinement, and traces that the next one trips over. All of Linux.
//!
//! Each way says on standard error what came of it, for whoever reads the captured output.

use std::ffi::{CStr, CString, c_long, c_void};
use std::mem::{size_of, zeroed};
use std::time::Duration;

/// Tries `what`, if it is one of the ways here.
pub fn attack(what: &str, argument: &str) -> bool {
    let path = CString::new(argument).unwrap_or_default();
    // SAFETY: none is promised: each call below is a fault on purpose, in a process that is made to survive it.
    unsafe {
        match what {
            "raw-pair" => say(what, raw_pair(&path)),
            "other-pair" => say(what, pair(libc::AF_INET, libc::SOCK_STREAM).map_or(-1, i64::from)),
            "file-flags" => say(what, file_flags(&path)),
            "lease" => say(
                what,
                open(&path).map_or(-1, |fd| libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK).into()),
            ),
            "owner-signal" => say(what, owner_signal()),
            "shared-memory" => say(what, shared_memory()),
            "memory-files" => say(what, memory_files()),
            "threads" => say(what, threads(argument.parse().unwrap_or(1000))),
            "run-memory" => say(what, run_memory(true)),
            "run-memory-by-path" => say(what, run_memory(false)),
            "netlink" => say(what, libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).into()),
            "vsock" => say(what, libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).into()),
            "crypto-socket" => say(what, libc::socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0).into()),
            "abstract" => say(what, abstract_socket(false)),
            "abstract-bind" => say(what, abstract_socket(true)),
            "sysv" => say(what, libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600).into()),
            "keys" => say(
                what,
                libc::syscall(libc::SYS_add_key, c"user".as_ptr(), c"x".as_ptr(), c"x".as_ptr(), 1, -3),
            ),
            "bpf" => say(what, libc::syscall(libc::SYS_bpf, 0, [0_u64; 16].as_mut_ptr(), 128)),
            "userfaultfd" => say(what, libc::syscall(libc::SYS_userfaultfd, 1)),
            "mount" => say(
                what,
                libc::mount(c"none".as_ptr(), c"/mnt".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
                    .into(),
            ),
            "chroot" => say(what, libc::chroot(c"/".as_ptr()).into()),
            "setuid" => say(what, libc::setuid(0).into()),
            "unshare" => say(what, libc::unshare(libc::CLONE_NEWUSER).into()),
            "personality" => say(what, libc::personality(0x0004_0000).into()),
            "clock" => say(
                what,
                libc::clock_settime(libc::CLOCK_REALTIME, &libc::timespec { tv_sec: 1, tv_nsec: 0 }).into(),
            ),
            "parent-memory" => say(what, parent_memory()),
            "parent-files" => say(what, parent_files()),
            "dumpable" => say(what, libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into()),
            "real-time" => say(
                what,
                libc::sched_setscheduler(0, libc::SCHED_FIFO, &libc::sched_param { sched_priority: 1 })
                    .into(),
            ),
            "address-space" => {
                say(what, map(1 << 46, libc::MAP_PRIVATE | libc::MAP_NORESERVE).is_some().into())
            }
            "affinity" => say(what, affinity()),
            "rounding" => say(what, rounding()),
            "timer" => say(what, timer()),
            "hold-up" => hold_up(),
            "handler" => say(what, (libc::signal(libc::SIGSEGV, libc::SIG_IGN) as i64).min(1)),
            "redirect" => say(what, open(c"/dev/null").map_or(-1, |fd| libc::dup2(fd, 1).into())),
            "advise" => say(what, crate::hijack::advise(argument)),
            "hijack" => say(what, crate::hijack::hijack()),
            "many-attempts" => {
                for number in 0..100 {
                    _ = std::fs::write(format!("/nowhere-{number}"), "");
                }
                say(what, 0);
            }
            "flood-attempts" => loop {
                libc::syscall(libc::SYS_setsid);
            },
            _ => return false,
        }
    }
    true
}

fn say(what: &str, answer: i64) {
    let err = std::io::Error::last_os_error();
    if answer < 0 { eprintln!("{what}: {err}") } else { eprintln!("{what}: it worked ({answer})") }
}

unsafe fn open(path: &CStr) -> Option<i32> {
    // SAFETY: the path ends, and the flags need no mode.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    (fd >= 0).then_some(fd)
}

unsafe fn pair(family: i32, kind: i32) -> Option<i32> {
    let mut ends = [0; 2];
    // SAFETY: the call writes two numbers.
    let answer = unsafe { libc::socketpair(family, kind, 0, ends.as_mut_ptr()) };
    (answer == 0).then_some(ends[0])
}

fn address(path: &[u8]) -> (libc::sockaddr_un, u32) {
    // SAFETY: plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    (address, (2 + path.len()) as u32)
}

/// The kernel makes a datagram socket of a raw one, and a datagram goes to any address, out of a pair as well.
unsafe fn raw_pair(path: &CStr) -> i64 {
    // SAFETY: the message and what it points to live until the call has returned.
    unsafe {
        let Some(fd) = pair(libc::AF_UNIX, libc::SOCK_RAW) else { return -1 };
        let (mut to, len) = address(path.to_bytes_with_nul());
        let mut part = libc::iovec { iov_base: c"out".as_ptr().cast_mut().cast(), iov_len: 3 };
        let mut message: libc::msghdr = zeroed();
        message.msg_name = (&raw mut to).cast();
        message.msg_namelen = len;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        libc::sendmsg(fd, &message, 0) as i64
    }
}

/// `FS_IOC_SETFLAGS` with the flag that leaves a file out of dumps: its owner needs no right to write for it.
unsafe fn file_flags(path: &CStr) -> i64 {
    let mut flags: c_long = 0;
    // SAFETY: the calls write and read one number.
    unsafe {
        let Some(fd) = open(path) else { return -1 };
        libc::ioctl(fd, 0x8008_6601, &raw mut flags);
        flags |= 0x40;
        libc::ioctl(fd, 0x4008_6602, &raw const flags).into()
    }
}

/// Has the kernel signal the process that started this one when something can be read.
unsafe fn owner_signal() -> i64 {
    let mut ends = [0; 2];
    // SAFETY: the calls take numbers, and two of them write to what lives.
    unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr());
        // F_SETSIG is 10.
        let signal = libc::fcntl(ends[0], 10, libc::SIGKILL);
        let owner = libc::fcntl(ends[0], libc::F_SETOWN, libc::getppid());
        libc::fcntl(ends[0], libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK);
        libc::write(ends[1], c"x".as_ptr().cast(), 1);
        i64::from(signal.min(owner))
    }
}

unsafe fn map(bytes: usize, flags: i32) -> Option<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping touches no other.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags | libc::MAP_ANONYMOUS, -1, 0) };
    (at != libc::MAP_FAILED).then_some(at.cast())
}

/// Shared memory counts for no limit on data. Three times what a probe may use, so that the machine survives it.
unsafe fn shared_memory() -> i64 {
    let bytes = 1536 << 20;
    // SAFETY: each byte written lies in the mapping.
    unsafe {
        let Some(at) = map(bytes, libc::MAP_SHARED) else { return -1 };
        for page in (0..bytes).step_by(4096) {
            at.add(page).write_volatile(1);
        }
        std::thread::sleep(Duration::from_millis(200));
        libc::munmap(at.cast(), bytes);
    }
    bytes as i64
}

/// Files in memory, none of them longer than a file may be; eight, so that the machine survives it.
unsafe fn memory_files() -> i64 {
    let block = vec![1_u8; 1 << 20];
    let mut written = 0;
    // SAFETY: the name ends, and the block is as long as said.
    unsafe {
        for _ in 0..8 {
            let fd = libc::memfd_create(c"x".as_ptr(), 0);
            for _ in 0..60 {
                written += libc::write(fd, block.as_ptr().cast(), block.len()).max(0) as i64;
            }
            libc::close(fd);
        }
    }
    written
}

unsafe fn threads(wanted: usize) -> i64 {
    let sleep = || std::thread::sleep(Duration::from_secs(600));
    (0..wanted).take_while(|_| std::thread::Builder::new().stack_size(16 << 10).spawn(sleep).is_ok()).count()
        as i64
}

unsafe fn run_memory(by_descriptor: bool) -> i64 {
    // SAFETY: the texts end, and so do the lists of them.
    unsafe {
        let fd = libc::memfd_create(c"x".as_ptr(), 0);
        let text = b"#!/bin/sh\n";
        libc::write(fd, text.as_ptr().cast(), text.len());
        let arguments = [c"x".as_ptr(), std::ptr::null()];
        let none = [std::ptr::null()];
        if by_descriptor {
            return libc::fexecve(fd, arguments.as_ptr(), none.as_ptr()).into();
        }
        let path = CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        libc::execve(path.as_ptr(), arguments.as_ptr(), none.as_ptr()).into()
    }
}

unsafe fn abstract_socket(bind: bool) -> i64 {
    let (at, len) = address(b"\0pearlbed-tests");
    // SAFETY: the address lives until the call has returned.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        let at = (&raw const at).cast();
        i64::from(if bind { libc::bind(fd, at, len) } else { libc::connect(fd, at, len) })
    }
}

unsafe fn parent_memory() -> i64 {
    let mut bytes = [0_u8; 16];
    let ours = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 16 };
    let theirs = libc::iovec { iov_base: 0x0040_0000 as *mut c_void, iov_len: 16 };
    // SAFETY: the call writes sixteen bytes here, or none.
    unsafe { libc::process_vm_readv(libc::getppid(), &ours, 1, &theirs, 1, 0) as i64 }
}

unsafe fn parent_files() -> i64 {
    // SAFETY: the call takes nothing.
    let parent = unsafe { libc::getppid() };
    let found = ["environ", "mem", "maps", "fd"].iter().filter(|name| {
        let path = format!("/proc/{parent}/{name}");
        let opened = std::fs::File::open(&path)
            .is_ok_and(|mut file| std::io::Read::read(&mut file, &mut [0; 8]).is_ok_and(|count| count > 0));
        let listed = std::fs::read_dir(&path).is_ok();
        if opened || listed {
            eprintln!("parent-files: {name} can be read");
        }
        opened || listed
    });
    found.count() as i64 - 1
}

unsafe fn affinity() -> i64 {
    // SAFETY: a set is plain bits, and the call reads as many as said.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set).into()
    }
}

/// Rounds down from now on.
fn rounding() -> i64 {
    #[cfg(target_arch = "x86_64")]
    {
        let word = 0x3f80_u32;
        // SAFETY: the word is what the processor starts with but for the two bits of the rounding.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, readonly)) };
    }
    0
}

/// Leaves an environment that cannot be read, and a handler that holds up for ever whoever tries.
unsafe fn hold_up() {
    extern "C" fn wait(_: libc::c_int) {
        loop {
            // SAFETY: it takes and touches nothing.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: none is promised, but for this: the array stays for ever.
    unsafe {
        libc::signal(libc::SIGSEGV, wait as *const () as libc::sighandler_t);
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, anonymous, -1, 0);
        environ = vec![page.cast(), std::ptr::null_mut()].leak().as_mut_ptr();
    }
}

unsafe extern "C" {
    static mut environ: *mut *mut libc::c_char;
}

unsafe fn timer() -> i64 {
    // SAFETY: the structures live, and zero is a value of each.
    unsafe {
        let mut timer: libc::timer_t = zeroed();
        let mut made = -1;
        // Where nobody counts them another plugin may keep all that the user may have, for as long as it is looked at.
        for _ in 0..4000 {
            made = libc::timer_create(libc::CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut timer);
            if made == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut when: libc::itimerspec = zeroed();
        when.it_value.tv_sec = 100;
        i64::from(made.min(libc::timer_settime(timer, 0, &when, std::ptr::null_mut())))
    }
}
