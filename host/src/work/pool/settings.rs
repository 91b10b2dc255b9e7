//! What the client needs to know of each pool, resolved from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::profile::{self, Profile};
use super::resolver::Resolver;
use super::tls::Roots;
use crate::config::{Pin, PoolUrl};
use crate::work::stratum::Encoding;
use crate::work::stratum::to_pool::{Dialect, Login};

/// The pools of a session, in the order of preference.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The pools; never empty.
    pub pools: Vec<Pool>,
    /// Folder of the records of rejected shares, `<home>/runtime/rejected`.
    pub rejected: PathBuf,
    /// The ledger of all sessions, `<home>/runtime/pool-ledger.json`.
    pub book: PathBuf,
    /// Who knows the addresses of names: the system, outside of tests.
    pub resolver: Resolver,
    /// Where trust comes from: the platform, outside of tests.
    pub roots: Roots,
}

impl PoolConfig {
    /// Pools in the order of preference, with what is kept of them in `runtime`.
    pub fn new(pools: Vec<Pool>, runtime: &Path) -> Self {
        Self {
            pools,
            rejected: runtime.join("rejected"),
            book: runtime.join("pool-ledger.json"),
            resolver: Resolver::System,
            roots: Roots::Platform,
        }
    }
}

/// One pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The address as it was given: the pool's name everywhere.
    pub address: Arc<str>,
    /// The address in parts.
    pub url: PoolUrl,
    /// Who we are there.
    pub login: Login,
    /// The certificate that it must show.
    pub pin: Option<Pin>,
    /// The encoding of proofs to ask for.
    pub wants: Encoding,
    /// The certificate version of jobs that say none.
    pub certificate_version: Option<u32>,
    /// The form of authorize, where the user fixed it.
    pub dialect: Option<Dialect>,
    /// Whether to keep the connection alive by pings.
    pub pings: bool,
    /// The table of the configuration that it stands in, for hints.
    pub table: String,
    /// What is known of the pool.
    pub profile: &'static Profile,
}

impl Pool {
    /// A pool with nothing set but where it is and who is paid.
    pub fn new(url: PoolUrl, wallet: &str, worker: &str) -> Self {
        let profile = profile::find(&url.host);
        Self {
            address: url.to_string().into(),
            login: Login {
                wallet: wallet.to_owned(),
                worker: worker.to_owned(),
                agent: agent(),
                password: "x".to_owned(),
            },
            pin: None,
            wants: profile.wants,
            certificate_version: None,
            dialect: None,
            pings: profile.pings,
            table: "[mining.pool]".to_owned(),
            profile,
            url,
        }
    }

    /// Who is paid where, in a phrase.
    pub fn pays(&self) -> String {
        let Login { wallet, worker, .. } = &self.login;
        let worker = if worker.is_empty() { String::new() } else { format!(" (worker {worker})") };
        format!("{} pays {wallet}{worker}", self.address)
    }
}

/// Our name, as pools see it.
pub fn agent() -> String {
    format!("pearlbed/{}", env!("CARGO_PKG_VERSION"))
}
