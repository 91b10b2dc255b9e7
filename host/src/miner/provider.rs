//! The provider process: loads the plugin and does the host's part of its contract over the pipe.
//!
//! ```text
//! supervisor --frames--> reader thread --> job slot, receipts --> provider's threads (next_job, is_stale, submit)
//!            <--frames-- main thread <--- progress, log, stats, proofs
//! ```
//!
//! By the time that [`run`] is called the process is confined, and the pipe is all that it has. It owns no wallet, no
//! secret and no number that anybody believes: the supervisor counts and verifies for itself. It ends with the pipe.
//!
//! The plugin shares this address space, so nothing here is a defence against it. What is bounded here (log lines,
//! progress) is bounded so that an honest but noisy plugin costs little.

mod shared;

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pearlbed_plugin_api::host_side::Provider;
use pearlbed_plugin_api::{MiningConfig, SubmitTarget};
use serde::{Deserialize, Serialize};

use self::shared::Shared;
use super::fault::Fault;
use super::frame::{self, Decoder, FromProvider, ToProvider};
use crate::plugins::Failure;

/// How often progress is passed on, at moments that are the same for every provider process of the machine: a supervisor
/// of many is woken once for all of them.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// What the provider process is to run, as JSON in [`ToProvider::Start`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The plugin's file.
    pub plugin: PathBuf,
    /// The file as it was looked at.
    pub identity: Option<crate::plugins::Identity>,
    /// The provider's id, which the plugin's own must equal.
    pub provider: String,
    /// Payout address; empty for a provider that only computes.
    pub wallet_address: String,
    /// The node's address for a provider with machinery of its own, else empty.
    pub pearld_rpc_url: String,
    /// The provider's own settings.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Order {
    fn config(&self) -> MiningConfig {
        let mut config = MiningConfig::compute_only(self.provider.clone(), self.extra.clone());
        config.wallet_address.clone_from(&self.wallet_address);
        config.submit_target = SubmitTarget::Solo { pearld_rpc_url: self.pearld_rpc_url.clone() };
        config
    }
}

/// A provider's numbers, as JSON in [`FromProvider::Stats`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stats {
    hashes: u64,
    hashrate: f64,
    proofs_found: u64,
    jobs_taken: u64,
    uptime_seconds: f64,
    last_error: Option<String>,
    details: serde_json::Value,
}

/// Runs one provider from the order on the pipe to the end of the pipe. Ends the process; never returns.
///
/// `load` makes the provider that an order asks for, or says why it cannot.
pub fn run(pipe: UnixStream, load: impl FnOnce(&Order) -> Result<Provider, Failure>) -> ! {
    // Whatever went wrong with the pipe, nobody is there to be told.
    let status = i32::from(serve(pipe, load).is_err());
    end_now(status)
}

/// Ends the process without running destructors, which are the plugin's and may do anything.
fn end_now(status: i32) -> ! {
    // SAFETY: `_exit` takes a number and has no requirement; nothing of this process needs to be written out.
    unsafe { libc::_exit(status) }
}

fn serve(pipe: UnixStream, load: impl FnOnce(&Order) -> Result<Provider, Failure>) -> io::Result<()> {
    let shared = Arc::new(Shared::new(pipe.try_clone()?));
    shared.send(&FromProvider::Hello { version: frame::VERSION })?;
    let mut incoming = Incoming { pipe, decoder: Decoder::default(), buffer: vec![0; 16 << 10] };
    let order = loop {
        match incoming.next()? {
            ToProvider::Hello { .. } => {}
            ToProvider::Start(order) => break order,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    };
    let order: Order = serde_json::from_str(&order)?;

    let reader = shared.clone();
    let made = std::thread::Builder::new().name("pearlbed-pipe".into()).spawn(move || {
        // The end of the pipe is the end of the supervisor: nothing may go on without it.
        let _ = read_on(incoming, &reader);
        end_now(0)
    });
    let failed = |fault: Fault| shared.send(&FromProvider::Failed(fault.text()));
    if let Err(err) = made {
        return failed(Fault::NoThread(err.raw_os_error().unwrap_or(libc::EAGAIN)));
    }

    let provider = match load(&order) {
        Ok(provider) => provider,
        Err(failure) => return failed(Fault::NotLoaded(failure)),
    };
    if let Err(err) = provider.start(&order.config(), shared.clone()) {
        return failed(Fault::Refused(err.to_string()));
    }
    shared.send(&FromProvider::Started)?;
    attend(&provider, &shared)
}

/// The main thread while the provider mines.
fn attend(provider: &Provider, shared: &Shared) -> io::Result<()> {
    loop {
        let wanted = shared.wait(until_flush(monotonic()));
        shared.flush()?;
        if wanted.stats {
            let stats = match provider.stats() {
                Ok(stats) => serde_json::to_string(&Stats {
                    hashes: stats.hashes,
                    hashrate: stats.hashrate,
                    proofs_found: stats.proofs_found,
                    jobs_taken: stats.jobs_taken,
                    uptime_seconds: stats.uptime.as_secs_f64(),
                    last_error: stats.last_error,
                    details: stats.details,
                })?,
                Err(err) => serde_json::json!({ "error": err.to_string() }).to_string(),
            };
            // Cut JSON would be none: what is too long is left out.
            if stats.len() <= 200 << 10 {
                shared.send(&FromProvider::Stats(stats))?;
            }
        }
        if wanted.stop {
            shared.stop();
            let outcome = provider.stop().err().map(|err| err.to_string()).unwrap_or_default();
            shared.flush()?;
            return shared.send(&FromProvider::Stopped(outcome));
        }
        if !provider.is_running() {
            let last = provider.stats().ok().and_then(|stats| stats.last_error);
            return shared.send(&FromProvider::Failed(Fault::Stopped(last).text()));
        }
    }
}

/// The time since some moment that all processes of the machine share.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// From `now` on the clock that all share to the next moment at which progress is passed on.
fn until_flush(now: Duration) -> Duration {
    let every = FLUSH_EVERY.as_nanos();
    let left = every - now.as_nanos() % every;
    Duration::from_nanos(u64::try_from(left).expect("less than a second"))
}

struct Incoming {
    pipe: UnixStream,
    decoder: Decoder<ToProvider>,
    buffer: Vec<u8>,
}

impl Incoming {
    fn next(&mut self) -> io::Result<ToProvider> {
        loop {
            if let Some(frame) = self.decoder.take().map_err(io::Error::other)? {
                return Ok(frame);
            }
            match self.pipe.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.decoder.feed(&self.buffer[..count]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

fn read_on(mut incoming: Incoming, shared: &Shared) -> io::Result<()> {
    loop {
        match incoming.next()? {
            ToProvider::Job(job) => shared.offer(job),
            ToProvider::Stale(id) => shared.withdraw(id),
            ToProvider::Receipt { sequence, receipt, .. } => shared.receipt(sequence, receipt),
            ToProvider::AskStats => shared.want(|wanted| wanted.stats = true),
            ToProvider::Stop => shared.want(|wanted| wanted.stop = true),
            ToProvider::Hello { .. } => {}
            ToProvider::Start(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_passed_on_at_moments_that_all_processes_share() {
        let ms = Duration::from_millis;
        for (now, left) in [(0, 500), (1, 499), (499, 1), (500, 500), (86_400_250, 250)] {
            assert_eq!(until_flush(ms(now)), ms(left), "at {now} ms");
        }
        assert_eq!(until_flush(ms(499) + Duration::from_nanos(999_999)), Duration::from_nanos(1));
        let (first, then) = (monotonic(), monotonic());
        assert!(first <= then && until_flush(then) <= FLUSH_EVERY);
    }
}
