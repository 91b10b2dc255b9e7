//! The desk between a child's refused system calls and whoever decides about them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};

/// The largest notification and answer that this program has room for, in bytes: a newer kernel's may be longer.
pub const NOTIFICATION_BYTES_MAX: usize = 256;

/// `SECCOMP_ADDFD_FLAG_SEND`: put the descriptor in place and answer with its number, in one step.
const ADD_AND_SEND: u32 = 2;

/// What a system call is answered.
#[derive(Debug)]
pub enum Answer {
    /// It takes place.
    Go,
    /// It returns this number without taking place.
    Value(i64),
    /// It fails with this number.
    Fail(i32),
    /// It returns this descriptor, with these flags, as if it had made it.
    Descriptor(OwnedFd, u32),
}

/// Where notifications come in and answers go out. Clones answer for the same child.
#[derive(Clone, Debug)]
pub struct Desk {
    listener: Arc<OwnedFd>,
}

/// One waiting system call.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    id: u64,
    /// The thread that waits.
    pub thread: u32,
    /// The machine whose numbers the call uses, as the kernel's audit names it.
    pub arch: u32,
    /// The number of the system call.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// A notification with the room that a newer kernel may need behind it.
#[repr(C)]
union Room<T: Copy> {
    value: T,
    room: [u8; NOTIFICATION_BYTES_MAX],
}

impl Desk {
    /// The desk behind a filter's listener.
    pub fn new(listener: OwnedFd) -> Self {
        Self { listener: Arc::new(listener) }
    }

    /// The next notification; `None` once nobody is left to send one.
    pub fn next(&self) -> Option<Notification> {
        loop {
            let mut fds = [PollFd::new(&*self.listener, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            }
            if !fds[0].revents().contains(PollFlags::IN) {
                return None;
            }
            let mut room = Room { room: [0; NOTIFICATION_BYTES_MAX] };
            if self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, std::ptr::from_mut(&mut room).cast()).is_err() {
                // The thread died while we woke up; the next poll says whether any is left.
                continue;
            }
            // SAFETY: the room was zeroed and then written by the kernel; every field takes every value.
            let received: libc::seccomp_notif = unsafe { room.value };
            return Some(Notification {
                id: received.id,
                thread: received.pid,
                arch: received.data.arch,
                number: received.data.nr.into(),
                args: received.data.args,
            });
        }
    }

    /// Whether the call still waits, so that what was read of its process is its own.
    pub fn still_waits(&self, notification: &Notification) -> bool {
        let mut id = notification.id;
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_mut(&mut id).cast()).is_ok()
    }

    /// Lets the call end with `answer`. Nothing happens where it no longer waits.
    pub fn send(&self, notification: &Notification, answer: Answer) {
        if let Answer::Descriptor(descriptor, flags) = &answer {
            let mut add = libc::seccomp_notif_addfd {
                id: notification.id,
                flags: ADD_AND_SEND,
                srcfd: descriptor.as_raw_fd().unsigned_abs(),
                newfd: 0,
                newfd_flags: *flags,
            };
            if self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, std::ptr::from_mut(&mut add).cast()).is_ok() {
                return;
            }
            // Before Linux 5.14.
            return self.send(notification, Answer::Fail(libc::EACCES));
        }
        let mut room = Room { room: [0; NOTIFICATION_BYTES_MAX] };
        let (val, error, flags) = match answer {
            Answer::Go => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Value(value) => (value, 0, 0),
            Answer::Fail(errno) => (0, -errno, 0),
            Answer::Descriptor(..) => unreachable!("it was sent above"),
        };
        room.value = libc::seccomp_notif_resp { id: notification.id, val, error, flags };
        // A child that was killed meanwhile needs no answer.
        let _ = self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, std::ptr::from_mut(&mut room).cast());
    }

    fn ioctl(&self, request: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<()> {
        let listener: RawFd = self.listener.as_raw_fd();
        loop {
            // SAFETY: every caller passes a live structure of the request's type, with room to spare where the kernel
            // decides the size.
            if unsafe { libc::ioctl(listener, request, argument) } >= 0 {
                return Ok(());
            }
            let err = io::Error::last_os_error();
            if err.kind() != io::ErrorKind::Interrupted {
                return Err(err);
            }
        }
    }
}
