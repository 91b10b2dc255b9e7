//! Copies of the plugin `misbehave`, each with an order and an id of its own.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::build;
use crate::surgery::Library;

const MARK: &[u8; 24] = b"PEARLBED-TESTS-ORDER-->>";
const ORDER_BYTES: usize = 96;
const ID: &str = "misbehave-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// The library `misbehave` with the provider id `id`, told to do `order`; healthy if the order is empty.
///
/// Orders are written in `tests/plugins/misbehave/src/lib.rs`.
pub fn library(id: &str, order: &str) -> Library {
    assert!(order.len() < ORDER_BYTES, "an order has less than {ORDER_BYTES} bytes");
    let mut library = BASE.library.clone();
    let mut write = |places: &[usize], text: &[u8]| {
        for &place in places {
            library.bytes[place..place + text.len()].copy_from_slice(text);
        }
    };
    write(&BASE.orders, order.as_bytes());
    write(&BASE.ids, padded_id(id).as_bytes());
    library
}

/// The library as it was built, and where the order and the id are written in it.
struct Base {
    library: Library,
    orders: Vec<usize>,
    ids: Vec<usize>,
}

/// Read and searched once a test process: a corpus has hundreds of copies.
static BASE: LazyLock<Base> = LazyLock::new(|| {
    let bytes = std::fs::read(build::plugin("misbehave")).expect("the plugin was just built");
    let mut mark = MARK.to_vec();
    mark.resize(MARK.len() + ORDER_BYTES, 0);
    let library = Library::new(bytes);
    let orders = library.places_of(&mark).iter().map(|place| place + MARK.len()).collect();
    let ids = library.places_of(ID.as_bytes());
    Base { library, orders, ids }
});

/// `library` with a manifest that asks for `permissions`; what else it says of itself is left out to make room for that.
pub fn asking_for(mut library: Library, permissions: &[&str]) -> Library {
    let (offset, size) = library.section(".pearlbed.manifest");
    let place = &mut library.bytes[offset..offset + size];
    let mut manifest: serde_json::Value = serde_json::from_slice(place).expect("its manifest is JSON");
    manifest["permissions"] = permissions.into();
    for key in ["vendor", "license", "summary"] {
        manifest[key] = "".into();
    }
    let text = manifest.to_string();
    assert!(text.len() <= size, "{} bytes in the place of {size}", text.len());
    place.fill(b' ');
    place[..text.len()].copy_from_slice(text.as_bytes());
    library
}

/// The id that a copy made for `id` has: ids are overwritten in place, so all are equally long.
pub fn padded_id(id: &str) -> String {
    assert!(id.len() <= ID.len(), "an id of at most {} bytes", ID.len());
    format!("{id:x<width$}", width = ID.len())
}

/// Writes a copy told to do `order` to `<folder>/<name>.so`, readable by everybody and writable by its owner.
pub fn put(folder: &Path, name: &str, order: &str) -> PathBuf {
    put_library(folder, name, &library(name, order))
}

/// Writes `library` to `<folder>/<name>.so`, readable by everybody and writable by its owner.
pub fn put_library(folder: &Path, name: &str, library: &Library) -> PathBuf {
    put_bytes(folder, &format!("{name}{}", std::env::consts::DLL_SUFFIX), &library.bytes)
}

/// Writes `bytes` to `<folder>/<name>`, readable by everybody and writable by its owner.
pub fn put_bytes(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a test may write to its own folder");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
        .expect("the file is the test's own");
    path
}
