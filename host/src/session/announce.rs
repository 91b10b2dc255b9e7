//! What a supervisor tells the `start` that spawned it, until the first job is taken or all is lost.
//!
//! One JSON object a line on a pipe. Whether anybody still reads changes nothing for the session.

use std::fs::File;
use std::io::Write;

use serde::{Deserialize, Serialize};

use super::lock::Holder;

/// One announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Announcement {
    /// The session is set up; the miners are about to be started.
    Starting {
        /// Where work comes from.
        source: String,
        /// The miners.
        miners: Vec<MinerNote>,
    },
    /// Something worth a line on the way.
    Note {
        /// The line.
        text: String,
    },
    /// What is being done meanwhile, for a line that moves: it may change every second.
    Doing {
        /// In a sentence.
        text: String,
    },
    /// There is no work for this provider yet; the session goes on trying.
    Waiting {
        /// Why, in a sentence.
        reason: String,
        /// What to do, where there is something.
        hint: Option<String>,
        /// The exit status for a `start` that waits no longer.
        exit: u8,
    },
    /// No miner is to be started: the session waits to be told otherwise.
    Resting {
        /// Why, in a sentence.
        reason: String,
        /// What to do, where there is something.
        hint: Option<String>,
        /// The exit status for a `start` that waits no longer.
        exit: u8,
    },
    /// Programs that mine already may come.
    Listening {
        /// Where to.
        at: Vec<String>,
        /// There is nobody else to mine.
        alone: bool,
    },
    /// A miner has taken its first job.
    Ready {
        /// The supervisor.
        pid: u32,
        /// The provider process.
        provider_pid: u32,
        /// Which miner.
        miner: String,
    },
    /// Another session runs.
    AlreadyRunning {
        /// Who holds the lock, if it has said so.
        holder: Option<Holder>,
    },
    /// The session could not be started, or ended before its first job.
    Failed {
        /// What failed, outermost first.
        chain: Vec<String>,
        /// What to do, where there is something.
        hint: Option<String>,
        /// The exit status.
        exit: u8,
    },
}

/// A miner that is about to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerNote {
    /// Its name.
    pub name: String,
    /// Provider id.
    pub provider: String,
    /// Its version.
    pub version: String,
    /// The plugin's file.
    pub plugin: String,
    /// Permissions in force, in their text form.
    pub granted: Vec<String>,
    /// Permissions that the plugin wants and the user has not granted.
    pub withheld: Vec<String>,
    /// The image, where it is a container.
    #[serde(default)]
    pub container: Option<String>,
}

/// The way to whoever waits for the session.
#[derive(Debug, Default)]
pub struct Announcer {
    pipe: Option<File>,
}

impl Announcer {
    /// Announces on `pipe`.
    pub fn on(pipe: File) -> Self {
        Self { pipe: Some(pipe) }
    }

    /// A second way to the same listener.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses a descriptor.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { pipe: self.pipe.as_ref().map(File::try_clone).transpose()? })
    }

    /// Announces to whoever is still there.
    pub fn tell(&mut self, announcement: &Announcement) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut line = serde_json::to_string(announcement).expect("an announcement is text and numbers");
        line.push('\n');
        if pipe.write_all(line.as_bytes()).is_err() {
            self.pipe = None;
        }
    }

    /// Nothing more will be announced.
    pub fn close(&mut self) {
        self.pipe = None;
    }
}
