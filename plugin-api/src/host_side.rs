//! The host's side of the contract: calling a provider through its table.
//!
//! Provider authors need it in tests only, to drive their provider as a host would:
//! [`Provider::of_static`] takes the same table that a host finds in the library.
//!
//! Whatever a provider answers is bounded and checked here (length, UTF-8, finite numbers), because the code behind the
//! table may be anybody's. What cannot be checked from within is memory safety: a host that does not trust the code
//! calls it in a process of its own.

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::abi::lend::Collector;
use crate::abi::v1;
use crate::hardware::HardwareInfo;
use crate::host::{LogLevel, NextJob, SubmitError};
use crate::provider::{
    MiningCapabilities, MiningConfig, MiningProvider, MiningStats, ProviderError, SubmitTarget,
};

mod lent;

/// A text that a provider answers is read up to so many bytes. Since 1.0.0.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The JSON details of [`MiningStats`] are read up to so many bytes. Since 1.0.0.
pub const MAX_DETAILS_BYTES: usize = 1024 * 1024;

/// What a host does for its provider; [`Host`](crate::Host) is the other end. Since 1.0.0.
///
/// Every method may be called from any thread, also at the same time, and the last reference may be dropped on a thread
/// of the provider's. A panic in one answers what ends the provider's work (stopped, stale).
pub trait HostServices: Send + Sync + 'static {
    /// See [`Host::next_job`](crate::Host::next_job).
    fn next_job(&self, timeout: Duration) -> NextJob;
    /// See [`Host::is_stale`](crate::Host::is_stale).
    fn is_stale(&self, job_id: u64) -> bool;
    /// See [`Host::submit`](crate::Host::submit).
    ///
    /// # Errors
    ///
    /// Why the proof was not taken.
    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError>;
    /// See [`Host::progress`](crate::Host::progress).
    fn progress(&self, hashes: u64);
    /// See [`Host::log`](crate::Host::log); `message` may be anything, also not UTF-8, of at most [`MAX_TEXT_BYTES`].
    fn log(&self, level: LogLevel, message: &[u8]);
    /// See [`Host::job_details`](crate::Host::job_details); a host that has nothing to add need not implement it.
    fn job_details(&self, job_id: u64) -> serde_json::Map<String, serde_json::Value> {
        let _ = job_id;
        serde_json::Map::new()
    }
}

/// A provider that is linked into this program, as `export_provider!` makes it known. Since 1.0.0.
#[derive(Clone, Copy)]
pub struct StaticProvider {
    table: &'static v1::ProviderTable,
}

impl StaticProvider {
    /// For `export_provider!` alone.
    ///
    /// # Safety
    ///
    /// The table's functions must follow the contract of [`v1::ProviderTable`].
    #[doc(hidden)]
    pub const unsafe fn new(table: &'static v1::ProviderTable) -> Self {
        Self { table }
    }
}

/// One instance of a provider, behind its table. Since 1.0.0.
///
/// Calls may come from any thread. [`start`](Self::start) and [`stop`](Self::stop) wait for each other. Dropping it stops
/// the provider where it is started; where that fails, the instance is abandoned.
pub struct Provider {
    table: v1::ProviderTable,
    instance: *mut c_void,
    /// Whether it is started. Held during `start` and `stop`, which the contract forbids to overlap.
    started: Mutex<bool>,
    /// How many calls of `stop` wait for `started`.
    stopping: AtomicUsize,
    /// Closes the host of the last `start`.
    closed: Mutex<Arc<AtomicBool>>,
}

impl Provider {
    /// Makes an instance of a provider that is linked into this program.
    ///
    /// # Errors
    ///
    /// What the provider's constructor says.
    pub fn of_static(provider: StaticProvider) -> Result<Self, ProviderError> {
        // SAFETY: `StaticProvider::new` was told that the table follows the contract.
        unsafe { Self::from_table(provider.table) }
    }

    /// Makes an instance of a provider by its type, for tests of one that is not exported; its manifest is empty.
    ///
    /// # Errors
    ///
    /// What the provider's constructor says.
    pub fn of_type<P: MiningProvider + Default>() -> Result<Self, ProviderError> {
        unsafe extern "C" fn no_manifest(_: v1::Sink) {}
        // SAFETY: the table is made by this crate for the type `P`.
        unsafe { Self::from_table(&crate::export::table::<P>(no_manifest)) }
    }

    /// Makes an instance of the provider behind `table`.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Contract`] if the table is null, misaligned or holds a null function; else what the provider's
    /// constructor says.
    ///
    /// # Safety
    ///
    /// `table` must be null or point to a [`v1::ProviderTable`] of functions that follow its contract and stay loaded
    /// for the life of the process.
    pub unsafe fn from_table(table: *const v1::ProviderTable) -> Result<Self, ProviderError> {
        const WORDS: usize = size_of::<v1::ProviderTable>() / size_of::<usize>();
        if table.is_null() || !table.is_aligned() {
            return Err(ProviderError::Contract("the provider table is null or misaligned".to_owned()));
        }
        // SAFETY: the table is made of function pointers only, each of a word's size, so it may be looked at as words;
        // this comes before any of them is treated as a function, which a null would make undefined.
        let words = unsafe { std::slice::from_raw_parts(table.cast::<usize>(), WORDS) };
        if let Some(index) = words.iter().position(|&word| word == 0) {
            return Err(ProviderError::Contract(format!("function {index} of the provider table is null")));
        }
        // SAFETY: the caller vouches for the table, and no function in it is null.
        let table = unsafe { *table };
        let mut error = Collector::new(MAX_TEXT_BYTES);
        let mut instance = std::ptr::null_mut();
        // SAFETY: both arguments are used during the call only.
        let status = unsafe { (table.create)(&raw mut instance, error.sink()) };
        check(status, error)?;
        Ok(Self {
            table,
            instance,
            started: Mutex::new(false),
            stopping: AtomicUsize::new(0),
            closed: Mutex::default(),
        })
    }

    /// The manifest that the code was built with: JSON text, as it comes.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Contract`] if it is longer than any manifest may be.
    pub fn manifest(&self) -> Result<Vec<u8>, ProviderError> {
        let mut out = Collector::new(crate::manifest::MAX_BYTES);
        // SAFETY: the sink is used during the call only.
        unsafe { (self.table.manifest)(out.sink()) };
        match out.finish() {
            (bytes, false) => Ok(bytes),
            (_, true) => Err(ProviderError::Contract("it answers a manifest that is too long".to_owned())),
        }
    }

    /// See [`MiningProvider::detect`].
    ///
    /// # Errors
    ///
    /// The provider panicked, or answered what is no answer: text that is too long or not UTF-8, a hashrate that is
    /// negative or not finite.
    pub fn detect(
        &self,
        hardware: &HardwareInfo,
        engine_id: &str,
        model: &str,
    ) -> Result<MiningCapabilities, ProviderError> {
        let hardware =
            serde_json::to_vec(hardware).map_err(|err| ProviderError::Contract(err.to_string()))?;
        let mut answer = v1::Capabilities::default();
        let (mut reason, mut error) = (Collector::new(MAX_TEXT_BYTES), Collector::new(MAX_TEXT_BYTES));
        // SAFETY: everything lent outlives the call, and the instance is this table's own.
        let status = unsafe {
            (self.table.detect)(
                self.instance,
                v1::Bytes::lend(&hardware),
                v1::Bytes::lend(engine_id.as_bytes()),
                v1::Bytes::lend(model.as_bytes()),
                &raw mut answer,
                reason.sink(),
                error.sink(),
            )
        };
        check(status, error)?;
        let reason = strict_text(reason, "reason")?;
        let estimated_hashrate = match answer.has_estimated_hashrate {
            0 => None,
            _ if answer.estimated_hashrate.is_finite() && answer.estimated_hashrate >= 0.0 => {
                Some(answer.estimated_hashrate)
            }
            _ => {
                let told = answer.estimated_hashrate;
                return Err(ProviderError::Contract(format!("it estimates a hashrate of {told}")));
            }
        };
        Ok(MiningCapabilities { supported: answer.supported != 0, reason, estimated_hashrate })
    }

    /// See [`MiningProvider::start`]. `host` lives on until the provider has let go of it.
    ///
    /// # Errors
    ///
    /// What the provider says; or that it was started before and not stopped since.
    pub fn start(&self, config: &MiningConfig, host: Arc<dyn HostServices>) -> Result<(), ProviderError> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if *started {
            return Err(ProviderError::new("it was started before and has not been stopped since"));
        }
        let extra =
            serde_json::to_vec(&config.extra).map_err(|err| ProviderError::Contract(err.to_string()))?;
        let lend = |text: &str| v1::Bytes::lend(text.as_bytes());
        let lend_optional = |text: &Option<String>| text.as_deref().map_or(v1::Bytes::EMPTY, lend);
        let (submit_kind, submit_url, worker_id) = match &config.submit_target {
            SubmitTarget::Solo { pearld_rpc_url } => {
                (v1::SUBMIT_SOLO, lend(pearld_rpc_url), v1::Bytes::EMPTY)
            }
            SubmitTarget::Pool { url, worker_id } => (v1::SUBMIT_POOL, lend(url), lend_optional(worker_id)),
        };
        let config = v1::Config {
            provider: lend(&config.provider),
            wallet_address: lend(&config.wallet_address),
            submit_kind,
            fee_bps: config.fee_bps,
            submit_url,
            worker_id,
            fee_payout_address: lend_optional(&config.fee_payout_address),
            extra: v1::Bytes::lend(&extra),
        };
        let closed = Arc::new(AtomicBool::new(false));
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed.clone();
        if self.stopping.load(Ordering::Relaxed) > 0 {
            // It closed the host before this one; the lock above makes sure that its coming is seen.
            self.close();
        }
        let host = lent::table(host, closed);
        let mut error = Collector::new(MAX_TEXT_BYTES);
        // SAFETY: everything lent outlives the call; a reference to the context is held until after it.
        let status =
            unsafe { (self.table.start)(self.instance, &raw const config, &raw const host, error.sink()) };
        // SAFETY: gives back the reference that was held for the call.
        unsafe { (host.release)(host.context) };
        *started = status == v1::OK;
        if !*started {
            self.close();
        }
        check(status, error)
    }

    /// From now on the started provider's host has no more jobs, and every job is stale.
    fn close(&self) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::Relaxed);
    }

    /// See [`MiningProvider::stop`]. The provider's host is closed first: it has no more jobs, and every job is stale.
    /// While a `start` is in progress, closes its host and waits for it.
    ///
    /// # Errors
    ///
    /// What the provider says.
    pub fn stop(&self) -> Result<(), ProviderError> {
        self.stopping.fetch_add(1, Ordering::Relaxed);
        self.close();
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopping.fetch_sub(1, Ordering::Relaxed);
        // Another start may have come first.
        self.close();
        let mut error = Collector::new(MAX_TEXT_BYTES);
        // SAFETY: the sink is used during the call only, and the instance is this table's own.
        let status = unsafe { (self.table.stop)(self.instance, error.sink()) };
        *started &= status != v1::OK;
        check(status, error)
    }

    /// See [`MiningProvider::is_running`].
    pub fn is_running(&self) -> bool {
        // SAFETY: the instance is this table's own.
        unsafe { (self.table.is_running)(self.instance) != 0 }
    }

    /// See [`MiningProvider::stats`].
    ///
    /// # Errors
    ///
    /// The provider panicked, or answered what is no answer: numbers that are negative or not finite, text that is not
    /// UTF-8, details that are no JSON object.
    pub fn stats(&self) -> Result<MiningStats, ProviderError> {
        let mut answer = v1::Stats::default();
        let (mut last_error, mut error) = (Collector::new(MAX_TEXT_BYTES), Collector::new(MAX_TEXT_BYTES));
        let mut details = Collector::new(MAX_DETAILS_BYTES);
        // SAFETY: everything lent outlives the call, and the instance is this table's own.
        let status = unsafe {
            (self.table.stats)(
                self.instance,
                &raw mut answer,
                last_error.sink(),
                details.sink(),
                error.sink(),
            )
        };
        check(status, error)?;
        let finite = |number: f64| number.is_finite() && number >= 0.0;
        if !finite(answer.hashrate) {
            let told = answer.hashrate;
            return Err(ProviderError::Contract(format!("it tells a hashrate of {told}")));
        }
        let uptime = Duration::try_from_secs_f64(answer.uptime_seconds).map_err(|_| {
            let told = answer.uptime_seconds;
            ProviderError::Contract(format!("it tells an uptime of {told} s"))
        })?;
        let (details, cut) = details.finish();
        let details = match details.as_slice() {
            _ if cut => return Err(ProviderError::Contract("its details are too long".to_owned())),
            [] => serde_json::Value::Null,
            bytes => serde_json::from_slice(bytes)
                .map_err(|err| ProviderError::Contract(format!("its details are not JSON: {err}")))?,
        };
        if !details.is_object() && !details.is_null() {
            return Err(ProviderError::Contract("its details are no JSON object".to_owned()));
        }
        Ok(MiningStats {
            hashes: answer.hashes,
            hashrate: answer.hashrate,
            proofs_found: answer.proofs_found,
            jobs_taken: answer.jobs_taken,
            uptime,
            last_error: strict_text(last_error, "last error")?,
            details,
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let started = *self.started.get_mut().unwrap_or_else(PoisonError::into_inner);
        if started && self.stop().is_err() {
            // Its threads may still use the instance.
            return;
        }
        // SAFETY: the instance is this table's own, nothing is started, and nobody else can call it any more.
        unsafe { (self.table.destroy)(self.instance) }
    }
}

// SAFETY: the contract of `v1::ProviderTable` allows its calls from any thread; `started` orders those that must not
// overlap.
unsafe impl Send for Provider {}
// SAFETY: as for `Send`.
unsafe impl Sync for Provider {}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("instance", &self.instance).finish_non_exhaustive()
    }
}

fn message(text: Collector) -> String {
    let (bytes, _) = text.finish();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

fn check(status: u32, error: Collector) -> Result<(), ProviderError> {
    match status {
        v1::OK => Ok(()),
        v1::FAILED => Err(ProviderError::Failed(message(error))),
        v1::PANICKED => Err(ProviderError::Panicked(message(error))),
        status => Err(ProviderError::Contract(format!("it answers with status {status}"))),
    }
}

fn strict_text(text: Collector, what: &str) -> Result<Option<String>, ProviderError> {
    let (bytes, cut) = text.finish();
    if cut {
        return Err(ProviderError::Contract(format!("its {what} is longer than {MAX_TEXT_BYTES} bytes")));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| ProviderError::Contract(format!("its {what} is not UTF-8")))?;
    Ok((!text.is_empty()).then_some(text))
}
