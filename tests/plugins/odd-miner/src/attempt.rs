//! Single attempts at what has to be granted.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// Makes the attempt `kind:value`.
pub fn attempt(attempt: &str) -> Result<()> {
    let (kind, value) = attempt.split_once(':').unwrap_or((attempt, ""));
    match kind {
        // A byte of it: some devices never end.
        "read" => File::open(value)?.read(&mut [0]).map(drop),
        "list" => std::fs::read_dir(value)?.try_for_each(|entry| entry.map(drop)),
        "write" => std::fs::write(value, "written"),
        // The device itself, and not only its file, must answer.
        "open" => open(value).map(drop),
        "control" => control(&open(value)?),
        "connect" => TcpStream::connect(value)?.write_all(b"hello"),
        "connect-unix" => UnixStream::connect(value)?.write_all(b"hello"),
        // By its path or, without a slash, by its name: `posix_spawn`, and the kernel's `vfork`.
        "spawn" => ended(Command::new(value).status()?.code()),
        // A process of its own, and `execvp` in it.
        "fork" => ended(fork(value)?),
        // In this very process, which is gone if it works.
        "exec" => Err(exec(value)),
        _ => Err(Error::other("not an attempt")),
    }
}

fn open(path: &str) -> Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

fn control(device: &File) -> Result<()> {
    // SAFETY: the call fills the structure, for which zero is a value.
    let answer = unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        libc::tcgetattr(device.as_raw_fd(), &raw mut settings)
    };
    if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn ended(status: Option<i32>) -> Result<()> {
    if status == Some(0) { Ok(()) } else { Err(Error::other(format!("it ended with {status:?}"))) }
}

fn fork(program: &str) -> Result<Option<i32>> {
    let program = CString::new(program)?;
    let arguments = [program.as_ptr(), std::ptr::null()];
    // SAFETY: the child calls nothing but two system calls; the texts and lists live and end.
    unsafe {
        match libc::fork() {
            -1 => Err(Error::last_os_error()),
            0 => {
                libc::execvp(program.as_ptr(), arguments.as_ptr());
                libc::_exit(127)
            }
            child => {
                let mut status = 0;
                if libc::waitpid(child, &raw mut status, 0) < 0 {
                    return Err(Error::last_os_error());
                }
                Ok(libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)))
            }
        }
    }
}

fn exec(program: &str) -> Error {
    let Ok(program) = CString::new(program) else { return Error::other("no path") };
    let arguments = [program.as_ptr(), std::ptr::null()];
    // SAFETY: the texts and lists live and end.
    unsafe { libc::execvp(program.as_ptr(), arguments.as_ptr()) };
    Error::last_os_error()
}
