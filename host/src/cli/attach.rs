//! `pearlbed attach`: records a miner that somebody else runs, so that status commands find it.

use std::time::SystemTime;

use super::{Context, Error};
use crate::exit::Exit;
use crate::identity::ProcessIdentity;
use crate::session::lock::{Holder, LockError, SessionLock};
use crate::session::supervise::make_folders;
use crate::sidecar::unix_seconds;
use crate::sidecar::{Life, Own, Sidecar};
use crate::text::printable;

/// Record a miner that was started by other means
///
/// Writes the session record that OpenJarvis and `pearlbed status` read. Starts and stops nothing; `pearlbed stop`
/// removes the record again. Refused while a session runs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed attach --provider my-miner --gateway-url http://127.0.0.1:8337 \\
      --gateway-metrics-url http://127.0.0.1:8339/metrics
  pearlbed attach --vllm-endpoint http://127.0.0.1:8000/v1 \\
      --gateway-url http://127.0.0.1:8337 --gateway-metrics-url http://127.0.0.1:8339")]
pub struct Args {
    /// Id of the provider that mines
    #[arg(long, value_name = "ID", default_value = "external")]
    provider: String,

    /// Where the miner's gateway answers
    #[arg(long, value_name = "URL")]
    gateway_url: String,

    /// Where its metrics are read
    #[arg(long, value_name = "URL")]
    gateway_metrics_url: Option<String>,

    /// Where its inference engine answers
    #[arg(long, value_name = "URL")]
    vllm_endpoint: Option<String>,

    /// The model that the engine serves
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// The container that it runs in
    #[arg(long, value_name = "ID")]
    container_id: Option<String>,

    /// Record it though nothing answers at its addresses yet
    #[arg(long)]
    unchecked: bool,

    /// The address that is paid
    #[arg(long, value_name = "ADDRESS")]
    wallet: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    check(args)?;
    let home = context.home()?;
    if !args.unchecked {
        answers("--gateway-url", &args.gateway_url)?;
        if let Some(endpoint) = &args.vllm_endpoint {
            answers("--vllm-endpoint", endpoint)?;
        }
        if let Some(metrics) = &args.gateway_metrics_url {
            answers("--gateway-metrics-url", metrics)?;
        }
    }
    make_folders(&home)?;
    let now = unix_seconds(SystemTime::now());
    let me = ProcessIdentity::own();
    let holder = Holder { supervisor: me.clone(), socket: home.control_socket(), since: now };
    let lock = SessionLock::take(&home, &holder).map_err(|err| match err {
        LockError::Held { .. } => Error::from(err).with_hint("`pearlbed stop` ends it"),
        err => err.into(),
    })?;
    let path = home.sidecar_file();
    let metrics = args.gateway_metrics_url.as_deref().map(Sidecar::metrics_addresses);
    let there = Sidecar::read(&path);
    let replaced = match &there {
        Ok(Some(Sidecar { provider, pearlbed: Some(own), .. })) if own.attached => provider.clone(),
        _ => None,
    };
    let written = match there {
        Ok(Some(record)) if record.pearlbed.is_none() && record.foreign_life() != Life::Ended => {
            let whether = match record.foreign_life() {
                Life::Runs => "and it runs",
                _ => "and whether it runs cannot be told",
            };
            Err(Error::new(format!("a session that another program started is recorded here, {whether}")).with_hint(
                "the program that started it (`jarvis mine stop`) stops it; `pearlbed stop --forget` removes a record alone",
            ))
        }
        // Whatever else lies there describes nothing that runs.
        _ => Sidecar {
            provider: Some(args.provider.clone()),
            model: args.model.clone(),
            wallet_address: Some(args.wallet.clone().unwrap_or_default()),
            started_at: Some(now),
            gateway_url: Some(args.gateway_url.clone()),
            gateway_metrics_url: metrics.as_ref().map(|(base, _)| base.clone()),
            metrics_url: metrics.map(|(_, page)| page),
            container_id: Some(args.container_id.clone().unwrap_or_else(|| "external".into())),
            vllm_endpoint: args.vllm_endpoint.clone(),
            pearlbed: Some(Own {
                supervisor: me,
                socket: None,
                version: env!("CARGO_PKG_VERSION").into(),
                attached: true,
                pool: None,
                pays: Vec::new(),
            }),
            ..Sidecar::default()
        }
        .write(&path)
        .map_err(Error::from),
    };
    lock.release();
    written?;
    if let Some(before) = replaced {
        context
            .note(&format!("the record of {}, which was attached before, was replaced", printable(&before)));
    }
    context.print(&format!(
        "recorded {} in {}\n`pearlbed stop` forgets it and leaves the miner alone\n",
        printable(&args.provider),
        crate::text::printable_path(&path)
    ))?;
    Ok(Exit::Ok)
}

fn check(args: &Args) -> Result<(), Error> {
    let wrong = |flag: &str, problem: String| Err(Error::usage(format!("{flag}: {}", printable(&problem))));
    let id = args.provider.as_bytes();
    let id_fits = id.first().is_some_and(u8::is_ascii_lowercase)
        && id.len() <= 64
        && id.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    if !id_fits {
        return wrong(
            "--provider",
            format!("`{}` is not an id: use lower-case letters, digits and -", args.provider),
        );
    }
    for (flag, url) in [
        ("--gateway-url", Some(&args.gateway_url)),
        ("--gateway-metrics-url", args.gateway_metrics_url.as_ref()),
        ("--vllm-endpoint", args.vllm_endpoint.as_ref()),
    ] {
        if let Some(url) = url
            && let Err(problem) = check_url(url)
        {
            return wrong(flag, problem);
        }
    }
    if let Some(model) = &args.model
        && (model.is_empty()
            || model.len() > 256
            || model.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        return wrong("--model", "a model name is 1 to 256 characters without spaces".into());
    }
    if let Some(container) = &args.container_id {
        let fits = container.starts_with(|c: char| c.is_ascii_alphanumeric())
            && container.len() <= 128
            && container.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !fits {
            return wrong("--container-id", format!("`{container}` is no container id or name"));
        }
    }
    if let Some(wallet) = &args.wallet
        && let Err(err) = wallet.parse::<pearl_pow::Address>()
    {
        return wrong("--wallet", err.to_string());
    }
    Ok(())
}

/// How long a miner may take to take a connection.
const ANSWER_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// Something takes connections at `url`, whose form was checked.
fn answers(flag: &str, url: &str) -> Result<(), Error> {
    use std::net::{TcpStream, ToSocketAddrs};
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if scheme == "https" { 443 } else { 80 };
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let failed = |err: std::io::Error| {
        Error::caused_by(format!("{flag}: nothing answers at {}", printable(url)), err)
            .with_hint("start the miner first, or record it all the same with --unchecked")
    };
    let mut last = std::io::Error::other("the name has no address");
    // What does not start by being waited for.
    let unknown = |err: std::io::Error| {
        Error::caused_by(format!("{flag}: the host of {} is not known", printable(url)), err)
            .with_hint("correct its name, or record it all the same with --unchecked")
    };
    for address in address.to_socket_addrs().map_err(unknown)? {
        match TcpStream::connect_timeout(&address, ANSWER_TIME) {
            Ok(_) => return Ok(()),
            Err(err) => last = err,
        }
    }
    Err(failed(last))
}

/// `http://host[:port][/path]` or `https://…`, without a user, a password or anything invisible.
fn check_url(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("`{url}` does not begin with http:// or https://"))?;
    if url.len() > 2048 || url.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
        return Err("the address is too long, or holds characters that none may hold".into());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("the address must hold no user name or password".into());
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{host}` is no IPv6 address"))?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the address names no host".into());
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(format!("`{authority}` has no port from 1 to 65535"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_they_are_recorded() {
        for good in ["http://127.0.0.1:8337", "https://host/path?x", "http://[::1]:8000/v1", "http://host"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "host:1",
            "ftp://host",
            "http://",
            "http://:80",
            "http://host:0",
            "http://host:99999",
            "http://host:",
            "http://user:secret@host",
            "http://ho st",
            "http://host/\x1b[2J",
            "http://[::g]:1",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
