//! The door of a plugin in another language: one C function that says where the table lies.
//!
//! ```text
//!  library --symbol--> pearlbed_door_open(n) --> Door { magic, sizes, version } --> v1::ProviderTable
//! ```
//!
//! abi_stable's root module carries the layout of every type, which only Rust can write down. A plugin in C, C++ or Zig
//! exports this function instead, as `include/pearlbed.h` declares it, and gives the same frozen table. Without layouts a
//! host checks what can be checked from outside: that the addresses may be read and are aligned, the magic, the sizes, the
//! version, and that each function of the table lies in code of that very library.
//!
//! Frozen, as the root module is: all that it ever does is to answer where the table of version n lies.

use std::ffi::c_void;

/// The name of the symbol that a plugin in another language exports. Since 1.1.0.
pub const DOOR_SYMBOL: &str = "pearlbed_door_open";

/// What [`Door::magic`] is. Since 1.1.0.
pub const DOOR_MAGIC: u64 = 0x5052_494c_4442_4544;

/// Where a table lies. It and the table are valid for the life of the process, in memory that nobody writes to.
/// Since 1.1.0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// [`DOOR_MAGIC`].
    pub magic: u64,
    /// The size of this struct in bytes.
    pub size: u32,
    /// The version of the table: the one that was asked for.
    pub version: u32,
    /// The size of the table in bytes.
    pub table_size: u64,
    /// The table.
    pub table: *const c_void,
}

/// The function behind [`DOOR_SYMBOL`]: the door to the table of version `version`, or null if the library has none of
/// it. Since 1.1.0.
///
/// It has no effect, answers the same each time, and may be called from any thread at any time. It must not unwind; the
/// type says that it may, so that a host notices where it does.
pub type DoorOpen = unsafe extern "C-unwind" fn(version: u32) -> *const Door;
