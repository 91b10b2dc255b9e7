//! Who knows the addresses of pools.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::lookup_host;

/// Who knows the addresses of names.
#[derive(Clone, Debug, Default)]
pub enum Resolver {
    /// The system.
    #[default]
    System,
    /// A table: for tests.
    Table(Arc<std::sync::Mutex<BTreeMap<String, Vec<SocketAddr>>>>),
}

impl Resolver {
    /// The addresses of a name, in the order of preference.
    ///
    /// # Errors
    ///
    /// The name is not known, or nobody can be asked.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(lookup_host((host, port)).await?.collect()),
            Self::Table(table) => {
                let table = table.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                table
                    .get(host)
                    .cloned()
                    .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
            }
        }
    }
}
