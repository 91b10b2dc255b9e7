//! What whoever called left behind by accident: descriptors, such as the lock of a script that uses `flock`, and a mask of
//! rights that keeps us from our own files.
//!
//! A session outlives the command that started it, and what it starts may outlive the session: none of them is to hold what
//! the caller believes to have let go.

use std::os::fd::{BorrowedFd, RawFd};

/// Has every descriptor beyond the three streams closed where another program begins. Must be called before there are
/// threads: what is opened by then is left as it is.
pub(super) fn close_for_others() {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    // Without such a folder nobody can say what is open.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|&number: &RawFd| number > 2) {
        // SAFETY: a descriptor that is not open only makes the call fail; it is not kept.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
}

/// Has a limit of a file's size be an error to whoever writes, as a full disk is, and no reason to die without a word. What is
/// started from here on has its own way again.
pub(super) fn survive_large_files() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing at all, which is safe at any moment; it lives as long as the program.
    unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
}

/// Has the owner keep his rights on what is made from here on: by a mask of 0777 nobody could read what a session wrote, and
/// it itself would take its record for somebody else's. What the mask takes from others stays taken.
pub(super) fn keep_own_rights() {
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(mask & rustix::fs::Mode::from_raw_mode(0o077));
}
