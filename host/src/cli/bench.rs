//! `pearlbed bench`: how fast a provider is here, how near that is to what the processor could do, and whether its
//! proofs hold.

use std::fmt::Write;

use super::render::{DIM, padded};
use super::{Context, Error, PluginDirs};
use crate::bench::devices::Device;
use crate::bench::{self, Event, Plan, Report, Window};
use crate::config::Config;
use crate::exit::Exit;
use crate::miner::Options;
use crate::progress::Progress;
use crate::session::supervise::SuperviseError;
use crate::text;

/// Measure a provider on work that cannot be solved, against the limit of the processor
///
/// The provider runs confined, as in a session. Fifty times a second it stands still for a millisecond, in which a loop that
/// touches nothing but registers shows what its processors could do at most; what it reaches of that is the ratio, by
/// processor time. Nothing is handed in anywhere.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed bench                             measure the configured provider
  pearlbed bench --provider my-miner --json  this one, for a program
  pearlbed bench --extra threads=1           with another setting
  pearlbed bench --verify 100 --seconds 0    check 100 proofs, measure nothing")]
pub struct Args {
    /// Measure this provider, whatever the configuration says
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    /// Measure so long in all, in windows of ten seconds
    #[arg(long, value_name = "N", default_value_t = 30, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(0..=86400))]
    seconds: u64,

    /// Find N proofs at an easy target and check each with the verifier, before anything is measured
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    verify: Option<u64>,

    /// A setting of the provider's, over [mining.extra] of the configuration (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    extra: Vec<(String, serde_json::Value)>,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    plugins: PluginDirs,
}

/// `KEY=VALUE`, where the value is JSON or, if it is none, a text.
pub(super) fn setting(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or("it has no `=`")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.trim().to_owned(), value))
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    if args.seconds == 0 && args.verify.is_none() {
        return Err(Error::usage("nothing to do: --seconds 0 measures nothing").with_hint("add `--verify N`"));
    }
    let options = Options {
        home: context.home()?,
        env: context.env().clone(),
        devnet: false,
        port: false,
        provider: args.provider.clone(),
        plugin_dirs: args.plugins.dirs.clone(),
        relax_file_checks: args.plugins.relax_file_checks,
        anyway: true,
    };
    let config = options.config().map_err(SuperviseError::config)?;
    let plan = Plan {
        verify: args.verify,
        extra: args.extra.iter().cloned().collect(),
        ..Plan::of_seconds(args.seconds)
    };
    let report = measure(&options, &config, &plan, context)?;
    if args.json {
        context.print_json(&report)?;
    } else {
        context.print(&answer(&report, context.width()))?;
    }
    let refused = report.proofs.as_ref().is_some_and(|proofs| proofs.rejected > 0);
    Ok(if refused { Exit::Failed } else { Exit::Ok })
}

/// Measures, and tells how it goes.
fn measure(options: &Options, config: &Config, plan: &Plan, context: &Context) -> Result<Report, Error> {
    let wanted = context.wants_progress();
    let mut progress = Progress::waiting(wanted, "the provider starts");
    let mut windows = 0;
    let report = bench::run(options, config, plan, &mut |event| {
        let line = match event {
            Event::Started { provider, took } => {
                Some(format!("{provider} mines, {} after it was started", text::duration(took)))
            }
            Event::Log(line) => Some(format!("it says: {}", text::printable(line))),
            Event::Verified { accepted, rejected } => {
                (accepted + rejected).is_multiple_of(100).then(|| format!("{accepted} proofs accepted"))
            }
            Event::Window(window) => {
                windows += 1;
                Some(format!("window {windows} of {}: {}", plan.windows, told(window)))
            }
        };
        if let Some(line) = line {
            progress.aside(|| context.note(&line));
        }
        let measures = match (event, plan.verify) {
            (Event::Started { .. }, Some(proofs)) => {
                progress.end();
                progress = Progress::steps(wanted, proofs, "finding proofs");
                false
            }
            (Event::Started { .. }, None) => true,
            (Event::Verified { accepted, rejected }, wanted) => {
                progress.reach(accepted + rejected);
                Some(accepted + rejected) >= wanted
            }
            (Event::Window(_), _) => {
                progress.reach(windows);
                false
            }
            (Event::Log(_), _) => false,
        };
        if measures {
            progress.end();
            progress = Progress::steps(wanted, u64::from(plan.windows), "measuring");
        }
    })?;
    Ok(report)
}

/// A device with what it reached of its own limit, where it told one.
fn told_device(device: &Device) -> String {
    let mut said = text::printable(&device.name).into_owned();
    for (joined, part) in [(" at ", &device.pci), (", kernel ", &device.kernel)] {
        if let Some(part) = part {
            said.push_str(joined);
            said.push_str(&text::printable(part));
        }
    }
    if let Some(rate) = device.hashrate {
        said.push_str(&format!(": {}", text::hashrate(rate)));
    }
    match (device.peak, device.ratio) {
        (Some(peak), Some(ratio)) => {
            said.push_str(&format!(", {} of its limit {}", percent(ratio), text::hashrate(peak)));
        }
        _ => said.push_str(", limit not told"),
    }
    said
}

fn told(window: &Window) -> String {
    let ratio = window.ratio().map(|ratio| format!(", {} of the limit", percent(ratio))).unwrap_or_default();
    format!("{}{ratio}", text::hashrate(window.hashrate()))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The report as text.
fn answer(report: &Report, width: usize) -> String {
    let mut out = String::new();
    let mut line = |label: &str, said: &str| {
        for (i, said) in text::wrap(said, width.saturating_sub(10)).into_iter().enumerate() {
            // Writing to a String never fails.
            let _ = writeln!(out, "{} {said}", padded(DIM, if i == 0 { label } else { "" }, 9));
        }
    };
    let [id, version] = [&report.provider, &report.provider_version].map(|said| text::printable(said));
    line("provider", &format!("{id} {version}"));
    let threads = match report.threads {
        Some(1) => "1 thread".to_owned(),
        Some(threads) => format!("{threads} threads"),
        None => "threads not told".to_owned(),
    };
    match &report.kernel {
        Some(kernel) => line("kernel", &format!("{}, {threads}", text::printable(kernel))),
        None => line("threads", report.threads.map_or("not told", |_| &threads)),
    }
    if let Some(shape) = shape(&report.shape) {
        line("shape", &shape);
    }
    if let (Some(mean), Some(least), Some(most)) = (report.hashrate, report.hashrate_min, report.hashrate_max)
    {
        let [mean, least, most] = [mean, least, most].map(text::hashrate);
        let windows = report.windows.len();
        let of = if windows == 1 {
            "in one window".into()
        } else {
            format!("in {windows} windows ({least} to {most})")
        };
        line("hashrate", &format!("{mean} by the clock, {of}"));
    }
    for device in &report.devices {
        line("device", &told_device(device));
    }
    if report.devices.is_empty() {
        for (label, said) in against(report, &threads) {
            line(label, &said);
        }
    }
    if let Some(split) = &report.split {
        let mut parts: Vec<_> = split.iter().collect();
        parts.sort_by(|a, b| b.1.total_cmp(a.1));
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(part, &share)| format!("{} {}", text::printable(part), percent(share)))
            .collect();
        line("time", &parts.join(", "));
    }
    if let Some(memory) = report.memory_bytes {
        line("memory", &text::bytes(memory));
    }
    if let Some(proofs) = &report.proofs {
        let done = proofs.accepted + proofs.rejected;
        let each = proofs.took.checked_div(u32::try_from(done).unwrap_or(u32::MAX)).unwrap_or_default();
        let each = each.as_secs_f64() * 1e3;
        line("proofs", &format!("{} of {done} accepted by the verifier, {each:.2} ms each", proofs.accepted));
        for reason in proofs.reasons.iter().take(5) {
            line("", &format!("refused: {}", text::printable(reason)));
        }
    }
    out
}

/// What was reached of the processor's limit, where there is one.
fn against(report: &Report, threads: &str) -> Vec<(&'static str, String)> {
    let (Some(limit), Some(ratio), Some(scheme)) =
        (report.peak_thread, report.peak_ratio, &report.peak_scheme)
    else {
        return Vec::new();
    };
    let limit = match report.peak {
        Some(peak) => format!("{} ({scheme} on registers alone, {threads})", text::hashrate(peak)),
        None => format!("{} a thread ({scheme} on registers alone)", text::hashrate(limit)),
    };
    let spread = report.peak_ratio_quartiles.map_or(String::new(), |[low, high]| {
        format!(" ({:.1} to {:.1} from second to second, quartiles)", low * 100.0, high * 100.0)
    });
    let mut lines =
        vec![("limit", limit), ("ratio", format!("{} by processor time{spread}", percent(ratio)))];
    if let Some(share) = report.processor_share.filter(|share| *share < 0.97) {
        lines.push(("", format!("it had a processor for {} of the time", percent(share))));
    }
    if let Some(doubt) = &report.doubt {
        lines.push(("warning", doubt.clone()));
    }
    lines
}

/// A shape in one line, where it has the fields that shapes have.
fn shape(shape: &serde_json::Value) -> Option<String> {
    let number = |name| shape.get(name)?.as_u64();
    let tile = shape.get("tile").and_then(serde_json::Value::as_str).unwrap_or("unknown");
    let (m, n, k, rank) = (number("m")?, number("n")?, number("k")?, number("rank")?);
    Some(format!("{m} x {n} x {k}, rank {rank}, tile {}", text::printable(tile)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_json_or_else_text() {
        assert_eq!(setting("kernel=avx2").unwrap(), ("kernel".into(), "avx2".into()));
        assert_eq!(setting("threads=2").unwrap(), ("threads".into(), 2.into()));
        assert_eq!(setting("tile=16x16").unwrap().1, "16x16");
        assert_eq!(setting("pin=[0,1]").unwrap().1, serde_json::json!([0, 1]));
        assert!(setting("kernel").is_err());
    }

    #[test]
    fn a_shape_is_shown_where_it_has_one() {
        let told = serde_json::json!({"m": 1, "n": 2, "k": 2048, "rank": 128, "tile": "16x16"});
        assert_eq!(shape(&told).unwrap(), "1 x 2 x 2048, rank 128, tile 16x16");
        assert_eq!(shape(&serde_json::Value::Null), None);
    }
}
