//! `pearlbed devnet`: the embedded network behind a gateway's face.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Error};
use crate::exit::Exit;
use crate::remedy;
use crate::text;
use crate::work::DevnetConfig;
use crate::work::devnet::pool::core::{Fate, PoolEvent, Settings};
use crate::work::devnet::server::{Listener, ServerEvent, serve};
use crate::work::devnet::{Devnet, pace, pool};

/// Serve a one-node test network to miners, as a gateway would
///
/// Speaks the miner RPC of pearl-gateway, verifies every proof it is handed, and keeps a chain that finds a block about
/// every five seconds. Its blocks are worth nothing. Runs until Ctrl-C.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed devnet                             serve on 127.0.0.1:8337
  pearlbed devnet --socket /tmp/pearlgw.sock  serve on a Unix socket
  pearlbed devnet --json --blocks 3           stop after three blocks
  pearlbed devnet --stratum 127.0.0.1:3360    serve as a pool instead")]
pub struct Args {
    /// Loopback address and port to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8337", conflicts_with = "socket")]
    listen: SocketAddr,

    /// Unix socket to listen on instead (made with mode 0600)
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Serve as a pool on this loopback address and port instead (docs/reference-pool.md)
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["listen", "socket"])]
    stratum: Option<SocketAddr>,

    /// Seconds between two shares of a worker that the pool aims at
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = spacing, requires = "stratum")]
    share_interval: f64,

    /// The pool's difficulty, the same for everybody
    #[arg(long, value_name = "D", requires = "stratum")]
    difficulty: Option<f64>,

    /// Certificate version that jobs ask for, to rehearse a fork
    #[arg(long, value_name = "N", default_value_t = 3)]
    cert_version: u32,

    /// Seconds between two blocks to aim at
    #[arg(long, value_name = "SECONDS", default_value_t = pace::SPACING.as_secs_f64(), value_parser = spacing)]
    spacing: f64,

    /// Stop after this many blocks
    #[arg(long, value_name = "N")]
    blocks: Option<u64>,

    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
}

fn spacing(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=3600.0).contains(seconds))
        .ok_or("0.001 to 3600 seconds".into())
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let config = DevnetConfig {
        certificate_version: args.cert_version,
        spacing: Duration::from_secs_f64(args.spacing),
        ..DevnetConfig::new(context.home()?.devnet_dir())
    };
    let (network, notes) = Devnet::open(&config)?;
    for note in notes {
        context.note(&note);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Error::caused_by("failed to start the devnet", err))?;
    match args.stratum {
        Some(address) => runtime.block_on(run_pool(args, context, network, address)),
        None => runtime.block_on(run_server(args, context, network)),
    }
}

/// An address that cannot be listened on. One that other machines reach is no value of the flag.
fn refused(address: SocketAddr, err: std::io::Error) -> Error {
    let err = Error::caused_by(format!("failed to listen on {address}"), err);
    if address.ip().is_loopback() { err } else { err.with_exit(Exit::Usage) }
}

async fn run_pool(
    args: &Args,
    context: &Context,
    network: Devnet,
    address: SocketAddr,
) -> Result<Exit, Error> {
    let listener = pool::listen(address).await.map_err(|err| {
        let hint =
            remedy::for_address(&err, "choose another address with --stratum, for instance 127.0.0.1:0");
        refused(address, err).with_hint(hint)
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    let height = network.height();
    if args.json {
        let line = serde_json::json!({
            "schema": 1, "event": "listening", "address": format!("stratum+tcp://{bound}"), "height": height
        });
        context.print(&format!("{line}\n"))?;
    } else {
        context.print(&format!(
            "devnet at height {height}, a pool on stratum+tcp://{bound}, its ledger at http://{bound}/ledger\n"
        ))?;
    }
    let failed = |err| Error::caused_by("failed to listen for signals", err);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let settings = Settings {
        interval: Duration::from_secs_f64(args.share_interval),
        difficulty: args.difficulty.filter(|difficulty| difficulty.is_finite() && *difficulty > 0.0),
        ..Settings::default()
    };
    let (server, mut events) = pool::serve(network, listener, settings);
    tokio::pin!(server);
    let mut blocks = 0;
    loop {
        let event = tokio::select! {
            () = &mut server => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
            _ = terminate.recv() => return Ok(Exit::Ok),
            event = events.recv() => match event {
                Some(event) => event,
                None => return Ok(Exit::Ok),
            },
        };
        let line = if args.json {
            serde_json::to_string(&event).expect("events are plain values")
        } else {
            pool_sentence(&event)
        };
        context.print(&format!("{line}\n"))?;
        if context.output_closed() {
            return Ok(Exit::Ok);
        }
        if let PoolEvent::Block { .. } = event {
            blocks += 1;
            if args.blocks.is_some_and(|wanted| blocks >= wanted) {
                return Ok(Exit::Ok);
            }
        }
    }
}

fn pool_sentence(event: &PoolEvent) -> String {
    match event {
        PoolEvent::Login { worker, agent } => format!("login  {worker}, {agent}"),
        PoolEvent::Share { worker, fate, work, reason } => {
            let word = match fate {
                Fate::Accepted => "share",
                Fate::Stale => "stale",
                Fate::Duplicate => "twice",
                Fate::LowDifficulty => "weak ",
                Fate::Invalid | Fate::Malformed => "wrong",
            };
            let reason = reason.as_ref().map(|reason| format!(": {}", text::printable(reason)));
            format!("{word}  {worker}, {}{}", text::si(*work, "H"), reason.unwrap_or_default())
        }
        PoolEvent::Work { height, nbits } => {
            format!("job    {}  nbits {nbits}", height.map_or(String::new(), |height| height.to_string()))
        }
        PoolEvent::Block { height, hash, worker } => format!("block  {height}  {}… by {worker}", &hash[..16]),
        PoolEvent::Note { text } => format!("note   {}", text::printable(text)),
    }
}

async fn run_server(args: &Args, context: &Context, network: Devnet) -> Result<Exit, Error> {
    let listener = match &args.socket {
        Some(path) => Listener::unix(path).map_err(|err| {
            let choose = "choose another path with --socket, or stop what uses this one";
            let hint = remedy::for_file(&err, path).unwrap_or_else(|| choose.into());
            Error::caused_by(format!("failed to listen on `{}`", text::printable_path(path)), err)
                .with_hint(hint)
        })?,
        None => Listener::tcp(args.listen).await.map_err(|err| {
            let hint =
                remedy::for_address(&err, "choose another address with --listen, for instance 127.0.0.1:0");
            refused(args.listen, err).with_hint(hint)
        })?,
    };
    let address = listener.address();
    let height = network.height();
    if args.json {
        let line =
            serde_json::json!({"schema": 1, "event": "listening", "address": address, "height": height});
        context.print(&format!("{line}\n"))?;
    } else {
        context.print(&format!("devnet at height {height}, listening on {address}\n"))?;
    }

    let failed = |err| Error::caused_by("failed to listen for signals", err);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (server, mut events) = serve(network, listener);
    tokio::pin!(server);
    let mut blocks = 0;
    loop {
        let event = tokio::select! {
            () = &mut server => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
            _ = terminate.recv() => return Ok(Exit::Ok),
            event = events.recv() => match event {
                Some(event) => event,
                None => return Ok(Exit::Ok),
            },
        };
        let line = if args.json {
            serde_json::to_string(&event).expect("events are plain values")
        } else {
            sentence(&event)
        };
        context.print(&format!("{line}\n"))?;
        if context.output_closed() {
            return Ok(Exit::Ok);
        }
        if let ServerEvent::Block { .. } = event {
            blocks += 1;
            if args.blocks.is_some_and(|wanted| blocks >= wanted) {
                return Ok(Exit::Ok);
            }
        }
    }
}

fn sentence(event: &ServerEvent) -> String {
    match event {
        ServerEvent::Job { height, nbits, hashes } => {
            format!("job    {height}  nbits {nbits}, {} for a block", text::si(*hashes, "H"))
        }
        ServerEvent::Block { height, hash, seconds } => {
            format!("block  {height}  {}… after {seconds:.1} s", &hash[..16])
        }
        ServerEvent::Stale => "stale  a proof for a header that is no longer on offer".to_owned(),
        ServerEvent::Rejected { reason } => format!("wrong  {}", text::printable(reason)),
        ServerEvent::Note { text } => format!("note   {}", text::printable(text)),
    }
}
