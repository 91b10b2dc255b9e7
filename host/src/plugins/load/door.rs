//! The door of a plugin in another language: found, checked, and only then gone through.
//!
//! Nothing here trusts an address before it has been looked up: in the library's own segments, as the loader laid them
//! out, and among the pages of this process. What is used afterwards is a copy, so that nothing can change between the
//! check and the call.
//!
//! # Limitations
//!
//! The library's constructors have run by now, in this very process: these checks find mistakes and say what they are.
//! What a library means to hide is the business of the confinement.

use std::ffi::{CString, c_void};
use std::panic::catch_unwind;

use pearlbed_plugin_api::abi::{DOOR_MAGIC, DOOR_SYMBOL, Door, DoorOpen, VERSIONS, v1};

use super::memory::{Image, Pages};

/// The functions of the table of version 1, by their place.
const FUNCTIONS: [&str; 8] =
    ["manifest", "create", "destroy", "detect", "start", "stop", "is_running", "stats"];

/// What is wrong with a door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("`{DOOR_SYMBOL}` is no function of that library")]
    NoFunction,
    #[error("its pages cannot be looked up: {0}")]
    NoPages(#[from] std::io::Error),
    #[error("the loader does not say where it lies")]
    NoImage,
    #[error("its {what} lies at an odd address, not at a multiple of {align}")]
    Misaligned { what: &'static str, align: usize },
    #[error("its {what} lies where nothing can be read")]
    Unreadable { what: &'static str },
    #[error("its {what} lies in memory that can be written to; make it `const`, and link with `-z relro`")]
    Writable { what: &'static str },
    #[error("its door has no magic, so it is none")]
    Magic,
    #[error("its {what} has {found} bytes by its own count, {expected} are right")]
    Size { what: &'static str, found: u64, expected: u64 },
    #[error("asked for the table of version {asked}, its door leads to version {found}")]
    Version { asked: u32, found: u32 },
    #[error("its table is null")]
    NoTable,
    #[error("`{0}` of its table is null")]
    NoPointer(&'static str),
    #[error("`{0}` of its table is no function of that library")]
    Elsewhere(&'static str),
    #[error("its table changed after it was read")]
    Changed,
    #[error("it answers another door each time it is asked")]
    Unsteady,
}

/// A door that leads to a table.
pub struct OpenDoor {
    /// The version of the table.
    pub version: u32,
    /// Where the library keeps the table.
    pub address: *const v1::ProviderTable,
    /// What was read there, and checked.
    pub words: Words,
    image: Image,
    open: DoorOpen,
}

/// The table of version 1 as it lies in memory: a pointer for each function.
pub type Words = [usize; FUNCTIONS.len()];

const _: () = assert!(size_of::<Words>() == size_of::<v1::ProviderTable>());

/// The address that the loader has for `name` in the library behind `handle`; it may be that of another library, since
/// the loader looks there as well.
pub fn symbol(handle: *mut c_void, name: &str) -> Option<usize> {
    let name = CString::new(name).ok()?;
    // SAFETY: the handle is an open library's, and the name a string that lives; the answer is an address.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) } as usize;
    (address != 0).then_some(address)
}

/// Asks the library behind `handle` for its door, newest version first. `None` where it declines every version.
///
/// # Errors
///
/// What is wrong with the door, the first thing that was found.
///
/// # Safety
///
/// `handle` is that of a library that stays loaded. Its function `pearlbed_door_open` is called: its code runs in this
/// process.
pub unsafe fn open(handle: *mut c_void) -> Result<Option<OpenDoor>, DoorError> {
    let address = symbol(handle, DOOR_SYMBOL).ok_or(DoorError::NoFunction)?;
    // SAFETY: the caller's handle is that of a loaded library.
    let image = unsafe { Image::of(handle, address) }.ok_or(DoorError::NoImage)?;
    if !image.has_code(address) || !Pages::now()?.can_run(address) {
        return Err(DoorError::NoFunction);
    }
    // SAFETY: the address is one in the library's code, under the name that means this type of function.
    let open = unsafe { std::mem::transmute::<usize, DoorOpen>(address) };
    for &version in VERSIONS.iter().rev() {
        let door = ask(open, version);
        if door.is_null() {
            continue;
        }
        let (address, words) = read(door, version, &image)?;
        if ask(open, version) != door {
            return Err(DoorError::Unsteady);
        }
        return Ok(Some(OpenDoor { version, address, words, image, open }));
    }
    Ok(None)
}

impl OpenDoor {
    /// Looks again, after the library's code has run: the door and the table must be what they were.
    ///
    /// # Errors
    ///
    /// [`DoorError::Changed`], or what is wrong with it now.
    pub fn check_again(&self) -> Result<(), DoorError> {
        let (address, words) = read(ask(self.open, self.version), self.version, &self.image)?;
        if address != self.address || words != self.words {
            return Err(DoorError::Changed);
        }
        Ok(())
    }
}

/// Calls the library's function. What it throws ends this process with a word on standard error.
fn ask(open: DoorOpen, version: u32) -> *const Door {
    // SAFETY: whoever made an `OpenDoor` or called `open` vouches for the call.
    catch_unwind(|| unsafe { open(version) }).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        std::ptr::null()
    })
}

/// Reads the door and the table behind it, checking everything on the way.
fn read(
    door: *const Door,
    version: u32,
    image: &Image,
) -> Result<(*const v1::ProviderTable, Words), DoorError> {
    let pages = Pages::now()?;
    // SAFETY: `place` makes sure that so many bytes can be read there, and a door is made of numbers.
    let Door { magic, size, version: found, table_size, table } = unsafe {
        place::<Door>("door", door.cast(), &pages)?;
        door.read_volatile()
    };
    if magic != DOOR_MAGIC {
        return Err(DoorError::Magic);
    }
    let sized = |what, found: u64, expected: usize| {
        let expected = expected as u64;
        if found == expected { Ok(()) } else { Err(DoorError::Size { what, found, expected }) }
    };
    sized("door", size.into(), size_of::<Door>())?;
    if found != version {
        return Err(DoorError::Version { asked: version, found });
    }
    debug_assert_eq!(version, v1::VERSION, "a new version needs its own lines below");
    sized("table", table_size, size_of::<v1::ProviderTable>())?;
    if table.is_null() {
        return Err(DoorError::NoTable);
    }
    // SAFETY: as above; a table is looked at as numbers before any of them is taken for a function.
    let words = unsafe {
        place::<v1::ProviderTable>("table", table, &pages)?;
        table.cast::<Words>().read_volatile()
    };
    for (&address, name) in words.iter().zip(FUNCTIONS) {
        if address == 0 {
            return Err(DoorError::NoPointer(name));
        }
        if !image.has_code(address) || !pages.can_run(address) {
            return Err(DoorError::Elsewhere(name));
        }
    }
    Ok((table.cast(), words))
}

/// Checks that a `T` can be read at `address`, and that nobody can write there.
fn place<T>(what: &'static str, address: *const c_void, pages: &Pages) -> Result<(), DoorError> {
    let align = align_of::<T>();
    let (at, len) = (address as usize, size_of::<T>());
    if at % align != 0 {
        return Err(DoorError::Misaligned { what, align });
    }
    if !pages.can_read(at, len) {
        return Err(DoorError::Unreadable { what });
    }
    if pages.can_write(at, len) {
        return Err(DoorError::Writable { what });
    }
    Ok(())
}
