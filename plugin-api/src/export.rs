//! The macro that makes a crate a plugin, and the functions it puts into the table.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::abi::v1;
use crate::host::Host;
use crate::provider::{MiningConfig, MiningProvider, ProviderError, SubmitTarget};

/// Exports a provider from this library. Since 1.0.0.
///
/// Use it once, in the root of a crate of type `cdylib` (add `rlib` to link the provider into tests). `provider` is a
/// type that implements [`MiningProvider`] and [`Default`]; the rest becomes the manifest. The version is the crate's.
/// `default` runs in the probe as well, so it has to be as pure as [`MiningProvider::detect`].
///
/// ```
/// use pearlbed_plugin_api::{HardwareInfo, Host, MiningCapabilities, MiningConfig, MiningProvider, MiningStats, ProviderError};
///
/// #[derive(Default)]
/// struct Idle;
///
/// impl MiningProvider for Idle {
///     fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
///         MiningCapabilities::unsupported("this provider never mines")
///     }
///     fn start(&self, _: &MiningConfig, _: Host) -> Result<(), ProviderError> {
///         Err(ProviderError::new("this provider never mines"))
///     }
///     fn stop(&self) -> Result<(), ProviderError> {
///         Ok(())
///     }
///     fn is_running(&self) -> bool {
///         false
///     }
///     fn stats(&self) -> MiningStats {
///         MiningStats::default()
///     }
/// }
///
/// pearlbed_plugin_api::export_provider! {
///     provider: Idle,
///     id: "idle",
///     vendor: "Example Ltd",
///     license: "MIT",
///     homepage: "https://example.org",
///     summary: "Never mines.",
///     certificate_versions: [1, 2, 3],
///     engines: [],
///     permissions: [],
/// }
/// # fn main() {}
/// ```
///
/// What could not be read back stops the compilation: an id, a permission or a text that is none.
///
/// Beside the library's symbol and its manifest, the macro makes a static `PEARLBED_PROVIDER`, from which
/// [`Provider::of_static`](crate::host_side::Provider::of_static) makes the provider without loading anything.
///
/// All plugins have the same symbol, so at most one crate that uses this macro can be linked into a program. Where
/// several providers are to be linked together, keep each in a library of its own and put the macro alone into a thin
/// `cdylib` beside it.
#[macro_export]
macro_rules! export_provider {
    (
        provider: $provider:ty,
        id: $id:expr,
        vendor: $vendor:expr,
        license: $license:expr,
        homepage: $homepage:expr,
        summary: $summary:expr,
        certificate_versions: [$($certificate:expr),* $(,)?],
        engines: [$($engine:expr),* $(,)?],
        permissions: [$($permission:expr),* $(,)?]
        $(, settings: [$({
            key: $key:expr, kind: $kind:expr, default: $default:expr, help: $help:expr
            $(, per_device: $per_device:expr)? $(,)?
        }),* $(,)?])? $(,)?
    ) => {
        /// The provider of this library, for linking it in without loading it.
        pub static PEARLBED_PROVIDER: $crate::host_side::StaticProvider = {
            const SPEC: $crate::__private::Spec = $crate::__private::Spec {
                id: $id,
                version: ::core::env!("CARGO_PKG_VERSION"),
                vendor: $vendor,
                license: $license,
                homepage: $homepage,
                summary: $summary,
                certificate_versions: &[$($certificate),*],
                engines: &[$($engine),*],
                permissions: &[$($permission),*],
                settings: &[$($($crate::__private::SettingSpec {
                    key: $key,
                    kind: $kind,
                    default: $default,
                    help: $help,
                    per_device: false $(|| $per_device)?,
                }),*)?],
            };
            const _: () = SPEC.check();

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__pearlbed"))]
            #[cfg_attr(all(unix, not(target_vendor = "apple")), unsafe(link_section = ".pearlbed.manifest"))]
            static MANIFEST: [u8; SPEC.json_len()] = SPEC.json();

            unsafe extern "C" fn manifest(out: $crate::__private::v1::Sink) {
                // SAFETY: the caller vouches for the sink.
                unsafe { out.put(&MANIFEST) }
            }

            static TABLE: $crate::__private::v1::ProviderTable =
                $crate::__private::table::<$provider>(manifest);

            extern "C" fn table(version: u32) -> $crate::__private::TableAnswer {
                $crate::__private::answer(version, &TABLE)
            }

            const ENTRY: $crate::__private::Entry = $crate::__private::Entry { table };

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::__private::LibHeader = $crate::__private::header(entry);

            extern "C" fn entry() -> $crate::__private::RootModuleResult {
                $crate::__private::entry(ENTRY)
            }

            // SAFETY: the table was made by `table` above.
            unsafe { $crate::host_side::StaticProvider::new(&TABLE) }
        };
    };
}

/// What the macro does not compile: the same crate, each time with another mistake. The first has none, so that a
/// mistake of the scaffold does not pass for one of these.
#[cfg(doctest)]
mod misuse {
    macro_rules! crates {
        ($($name:ident $kind:literal id: $id:literal, certificates: $certificates:literal, engines: $engines:literal,
            permissions: $permissions:literal;)*) => {$(
            #[doc = concat!("```", $kind, "
                use pearlbed_plugin_api::*;

                #[derive(Default)]
                struct Idle;

                impl MiningProvider for Idle {
                    fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
                        MiningCapabilities::supported()
                    }
                    fn start(&self, _: &MiningConfig, _: Host) -> Result<(), ProviderError> {
                        Ok(())
                    }
                    fn stop(&self) -> Result<(), ProviderError> {
                        Ok(())
                    }
                    fn is_running(&self) -> bool {
                        false
                    }
                    fn stats(&self) -> MiningStats {
                        MiningStats::default()
                    }
                }

                export_provider! {
                    provider: Idle, id: \"", $id, "\", vendor: \"\", license: \"\", homepage: \"\", summary: \"\",
                    certificate_versions: [", $certificates, "], engines: [", $engines, "], permissions: [", $permissions, "],
                }
                fn main() {}
            \n```")]
            pub struct $name;
        )*};
    }

    crates! {
        Right "" id: "a", certificates: "1", engines: "\"b\"", permissions:
            "\"device:/dev/nvidia*\", \"network:*:*\", \"network:[::1]:80\", \"read:/é\", \"threads-hint:4\"";
        Id "compile_fail,E0080" id: "A", certificates: "1", engines: "", permissions: "";
        NoCertificate "compile_fail,E0080" id: "a", certificates: "", engines: "", permissions: "";
        EngineEscape "compile_fail,E0080" id: "a", certificates: "1", engines: "\"\\u{1b}[2J\"", permissions: "";
        EngineC1 "compile_fail,E0080" id: "a", certificates: "1", engines: "\"\\u{9b}2J\"", permissions: "";
        Kind "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"camera:/dev/video0\"";
        Relative "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"read:models\"";
        Climbing "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"write:/var/../etc\"";
        NoDevice "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"device:/etc/passwd\"";
        WildFolder "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"device:/dev/*/x\"";
        NoPort "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"network:pool.example\"";
        PortZero "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"network:pool.example:0\"";
        Hint "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"memory-hint:8GiB\"";
        Control "compile_fail,E0080" id: "a", certificates: "1", engines: "", permissions: "\"program:/bin/\\n\"";
    }
}

/// The table of the provider `P`.
#[doc(hidden)]
pub const fn table<P: MiningProvider + Default>(
    manifest: unsafe extern "C" fn(v1::Sink),
) -> v1::ProviderTable {
    v1::ProviderTable {
        manifest,
        create: create::<P>,
        destroy: destroy::<P>,
        detect: detect::<P>,
        start: start::<P>,
        stop: stop::<P>,
        is_running: is_running::<P>,
        stats: stats::<P>,
    }
}

/// Runs `call` and turns a failure or a panic of it into a status and a text.
///
/// # Safety
///
/// `error` must be a sink that may be written to now.
unsafe fn guarded(error: v1::Sink, call: impl FnOnce() -> Result<(), ProviderError>) -> u32 {
    let (status, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return v1::OK,
        Ok(Err(reason)) => (v1::FAILED, reason.to_string()),
        Err(payload) => (v1::PANICKED, panic_message(payload)),
    };
    // SAFETY: the caller vouches for the sink.
    unsafe { error.put(text.as_bytes()) };
    status
}

/// The message of a panic. The payload is forgotten rather than dropped where its type is unknown: its `drop` may panic.
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| {
        std::mem::forget(payload);
        "a panic without a message".to_owned()
    })
}

fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, ProviderError> {
    std::str::from_utf8(bytes)
        .map_err(|_| ProviderError::Failed(format!("the host sent a {what} that is not UTF-8")))
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

unsafe extern "C" fn create<P: MiningProvider + Default>(instance: *mut *mut c_void, error: v1::Sink) -> u32 {
    // SAFETY: the caller vouches for both arguments for the duration of the call.
    unsafe {
        guarded(error, || {
            instance.write(Box::into_raw(Box::<P>::default()).cast());
            Ok(())
        })
    }
}

unsafe extern "C" fn destroy<P: MiningProvider + Default>(instance: *mut c_void) {
    // SAFETY: the instance was made by `create` of the same type, and the caller vouches that no call is in progress.
    let provider = unsafe { Box::from_raw(instance.cast::<P>()) };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(provider))) {
        panic_message(payload);
    }
}

unsafe extern "C" fn detect<P: MiningProvider + Default>(
    instance: *mut c_void,
    hardware: v1::Bytes,
    engine_id: v1::Bytes,
    model: v1::Bytes,
    capabilities: *mut v1::Capabilities,
    reason: v1::Sink,
    error: v1::Sink,
) -> u32 {
    // SAFETY: the caller vouches for every argument for the duration of the call; the instance was made by `create`.
    unsafe {
        guarded(error, || {
            let provider = &*instance.cast::<P>();
            let hardware = serde_json::from_slice(hardware.borrow()).map_err(|err| {
                ProviderError::Failed(format!("the host sent hardware that is not JSON: {err}"))
            })?;
            let engine_id = text(engine_id.borrow(), "engine id")?;
            let answer = provider.detect(&hardware, engine_id, text(model.borrow(), "model")?);
            capabilities.write(v1::Capabilities {
                supported: answer.supported.into(),
                has_estimated_hashrate: answer.estimated_hashrate.is_some().into(),
                estimated_hashrate: answer.estimated_hashrate.unwrap_or(0.0),
            });
            reason.put(answer.reason.unwrap_or_default().as_bytes());
            Ok(())
        })
    }
}

unsafe extern "C" fn start<P: MiningProvider + Default>(
    instance: *mut c_void,
    config: *const v1::Config,
    host: *const v1::HostTable,
    error: v1::Sink,
) -> u32 {
    // SAFETY: the caller vouches for every argument for the duration of the call, and lends a reference to the host's
    // context; the instance was made by `create`.
    unsafe {
        guarded(error, || {
            let provider = &*instance.cast::<P>();
            let config = read_config(&*config)?;
            provider.start(&config, Host::retain(*host))
        })
    }
}

/// # Safety
///
/// Every text of `config` must be valid for the duration of the call.
unsafe fn read_config(config: &v1::Config) -> Result<MiningConfig, ProviderError> {
    let owned = |bytes: v1::Bytes, what| {
        // SAFETY: the caller vouches for the texts.
        text(unsafe { bytes.borrow() }, what).map(str::to_owned)
    };
    let url = owned(config.submit_url, "submit URL")?;
    let submit_target = match config.submit_kind {
        v1::SUBMIT_SOLO => SubmitTarget::Solo { pearld_rpc_url: url },
        v1::SUBMIT_POOL => {
            SubmitTarget::Pool { url, worker_id: optional(&owned(config.worker_id, "worker id")?) }
        }
        kind => return Err(ProviderError::Failed(format!("the host sent submit target kind {kind}"))),
    };
    // SAFETY: the caller vouches for the texts.
    let extra = unsafe { config.extra.borrow() };
    Ok(MiningConfig {
        provider: owned(config.provider, "provider id")?,
        wallet_address: owned(config.wallet_address, "wallet address")?,
        submit_target,
        fee_bps: config.fee_bps,
        fee_payout_address: optional(&owned(config.fee_payout_address, "payout address")?),
        extra: serde_json::from_slice(extra).map_err(|err| {
            ProviderError::Failed(format!("the host sent settings that are no JSON object: {err}"))
        })?,
    })
}

unsafe extern "C" fn stop<P: MiningProvider + Default>(instance: *mut c_void, error: v1::Sink) -> u32 {
    // SAFETY: the caller vouches for the sink; the instance was made by `create`.
    unsafe { guarded(error, || (*instance.cast::<P>()).stop()) }
}

unsafe extern "C" fn is_running<P: MiningProvider + Default>(instance: *mut c_void) -> u32 {
    // SAFETY: the instance was made by `create`.
    let provider = unsafe { &*instance.cast::<P>() };
    match catch_unwind(AssertUnwindSafe(|| provider.is_running())) {
        Ok(running) => running.into(),
        Err(payload) => {
            panic_message(payload);
            0
        }
    }
}

unsafe extern "C" fn stats<P: MiningProvider + Default>(
    instance: *mut c_void,
    stats: *mut v1::Stats,
    last_error: v1::Sink,
    details: v1::Sink,
    error: v1::Sink,
) -> u32 {
    // SAFETY: the caller vouches for every argument for the duration of the call; the instance was made by `create`.
    unsafe {
        guarded(error, || {
            let answer = (*instance.cast::<P>()).stats();
            stats.write(v1::Stats {
                hashes: answer.hashes,
                proofs_found: answer.proofs_found,
                jobs_taken: answer.jobs_taken,
                hashrate: answer.hashrate,
                uptime_seconds: answer.uptime.as_secs_f64(),
            });
            last_error.put(answer.last_error.unwrap_or_default().as_bytes());
            details.put(answer.details.to_string().as_bytes());
            Ok(())
        })
    }
}
