//! A program at a terminal, and somebody who reads what it shows and types.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A program with a pseudo-terminal of 80 columns for its three streams. Dropping it ends the program.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    read: usize,
}

#[derive(Debug, Default)]
struct Screen {
    shown: String,
    ended: bool,
}

impl Terminal {
    /// Starts a program; nothing where this system gives no pseudo-terminals.
    pub fn start(command: &mut Command) -> Option<Self> {
        let (mut master, mut slave) = (0, 0);
        let none = std::ptr::null_mut();
        let size = libc::winsize { ws_row: 50, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the call writes two descriptors and reads a size; the other pointers may be null.
        let made = unsafe {
            libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), (&raw const size).cast_mut())
        };
        if made != 0 {
            return None;
        }
        // SAFETY: both were just made, and nothing else owns them.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let stream = || Stdio::from(slave.try_clone().expect("a descriptor can be copied"));
        let child = command
            .env("TERM", "xterm")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("the program can be started");
        // Its copies of the terminal must go with the program, or the reader never sees the end.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(slave);
        let screen = Arc::new((Mutex::new(Screen::default()), Condvar::new()));
        let shown = Arc::clone(&screen);
        let mut reader = master.try_clone().expect("a descriptor can be copied");
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                // A terminal whose last writer has gone ends with an error.
                let count = reader.read(&mut bytes).unwrap_or(0);
                let mut screen = shown.0.lock().unwrap_or_else(PoisonError::into_inner);
                screen.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
                screen.ended = count == 0;
                shown.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Some(Self { child, keys: master, screen, read: 0 })
    }

    /// Waits until `text` is shown after all that was waited for before.
    ///
    /// # Panics
    ///
    /// The program ended, or a minute passed, without it.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(at) = screen.shown[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!screen.ended && !left.is_zero(), "never showed `{text}`:\n{}", screen.shown);
            screen = self.screen.1.wait_timeout(screen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types; `\n` is the enter key.
    pub fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.replace('\n', "\r").as_bytes()).expect("a terminal takes keys");
    }

    /// Waits for the program's end; its status, and everything that it showed.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it is a child of this process");
        let mut screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !screen.ended {
            screen = self.screen.1.wait(screen).unwrap_or_else(PoisonError::into_inner);
        }
        let shown = screen.shown.clone();
        drop(screen);
        (status, shown)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
