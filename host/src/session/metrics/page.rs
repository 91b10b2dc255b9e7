//! The metrics page: what a report says, as numbers with names.
//!
//! [`families`] decides what there is, as plain values; [`page`] writes it down in Prometheus' text format. The names
//! that begin with `pearl_gateway_` are those that OpenJarvis reads; they stand beside our own.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::session::report::Report;

/// The content type of [`page`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// All samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name as it is read; that of a counter ends in `_total`.
    pub name: &'static str,
    /// What is counted or measured, in which unit.
    pub help: &'static str,
    /// One for each set of labels. Without any, the name is left out of the page.
    pub samples: Vec<Sample>,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values; the values may be anybody's text.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: Value,
}

/// What a sample says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A measured one.
    Amount(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value {
    fn from(amount: f64) -> Self {
        Self::Amount(amount)
    }
}

impl Family {
    /// One number without labels; without a number, a name that is left out.
    fn single(name: &'static str, help: &'static str, value: Option<impl Into<Value>>) -> Self {
        let sample = value.map(|value| Sample { labels: Vec::new(), value: value.into() });
        Self { name, help, samples: sample.into_iter().collect() }
    }

    fn count(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::single(name, help, Some(value))
    }
}

/// Everything that is published of a session.
pub fn families(report: &Report) -> Vec<Family> {
    let proofs = &report.proofs;
    let raw = &report.hashrate.raw;
    let windows = [("10s", raw.s10), ("60s", raw.s60), ("15m", raw.m15)];
    let hashrate = Family {
        name: "pearlbed_hashrate",
        help: "Hashes per second that the provider reports.",
        samples: windows
            .into_iter()
            .filter_map(|(window, rate)| {
                Some(Sample { labels: vec![("window", window.to_owned())], value: rate?.into() })
            })
            .collect(),
    };
    vec![
        Family::count(
            "pearl_gateway_shares_submitted_total",
            "Proofs handed to the work source.",
            proofs.submitted,
        ),
        Family::count(
            "pearl_gateway_shares_accepted_total",
            "Proofs that became a block of the chain.",
            proofs.accepted,
        ),
        Family::count("pearl_gateway_blocks_found_total", "Blocks of ours on the chain.", proofs.accepted),
        Family::single(
            "pearl_gateway_last_share_timestamp",
            "Unix time of the last verified proof.",
            report.last_proof_at,
        ),
        // OpenJarvis shows any number above zero as an error: what its gateway would count as one.
        Family::count("pearl_gateway_errors_total", "Proofs that the work source rejected.", proofs.rejected),
        Family::single(
            "process_start_time_seconds",
            "Unix time at which the session started.",
            report.started_at,
        ),
        Family::count("pearlbed_earning", "1 while the session earns, else 0.", u64::from(report.earning)),
        Family::count("pearlbed_proofs_found_total", "Proofs that the provider handed in.", proofs.found),
        Family::count(
            "pearlbed_proofs_verified_total",
            "Proofs that passed the host's verifier.",
            proofs.verified,
        ),
        Family::count(
            "pearlbed_proofs_refused_total",
            "Proofs that the host's verifier refused.",
            proofs.refused,
        ),
        Family::count("pearlbed_proofs_stale_total", "Proofs whose job was over.", proofs.stale),
        Family::count("pearlbed_proofs_pending", "Proofs on disk that are not settled.", proofs.pending),
        Family::count(
            "pearlbed_hashes_total",
            "Hashes (multiply-accumulates) that the provider reported.",
            report.hashes,
        ),
        Family::count(
            "pearlbed_provider_restarts_total",
            "Restarts of the provider process.",
            report.restarts,
        ),
        Family::single(
            "pearlbed_job_age_seconds",
            "Age of the job in work.",
            report.job.as_ref().map(|job| job.age_seconds),
        ),
        Family::single(
            "pearlbed_accepted_hashrate",
            "Hashes per second that accepted proofs stand for.",
            report.hashrate.accepted.as_ref().map(|accepted| accepted.hashrate),
        ),
        hashrate,
    ]
}

/// `families` in Prometheus' text format, version 0.0.4.
pub fn page(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(families)));
    let mut page = String::with_capacity(4096);
    prometheus_text::encode(&mut page, &registry).expect("writing to a String never fails");
    page
}

#[derive(Debug)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for Family { name, help, samples } in self.0.iter().filter(|family| !family.samples.is_empty()) {
            // The encoder puts the ending back.
            let (stem, kind) = match name.strip_suffix("_total") {
                Some(stem) => (stem, MetricType::Counter),
                None => (*name, MetricType::Gauge),
            };
            let mut metric = encoder.encode_descriptor(stem, help, None, kind)?;
            for Sample { labels, value } in samples {
                let mut sample = metric.encode_family(labels)?;
                match (kind, value) {
                    (MetricType::Counter, Value::Count(count)) => {
                        sample.encode_counter::<NoLabelSet, _, f64>(count, None)?;
                    }
                    (MetricType::Counter, Value::Amount(amount)) => {
                        sample.encode_counter::<NoLabelSet, _, f64>(amount, None)?;
                    }
                    (_, Value::Count(count)) => sample.encode_gauge(count)?,
                    (_, Value::Amount(amount)) => sample.encode_gauge(amount)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::state::State;

    #[test]
    fn a_page_has_each_name_once_and_only_what_is_known() {
        let mut report = Report::without_session(State::Running);
        report.proofs.submitted = 3;
        report.started_at = Some(1_795_477_409);
        report.hashrate.raw.s10 = Some(1.5e12);
        report.hashrate.raw.m15 = Some(0.0);
        let page = page(families(&report));
        for lines in [
            "# HELP pearl_gateway_shares_submitted_total Proofs handed to the work source.\n\
             # TYPE pearl_gateway_shares_submitted_total counter\n\
             pearl_gateway_shares_submitted_total 3\n",
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1795477409\n",
            "# TYPE pearlbed_earning gauge\npearlbed_earning 0\n",
            "# TYPE pearlbed_hashrate gauge\n\
             pearlbed_hashrate{window=\"10s\"} 1500000000000.0\npearlbed_hashrate{window=\"15m\"} 0.0\n",
        ] {
            assert!(page.contains(lines), "{lines}\nis not in\n{page}");
        }
        assert!(!page.contains("last_share_timestamp") && !page.contains("60s"), "{page}");
        let mut helps: Vec<_> = page.lines().filter(|line| line.starts_with("# HELP")).collect();
        let all = helps.len();
        helps.sort_unstable();
        helps.dedup();
        assert_eq!(helps.len(), all);
    }

    #[test]
    fn a_label_of_others_stays_one_label_on_one_line() {
        let labels = vec![("miner", "a\"} 9\n\\ b".to_owned())];
        let sample = Sample { labels, value: Value::Count(1) };
        let page = page(vec![Family { name: "x_total", help: "h", samples: vec![sample] }]);
        assert_eq!(
            page,
            "# HELP x_total h\n# TYPE x_total counter\nx_total{miner=\"a\\\"} 9\\n\\\\ b\"} 1\n"
        );
    }
}
