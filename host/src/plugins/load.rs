//! The one room where a plugin's code enters a process: for confined children, and for them alone.
//!
//! A library is never unloaded: its threads, its thread-local destructors and the layouts that it handed out would be
//! left hanging. The process ends instead.
//!
//! Two doors lead to the same table: abi_stable's root module, which compares every layout, and a C function, behind
//! which `door` checks what can be checked without layouts.

mod door;
mod memory;

use std::ffi::{OsStr, c_void};
use std::path::{Path, PathBuf};

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{LibraryError, lib_header_from_path};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use pearlbed_plugin_api::abi::{DOOR_SYMBOL, ENTRY_SYMBOL, EntryRef, VERSIONS, v1};
use pearlbed_plugin_api::host_side::Provider;
use pearlbed_plugin_api::{Manifest, ProviderError};

use self::memory::Image;
use super::failure::{self, Failure};
use super::file_identity::Identity;
use super::pinned::{Pinned, Unpinned};
use crate::text;

/// Why a library could not be loaded or has no provider for this host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum LoadError {
    #[error("`{}` was changed or replaced after it was looked at", text::printable_path(path))]
    Changed { path: PathBuf },
    #[error("the loader refused it: {0}")]
    Loader(String),
    #[error("no code may be loaded from `{}`, which is mounted noexec", text::printable_path(mount))]
    NoExec { mount: PathBuf },
    #[error("it is out of reach of the confined process")]
    OutOfReach,
    #[error("it was built with an incompatible abi_stable: {0}")]
    Header(String),
    #[error("its layout of the entry is another: {0}")]
    Entry(String),
    #[error("its header says nothing of how its entry is laid out")]
    NoEntryLayout,
    #[error("{}", failure::declined())]
    Declined,
    #[error("it answers plugin API {version} without saying how its table is laid out")]
    NoLayout { version: u32 },
    #[error("its table of plugin API {version} is laid out differently: {difference}")]
    Layout { version: u32, difference: String },
    #[error("its door is broken: {0}")]
    Door(String),
    #[error("{}", failure::two_tables())]
    TwoTables,
    #[error("its provider could not be made: {0}")]
    Create(ProviderError),
    #[error("its code calls itself `{answered}`, its file `{expected}`")]
    OtherId { expected: String, answered: String },
}

impl LoadError {
    /// What it is, without words of ours: see [`Failure`].
    pub fn failure(&self) -> Failure {
        match self {
            Self::Changed { .. } => Failure::Changed,
            Self::OutOfReach => Failure::OutOfReach,
            Self::Loader(why) => loader_failure(why),
            Self::NoExec { mount } => Failure::NoExec(text::printable_path(mount)),
            Self::Header(_)
            | Self::Entry(_)
            | Self::NoEntryLayout
            | Self::Layout { .. }
            | Self::NoLayout { .. } => Failure::OtherLayout(self.to_string()),
            Self::Door(why) => Failure::BrokenDoor(why.clone()),
            Self::TwoTables => Failure::TwoTables,
            Self::Declined => Failure::Declined,
            Self::Create(err @ ProviderError::Panicked(_)) => Failure::PanickedInCreate(err.to_string()),
            Self::Create(err @ ProviderError::Contract(_)) => Failure::BrokenTable(err.to_string()),
            Self::Create(err) => Failure::NotCreated(err.to_string()),
            Self::OtherId { answered, .. } => Failure::OtherId(answered.clone()),
        }
    }
}

/// What the system's loader says, where we know its words.
fn loader_failure(why: &str) -> Failure {
    if let Some((before, _)) = why.split_once(": cannot open shared object file") {
        return Failure::MissingLibrary(before.rsplit(": ").next().unwrap_or(before).to_owned());
    }
    if let Some((_, symbol)) = why.split_once("undefined symbol: ") {
        return Failure::UndefinedSymbol(symbol.split([',', ' ']).next().unwrap_or(symbol).to_owned());
    }
    if let Some((_, version)) = why.split_once("version `") {
        return Failure::MissingVersion(version.split('\'').next().unwrap_or(version).to_owned());
    }
    Failure::LoadFailed(why.to_owned())
}

/// A provider whose library is loaded for the life of the process.
#[derive(Debug)]
pub struct Loaded {
    /// The provider.
    pub provider: Provider,
    /// The version of the plugin API that it is spoken to with.
    pub version: u32,
}

/// Loads the library at `path` and makes its provider.
///
/// With `identity`, what is loaded is the file that was looked at, whatever its name leads to by now (`pinned`); with
/// `id`, its code must call itself so.
///
/// # Errors
///
/// Everything that [`LoadError`] names. What was loaded stays loaded all the same.
///
/// # Safety
///
/// The library's code runs in this process from here on, with all the process may do. The caller vouches that the
/// process is confined and expendable, or that the library is trusted.
pub unsafe fn open(path: &Path, identity: Option<&Identity>, id: Option<&str>) -> Result<Loaded, LoadError> {
    let changed = || LoadError::Changed { path: path.to_owned() };
    // Never dropped: the loader may look at it again as long as the library lives.
    let pinned: &Pinned = Box::leak(Box::new(Pinned::new(path, identity).map_err(|why| match why {
        Unpinned::Changed => changed(),
        Unpinned::OutOfReach => LoadError::OutOfReach,
    })?));
    let name = pinned.name();
    // Everything is bound now, so that what is missing is told here and not by an abort in the middle of a call.
    // SAFETY: the caller vouches for the library's initialisers.
    let library =
        unsafe { Library::open(Some(name.as_os_str() as &OsStr), RTLD_NOW | RTLD_LOCAL) }.map_err(|err| {
            match pinned.noexec_mount(path) {
                Some(mount) => LoadError::NoExec { mount },
                None => LoadError::Loader(loader_words(name, &err)),
            }
        })?;
    let handle = library.into_raw();
    if !pinned.is_unchanged() {
        return Err(changed());
    }

    // SAFETY: the handle is that of a library that is never closed.
    let has = |symbol| unsafe { has_own(handle, symbol) };
    let (has_root_module, has_door) = (has(ENTRY_SYMBOL), has(DOOR_SYMBOL));
    let loaded = if has_door && !has_root_module {
        // SAFETY: as above, and the caller vouches for its code.
        unsafe { through_door(handle) }?
    } else {
        let (address, loaded) = through_root_module(name)?;
        if has_door {
            // SAFETY: as above.
            let door = match unsafe { door::open(handle) } {
                // The library is in already, and its door is looked at only for what would contradict. One that took all
                // descriptors is told for that, by whoever looks at its process.
                Err(door::DoorError::NoPages(_)) => None,
                other => other.map_err(broken)?,
            };
            // A door that declines does not contradict the root module.
            if door.is_some_and(|door| (door.address, door.version) != (address, loaded.version)) {
                return Err(LoadError::TwoTables);
            }
        }
        loaded
    };
    if let Some(expected) = id {
        check_id(&loaded.provider, expected)?;
    }
    Ok(loaded)
}

/// Whether the library itself has `symbol`: the loader also finds those of the libraries that it needs.
///
/// # Safety
///
/// `handle` is that of a library that is loaded.
unsafe fn has_own(handle: *mut c_void, symbol: &str) -> bool {
    door::symbol(handle, symbol).is_some_and(|address| {
        // SAFETY: the caller vouches for the handle.
        unsafe { Image::of(handle, address) }.is_none_or(|image| image.has(address))
    })
}

/// The provider behind abi_stable's root module, and where its table lies.
fn through_root_module(path: &Path) -> Result<(*const v1::ProviderTable, Loaded), LoadError> {
    let header = lib_header_from_path(path).map_err(|err| LoadError::Header(first_line(&err)))?;
    // abi_stable compares the layouts only where the library brought one, and calls its entry all the same.
    if header.layout().is_none() {
        return Err(LoadError::NoEntryLayout);
    }
    let entry = header.check_layout::<EntryRef>().map_err(|err| LoadError::Entry(first_line(&err)))?;
    for &version in VERSIONS.iter().rev() {
        let answer = (entry.table())(version);
        if answer.table.is_null() {
            continue;
        }
        let Some(layout) = answer.layout else { return Err(LoadError::NoLayout { version }) };
        debug_assert_eq!(version, v1::VERSION, "a new version needs its own line below");
        if let Err(errors) = check_layout_compatibility(<v1::ProviderTable as StableAbi>::LAYOUT, layout) {
            return Err(LoadError::Layout { version, difference: first_difference(&errors.to_string()) });
        }
        let table = answer.table.cast::<v1::ProviderTable>();
        // SAFETY: the library says, layout included, that this is its table of version 1, and it is never unloaded.
        let provider = unsafe { Provider::from_table(table) }.map_err(LoadError::Create)?;
        return Ok((table, Loaded { provider, version }));
    }
    Err(LoadError::Declined)
}

/// The provider behind the C function.
///
/// # Safety
///
/// `handle` is that of a library that is never closed; its code is run.
unsafe fn through_door(handle: *mut c_void) -> Result<Loaded, LoadError> {
    // SAFETY: the caller vouches for the handle and the code.
    let Some(door) = unsafe { door::open(handle) }.map_err(broken)? else {
        return Err(LoadError::Declined);
    };
    // The copy that was checked, not the table, which may have changed since.
    // SAFETY: every word is the address of a function in the library's code, which is never unloaded; that they are the
    // functions of the table of version 1 is what the door says.
    let provider = unsafe { Provider::from_table((&raw const door.words).cast()) };
    let provider = provider.map_err(LoadError::Create)?;
    door.check_again().map_err(broken)?;
    Ok(Loaded { provider, version: door.version })
}

fn broken(err: door::DoorError) -> LoadError {
    LoadError::Door(err.to_string())
}

/// The code answers the id that its file shows.
fn check_id(provider: &Provider, expected: &str) -> Result<(), LoadError> {
    let manifest = provider.manifest().map_err(LoadError::Create)?;
    let answered = match Manifest::parse(&manifest) {
        Ok(manifest) => manifest.id,
        Err(err) => return Err(LoadError::Create(ProviderError::Contract(err.to_string()))),
    };
    if answered == expected {
        return Ok(());
    }
    Err(LoadError::OtherId { expected: expected.to_owned(), answered })
}

/// What the loader said, without the path, which everybody knows already.
fn loader_words(path: &Path, err: &libloading::Error) -> String {
    // The text of `dlerror` is the cause; libloading's own words add nothing.
    let words = std::error::Error::source(err).map_or_else(|| err.to_string(), ToString::to_string);
    let prefix = format!("{}: ", path.display());
    text::printable(words.strip_prefix(&prefix).unwrap_or(&words)).into_owned()
}

/// abi_stable's errors run over many lines; the first says what kind it is.
fn first_line(err: &LibraryError) -> String {
    match err {
        LibraryError::AbiInstability(details) => first_difference(&details.to_string()),
        err => {
            let words = err.to_string();
            let line =
                words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
            bounded(line)
        }
    }
}

/// The line of a layout report that names the difference.
fn first_difference(report: &str) -> String {
    let lines = || report.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling =
        lines().find_map(|line| line.strip_prefix("Error:").map(str::trim)).filter(|line| !line.is_empty());
    let after = || lines().skip_while(|line| !line.starts_with("Error:")).nth(1);
    bounded(telling.or_else(after).or_else(|| lines().next()).unwrap_or("no difference given"))
}

fn bounded(line: &str) -> String {
    let mut short: String = line.chars().take(160).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    text::printable(&short).into_owned()
}
