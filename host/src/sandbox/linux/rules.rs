//! Which system calls are refused, which the parent decides, and which need no thought.
//!
//! Everything that is not here is allowed: computing, memory, threads, clocks, reading, and whatever acts on
//! descriptors that are open already. Every number that Linux 6.18 knows was looked at; later ones do not exist for
//! the child. Landlock stands behind the calls that name files.

use libc::sock_filter;

use super::super::{Policy, Reading, ViolationKind as Kind};
use super::filter::{Action, Line, Rule, Test, assemble};

/// The first number after those that were looked at (`file_setattr` is 469). It is the same on every machine, and
/// below the bit that marks x86's x32 calls.
const FIRST_UNKNOWN: u32 = 470;

/// Flags of `open` that can change something: write-only, read-write, create, truncate, temporary file.
pub const WRITING: u32 =
    (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY))
        as u32;

/// Flags of `clone` that make a namespace.
const NAMESPACES: u32 = 0x7e02_0000;
/// `MSG_FASTOPEN`, which connects by sending.
const FASTOPEN: u32 = 0x2000_0000;
/// The bits of a socket's type that are not flags.
pub const SOCKET_TYPE: u32 = 0xf;

/// Where a call's arguments say what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Nothing that helps a person.
    Nothing,
    /// A path.
    Path(usize),
    /// A folder's descriptor, and then a path relative to it.
    At(usize),
    /// Two paths.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "newer machines have only calls with folders")
    )]
    Paths(usize, usize),
    /// Twice a folder's descriptor and a path.
    Ats(usize, usize),
    /// An open file.
    Open(usize),
    /// A process.
    Process(usize),
}

/// A call that changes files: refused, except below the folders that may be written.
pub const FILE_CHANGES: &[(i64, Kind, About)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, Kind::WriteFile, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, Kind::Remove, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, Kind::Remove, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, Kind::Create, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, Kind::Create, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, Kind::Rename, About::Paths(0, 1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, Kind::Create, About::Paths(0, 1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, Kind::Create, About::Path(1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, Kind::ChangeFile, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, Kind::ChangeFile, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, Kind::ChangeFile, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utime, Kind::ChangeFile, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utimes, Kind::ChangeFile, About::Path(0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_futimesat, Kind::ChangeFile, About::At(0)),
    (libc::SYS_renameat, Kind::Rename, About::Ats(0, 2)),
    (libc::SYS_unlinkat, Kind::Remove, About::At(0)),
    (libc::SYS_mkdirat, Kind::Create, About::At(0)),
    (libc::SYS_mknodat, Kind::Create, About::At(0)),
    (libc::SYS_renameat2, Kind::Rename, About::Ats(0, 2)),
    (libc::SYS_linkat, Kind::Create, About::Ats(0, 2)),
    (libc::SYS_symlinkat, Kind::Create, About::At(1)),
    (libc::SYS_truncate, Kind::ChangeFile, About::Path(0)),
    (libc::SYS_fchmod, Kind::ChangeFile, About::Open(0)),
    (libc::SYS_fchmodat, Kind::ChangeFile, About::At(0)),
    (libc::SYS_fchown, Kind::ChangeFile, About::Open(0)),
    (libc::SYS_fchownat, Kind::ChangeFile, About::At(0)),
    (libc::SYS_utimensat, Kind::ChangeFile, About::At(0)),
    (libc::SYS_setxattr, Kind::ChangeFile, About::Path(0)),
    (libc::SYS_lsetxattr, Kind::ChangeFile, About::Path(0)),
    (libc::SYS_fsetxattr, Kind::ChangeFile, About::Open(0)),
    (libc::SYS_removexattr, Kind::ChangeFile, About::Path(0)),
    (libc::SYS_lremovexattr, Kind::ChangeFile, About::Path(0)),
    (libc::SYS_fremovexattr, Kind::ChangeFile, About::Open(0)),
    // fchmodat2, setxattrat, removexattrat, file_setattr: too new for every libc, and the same on every machine.
    (452, Kind::ChangeFile, About::At(0)),
    (463, Kind::ChangeFile, About::At(0)),
    (466, Kind::ChangeFile, About::At(0)),
    (469, Kind::ChangeFile, About::At(0)),
];

/// Calls that are refused whatever was granted.
pub const NEVER: &[(i64, Kind, About)] = &[
    (libc::SYS_bind, Kind::Listen, About::Nothing),
    (libc::SYS_listen, Kind::Listen, About::Nothing),
    (libc::SYS_ptrace, Kind::Trace, About::Process(1)),
    (libc::SYS_process_vm_readv, Kind::Trace, About::Process(0)),
    (libc::SYS_process_vm_writev, Kind::Trace, About::Process(0)),
    (libc::SYS_kcmp, Kind::Trace, About::Process(0)),
    (libc::SYS_pidfd_getfd, Kind::Trace, About::Nothing),
    (libc::SYS_process_madvise, Kind::Trace, About::Nothing),
    (libc::SYS_process_mrelease, Kind::Trace, About::Nothing),
    (libc::SYS_perf_event_open, Kind::Trace, About::Nothing),
    (libc::SYS_io_uring_setup, Kind::IoUring, About::Nothing),
    (libc::SYS_io_uring_enter, Kind::IoUring, About::Nothing),
    (libc::SYS_io_uring_register, Kind::IoUring, About::Nothing),
    (libc::SYS_setsid, Kind::Escape, About::Nothing),
    (libc::SYS_setpgid, Kind::Escape, About::Nothing),
    (libc::SYS_setrlimit, Kind::Escape, About::Nothing),
    (libc::SYS_seccomp, Kind::Escape, About::Nothing),
    (libc::SYS_unshare, Kind::Escape, About::Nothing),
    (libc::SYS_setns, Kind::Escape, About::Nothing),
    (libc::SYS_shmget, Kind::SharedObject, About::Nothing),
    (libc::SYS_shmat, Kind::SharedObject, About::Nothing),
    (libc::SYS_shmctl, Kind::SharedObject, About::Nothing),
    (libc::SYS_semget, Kind::SharedObject, About::Nothing),
    (libc::SYS_semctl, Kind::SharedObject, About::Nothing),
    (libc::SYS_semop, Kind::SharedObject, About::Nothing),
    (libc::SYS_semtimedop, Kind::SharedObject, About::Nothing),
    (libc::SYS_msgget, Kind::SharedObject, About::Nothing),
    (libc::SYS_msgctl, Kind::SharedObject, About::Nothing),
    (libc::SYS_msgsnd, Kind::SharedObject, About::Nothing),
    (libc::SYS_msgrcv, Kind::SharedObject, About::Nothing),
    (libc::SYS_mq_open, Kind::SharedObject, About::Nothing),
    (libc::SYS_mq_unlink, Kind::SharedObject, About::Nothing),
    (libc::SYS_add_key, Kind::SharedObject, About::Nothing),
    (libc::SYS_request_key, Kind::SharedObject, About::Nothing),
    (libc::SYS_keyctl, Kind::SharedObject, About::Nothing),
    (libc::SYS_setuid, Kind::Administer, About::Nothing),
    (libc::SYS_setgid, Kind::Administer, About::Nothing),
    (libc::SYS_setreuid, Kind::Administer, About::Nothing),
    (libc::SYS_setregid, Kind::Administer, About::Nothing),
    (libc::SYS_setresuid, Kind::Administer, About::Nothing),
    (libc::SYS_setresgid, Kind::Administer, About::Nothing),
    (libc::SYS_setfsuid, Kind::Administer, About::Nothing),
    (libc::SYS_setfsgid, Kind::Administer, About::Nothing),
    (libc::SYS_setgroups, Kind::Administer, About::Nothing),
    (libc::SYS_capset, Kind::Administer, About::Nothing),
    (libc::SYS_chroot, Kind::Administer, About::Path(0)),
    (libc::SYS_pivot_root, Kind::Administer, About::Path(0)),
    (libc::SYS_mount, Kind::Administer, About::Path(1)),
    (libc::SYS_umount2, Kind::Administer, About::Path(0)),
    (libc::SYS_move_mount, Kind::Administer, About::Nothing),
    (libc::SYS_open_tree, Kind::Administer, About::Nothing),
    (libc::SYS_fsopen, Kind::Administer, About::Nothing),
    (libc::SYS_fsconfig, Kind::Administer, About::Nothing),
    (libc::SYS_fsmount, Kind::Administer, About::Nothing),
    (libc::SYS_fspick, Kind::Administer, About::Nothing),
    (libc::SYS_mount_setattr, Kind::Administer, About::Nothing),
    // open_tree_attr: too new for every libc.
    (467, Kind::Administer, About::Nothing),
    (libc::SYS_open_by_handle_at, Kind::Administer, About::Nothing),
    (libc::SYS_fanotify_init, Kind::Administer, About::Nothing),
    (libc::SYS_fanotify_mark, Kind::Administer, About::Nothing),
    (libc::SYS_quotactl, Kind::Administer, About::Nothing),
    (libc::SYS_quotactl_fd, Kind::Administer, About::Nothing),
    (libc::SYS_swapon, Kind::Administer, About::Path(0)),
    (libc::SYS_swapoff, Kind::Administer, About::Path(0)),
    (libc::SYS_acct, Kind::Administer, About::Path(0)),
    (libc::SYS_reboot, Kind::Administer, About::Nothing),
    (libc::SYS_sethostname, Kind::Administer, About::Nothing),
    (libc::SYS_setdomainname, Kind::Administer, About::Nothing),
    (libc::SYS_init_module, Kind::Administer, About::Nothing),
    (libc::SYS_finit_module, Kind::Administer, About::Nothing),
    (libc::SYS_delete_module, Kind::Administer, About::Nothing),
    (libc::SYS_kexec_load, Kind::Administer, About::Nothing),
    (libc::SYS_kexec_file_load, Kind::Administer, About::Nothing),
    (libc::SYS_syslog, Kind::Administer, About::Nothing),
    (libc::SYS_vhangup, Kind::Administer, About::Nothing),
    (libc::SYS_settimeofday, Kind::Administer, About::Nothing),
    (libc::SYS_clock_settime, Kind::Administer, About::Nothing),
    (libc::SYS_adjtimex, Kind::Administer, About::Nothing),
    (libc::SYS_clock_adjtime, Kind::Administer, About::Nothing),
    (libc::SYS_bpf, Kind::Administer, About::Nothing),
    (libc::SYS_userfaultfd, Kind::Administer, About::Nothing),
    (libc::SYS_lookup_dcookie, Kind::Administer, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_iopl, Kind::Administer, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_ioperm, Kind::Administer, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_uselib, Kind::Administer, About::Path(0)),
];

/// `prctl` operations that would undo the confinement or blind the parent.
const PRCTL_NEVER: [i32; 7] = [
    libc::PR_SET_PDEATHSIG,
    libc::PR_SET_DUMPABLE,
    libc::PR_SET_SECCOMP,
    libc::PR_SET_SECUREBITS,
    libc::PR_SET_MM,
    libc::PR_SET_CHILD_SUBREAPER,
    libc::PR_SET_PTRACER,
];

/// The filter for a process that may do what `policy` grants. To be called by the process itself.
///
/// Without `notify`, what the parent would refuse is refused by the kernel, and what it would decide is left to
/// Landlock where that can decide it and refused where it cannot.
pub fn program(policy: &Policy, notify: bool) -> Vec<sock_filter> {
    let mut rules = vec![];
    rules.extend(file_rules(policy, notify));
    rules.extend(process_rules(policy, notify));
    rules.extend(network_rules(policy, notify));
    let refuse = refusal(notify);
    rules.extend(NEVER.iter().map(|&(number, ..)| Rule { number, lines: vec![always(refuse)] }));
    assemble(&rules, FIRST_UNKNOWN, refuse)
}

fn refusal(notify: bool) -> Action {
    if notify { Action::Notify } else { Action::Errno(libc::EPERM) }
}

fn always(action: Action) -> Line {
    Line { when: vec![], action }
}

fn when(tests: &[Test], action: Action) -> Line {
    Line { when: tests.to_vec(), action }
}

/// C's `int` argument number `index` is `value`.
const fn int(index: usize, value: i32) -> Test {
    Test::Masked(index, u32::MAX, value as u32)
}

fn file_rules(policy: &Policy, notify: bool) -> Vec<Rule> {
    let writes_anything = !policy.write.is_empty() || !policy.devices.is_empty();
    // Where the parent cannot be asked, Landlock decides alone about granted folders.
    let ask = if notify { Action::Notify } else { Action::Allow };
    let writing = if writes_anything { ask } else { refusal(notify) };
    let mut rules: Vec<Rule> =
        FILE_CHANGES.iter().map(|&(number, ..)| Rule { number, lines: vec![always(writing)] }).collect();

    let open = |number, flags| {
        let reading = match policy.reading {
            Reading::Everything => Action::Allow,
            Reading::System(_) => ask,
        };
        Rule { number, lines: vec![when(&[Test::AnyBit(flags, WRITING)], writing), always(reading)] }
    };
    #[cfg(target_arch = "x86_64")]
    rules.push(open(libc::SYS_open, 1));
    rules.push(open(libc::SYS_openat, 2));
    // Its flags lie in memory, which a filter cannot read. Every libc falls back to `openat`.
    rules.push(Rule { number: libc::SYS_openat2, lines: vec![always(Action::Errno(libc::ENOSYS))] });
    // Typing into somebody's terminal.
    let terminal = [libc::TIOCSTI as i32, libc::TIOCLINUX as i32];
    rules.push(Rule {
        number: libc::SYS_ioctl,
        lines: terminal.map(|request| when(&[int(1, request)], Action::Errno(libc::EPERM))).to_vec(),
    });
    rules
}

fn process_rules(policy: &Policy, notify: bool) -> Vec<Rule> {
    let refuse = refusal(notify);
    let runs_programs = !policy.programs.is_empty();
    let starting = if runs_programs { Action::Allow } else { refuse };
    let running = match (runs_programs, notify) {
        (true, false) => Action::Allow,
        _ => refuse,
    };
    // Where the parent cannot be asked whether a thread is the process's own, it is believed.
    let ask = if notify { Action::Notify } else { Action::Allow };
    let me = std::process::id() as i32;
    let signal = |number, signal: usize| {
        let mut lines =
            vec![when(&[int(0, me), int(signal, libc::SIGSTOP)], refuse), when(&[int(0, me)], Action::Allow)];
        // What it runs has numbers of its own, and Landlock keeps its signals inside.
        lines.push(always(if runs_programs { Action::Allow } else { refuse }));
        Rule { number, lines }
    };
    let of_thread = |number, who: usize, also: &[Test]| {
        let mut own = vec![int(who, 0)];
        own.extend_from_slice(also);
        Rule { number, lines: vec![when(&own, Action::Allow), always(ask)] }
    };
    let mut rules = vec![
        Rule { number: libc::SYS_execve, lines: vec![always(running)] },
        Rule { number: libc::SYS_execveat, lines: vec![always(refuse)] },
        #[cfg(target_arch = "x86_64")]
        Rule { number: libc::SYS_fork, lines: vec![always(starting)] },
        #[cfg(target_arch = "x86_64")]
        Rule { number: libc::SYS_vfork, lines: vec![always(starting)] },
        Rule {
            number: libc::SYS_clone,
            lines: vec![
                when(&[Test::AnyBit(0, NAMESPACES)], refuse),
                when(&[Test::AnyBit(0, libc::CLONE_THREAD as u32)], Action::Allow),
                always(starting),
            ],
        },
        // Its flags lie in memory, which a filter cannot read. Every libc falls back to `clone`.
        Rule { number: libc::SYS_clone3, lines: vec![always(Action::Errno(libc::ENOSYS))] },
        signal(libc::SYS_kill, 1),
        signal(libc::SYS_tgkill, 2),
        signal(libc::SYS_rt_sigqueueinfo, 1),
        signal(libc::SYS_rt_tgsigqueueinfo, 2),
        Rule { number: libc::SYS_tkill, lines: vec![always(refuse)] },
        Rule { number: libc::SYS_pidfd_send_signal, lines: vec![always(refuse)] },
        Rule {
            number: libc::SYS_prctl,
            lines: PRCTL_NEVER.iter().map(|&operation| when(&[int(0, operation)], refuse)).collect(),
        },
        Rule { number: libc::SYS_prlimit64, lines: vec![when(&[Test::NotZero(2)], refuse)] },
        Rule {
            number: libc::SYS_personality,
            // Asking which one it has changes nothing.
            lines: vec![when(&[int(0, -1)], Action::Allow), always(refuse)],
        },
        of_thread(libc::SYS_sched_setaffinity, 0, &[]),
        of_thread(libc::SYS_sched_setscheduler, 0, &[]),
        of_thread(libc::SYS_sched_setparam, 0, &[]),
        of_thread(libc::SYS_sched_setattr, 0, &[]),
        of_thread(libc::SYS_setpriority, 1, &[int(0, libc::PRIO_PROCESS as i32)]),
        // IOPRIO_WHO_PROCESS is 1.
        of_thread(libc::SYS_ioprio_set, 1, &[int(0, 1)]),
    ];
    rules.retain(|rule| !rule.lines.is_empty());
    rules
}

fn network_rules(policy: &Policy, notify: bool) -> Vec<Rule> {
    let refuse = refusal(notify);
    let mut sockets = vec![];
    let stream = Test::Masked(1, SOCKET_TYPE, libc::SOCK_STREAM as u32);
    // Connections are granted by the parent alone, so without it no socket is.
    if notify && !policy.unix_sockets.is_empty() {
        sockets.push(when(&[int(0, libc::AF_UNIX), stream], Action::Allow));
    }
    if notify && !policy.network.is_empty() {
        for family in [libc::AF_INET, libc::AF_INET6] {
            // No other protocol than TCP: Landlock does not hold back MPTCP.
            for protocol in [0, libc::IPPROTO_TCP] {
                sockets.push(when(&[int(0, family), stream, int(2, protocol)], Action::Allow));
            }
        }
    }
    sockets.push(always(refuse));
    let by_sending = |number, flags| Rule {
        number,
        lines: vec![when(&[Test::AnyBit(flags, FASTOPEN)], Action::Errno(libc::EOPNOTSUPP))],
    };
    vec![
        Rule { number: libc::SYS_socket, lines: sockets },
        Rule {
            number: libc::SYS_socketpair,
            // A datagram socket can send to any address, even one of a pair.
            lines: vec![when(&[Test::Masked(1, SOCKET_TYPE, libc::SOCK_DGRAM as u32)], refuse)],
        },
        Rule { number: libc::SYS_connect, lines: vec![always(refuse)] },
        Rule { number: libc::SYS_sendto, lines: vec![when(&[Test::NotZero(4)], refuse)] },
        by_sending(libc::SYS_sendmsg, 2),
        by_sending(libc::SYS_sendmmsg, 3),
    ]
}
