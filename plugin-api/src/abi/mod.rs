//! What crosses the boundary between a host and a plugin, byte for byte.
//!
//! ```text
//!  library --symbol--> Entry --table(n)--> TableAnswer --layout check--> v1::ProviderTable   (Rust)
//!  library --symbol--> pearlbed_door_open(n) --> Door -------checks-----> v1::ProviderTable   (C, C++, Zig)
//! ```
//!
//! The symbol and [`Entry`] are frozen: a library has one root module, so all that it ever does is to answer a
//! question ("have you a table of version n, and of which layout?"). Every published table is frozen as well, not
//! even appended to: growth is a new module beside [`v1`]. A host asks for the newest version it knows, then for the
//! older ones, and checks the layout of the one it takes.
//!
//! The layout check compares names as well: of types, of fields, and of this package, whose major version is 1 for ever.
//!
//! Everything here is `repr(C)` and can be written down in C: integers of a fixed width, pointers, functions of the C
//! calling convention, text as a pointer and a length.
//!
//! Provider authors need nothing of this module: [`crate::export_provider!`] fills the tables in.

mod door;
pub(crate) mod exported;
pub(crate) mod lend;
pub mod v1;

use std::ffi::c_void;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::type_layout::TypeLayout;

pub use self::door::{DOOR_MAGIC, DOOR_SYMBOL, Door, DoorOpen};

/// The versions of the provider table that this crate can export and call, oldest first. Since 1.0.0.
pub const VERSIONS: &[u32] = &[v1::VERSION];

/// The name of the symbol that a Rust plugin exports: abi_stable's library header. Since 1.0.0.
pub const ENTRY_SYMBOL: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

/// The root module of a plugin: one question with one answer, frozen for ever. Since 1.0.0.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EntryRef)))]
#[sabi(missing_field(panic))]
pub struct Entry {
    /// Answers with the provider table of version `version`, or with null if the plugin has none of it.
    ///
    /// Never unwinds, has no effect, and may be called from any thread at any time.
    #[sabi(last_prefix_field)]
    pub table: extern "C" fn(version: u32) -> TableAnswer,
}

impl RootModule for EntryRef {
    abi_stable::declare_root_module_statics! {EntryRef}

    const BASE_NAME: &'static str = "pearlbed_provider";
    const NAME: &'static str = "pearlbed_provider";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The answer of [`Entry::table`]. Since 1.0.0.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct TableAnswer {
    /// The table, valid for the life of the process, or null.
    pub table: *const c_void,
    /// The layout of the table's type; `None` exactly if `table` is null.
    pub layout: Option<&'static TypeLayout>,
}

impl TableAnswer {
    /// "There is no table of that version."
    pub const NONE: Self = Self { table: std::ptr::null(), layout: None };
}
