//! The look before loading: what a file is, whose it is, whether a loader could take it, what it says of itself.
//!
//! The file is opened once and read by offset; nothing of it runs. What was looked at is told by an [`Identity`], which
//! the probe compares before and after it loads the file.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pearlbed_plugin_api::Manifest;
use pearlbed_plugin_api::abi::{DOOR_SYMBOL, ENTRY_SYMBOL};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::container::{BYTES_MAX, DataError, DataFile, SUFFIX};
use super::failure::Failure;
use super::file_identity::Identity;
use super::object::{Bytes, Object};
use super::reason::Reason;
use super::{brought, manifest, object, owner};
use crate::text::printable_path;

/// One check of a file, in the order they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its stable name: `file`, `owner`, `format`, `machine`, `structure`, `entry`, `manifest`, `api`; of a data file
    /// the first three and `manifest`.
    pub id: &'static str,
    /// How it ended.
    pub state: CheckState,
    /// What was found: one printable line.
    pub finding: String,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Not as it should be, but let through because the user said so.
    Warn,
    /// The file is skipped because of it.
    Fail,
    /// Not made, because one before it failed.
    Skip,
}

/// What was seen of one file.
#[derive(Clone, Debug)]
pub struct Look {
    /// The file with its links followed, where it is there.
    pub real_path: PathBuf,
    /// Which file it is, where it could be opened.
    pub identity: Option<Identity>,
    /// The checks, in order; all are there, whatever failed.
    pub checks: Vec<Check>,
    /// What it says of itself, where that could be read; also where it is skipped.
    pub manifest: Option<Manifest>,
    /// The text that was read as the manifest, without its padding.
    pub section: Option<Vec<u8>>,
    /// What it is, where it is no library but the data file of a container.
    pub container: Option<Arc<DataFile>>,
    /// The first failure.
    pub refusal: Option<Reason>,
    /// Who its owner is and who may write to it was not as it should be, and let through.
    pub relaxed: bool,
}

/// Every check of a library, in order.
const CHECKS: [&str; 8] = ["file", "owner", "format", "machine", "structure", "entry", "manifest", "api"];

/// Every check of a data file, in order.
const DATA_CHECKS: [&str; 4] = ["file", "owner", "format", "manifest"];

/// Whether a file of this name says that it is a container's data file.
pub fn is_data_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()))
}

/// Looks at the file at `path`. With `relaxed`, its owner and its mode are reported but not held against it.
pub fn look(path: &Path, relaxed: bool) -> Look {
    let mut look = Look {
        real_path: path.to_owned(),
        identity: None,
        checks: vec![],
        manifest: None,
        section: None,
        container: None,
        refusal: None,
        relaxed: false,
    };
    look.run(path, relaxed);
    let all: &[&'static str] = if is_data_file(path) { &DATA_CHECKS } else { &CHECKS };
    for id in all.iter().skip(look.checks.len()) {
        look.checks.push(Check { id, state: CheckState::Skip, finding: "not looked at".into() });
    }
    look
}

impl Look {
    fn run(&mut self, path: &Path, relaxed: bool) {
        let Some((file, metadata)) = self.step("file", |look| {
            let (file, metadata) = open(path)?;
            look.real_path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            look.identity = Some(Identity::of(&metadata));
            Ok((format!("regular file, {}", crate::text::bytes(metadata.len())), (file, metadata)))
        }) else {
            return;
        };

        let owner = owner::check("it", &self.real_path, &metadata);
        if is_data_file(path) {
            self.owner(owner, relaxed);
            return self.read_data(path, &file, metadata.len());
        }
        let bytes = Bytes::of_file(&file, metadata.len());
        let object = object::read(&bytes);
        // Who may change what is loaded with it may change it.
        self.owner(
            owner.and_then(|finding| match &object {
                Ok(object) => brought::check(&object.needs, &self.real_path).map(|more| finding + &more),
                Err(_) => Ok(finding),
            }),
            relaxed,
        );
        let Some(object) = self.step("format", |_| object.map(|object| (object.kind.clone(), object))) else {
            return;
        };
        let Object { kind, foreign, broken, entries, manifest: section, needs: _ } = object;
        match foreign {
            Some(reason) => self.fail("machine", reason),
            None => self.push("machine", CheckState::Ok, format!("{kind}, as this machine")),
        }
        // A good file where no code may be loaded from is told before a loader's words for it are.
        let unloadable = || {
            let mount = super::pinned::noexec_mount(&file, &self.real_path)?;
            Some(Failure::NoExec(printable_path(&mount)).reason(""))
        };
        match broken.or_else(unloadable) {
            Some(reason) => self.fail("structure", reason),
            None => self.push("structure", CheckState::Ok, "complete".into()),
        }
        let Some(entries) = entries else { return };
        match (entries.root_module, entries.door) {
            (true, false) => self.push("entry", CheckState::Ok, format!("exports {ENTRY_SYMBOL}")),
            (false, true) => self.push("entry", CheckState::Ok, format!("exports {DOOR_SYMBOL}")),
            (true, true) => {
                self.push("entry", CheckState::Ok, format!("exports {ENTRY_SYMBOL} and {DOOR_SYMBOL}"));
            }
            (false, false) => {
                self.fail(
                    "entry",
                    Reason::new(
                        "not-a-plugin",
                        "it is a shared library, but no pearlbed plugin: it exports no provider",
                        "keep other libraries in another folder, or export a provider (`export_provider!` in Rust, \
                         `PEARLBED_DOOR` in C)",
                    ),
                );
                // What a library without our entry says in a section of ours would only mislead.
                return;
            }
        }
        let read = self.step("manifest", |look| {
            let read = manifest::read(section.as_ref())?;
            let finding = format!("{} {}", read.id, read.version);
            look.manifest = Some(read.clone());
            look.section = manifest::text(section.as_ref()).map(<[u8]>::to_vec);
            Ok((finding, read))
        });
        if let Some(read) = read {
            self.step("api", |_| {
                manifest::check_api(&read)?;
                Ok((
                    format!(
                        "plugin API {}",
                        read.plugin_api.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
                    ),
                    (),
                ))
            });
        }
    }

    fn owner(&mut self, checked: Result<String, Reason>, relaxed: bool) {
        match checked {
            Ok(finding) => self.push("owner", CheckState::Ok, finding),
            Err(reason) if relaxed => {
                self.relaxed = true;
                self.push("owner", CheckState::Warn, format!("{reason}; let through as you asked"));
            }
            Err(reason) => self.fail("owner", reason),
        }
    }

    /// Reads a container's data file: nothing in it is code.
    fn read_data(&mut self, path: &Path, file: &File, len: u64) {
        use std::io::Read as _;
        let read = self.step("format", |_| {
            let too_long = || {
                let words =
                    format!("it has {len} bytes, more than the {BYTES_MAX} that a data file may have");
                Reason::new("data-wrong", words, "get the file as its author ships it")
            };
            let mut bytes = Vec::new();
            file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|err| cannot_open(path, &err))?;
            if bytes.len() as u64 > BYTES_MAX {
                return Err(too_long());
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match DataFile::parse(&name, &bytes) {
                Ok(file) => Ok(("the data file of a container".to_owned(), file)),
                Err(DataError::Schema(schema)) => Err(Reason::new(
                    "data-schema",
                    DataError::Schema(schema).to_string(),
                    "update pearlbed, or get a file for this version",
                )),
                Err(err) => Err(Reason::new(
                    "data-wrong",
                    format!("it is no data file of a container: {err}"),
                    "put that right; docs/containers.md says what the file may hold",
                )),
            }
        });
        let Some(read) = read else { return };
        self.push("manifest", CheckState::Ok, format!("{} {}", read.manifest.id, read.manifest.version));
        self.manifest = Some(read.manifest.clone());
        self.container = Some(Arc::new(read));
    }

    fn step<T>(
        &mut self,
        id: &'static str,
        check: impl FnOnce(&mut Self) -> Result<(String, T), Reason>,
    ) -> Option<T> {
        match check(self) {
            Ok((finding, value)) => {
                self.push(id, CheckState::Ok, finding);
                Some(value)
            }
            Err(reason) => {
                self.fail(id, reason);
                None
            }
        }
    }

    fn push(&mut self, id: &'static str, state: CheckState, finding: String) {
        self.checks.push(Check { id, state, finding: crate::text::printable(&finding).into_owned() });
    }

    fn fail(&mut self, id: &'static str, reason: Reason) {
        self.push(id, CheckState::Fail, reason.reason.clone());
        self.refusal.get_or_insert(reason);
    }
}

/// Opens `path` if it is a regular file. Nothing else is opened: a FIFO would block, a device might act.
fn open(path: &Path) -> Result<(File, Metadata), Reason> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(err) => return Err(cannot_open(path, &err)),
    };
    if !metadata.is_file() {
        return Err(no_file(&metadata));
    }
    // Not to be caught by a file that became something else meanwhile.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(err) => return Err(cannot_open(path, &err.into())),
    };
    let metadata = file.metadata().map_err(|err| cannot_open(path, &err))?;
    if !metadata.is_file() {
        return Err(no_file(&metadata));
    }
    Ok((file, metadata))
}

fn no_file(metadata: &Metadata) -> Reason {
    let kind = metadata.file_type();
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "no regular file"
    };
    Reason::new(
        "not-a-file",
        format!("it is {what}, not a file"),
        "remove it, or give it a name without `.so`",
    )
}

fn remedy(err: &io::Error, path: &Path) -> String {
    crate::remedy::for_file(err, path).unwrap_or_else(|| "give the plugin anew".into())
}

fn cannot_open(path: &Path, err: &io::Error) -> Reason {
    let target = std::fs::read_link(path).ok();
    match (err.raw_os_error(), target) {
        (Some(libc::ENOENT), Some(target)) => Reason::new(
            "dangling-link",
            format!("it is a symbolic link to {}, which does not exist", printable_path(&target)),
            "remove the link, or install what it leads to",
        ),
        (Some(libc::ENOENT), None) => Reason::new("missing", "there is no such file", "check the path"),
        (Some(libc::ELOOP), _) => {
            Reason::new("link-loop", "it is a symbolic link that leads back to itself", "remove the link")
        }
        (Some(libc::EACCES | libc::EPERM), _) => {
            Reason::new("unreadable", "you may not read it", remedy(err, path))
        }
        _ => Reason::new("unreadable", format!("it cannot be opened: {err}"), remedy(err, path)),
    }
}
