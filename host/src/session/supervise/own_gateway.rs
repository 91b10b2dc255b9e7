//! The gateway that a session runs for itself: whether one is needed, and as what.
//!
//! Solo mining takes a gateway. Where none is named and none listens at the usual place, and the image of a container of the
//! session has one, that is run in a container of its own. It is the work source's as one that was started by a command is.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::containers::{ContainerError, Planned};
use crate::config::{Config, GatewayEndpoint};
use crate::container::recipe::{self, Payee, Surroundings, Unfit};
use crate::hardware;
use crate::miner::Options;
use crate::work::SourceConfig;

/// How long somebody who listens may take to be met.
const CONNECT_TIME: Duration = Duration::from_millis(500);

/// The gateway that `source` needs and the image of one of `planned` has; `source` means that one then.
///
/// # Errors
///
/// It is needed, and cannot be run as it is configured.
pub(super) fn plan(
    planned: &[Planned],
    source: &mut SourceConfig,
    options: &Options,
    config: &Config,
) -> Result<Option<Planned>, ContainerError> {
    let SourceConfig::Gateway(gateway) = source else { return Ok(None) };
    let container = &config.mining.container;
    let Some(one) = planned.iter().find(|one| one.file().gateway.is_some()) else { return Ok(None) };
    let (Some(node), Some(wallet)) = (&gateway.node, &gateway.wallet_address) else { return Ok(None) };
    if !container.gateway || config.mining.gateway.is_named() || somebody_listens(&gateway.endpoint) {
        return Ok(None);
    }
    let around = Surroundings {
        home: &options.home,
        env: &options.env,
        // It is given no card.
        hardware: &hardware::inspect(&hardware::Options {
            drivers: hardware::Drivers::Skip,
            ..hardware::Options::default()
        })
        .info,
        section: container,
    };
    let name = name(planned);
    let payee = Payee { node, wallet };
    let recipe = recipe::gateway(one.file(), &name, one.recipe(), one.extra(), payee, &around);
    let recipe =
        recipe.map_err(|Unfit { problem, fix }| ContainerError::Unfit { miner: name, problem, fix })?;
    let Some(recipe) = recipe else { return Ok(None) };
    gateway.endpoint = GatewayEndpoint::Unix(recipe::gateway_socket(&options.home));
    // It is the session's own, and nobody else starts it.
    gateway.command = Some(Vec::new());
    Ok(Some(one.as_well(recipe)))
}

fn somebody_listens(endpoint: &GatewayEndpoint) -> bool {
    let GatewayEndpoint::Tcp { host, port } = endpoint else { return false };
    let addresses = (&**host, *port).to_socket_addrs().into_iter().flatten();
    let listens = |address: SocketAddr| TcpStream::connect_timeout(&address, CONNECT_TIME).is_ok();
    addresses.into_iter().any(listens)
}

/// What it is called among the session's containers: no miner's name.
fn name(planned: &[Planned]) -> String {
    let free = |name: &String| planned.iter().all(|one| one.miner() != name);
    let mut names = (2..).map(|number| format!("gateway-{number}"));
    Some("gateway".to_owned()).filter(free).or_else(|| names.find(free)).unwrap_or_default()
}
