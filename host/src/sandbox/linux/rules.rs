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

/// Flags of `clone` that make a namespace, and `CLONE_PARENT`, which makes a child of our process and not of the
/// child's.
pub const ESCAPES: u32 = 0x7e02_0000 | libc::CLONE_PARENT as u32;
/// `MSG_FASTOPEN`, which connects by sending.
const FASTOPEN: u32 = 0x2000_0000;
/// `F_NOTIFY`, which tells what happens in a folder.
pub const F_NOTIFY: i32 = 1026;
/// `F_SETLK`, `F_SETLKW`, `F_OFD_SETLK` and `F_OFD_SETLKW`: locks, also on files that are open for reading alone.
pub const LOCKS: [i32; 4] = [libc::F_SETLK, libc::F_SETLKW, 37, 38];
/// The bits of the numbers of real-time signals, which are queued.
const REAL_TIME: u32 = 0x60;
/// `IOPRIO_WHO_PROCESS`.
pub const IO_OF_PROCESS: i32 = 1;
/// Landlock's own calls, the same on every machine.
const LANDLOCK: [i64; 3] = [444, 445, 446];
/// `memfd_secret`, too new for every libc.
pub const MEMFD_SECRET: i64 = 447;
/// `F_SETOWN_EX`, whose argument lies in memory.
pub const F_SETOWN_EX: i32 = 15;
/// `FIOSETOWN` and `SIOCSPGRP`, which are `F_SETOWN` for sockets.
pub const SIGNAL_OWNER: [i32; 2] = [0x8901, 0x8902];
/// The kinds of `ioctl` that act on files and folders: `f` and `X` of every file system, `v` of ext, `r` of FAT, btrfs, f2fs.
const FILE_CONTROLS: [u32; 6] = [b'f' as u32, b'X' as u32, b'v' as u32, b'r' as u32, 0x94, 0xf5];
/// Those of them that only ask: `FS_IOC_GETFLAGS`, `FS_IOC_FIEMAP`, `FS_IOC_FSGETXATTR`, `FS_IOC_GETVERSION`.
const FILE_QUESTIONS: [i32; 4] =
    [0x8008_6601_u32 as i32, 0xc020_660b_u32 as i32, 0x801c_581f_u32 as i32, 0x8008_7601_u32 as i32];
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

/// Calls that tell what is noted beside a file, its name or its contents, which Landlock does not keep to itself: refused
/// where not every file may be read. Not judged by path: nothing stands behind a path that changes after the look.
pub const ATTRIBUTES: &[(i64, About)] = &[
    (libc::SYS_getxattr, About::Path(0)),
    (libc::SYS_lgetxattr, About::Path(0)),
    (libc::SYS_listxattr, About::Path(0)),
    (libc::SYS_llistxattr, About::Path(0)),
    // getxattrat, listxattrat: too new for every libc.
    (464, About::At(0)),
    (465, About::At(0)),
];

/// Calls that are refused whatever was granted, with their names.
pub const NEVER: &[(&str, i64, Kind, About)] = &[
    ("bind", libc::SYS_bind, Kind::Listen, About::Nothing),
    ("listen", libc::SYS_listen, Kind::Listen, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    ("inotify_init", libc::SYS_inotify_init, Kind::WatchFile, About::Nothing),
    ("inotify_init1", libc::SYS_inotify_init1, Kind::WatchFile, About::Nothing),
    ("inotify_add_watch", libc::SYS_inotify_add_watch, Kind::WatchFile, About::Path(1)),
    ("ptrace", libc::SYS_ptrace, Kind::Trace, About::Process(1)),
    ("process_vm_readv", libc::SYS_process_vm_readv, Kind::Trace, About::Process(0)),
    ("process_vm_writev", libc::SYS_process_vm_writev, Kind::Trace, About::Process(0)),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, Kind::Trace, About::Nothing),
    ("process_madvise", libc::SYS_process_madvise, Kind::Trace, About::Nothing),
    ("process_mrelease", libc::SYS_process_mrelease, Kind::Trace, About::Nothing),
    ("perf_event_open", libc::SYS_perf_event_open, Kind::Trace, About::Nothing),
    ("io_uring_setup", libc::SYS_io_uring_setup, Kind::IoUring, About::Nothing),
    ("io_uring_enter", libc::SYS_io_uring_enter, Kind::IoUring, About::Nothing),
    ("io_uring_register", libc::SYS_io_uring_register, Kind::IoUring, About::Nothing),
    // What may be under way of it is counted for the whole machine.
    ("io_setup", libc::SYS_io_setup, Kind::SharedLimit, About::Nothing),
    // Whoever writes waits for it, and there is nothing of its own to be written.
    ("sync", libc::SYS_sync, Kind::SharedLimit, About::Nothing),
    ("syncfs", libc::SYS_syncfs, Kind::SharedLimit, About::Nothing),
    ("setsid", libc::SYS_setsid, Kind::Escape, About::Nothing),
    ("setpgid", libc::SYS_setpgid, Kind::Escape, About::Nothing),
    ("setrlimit", libc::SYS_setrlimit, Kind::Escape, About::Nothing),
    // Too new for every libc.
    ("lsm_set_self_attr", 460, Kind::Escape, About::Nothing),
    ("seccomp", libc::SYS_seccomp, Kind::Escape, About::Nothing),
    ("unshare", libc::SYS_unshare, Kind::Escape, About::Nothing),
    ("setns", libc::SYS_setns, Kind::Escape, About::Nothing),
    ("shmget", libc::SYS_shmget, Kind::SharedObject, About::Nothing),
    ("shmat", libc::SYS_shmat, Kind::SharedObject, About::Nothing),
    ("shmctl", libc::SYS_shmctl, Kind::SharedObject, About::Nothing),
    ("semget", libc::SYS_semget, Kind::SharedObject, About::Nothing),
    ("semctl", libc::SYS_semctl, Kind::SharedObject, About::Nothing),
    ("semop", libc::SYS_semop, Kind::SharedObject, About::Nothing),
    ("semtimedop", libc::SYS_semtimedop, Kind::SharedObject, About::Nothing),
    ("msgget", libc::SYS_msgget, Kind::SharedObject, About::Nothing),
    ("msgctl", libc::SYS_msgctl, Kind::SharedObject, About::Nothing),
    ("msgsnd", libc::SYS_msgsnd, Kind::SharedObject, About::Nothing),
    ("msgrcv", libc::SYS_msgrcv, Kind::SharedObject, About::Nothing),
    ("mq_open", libc::SYS_mq_open, Kind::SharedObject, About::Nothing),
    ("mq_unlink", libc::SYS_mq_unlink, Kind::SharedObject, About::Nothing),
    ("add_key", libc::SYS_add_key, Kind::SharedObject, About::Nothing),
    ("request_key", libc::SYS_request_key, Kind::SharedObject, About::Nothing),
    ("keyctl", libc::SYS_keyctl, Kind::SharedObject, About::Nothing),
    ("setuid", libc::SYS_setuid, Kind::Administer, About::Nothing),
    ("setgid", libc::SYS_setgid, Kind::Administer, About::Nothing),
    ("setreuid", libc::SYS_setreuid, Kind::Administer, About::Nothing),
    ("setregid", libc::SYS_setregid, Kind::Administer, About::Nothing),
    ("setresuid", libc::SYS_setresuid, Kind::Administer, About::Nothing),
    ("setresgid", libc::SYS_setresgid, Kind::Administer, About::Nothing),
    ("setfsuid", libc::SYS_setfsuid, Kind::Administer, About::Nothing),
    ("setfsgid", libc::SYS_setfsgid, Kind::Administer, About::Nothing),
    ("setgroups", libc::SYS_setgroups, Kind::Administer, About::Nothing),
    ("capset", libc::SYS_capset, Kind::Administer, About::Nothing),
    ("chroot", libc::SYS_chroot, Kind::Administer, About::Path(0)),
    ("pivot_root", libc::SYS_pivot_root, Kind::Administer, About::Path(0)),
    ("mount", libc::SYS_mount, Kind::Administer, About::Path(1)),
    ("umount2", libc::SYS_umount2, Kind::Administer, About::Path(0)),
    ("move_mount", libc::SYS_move_mount, Kind::Administer, About::Nothing),
    ("open_tree", libc::SYS_open_tree, Kind::Administer, About::Nothing),
    ("fsopen", libc::SYS_fsopen, Kind::Administer, About::Nothing),
    ("fsconfig", libc::SYS_fsconfig, Kind::Administer, About::Nothing),
    ("fsmount", libc::SYS_fsmount, Kind::Administer, About::Nothing),
    ("fspick", libc::SYS_fspick, Kind::Administer, About::Nothing),
    ("mount_setattr", libc::SYS_mount_setattr, Kind::Administer, About::Nothing),
    // Too new for every libc.
    ("open_tree_attr", 467, Kind::Administer, About::Nothing),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, Kind::Administer, About::Nothing),
    ("fanotify_init", libc::SYS_fanotify_init, Kind::Administer, About::Nothing),
    ("fanotify_mark", libc::SYS_fanotify_mark, Kind::Administer, About::Nothing),
    ("quotactl", libc::SYS_quotactl, Kind::Administer, About::Nothing),
    ("quotactl_fd", libc::SYS_quotactl_fd, Kind::Administer, About::Nothing),
    ("swapon", libc::SYS_swapon, Kind::Administer, About::Path(0)),
    ("swapoff", libc::SYS_swapoff, Kind::Administer, About::Path(0)),
    ("acct", libc::SYS_acct, Kind::Administer, About::Path(0)),
    ("reboot", libc::SYS_reboot, Kind::Administer, About::Nothing),
    ("sethostname", libc::SYS_sethostname, Kind::Administer, About::Nothing),
    ("setdomainname", libc::SYS_setdomainname, Kind::Administer, About::Nothing),
    ("init_module", libc::SYS_init_module, Kind::Administer, About::Nothing),
    ("finit_module", libc::SYS_finit_module, Kind::Administer, About::Nothing),
    ("delete_module", libc::SYS_delete_module, Kind::Administer, About::Nothing),
    ("kexec_load", libc::SYS_kexec_load, Kind::Administer, About::Nothing),
    ("kexec_file_load", libc::SYS_kexec_file_load, Kind::Administer, About::Nothing),
    ("syslog", libc::SYS_syslog, Kind::Administer, About::Nothing),
    ("vhangup", libc::SYS_vhangup, Kind::Administer, About::Nothing),
    ("settimeofday", libc::SYS_settimeofday, Kind::Administer, About::Nothing),
    ("clock_settime", libc::SYS_clock_settime, Kind::Administer, About::Nothing),
    ("adjtimex", libc::SYS_adjtimex, Kind::Administer, About::Nothing),
    ("clock_adjtime", libc::SYS_clock_adjtime, Kind::Administer, About::Nothing),
    ("bpf", libc::SYS_bpf, Kind::Administer, About::Nothing),
    ("userfaultfd", libc::SYS_userfaultfd, Kind::Administer, About::Nothing),
    ("lookup_dcookie", libc::SYS_lookup_dcookie, Kind::Administer, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl, Kind::Administer, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", libc::SYS_ioperm, Kind::Administer, About::Nothing),
    #[cfg(target_arch = "x86_64")]
    ("uselib", libc::SYS_uselib, Kind::Administer, About::Path(0)),
];

/// `prctl` operations that would undo the confinement, blind the parent or keep a processor's core from others.
const PRCTL_NEVER: [i32; 9] = [
    // PR_SET_SYSCALL_USER_DISPATCH: its own handler would answer what is asked of the kernel after it.
    59,
    // PR_SCHED_CORE.
    62,
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
    // Drivers ask whether two descriptors are one file, and know what to do on a kernel that cannot tell.
    rules.push(Rule { number: libc::SYS_kcmp, lines: vec![always(Action::Errno(libc::ENOSYS))] });
    rules.extend(NEVER.iter().map(|&(_, number, ..)| Rule { number, lines: vec![always(refuse)] }));
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
    if policy.reading != Reading::Everything {
        rules.extend(
            ATTRIBUTES.iter().map(|&(number, _)| Rule { number, lines: vec![always(refusal(notify))] }),
        );
    }
    // A lock is taken on a file that is open for reading; nothing of a lock is anybody's who may write nothing.
    rules.push(Rule { number: libc::SYS_flock, lines: vec![always(writing)] });
    if policy.limits.memory_files.is_some() {
        let counted = always(refusal(notify));
        // Huge pages come out of a pool that is the machine's, and `statm` does not show them. To look at a machine takes none.
        let huge = when(&[Test::AnyBit(1, libc::MFD_HUGETLB)], Action::Errno(libc::ENOMEM));
        let lines = policy.copies_itself.then_some(huge).into_iter().chain([counted.clone()]).collect();
        rules.push(Rule { number: libc::SYS_memfd_create, lines });
        rules.push(Rule { number: MEMFD_SECRET, lines: vec![counted] });
    }
    if policy.copies_itself {
        let huge = when(&[Test::AnyBit(3, libc::MAP_HUGETLB as u32)], Action::Errno(libc::ENOMEM));
        rules.push(Rule { number: libc::SYS_mmap, lines: vec![huge] });
    }
    if policy.copies_itself {
        // What confines itself where others come after it confines them, and who looks at it. It is told that there is none.
        rules
            .extend(LANDLOCK.map(|number| Rule { number, lines: vec![always(Action::Errno(libc::ENOSYS))] }));
    }
    rules.push(control_rule(writing, refusal(notify)));
    rules
}

/// `ioctl`: what devices understand is for Landlock, which knows the devices; this is about what all files understand.
fn control_rule(writing: Action, refuse: Action) -> Rule {
    // Typing into somebody's terminal.
    let terminal = [libc::TIOCSTI as i32, libc::TIOCLINUX as i32];
    let mut lines = terminal.map(|request| when(&[int(1, request)], Action::Errno(libc::EPERM))).to_vec();
    lines.extend(SIGNAL_OWNER.map(|request| when(&[int(1, request)], refuse)));
    // A file's owner may change its flags, make it unchangeable for ever or copy folders beside it through a
    // descriptor that is open for reading alone.
    lines.extend(FILE_QUESTIONS.map(|request| when(&[int(1, request)], Action::Allow)));
    lines.extend(FILE_CONTROLS.map(|kind| when(&[Test::Masked(1, 0xff00, kind << 8)], writing)));
    Rule { number: libc::SYS_ioctl, lines }
}

/// `fcntl`: signals to others when a file is ready, news of a folder, and leases and locks that keep others waiting.
fn descriptor_rule(own: Action, refuse: Action, locking: Action) -> Rule {
    let me = std::process::id() as i32;
    let mut lines = vec![
        when(&[int(1, libc::F_SETOWN), int(2, 0)], Action::Allow),
        when(&[int(1, libc::F_SETOWN), int(2, me)], own),
        when(&[int(1, libc::F_SETOWN)], refuse),
        when(&[int(1, F_SETOWN_EX)], refuse),
        when(&[int(1, libc::F_SETLEASE), int(2, libc::F_UNLCK)], Action::Allow),
        when(&[int(1, libc::F_SETLEASE)], refuse),
        when(&[int(1, F_NOTIFY)], refuse),
    ];
    lines.extend(LOCKS.map(|command| when(&[int(1, command)], locking)));
    Rule { number: libc::SYS_fcntl, lines }
}

fn process_rules(policy: &Policy, notify: bool) -> Vec<Rule> {
    let refuse = refusal(notify);
    let runs_programs = !policy.programs.is_empty();
    let writes_anything = !policy.write.is_empty() || !policy.devices.is_empty();
    // Scopes for signals came with version 6 of Landlock.
    let signals_are_scoped = super::files::abi().is_ok_and(|version| version >= 6);
    let starting = if runs_programs { Action::Allow } else { refuse };
    let running = match (runs_programs, notify) {
        (true, false) => Action::Allow,
        _ => refuse,
    };
    // Only the parent can tell whether a thread is the process's own. Without it, each thread sees to itself alone.
    let other = refuse;
    // Miners choose the processors of their threads by number, and some end where they may not: without the parent it seems
    // to work.
    let moved = if notify { refuse } else { Action::Errno(0) };
    let me = std::process::id() as i32;
    // A copy is another process, and only the parent can tell who of them asks.
    let own = if policy.copies_itself && notify { refuse } else { Action::Allow };
    let signal = |number, signal: usize| {
        // What waits of those from 32 on is counted for the user.
        let queued = if notify { Action::Notify } else { own };
        let mut lines = vec![
            when(&[int(0, me), int(signal, libc::SIGSTOP)], refuse),
            when(&[int(0, me), Test::AnyBit(signal, REAL_TIME)], queued),
            when(&[int(0, me)], own),
        ];
        // What it runs has numbers of its own, and Landlock keeps its signals inside.
        lines.push(always(if runs_programs && signals_are_scoped { Action::Allow } else { refuse }));
        Rule { number, lines }
    };
    let of_thread = |number, who: usize, also: &[Test], other| {
        let mut own = vec![int(who, 0)];
        own.extend_from_slice(also);
        Rule { number, lines: vec![when(&own, Action::Allow), always(other)] }
    };
    // Where the parent cannot count them, nobody does.
    let thread = if policy.limits.threads.is_some() && notify { Action::Notify } else { Action::Allow };
    let mut rules = vec![
        descriptor_rule(own, refuse, if writes_anything && notify { Action::Notify } else { refuse }),
        Rule { number: libc::SYS_execve, lines: vec![always(running)] },
        Rule { number: libc::SYS_execveat, lines: vec![always(refuse)] },
        #[cfg(target_arch = "x86_64")]
        Rule { number: libc::SYS_fork, lines: vec![always(starting)] },
        #[cfg(target_arch = "x86_64")]
        Rule { number: libc::SYS_vfork, lines: vec![always(starting)] },
        Rule {
            number: libc::SYS_clone,
            lines: vec![
                when(&[Test::AnyBit(0, ESCAPES)], refuse),
                when(&[Test::AnyBit(0, libc::CLONE_THREAD as u32)], thread),
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
            // To end with one's parent by the one signal that cannot be ignored undoes nothing.
            lines: [when(&[int(0, libc::PR_SET_PDEATHSIG), int(1, libc::SIGKILL)], Action::Allow)]
                .into_iter()
                .chain(PRCTL_NEVER.iter().map(|&operation| when(&[int(0, operation)], refuse)))
                .collect(),
        },
        Rule { number: libc::SYS_prlimit64, lines: vec![when(&[Test::NotZero(2)], refuse)] },
        Rule {
            number: libc::SYS_personality,
            // Asking which one it has changes nothing.
            lines: vec![when(&[int(0, -1)], Action::Allow), always(refuse)],
        },
        of_thread(libc::SYS_sched_setaffinity, 0, &[], moved),
        of_thread(libc::SYS_sched_setscheduler, 0, &[], other),
        of_thread(libc::SYS_sched_setparam, 0, &[], other),
        of_thread(libc::SYS_sched_setattr, 0, &[], other),
        of_thread(libc::SYS_setpriority, 1, &[int(0, libc::PRIO_PROCESS as i32)], other),
        of_thread(libc::SYS_ioprio_set, 1, &[int(0, IO_OF_PROCESS)], other),
    ];
    if policy.limits.threads.is_some() && notify {
        // A signal is kept for each, of which the user has so many.
        rules.push(Rule { number: libc::SYS_timer_create, lines: vec![always(Action::Notify)] });
    }
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
    // What they send lies in memory, and open files may be part of it. The parent sends the bytes in the child's stead.
    let by_sending = |number, flags| Rule {
        number,
        lines: vec![when(&[Test::AnyBit(flags, FASTOPEN)], Action::Errno(libc::EOPNOTSUPP)), always(refuse)],
    };
    // What lies in a socket is memory of the kernel's, which no limit counts; as much as the system gives everybody is enough.
    // Whoever asks for more is told that he has it.
    let room = [libc::SO_SNDBUF, libc::SO_RCVBUF, libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE];
    let room = room.map(|option| when(&[int(1, libc::SOL_SOCKET), int(2, option)], Action::Errno(0)));
    vec![
        Rule { number: libc::SYS_setsockopt, lines: room.to_vec() },
        Rule { number: libc::SYS_socket, lines: sockets },
        Rule {
            number: libc::SYS_socketpair,
            // Others can send to any address, even one of a pair: datagrams, and raw ones, which are the same here.
            lines: [libc::SOCK_STREAM, libc::SOCK_SEQPACKET]
                .map(|kind| {
                    let kind = Test::Masked(1, SOCKET_TYPE, kind as u32);
                    when(&[int(0, libc::AF_UNIX), kind], Action::Allow)
                })
                .into_iter()
                .chain([always(refuse)])
                .collect(),
        },
        Rule { number: libc::SYS_connect, lines: vec![always(refuse)] },
        Rule { number: libc::SYS_sendto, lines: vec![when(&[Test::NotZero(4)], refuse)] },
        by_sending(libc::SYS_sendmsg, 2),
        by_sending(libc::SYS_sendmmsg, 3),
    ]
}
