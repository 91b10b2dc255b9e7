//! How a library exports its root module.

use abi_stable::StableAbi;
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::pmr::ROk;
use abi_stable::prefix_type::{PrefixRefTrait, PrefixTypeTrait};

use super::{Entry, EntryRef, TableAnswer, v1};

/// The header that a plugin exports under [`super::ENTRY_SYMBOL`].
pub const fn header(entry: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: `entry` is made by `export_provider!` and answers with an `EntryRef`.
    unsafe { LibHeader::from_constructor::<EntryRef>(entry, CheckTypeLayout::Yes) }
}

/// The root module of a library.
pub fn entry(entry: Entry) -> RootModuleResult {
    let module: EntryRef = entry.leak_into_prefix();
    // SAFETY: whoever reads the module back has compared its layout with that of `EntryRef`.
    ROk(unsafe { module.to_prefix_ref().cast() })
}

/// Answers [`Entry::table`] for a library that has one table of version 1.
pub fn answer(version: u32, table: &'static v1::ProviderTable) -> TableAnswer {
    match version {
        v1::VERSION => TableAnswer {
            table: std::ptr::from_ref(table).cast(),
            layout: Some(<v1::ProviderTable as StableAbi>::LAYOUT),
        },
        _ => TableAnswer::NONE,
    }
}
