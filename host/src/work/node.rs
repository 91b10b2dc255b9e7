//! What a pearld node is asked: what became of a block, and whether the node itself is fit to mine on.
//!
//! JSON-RPC over HTTPS with basic authentication, one connection a request, as pearld serves it. The node's self-made
//! certificate is pinned. The password is read from the environment for each request and kept nowhere.
//!
//! The node is only ever asked. Submitting blocks is the gateway's work.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::config::NodeSection;
use crate::explain::Explain;
use crate::http;
use crate::http::header::{self, HeaderValue};
use crate::text::foreign as bounded;
use crate::url::Url;

mod fate;
mod tls;

pub use fate::{BlockInfo, Fate, fate, parent};

/// Port of mainnet's RPC (protocol section 13).
const PORT: u16 = 44107;
/// Bytes of the largest answer that is read. A verbose block is far smaller.
const RESPONSE_BYTES_MAX: usize = 8 << 20;
/// One question and its answer.
const EXCHANGE_MAX: Duration = Duration::from_secs(20);
/// Blocks that are walked back from the tip where the node does not name a block's successor.
const WALK_MAX: usize = 100;
/// A chain whose newest blocks are older than this is not known to be synced: mainnet finds a block every 194 s.
const TIP_AGE_MAX: Duration = Duration::from_secs(2 * 3600);

/// A node, by how it is reached.
#[derive(Clone, Debug)]
pub struct Node {
    url: String,
    /// `host:port`.
    authority: String,
    host: String,
    user: String,
    password_env: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why a node did not answer, or not as hoped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum NodeError {
    #[error("`{url}` is not the address of a node's RPC")]
    Url { url: String },
    #[error("`{url}` would send the password in clear over the network")]
    PlainRemote { url: String },
    #[error("an https node needs its certificate, and none is configured")]
    NoCertificate,
    #[error("failed to read the node's certificate `{}`: {why}", path.display())]
    Certificate { path: PathBuf, why: String },
    #[error("the environment variable `{name}`, which should hold the node's password, is not set")]
    NoPassword { name: String },
    #[error("failed to reach the node at {url}")]
    Connect {
        url: String,
        #[source]
        err: io::Error,
    },
    #[error("the node at {url} shows another certificate than the configured one")]
    OtherCertificate { url: String },
    #[error("the exchange with the node at {url} failed")]
    Exchange {
        url: String,
        #[source]
        err: io::Error,
    },
    #[error("the node at {url} did not answer within {:.1} s", after.as_secs_f64())]
    TimedOut { url: String, after: Duration },
    #[error("the node at {url} refused the user name or the password")]
    Unauthorised { url: String },
    #[error("the node answered `{method}` with HTTP status {status}")]
    Status { method: &'static str, status: u16 },
    #[error("the node's answer to `{method}` cannot be read: {why}")]
    Unreadable { method: &'static str, why: String },
    #[error("the node refused `{method}`: {message} ({code})")]
    Refused { method: &'static str, code: i64, message: String },
}

impl Explain for NodeError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Url { .. } => "write it as `https://127.0.0.1:44107`".to_owned(),
            Self::PlainRemote { .. } => {
                "use https with the node's certificate, or a tunnel to a loopback port".to_owned()
            }
            Self::NoCertificate | Self::Certificate { .. } => {
                "set `mining.node.certificate` to the node's `rpc.cert` (by default `~/.pearld/rpc.cert`)"
                    .to_owned()
            }
            Self::NoPassword { name } => format!("set it where pearlbed is started: `export {name}=…`"),
            Self::Connect { err, .. } => unreachable_hint(err),
            Self::TimedOut { .. } => "something is there, or on the way: it may be busy, or no pearld; see the node's log, and any firewall".to_owned(),
            Self::OtherCertificate { .. } => {
                "if the node made a new one, copy its `rpc.cert` again".to_owned()
            }
            Self::Exchange { .. } => "see the node's log; http and https may be mixed up".to_owned(),
            Self::Unauthorised { .. } => "compare with `rpcuser` and `rpcpass` of the node".to_owned(),
            Self::Status { status: 429 | 502..=504, .. } => {
                "it is busy or just starting: try again in a moment, and see its log".to_owned()
            }
            Self::Status { .. } | Self::Unreadable { .. } => "is this really a pearld's RPC?".to_owned(),
            // As Bitcoin's family of nodes numbers it: it loads its chain.
            Self::Refused { code: -28, .. } => "it is just starting: try again in a moment".to_owned(),
            Self::Refused { .. } => return None,
        })
    }
}

/// What to do about a node that could not be connected to, by why.
fn unreachable_hint(err: &io::Error) -> String {
    match crate::remedy::number(err) {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => {
            "no way leads there from here: see the network of this machine or container".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => "a firewall or a container refuses the connection".to_owned(),
        Some(libc::EMFILE | libc::ENFILE) => {
            crate::remedy::for_process(err).unwrap_or_else(|| "close some files".to_owned())
        }
        Some(_) => "is pearld running, with its RPC on this address?".to_owned(),
        // The resolver's errors have no number.
        None => {
            "the name was not found: check it in `mining.extra.pearld_rpc_url`, or give an address in numbers"
                .to_owned()
        }
    }
}

/// What `getblockchaininfo` says, as far as it matters here.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ChainInfo {
    /// `mainnet`, `testnet`, …
    pub chain: String,
    /// Blocks that the node has checked.
    pub blocks: u64,
    /// Headers that it knows.
    pub headers: u64,
    /// Hash of the newest block.
    #[serde(rename = "bestblockhash")]
    pub best_block_hash: String,
    /// Median time of the newest blocks, in Unix seconds.
    #[serde(rename = "mediantime", default)]
    pub median_time: u64,
    /// Whether the node says of itself that it is still loading the chain.
    #[serde(rename = "initialblockdownload", default)]
    pub initial_download: bool,
}

/// What `getblocktemplate` says, as far as it matters here.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct TemplateInfo {
    /// Height of the block in the making.
    pub height: u64,
    /// The template's time, in Unix seconds.
    #[serde(rename = "curtime")]
    pub time: u64,
    /// The block that it builds on.
    #[serde(rename = "previousblockhash")]
    pub previous: String,
    /// The certificate version that the block needs; old nodes do not say.
    #[serde(rename = "requiredcertversion")]
    pub required_certificate: Option<u32>,
}

/// Whether a node follows the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It has every block that it knows of, its newest are young, and it gives out templates.
    Synced,
    /// It knows of blocks that it has not checked yet.
    Behind {
        /// Blocks checked.
        blocks: u64,
        /// Headers known.
        headers: u64,
    },
    /// It cannot be told.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// Everything that a check-up asks a node.
#[derive(Debug)]
pub struct Examination {
    /// `getblockchaininfo`. An error here says whether the node is reachable and we are authorised.
    pub chain: Result<ChainInfo, NodeError>,
    /// `getblocktemplate`; not asked when the first question failed.
    pub template: Option<Result<TemplateInfo, NodeError>>,
}

impl Examination {
    /// Whether the node follows the network. Never [`Sync::Synced`] on a guess.
    pub fn sync(&self, now: SystemTime) -> Sync {
        let unknown = |reason: String| Sync::Unknown { reason };
        let chain = match &self.chain {
            Ok(chain) => chain,
            Err(err) => return unknown(err.to_string()),
        };
        let (blocks, headers) = (chain.blocks, chain.headers);
        if headers > blocks {
            return Sync::Behind { blocks, headers };
        }
        if chain.initial_download {
            return unknown("the node is still loading the chain".to_owned());
        }
        let tip_age =
            now.duration_since(UNIX_EPOCH + Duration::from_secs(chain.median_time)).unwrap_or_default();
        if tip_age > TIP_AGE_MAX {
            let hours = tip_age.as_secs() / 3600;
            return unknown(format!("its newest blocks are {hours} h old, so it may have lost its peers"));
        }
        match &self.template {
            Some(Ok(_)) => Sync::Synced,
            Some(Err(err)) => unknown(err.to_string()),
            None => unknown("it was not asked for a template".to_owned()),
        }
    }

    /// How old the template is by the node's clock and ours.
    pub fn template_age(&self, now: SystemTime) -> Option<Duration> {
        let template = self.template.as_ref()?.as_ref().ok()?;
        Some(now.duration_since(UNIX_EPOCH + Duration::from_secs(template.time)).unwrap_or_default())
    }
}

/// Asks a node everything that a check-up wants to know. Blocks for at most two exchanges of 20 s, or for `limit`.
///
/// # Errors
///
/// The configuration itself does not allow to ask; what the node says is in the [`Examination`].
///
/// # Panics
///
/// Inside a tokio runtime.
pub fn examine(section: &NodeSection, limit: Duration) -> Result<Examination, NodeError> {
    let node = Node::new(section)?;
    let began = std::time::Instant::now();
    let timed_out = || NodeError::TimedOut { url: node.url.clone(), after: began.elapsed() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|err| NodeError::Connect { url: node.url.clone(), err })?;
    let examination = runtime.block_on(async {
        let deadline = tokio::time::Instant::now() + limit;
        let chain = tokio::time::timeout_at(deadline, node.chain_info()).await;
        let chain = chain.unwrap_or_else(|_| Err(timed_out()));
        let template = match chain {
            Ok(_) => {
                let template = tokio::time::timeout_at(deadline, node.template()).await;
                Some(template.unwrap_or_else(|_| Err(timed_out())))
            }
            Err(_) => None,
        };
        Examination { chain, template }
    });
    // A name look-up that hangs must not hold up the report.
    runtime.shutdown_background();
    Ok(examination)
}

impl Node {
    /// The node of a configuration. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// The address cannot be used: [`NodeError::Url`], [`NodeError::PlainRemote`], [`NodeError::NoCertificate`],
    /// [`NodeError::Certificate`].
    pub fn new(section: &NodeSection) -> Result<Self, NodeError> {
        let url = bounded(&section.url);
        let wrong = || NodeError::Url { url: url.clone() };
        let parts = Url::parse(&section.url).map_err(|_| wrong())?;
        let tls = match parts.scheme.as_str() {
            "https" => {
                let path = section.certificate.clone().ok_or(NodeError::NoCertificate)?;
                Some(tls::pinned_client(&path).map_err(|why| NodeError::Certificate { path, why })?)
            }
            "http" if is_loopback(&parts.host) => None,
            "http" => return Err(NodeError::PlainRemote { url }),
            _ => return Err(wrong()),
        };
        let (user, password_env) = (section.user.clone(), section.password_env.clone());
        Ok(Self { url, authority: parts.authority(PORT), host: parts.host, user, password_env, tls })
    }

    /// The address, for `status`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The hash of the newest block, as text.
    ///
    /// # Errors
    ///
    /// As every question.
    pub async fn best_block_hash(&self) -> Result<String, NodeError> {
        self.ask("getbestblockhash", json!([])).await
    }

    /// A block; `None` when the node does not know it.
    ///
    /// # Errors
    ///
    /// As every question.
    pub async fn block(&self, hash: &str) -> Result<Option<BlockInfo>, NodeError> {
        match self.ask("getblock", json!([hash, 1])).await {
            Ok(block) => Ok(Some(block)),
            // "Block not found".
            Err(NodeError::Refused { code: -5, .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// How far the node's chain is.
    ///
    /// # Errors
    ///
    /// As every question.
    pub async fn chain_info(&self) -> Result<ChainInfo, NodeError> {
        self.ask("getblockchaininfo", json!([])).await
    }

    /// What the next block needs.
    ///
    /// # Errors
    ///
    /// As every question.
    pub async fn template(&self) -> Result<TemplateInfo, NodeError> {
        self.ask("getblocktemplate", json!([{"rules": ["segwit"]}])).await
    }

    /// What became of a header.
    ///
    /// # Errors
    ///
    /// As every question.
    pub async fn fate(&self, header: &[u8; 76]) -> Result<Fate, NodeError> {
        let parent_hash = parent(header);
        let Some(parent) = self.block(&parent_hash).await? else { return Ok(Fate::Unknown) };
        let child = match &parent.next {
            Some(next) => self.block(next).await?,
            None if parent.confirmations < 0 => None,
            None => self.walk_back_to(&parent_hash).await?,
        };
        Ok(fate(header, Some(&parent), child.as_ref()))
    }

    /// The block of the main chain that follows `parent`, found from the newest block backwards.
    async fn walk_back_to(&self, parent: &str) -> Result<Option<BlockInfo>, NodeError> {
        let mut hash = self.best_block_hash().await?;
        for _ in 0..WALK_MAX {
            if hash == parent {
                return Ok(None);
            }
            let Some(block) = self.block(&hash).await? else { return Ok(None) };
            if block.previous == parent {
                return Ok(Some(block));
            }
            hash = block.previous;
        }
        Ok(None)
    }

    async fn ask<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, NodeError> {
        let timed_out = |_| NodeError::TimedOut { url: self.url.clone(), after: EXCHANGE_MAX };
        tokio::time::timeout(EXCHANGE_MAX, self.exchange(method, params)).await.map_err(timed_out)?
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, NodeError> {
        let password = std::env::var(&self.password_env)
            .map_err(|_| NodeError::NoPassword { name: self.password_env.clone() })?;
        let authorization = format!("Basic {}", BASE64.encode(format!("{}:{password}", self.user)));
        let body = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": params}).to_string();
        let failed = |err: io::Error| self.exchange_failed(err);

        let mut authorization = HeaderValue::from_str(&authorization).expect("base64 is ASCII");
        authorization.set_sensitive(true);
        let request = http::Request::post("/")
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.into())
            .map_err(|err| failed(io::Error::other(err)))?;

        let connected = TcpStream::connect(&self.authority).await;
        let stream = connected.map_err(|err| NodeError::Connect { url: self.url.clone(), err })?;
        let response = match &self.tls {
            None => http::exchange(stream, request, RESPONSE_BYTES_MAX).await.map_err(failed)?,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|_| NodeError::Url { url: self.url.clone() })?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.map_err(failed)?;
                http::exchange(stream, request, RESPONSE_BYTES_MAX).await.map_err(failed)?
            }
        };
        match response.status {
            401 | 403 => return Err(NodeError::Unauthorised { url: self.url.clone() }),
            // Errors of the RPC may come with status 500; they are in the body all the same.
            200 | 400 | 404 | 500 => {}
            status => return Err(NodeError::Status { method, status }),
        }
        read_answer(method, response.status, &response.body)
    }

    fn exchange_failed(&self, err: io::Error) -> NodeError {
        let url = self.url.clone();
        let refused_pin = err
            .get_ref()
            .and_then(|err| err.downcast_ref::<rustls::Error>())
            .is_some_and(|err| matches!(err, rustls::Error::InvalidCertificate(_)));
        if refused_pin { NodeError::OtherCertificate { url } } else { NodeError::Exchange { url, err } }
    }
}

/// Takes the result out of an RPC answer.
fn read_answer<T: DeserializeOwned>(method: &'static str, status: u16, body: &[u8]) -> Result<T, NodeError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        result: Value,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: i64,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|err| match status {
        200 => NodeError::Unreadable { method, why: err.to_string() },
        status => NodeError::Status { method, status },
    })?;
    if let Some(Refusal { code, message }) = answer.error {
        return Err(NodeError::Refused { method, code, message: bounded(&message) });
    }
    serde_json::from_value(answer.result)
        .map_err(|err| NodeError::Unreadable { method, why: bounded(&err.to_string()) })
}

/// Whether `host` is this machine, by its name or number.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
