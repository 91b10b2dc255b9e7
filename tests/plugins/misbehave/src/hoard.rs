//! What a library keeps that a user or a machine has once and no limit of its own process counts, and what it does to its
//! output, its priority and the list of its attempts. All of Linux.
//!
//! Each way says on standard error what came of it.

use std::ffi::c_void;
use std::mem::zeroed;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Tries `what`, if it is one of the ways here.
pub fn hoard(what: &str, argument: &str) -> bool {
    // SAFETY: none is promised: each call below is a fault on purpose, in a process that is made to survive it.
    unsafe {
        match what {
            // Its requests are counted for the whole machine.
            "aio" => {
                let mut context = 0_u64;
                say(what, libc::syscall(libc::SYS_io_setup, 4096, &raw mut context));
            }
            // Pages of pipes are counted for the user, in the memory of no process.
            "hoard-pipes" => {
                let block = vec![1_u8; 1 << 20];
                let mut held = 0;
                let mut ends = [0; 2];
                while libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK) == 0 {
                    libc::fcntl(ends[1], libc::F_SETPIPE_SZ, 1 << 20);
                    held += libc::write(ends[1], block.as_ptr().cast(), block.len()).max(0) as i64;
                }
                // Some are left for whoever looks at this process.
                (0..16).for_each(|less| _ = libc::close(ends[0].max(200) - less));
                say(what, held);
                wait(argument);
            }
            // So is what is waited for.
            "hoard-watches" => {
                let pollers: Vec<i32> = (0..200).map(|_| libc::epoll_create1(0)).collect();
                let mut watched = 0;
                for _ in 0..200 {
                    let file = libc::eventfd(0, 0);
                    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
                    for poller in &pollers {
                        let added = libc::epoll_ctl(*poller, libc::EPOLL_CTL_ADD, file, &raw mut event);
                        watched += i64::from(added == 0);
                    }
                }
                say(what, watched);
                wait(argument);
            }
            // And so are signals that may be under way, of which each timer has one.
            "hoard-timers" => {
                let mut made = 0;
                let mut timer: libc::timer_t = zeroed();
                // Where nobody counts them another one may keep all of them for a moment.
                for _ in 0..500 {
                    while made < 200_000
                        && libc::timer_create(libc::CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut timer)
                            == 0
                    {
                        made += 1;
                    }
                    if made > 0 {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                say(what, made);
                wait(argument);
            }
            // Memory of the kernel's own: a page of its tables for each page of zeros that is looked at.
            "hoard-tables" => {
                let bytes: usize = 16 << 30;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
                let at = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, flags, -1, 0);
                if at == libc::MAP_FAILED {
                    say(what, -1);
                    return true;
                }
                let read = |page| u64::from(at.cast::<u8>().add(page).read_volatile());
                let sum: u64 = (0..bytes).step_by(2 << 20).map(read).sum();
                say(what, sum as i64);
            }
            // Reads what was printed to its own output before the host does.
            "output-stolen" => {
                println!("{}", "printed ".repeat(100));
                for fd in 1..3 {
                    if let Ok(output) = std::fs::File::open(format!("/proc/self/fd/{fd}")) {
                        std::thread::spawn(move || {
                            _ = std::io::copy(&mut { output }, &mut std::io::sink());
                        });
                    }
                }
            }
            // Has itself ended when its output is read.
            "output-async" => {
                for fd in 1..3 {
                    libc::fcntl(fd, 10, libc::SIGIO);
                    libc::fcntl(fd, libc::F_SETOWN, libc::getpid());
                    let flags = libc::fcntl(fd, libc::F_GETFL);
                    say(what, libc::fcntl(fd, libc::F_SETFL, flags | libc::O_ASYNC).into());
                }
            }
            // Goes back to where it stood, as often as it is told to stand back.
            "spin-back" => {
                for _ in 0..8 {
                    std::thread::spawn(|| {
                        loop {
                            let none = libc::sched_param { sched_priority: 0 };
                            libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const none);
                            libc::setpriority(libc::PRIO_PROCESS, 0, -5);
                            (0..10_000).for_each(|_| std::hint::spin_loop());
                        }
                    });
                }
                loop {
                    std::hint::spin_loop();
                }
            }
            // Has no processor to itself and leaves none to others: all that it does is to wake another thread.
            "ping-pong" => {
                for _ in 0..16 {
                    std::thread::spawn(|| {
                        loop {
                            libc::sched_yield();
                        }
                    });
                }
                std::thread::sleep(Duration::from_secs(600));
            }
            // Attempts with names that are made to be shown, too long, or no text.
            "strange-names" => {
                let long = format!("/nowhere/{}", "x".repeat(4000));
                let names: [&[u8]; 4] = [
                    b"/nowhere/\x1b[2J\x1b]0;owned\x07",
                    b"/nowhere/a\nok  all is well",
                    b"/nowhere/\xff\xfe",
                    long.as_bytes(),
                ];
                for name in names {
                    _ = std::fs::write(std::ffi::OsStr::from_bytes(name), "");
                }
                say(what, 0);
            }
            // An attempt in the name of another process: from a thread that ends before anybody can ask whose it was.
            "attempt-and-gone" => {
                for _ in 0..64 {
                    let made = std::thread::Builder::new().stack_size(16 << 10).spawn(|| _ = libc::setsid());
                    drop(made);
                }
                std::thread::sleep(Duration::from_millis(50));
                say(what, 0);
            }
            // Attempts that are under way when it answers, and when its process ends.
            "attempt-at-the-end" => {
                for _ in 0..4 {
                    std::thread::spawn(|| {
                        loop {
                            libc::syscall(libc::SYS_setsid);
                        }
                    });
                }
            }
            "ancestors" => say(what, ancestors()),
            _ => return false,
        }
    }
    true
}

fn say(what: &str, answer: i64) {
    let err = std::io::Error::last_os_error();
    if answer < 0 { eprintln!("{what}: {err}") } else { eprintln!("{what}: it worked ({answer})") }
}

fn wait(milliseconds: &str) {
    std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap_or(0)));
}

/// Looks for what the programs that started this one keep: their environment and their memory. Ends by SIGABRT where a
/// secret is found, so that it cannot be missed.
fn ancestors() -> i64 {
    let mut process = std::process::id();
    let mut looked_at = 0;
    for _ in 0..4 {
        let status = std::fs::read(format!("/proc/{process}/status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status).into_owned();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        let Some(parent) = parent.filter(|parent| *parent > 1) else { break };
        process = parent;
        let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        looked_at += 1;
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let secret = b"PEARLBED_TESTS_SECRET";
        let has_secret = environment.windows(secret.len()).any(|window| window == secret);
        // Whoever started the host is a stranger, who keeps what he keeps; a child of the host's keeps nothing.
        let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let is_child = command.windows(3).any(|window| window == b"\0__");
        let is_ours = ["pearlbed", "exe"].iter().any(|ours| name.starts_with(ours)) && !is_child;
        if has_secret || (is_ours && memory_can_be_read(process)) {
            eprintln!("ancestors: {name} keeps nothing to itself");
            std::process::abort();
        }
    }
    looked_at
}

/// Whether a byte of the stack of `process` can be read.
fn memory_can_be_read(process: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let stack = maps.lines().find(|line| line.ends_with("[stack]"));
    let Some(start) = stack.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok()) else {
        return false;
    };
    let Ok(memory) = std::fs::File::open(format!("/proc/{process}/mem")) else { return false };
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is as long as said.
    let read = unsafe {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&memory);
        libc::pread(fd, bytes.as_mut_ptr().cast::<c_void>(), bytes.len(), start.cast_signed())
    };
    read > 0
}
