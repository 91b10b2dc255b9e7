//! The gateway that is in the same image, in a container of its own: for solo mining where none is named.
//!
//! It is trusted as a gateway is: it decides who is paid. So it is told the node and the wallet, which no other container
//! hears of; the node's password lies in a file that it reads, and in no variable and no argument.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::arguments::{Settings, Words};
use super::{Mount, Ready, Recipe, SOCKET, Surroundings, TOKEN, Unfit, token_file};
use crate::config::{ContainerNetwork, NodeSection};
use crate::home::Home;
use crate::plugins::container::{DataFile, TARGET};

/// What its container is called.
const NAME: &str = "pearlbed-gateway";
/// Where the node's certificate is mounted.
const CERTIFICATE: &str = "/run/pearlbed-node-certificate";

/// Who is paid, and by which node.
#[derive(Debug, Clone, Copy)]
pub struct Payee<'a> {
    /// The user's node.
    pub node: &'a NodeSection,
    /// The wallet's address.
    pub wallet: &'a str,
}

/// The folder that the gateway makes its socket in.
pub fn folder(home: &Home) -> PathBuf {
    home.runtime_dir().join("gateway")
}

/// The gateway's socket.
pub fn socket(home: &Home) -> PathBuf {
    folder(home).join(SOCKET)
}

/// What the gateway of `file` is run as, under the name `name`, from the image of `miner`, which is a container of the same
/// file with the settings `extra`; nothing where the file has no gateway.
///
/// # Errors
///
/// The first setting with which it could not be run.
pub fn resolve(
    file: &DataFile,
    name: &str,
    miner: &Recipe,
    extra: &Map<String, Value>,
    payee: Payee<'_>,
    around: &Surroundings<'_>,
) -> Result<Option<Recipe>, Unfit> {
    let Some(gateway) = &file.gateway else { return Ok(None) };
    let Payee { node, wallet } = payee;
    if around.env.var(&node.password_env).is_none() {
        return Err(Unfit::new(
            format!("needs the password of the node, and {} is not set", node.password_env),
            format!("set {} where `pearlbed start` is run", node.password_env),
        ));
    }
    let mut mounts = vec![
        Mount { source: folder(around.home), target: TARGET.into(), read_only: false },
        Mount { source: token_file(around.home.root(), name), target: TOKEN.into(), read_only: true },
    ];
    if let Some(certificate) = &node.certificate {
        let source = std::path::absolute(certificate).unwrap_or_else(|_| certificate.clone());
        if source.to_string_lossy().contains([',', '"']) {
            return Err(Unfit::new(
                "cannot be given a certificate with a comma or a quotation mark in its path",
                "give the file another name",
            ));
        }
        mounts.push(Mount { source, target: CERTIFICATE.into(), read_only: true });
    }
    let threads = std::thread::available_parallelism().map_or(1, |all| all.get().saturating_sub(1).max(1));
    let settings = Settings { file, extra };
    let words = Words {
        settings: &settings,
        own: BTreeMap::from([
            ("socket", Some(format!("{TARGET}/{SOCKET}"))),
            ("password", Some(TOKEN.to_owned())),
            ("node", Some(node.url.clone())),
            ("user", Some(node.user.clone())),
            ("certificate", node.certificate.is_some().then(|| CERTIFICATE.to_owned())),
            ("wallet", Some(wallet.to_owned())),
            ("threads", Some(threads.to_string())),
        ]),
    };
    let mut environment = BTreeMap::new();
    for (variable, value) in &gateway.environment {
        if let Some(value) = words.fill(value) {
            environment.insert(variable.clone(), value);
        }
    }
    let entrypoint = words.fill_all(&gateway.entrypoint).ok_or_else(|| {
        Unfit::new("has an entry point with a value that is not set", "set what its data file asks for")
    })?;
    Ok(Some(Recipe {
        miner: name.to_owned(),
        name: NAME.into(),
        entrypoint,
        arguments: Vec::new(),
        environment,
        passed: Vec::new(),
        mounts,
        token_variable: Some(node.password_env.clone()),
        port: 0,
        // The node is on this machine's loopback.
        network: ContainerNetwork::Host,
        cards: Vec::new(),
        shared_memory_bytes: 0,
        model: None,
        ready: Ready::Socket(socket(around.home)),
        api: String::new(),
        metrics: None,
        numbers: BTreeMap::new(),
        steps: None,
        ..miner.clone()
    }))
}
