//! What a library does to be taken for something else, or to take what nobody watches: hides from whoever looks at its process,
//! steers others of its user, has kinds of memory that are counted elsewhere. All of Linux.
//!
//! Each way says on standard error what came of it.

use std::ffi::c_void;
use std::mem::zeroed;
use std::time::Duration;

/// Tries `what`, if it is one of the ways here.
pub fn sly(what: &str, argument: &str) -> bool {
    // SAFETY: none is promised: each call below is a fault on purpose, in a process that is made to survive it.
    unsafe {
        match what {
            // A confinement of its own, which would hold those that are loaded into the process after it, too.
            "landlock" => {
                // All rights to files of the first version, and no rule that gives any.
                let rights = 0x1fff_u64;
                let set = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rights, 8, 0);
                say(what, set);
                say(what, libc::syscall(libc::SYS_landlock_restrict_self, set, 0));
            }
            // Another filter; a handler of its own for its system calls, which answers whoever looks at the process; a core on
            // which nobody else runs while it does.
            "rewire" => {
                say(what, libc::syscall(libc::SYS_seccomp, 0, 0, 0));
                say(what, libc::prctl(59, 1, 0, usize::MAX >> 1, 0).into());
                say(what, libc::prctl(62, 1, 0, 1, 0).into());
            }
            // How those run that started it: later, on one processor, with few descriptors.
            "steer-host" => ancestors().for_each(|id| {
                say(what, libc::setpriority(libc::PRIO_PROCESS, id, 19).into());
                let id = id.cast_signed();
                let none = libc::sched_param { sched_priority: 0 };
                say(what, libc::sched_setscheduler(id, libc::SCHED_IDLE, &raw const none).into());
                let mut set: libc::cpu_set_t = zeroed();
                libc::CPU_SET(0, &mut set);
                say(what, libc::sched_setaffinity(id, size_of_val(&set), &raw const set).into());
                let few = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
                say(
                    what,
                    libc::prlimit(id, libc::RLIMIT_NOFILE, &raw const few, std::ptr::null_mut()).into(),
                );
            }),
            // The same of all of its user and its group, and the last place at the disks.
            "steer-many" => {
                say(what, libc::setpriority(libc::PRIO_USER, 0, 19).into());
                say(what, libc::setpriority(libc::PRIO_PGRP, 0, 19).into());
                say(what, libc::syscall(libc::SYS_ioprio_set, 3, 0, 3 << 13));
            }
            "signal-by-descriptor" => {
                let host = libc::syscall(libc::SYS_pidfd_open, libc::getppid(), 0);
                say(what, libc::syscall(libc::SYS_pidfd_send_signal, host, libc::SIGTERM, 0, 0));
            }
            "sync" => {
                libc::sync();
                let err = *libc::__errno_location();
                eprintln!("{what}: {err}");
            }
            // What the kernel keeps for it: what lies in pairs of sockets, signals that wait, pages of the machine's own pool, a
            // list of mappings that is long to read.
            "hoard-sundry" => {
                say("sockets", hoard_sockets(20));
                say("huge pages", huge_pages());
                let signal = libc::SIGRTMIN() + 5;
                let mut set: libc::sigset_t = zeroed();
                libc::sigaddset(&raw mut set, signal);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
                let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
                let me = libc::getpid();
                let queued = (0..200_000).take_while(|_| libc::sigqueue(me, signal, value) == 0).count();
                say("signals", queued as i64);
                many_mappings(20_000);
                std::thread::sleep(Duration::from_millis(50));
                libc::signal(signal, libc::SIG_IGN);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
                libc::signal(signal, libc::SIG_DFL);
            }
            "many-mappings" => {
                many_mappings(70_000);
                std::thread::sleep(Duration::from_millis(argument.parse().unwrap_or(0)));
            }
            // Says in the words of the host's handler that it crashed, at a place that is cut in the middle of a letter.
            "forge-crash" => {
                for letters in 91..94 {
                    let place = format!("{}{}", "x".repeat(letters), "é".repeat(40));
                    eprintln!(
                        "\npearlbed-crash signal=11 address={place} at={place} near={place} thread={place}"
                    );
                }
            }
            // Leaves threads, and says itself that it left none.
            "forge-done" => {
                for _ in 0..3 {
                    std::thread::spawn(|| std::thread::sleep(Duration::from_secs(600)));
                }
                say(what, crate::hijack::say_done());
                std::thread::sleep(Duration::from_secs(600));
            }
            _ => return false,
        }
    }
    true
}

fn say(what: &str, answer: i64) {
    let err = std::io::Error::last_os_error();
    if answer < 0 { eprintln!("{what}: {err}") } else { eprintln!("{what}: it worked ({answer})") }
}

/// The process that started this one, and the one that started that.
fn ancestors() -> impl Iterator<Item = u32> {
    let parent = |id: u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
    };
    let first = parent(std::process::id());
    std::iter::successors(first, move |id| parent(*id)).take(2).filter(|id| *id > 1)
}

unsafe fn hoard_sockets(wanted: usize) -> i64 {
    let block = vec![1_u8; 1 << 20];
    let mut held = 0;
    let mut ends = [0; 2];
    // SAFETY: the calls write two numbers and read a block that lives.
    unsafe {
        for _ in 0..wanted {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            if libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) != 0 {
                break;
            }
            for end in ends {
                let most = 1 << 30;
                let most = (&raw const most).cast::<c_void>();
                libc::setsockopt(end, libc::SOL_SOCKET, libc::SO_SNDBUF, most, 4);
                loop {
                    let sent = libc::send(end, block.as_ptr().cast(), block.len(), libc::MSG_NOSIGNAL);
                    if sent <= 0 {
                        break;
                    }
                    held += sent as i64;
                }
            }
        }
    }
    held
}

unsafe fn huge_pages() -> i64 {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping touches no other, and the name ends.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 2 << 20, access, flags, -1, 0);
        let file = libc::memfd_create(c"x".as_ptr(), libc::MFD_HUGETLB);
        if at == libc::MAP_FAILED { file.into() } else { 1 }
    }
}

/// Whoever reads the list of its mappings reads for long: two neighbours that are used alike would be one.
unsafe fn many_mappings(wanted: usize) {
    let mapped = (0..wanted).take_while(|number| {
        let access = if number % 2 == 0 { libc::PROT_READ } else { libc::PROT_NONE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping touches no other.
        let at = unsafe { libc::mmap(std::ptr::null_mut::<c_void>(), 4096, access, flags, -1, 0) };
        at != libc::MAP_FAILED
    });
    say("mappings", mapped.count() as i64);
}
