//! Settings into a [`Config`]: where each one goes, and what follows from several of them together.
//!
//! Nothing is read or refused here: every value has passed the check of its row in
//! [`KEYS`](super::keys::KEYS), and every row with a default has a value.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pearlbed_plugin_api::Permission;

use super::keys::{self, BACKUP};
use super::miner::{self, MinerSection, Written};
use super::types::*;
use super::value::expand;
use super::{Origin, Pin, PoolUrl, Setting, Value};

/// The configuration that `settings` make, each of them checked and every default among them.
pub(super) fn build(
    file: &Path,
    settings: BTreeMap<String, Setting>,
    grants: BTreeMap<String, Vec<Permission>>,
    miners: Vec<Written>,
    configured: bool,
) -> Config {
    // A session has another working folder than the command that started it, and doctor another still.
    let path_of = |path: &str| file.parent().unwrap_or(Path::new("")).join(expand(path));
    let get = |path: &str| settings.get(path).map(|setting| &setting.value);
    let text = |path: &str| match get(path) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let number = |path: &str| match get(path) {
        Some(Value::Integer(number) | Value::Bytes(number)) => Some(*number),
        _ => None,
    };
    let list = |path: &str| match get(path) {
        Some(Value::List(items)) => Some(items.clone()),
        _ => None,
    };
    let duration = |path: &str| match get(path) {
        Some(Value::Duration(duration)) => *duration,
        _ => unreachable!("every duration has a default"),
    };
    let port = |path: &str| number(path).map(|port| u16::try_from(port).expect("a port was checked"));

    let manner = |path: &str| {
        let text = |name: &str| text(&format!("{path}.{name}"));
        PoolManner {
            worker: text("worker"),
            password_env: text("password_env"),
            account: text("account"),
            agent: text("agent"),
            pin: text("pin").and_then(|pin| Pin::parse(&pin)),
            encoding: text("encoding"),
            cert_version: number(&format!("{path}.cert_version"))
                .map(|version| u32::try_from(version).expect("a version was checked")),
            dialect: text("dialect").filter(|dialect| dialect != "auto"),
            ping: match get(&format!("{path}.ping")) {
                Some(Value::Flag(flag)) => Some(*flag),
                _ => None,
            },
        }
    };
    let endpoint = match text("mining.gateway.socket") {
        Some(socket) => GatewayEndpoint::Unix(path_of(&socket)),
        None => GatewayEndpoint::Tcp {
            host: text("mining.extra.gateway_host").unwrap_or_default(),
            port: port("mining.extra.gateway_port").unwrap_or_default(),
        },
    };
    let node = text("mining.extra.pearld_rpc_url").map(|url| NodeSection {
        url,
        user: text("mining.extra.pearld_rpc_user").unwrap_or_default(),
        password_env: text("mining.extra.pearld_rpc_password_env").unwrap_or_default(),
        certificate: text("mining.node.certificate").map(|path| path_of(&path)),
    });
    let metrics_port = port("mining.extra.metrics_port").or(port("mining.extra.gateway_metrics_port"));
    let metrics_listen = text("mining.session.metrics_listen")
        .map(|address| address.parse().expect("an address was checked"))
        .or(metrics_port.map(|port| ([127, 0, 0, 1], port).into()));
    // Of the two, what was said in the stronger place wins; in one file, the devnet is what OpenJarvis has no word for.
    let strength = |path: &str| match settings.get(path).map(|setting| &setting.origin) {
        Some(Origin::Flag(_)) => 3,
        Some(Origin::Environment(_)) => 2,
        Some(Origin::File { .. }) => 1,
        Some(Origin::Default) | None => 0,
    };
    let devnet = matches!(get("mining.session.devnet"), Some(Value::Flag(true)))
        && strength("mining.session.devnet") >= strength("mining.submit_target");
    let submit_target = match devnet {
        true => SubmitTarget::Devnet,
        false => SubmitTarget::from_checked(&text("mining.submit_target").unwrap_or_default()),
    };
    let extra: serde_json::Map<_, _> = settings
        .iter()
        .filter_map(|(path, setting)| {
            Some((path.strip_prefix("mining.extra.")?.to_owned(), setting.value.to_json()))
        })
        .collect();

    // A flag that names the provider means that one alone.
    let by_flag = settings.get("mining.provider").is_some_and(|one| matches!(one.origin, Origin::Flag(_)));
    let miners = if by_flag { Vec::new() } else { miners };
    let asked = text("mining.provider");
    let provider = asked.clone().filter(|id| id != keys::AUTO);
    let first = (asked.is_some() || miners.is_empty()).then(|| MinerSection {
        name: String::new(),
        provider: provider.clone(),
        devices: list("mining.devices").iter().flatten().filter_map(|device| device.parse().ok()).collect(),
        extra: extra.clone(),
        grants: Vec::new(),
        nice: number("mining.nice").and_then(|nice| u8::try_from(nice).ok()).unwrap_or(keys::NICE),
        temperature_limit: number("mining.temperature_limit").and_then(|degrees| u8::try_from(degrees).ok()),
        enabled: true,
        line: None,
    });
    let miners = miner::named(first, miners, &miner::inherited(&extra));

    Config {
        path: file.to_owned(),
        configured,
        mining: MiningSection {
            provider,
            miners,
            wallet_address: text("mining.wallet_address"),
            submit_target,
            fee_bps: 0,
            fee_payout_address: text("mining.fee_payout_address"),
            model: text("mining.extra.model"),
            extra,
            grants,
            gateway: GatewaySection {
                endpoint,
                command: list("mining.gateway.command"),
                rest_while_proving: !matches!(
                    get("mining.gateway.rest_while_proving"),
                    Some(Value::Flag(false))
                ),
            },
            node,
            pool: PoolSection {
                manner: manner("mining.pool"),
                backups: (1..)
                    .map(|number| format!("{BACKUP}.{number}"))
                    .map_while(|path| {
                        let url = text(&format!("{path}.url"))?;
                        Some(BackupSection {
                            url: PoolUrl::parse(&url).expect("a pool's address was checked"),
                            wallet_address: text(&format!("{path}.wallet_address")),
                            manner: manner(&path),
                        })
                    })
                    .collect(),
                wallet_unchecked: matches!(get("mining.pool.wallet_unchecked"), Some(Value::Flag(true))),
            },
            session: SessionSection {
                stop_grace: duration("mining.session.stop_grace"),
                stall_after: duration("mining.session.stall_after"),
                restart_wait: duration("mining.session.restart_wait"),
                metrics_listen,
                metrics_socket: text("mining.session.metrics_socket").map(|path| path_of(&path)),
                log_bytes_max: number("mining.session.log_size").unwrap_or_default(),
                container_engines: matches!(get("mining.session.container_engines"), Some(Value::Flag(true))),
            },
            container: ContainerSection {
                engine: match text("mining.container.engine").as_deref() {
                    Some("docker") => ContainerEngine::Docker,
                    Some("podman") => ContainerEngine::Podman,
                    _ => ContainerEngine::Auto,
                },
                network: match text("mining.container.network").as_deref() {
                    Some("host") => ContainerNetwork::Host,
                    _ => ContainerNetwork::Bridge,
                },
                ready_within: duration("mining.container.ready_within"),
                stop_grace: duration("mining.container.stop_grace"),
                read_only: match get("mining.container.read_only") {
                    Some(Value::Flag(flag)) => Some(*flag),
                    _ => None,
                },
                gateway: matches!(get("mining.container.gateway"), Some(Value::Flag(true))),
            },
            port: PortSection {
                unix: match get("mining.port.unix") {
                    Some(Value::Flag(true)) => Some(PortSocket::OfHome),
                    Some(Value::Text(path)) => Some(PortSocket::At(path_of(path))),
                    _ => None,
                },
                listen: text("mining.port.listen")
                    .map(|address| address.parse().expect("an address was checked")),
                password_env: text("mining.port.password_env"),
                share_every: Duration::from_secs(number("mining.port.share_seconds").unwrap_or(10)),
            },
        },
        plugins: PluginsSection {
            dirs: list("plugins.dirs").unwrap_or_default().iter().map(|dir| path_of(dir)).collect(),
            probe_timeout: duration("plugins.probe_timeout"),
            relax_trust: matches!(get("plugins.relax_trust"), Some(Value::Flag(true))),
            keys: list("plugins.keys").unwrap_or_default(),
            require_signature: matches!(get("plugins.require_signature"), Some(Value::Flag(true))),
            debug: matches!(get("plugins.debug"), Some(Value::Flag(true))),
        },
        settings,
    }
}
