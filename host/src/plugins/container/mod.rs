//! Providers that are a container and no library: a data file, `<id>.container.toml`, in the same folders.
//!
//! The file says which image mines, how it is run and what it needs. It holds no code, so nothing of it can run in this
//! process or in a probe: [`detect`] is a comparison of what it requires with the machine. Who runs the container is a
//! floor above.

mod data;
mod detect;

pub use self::data::{BYTES_MAX, DataError, DataFile, SUFFIX, TARGET};
pub use self::detect::{detect, fitting};
