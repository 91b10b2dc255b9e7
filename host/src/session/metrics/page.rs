//! The metrics page: what a report says, as numbers with names.
//!
//! [`families`] decides what there is, as plain values; [`page`] writes it down in Prometheus' text format. The names
//! that begin with `pearl_gateway_` are those that OpenJarvis reads; they stand beside our own.

use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::session::pools::PoolReport;
use crate::session::report::{MinerReport, ProofReport, Report};

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

/// A number of each miner; the sum of the samples is the session's.
fn of_miners<V: Into<Value>>(
    name: &'static str,
    help: &'static str,
    miners: &[MinerReport],
    value: impl Fn(&MinerReport) -> Option<V>,
) -> Family {
    let samples = miners.iter().filter_map(|miner| {
        let labels = vec![("miner", miner.name.clone())];
        Some(Sample { labels, value: value(miner)?.into() })
    });
    Family { name, help, samples: samples.collect() }
}

/// Everything that is published of a session: what OpenJarvis reads and what belongs to all miners together without
/// labels, the rest by miner.
pub fn families(report: &Report) -> Vec<Family> {
    let mut families = of_session(report);
    families.extend(by_miner(&report.miners));
    families
}

fn of_session(report: &Report) -> Vec<Family> {
    let proofs = &report.proofs;
    let mut families = vec![
        Family::count(
            "pearl_gateway_shares_submitted_total",
            "Proofs handed to the work source.",
            proofs.submitted,
        ),
        Family::count(
            "pearl_gateway_shares_accepted_total",
            "Proofs that became a block of the chain, or shares that a pool credited.",
            proofs.accepted,
        ),
        Family::count(
            "pearl_gateway_blocks_found_total",
            "Blocks of ours on the chain.",
            // What a pool accepts is a share; whether one is a block, the pool sees by itself.
            if report.pool.is_some() { 0 } else { proofs.accepted },
        ),
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
        Family::count("pearlbed_proofs_pending", "Proofs on disk that are not settled.", proofs.pending),
        Family::single(
            "pearlbed_job_age_seconds",
            "Age of the job in work.",
            report.job.as_ref().map(|job| job.age_seconds),
        ),
    ];
    if let Some(pool) = &report.pool {
        families.extend(of_pools(pool));
        let seconds = report.expected_seconds.share;
        families.push(Family::single(
            "pearlbed_pool_share_seconds",
            "Seconds that a share takes on average at this rate.",
            seconds,
        ));
        let advice = seconds
            .and_then(|seconds| pool.easier(seconds))
            .map(|advice| Sample { labels: vec![("advice", advice.to_owned())], value: 1.into() });
        families.push(Family {
            name: "pearlbed_pool_share_slow",
            help: "1 where a share takes more than an hour, and what to do about it.",
            samples: advice.into_iter().collect(),
        });
    }
    families
}

fn of_pools(pool: &PoolReport) -> Vec<Family> {
    let by = |label: &'static str, counts: &BTreeMap<String, u64>| -> Vec<Sample> {
        counts
            .iter()
            .map(|(word, count)| Sample { labels: vec![(label, word.clone())], value: (*count).into() })
            .collect()
    };
    let in_use = pool.pools.iter().map(|row| Sample {
        labels: vec![("pool", row.address.clone()), ("security", row.security.clone())],
        value: u64::from(row.in_use).into(),
    });
    let latencies =
        pool.pools.iter().filter_map(|row| Some((row, row.latency_ms?))).flat_map(|(row, (half, most))| {
            [("0.5", half), ("0.95", most)].map(|(quantile, millis)| Sample {
                labels: vec![("pool", row.address.clone()), ("quantile", quantile.to_owned())],
                value: (millis / 1000.0).into(),
            })
        });
    let since = pool
        .in_use
        .iter()
        .zip(pool.since_seconds)
        .map(|(address, seconds)| Sample { labels: vec![("pool", address.clone())], value: seconds.into() });
    let why = pool.why_not_first.iter().zip(pool.pools.first()).map(|(why, first)| Sample {
        labels: vec![("pool", first.address.clone()), ("why", why.clone())],
        value: 1.into(),
    });
    let family = |name, help, samples| Family { name, help, samples };
    vec![
        family(
            "pearlbed_pool_in_use_seconds",
            "For how long the pool that is mined for has been.",
            since.collect(),
        ),
        family(
            "pearlbed_pool_first_passed_over",
            "1 where the first pool of the configuration is not mined for, and why.",
            why.collect(),
        ),
        family("pearlbed_pool_in_use", "1 for the pool that is mined for, else 0.", in_use.collect()),
        family(
            "pearlbed_pool_shares_total",
            "Shares sent, by what became of them.",
            by("outcome", &pool.shares.outcomes),
        ),
        family(
            "pearlbed_pool_shares_dropped_total",
            "Shares not sent, by why.",
            by("why", &pool.shares.dropped),
        ),
        family(
            "pearlbed_pool_shares_stale_total",
            "Stale shares, by whose fault.",
            by("by", &pool.shares.stale_by),
        ),
        Family::count("pearlbed_pool_shares_in_flight", "Shares without a reply yet.", pool.shares.in_flight),
        Family::count(
            "pearlbed_pool_block_candidates_total",
            "Shares sent that meet the network's own target, too.",
            pool.shares.block_candidates,
        ),
        Family::single(
            "pearlbed_pool_credited_hashes_total",
            "Hashes that the pools credited.",
            Some(pool.shares.credited_hashes),
        ),
        Family::single(
            "pearlbed_pool_credited_hashrate",
            "Credited hashes per second of the session.",
            pool.credited.map(|rate| rate.hashrate),
        ),
        Family::single(
            "pearlbed_pool_share_hashes",
            "Hashes that a share takes on average now.",
            pool.share.map(|share| share.hashes),
        ),
        family("pearlbed_pool_reply_seconds", "Latency of the replies to shares.", latencies.collect()),
    ]
}

fn by_miner(miners: &[MinerReport]) -> Vec<Family> {
    type Count = fn(&ProofReport) -> u64;
    let counts: [(&'static str, &'static str, Count); 9] = [
        ("pearlbed_proofs_found_total", "Proofs handed in and not refused.", |proofs| proofs.found),
        ("pearlbed_proofs_verified_total", "Proofs that passed the host's verifier.", |proofs| {
            proofs.verified
        }),
        ("pearlbed_proofs_late_total", "Verified proofs whose job was over.", |proofs| proofs.late),
        ("pearlbed_proofs_spare_total", "Verified proofs beyond what one block needs.", |proofs| {
            proofs.spare
        }),
        ("pearlbed_proofs_paying_total", "Verified proofs hard enough to pay.", |proofs| proofs.paying),
        ("pearlbed_proofs_refused_total", "Proofs that the host's verifier refused.", |proofs| {
            proofs.refused
        }),
        ("pearlbed_proofs_stale_total", "Proofs that the work source found stale.", |proofs| proofs.stale),
        (
            "pearlbed_proofs_not_sent_total",
            "Proofs that pay and came faster than the pool wants them.",
            |proofs| proofs.not_sent,
        ),
        ("pearlbed_proofs_accepted_total", "Proofs that became a block of the chain.", |proofs| {
            proofs.accepted
        }),
    ];
    let mut families: Vec<Family> = counts
        .into_iter()
        .map(|(name, help, count)| of_miners(name, help, miners, |miner| Some(count(&miner.proofs))))
        .collect();
    families.push(of_miners("pearlbed_miner_up", "1 while the miner mines, else 0.", miners, |miner| {
        Some(u64::from(miner.condition == "mining"))
    }));
    families.push(of_miners(
        "pearlbed_hashes_total",
        "Hashes (multiply-accumulates) that the miner claims.",
        miners,
        |miner| Some(miner.hashes),
    ));
    families.push(of_miners(
        "pearlbed_shares_due_total",
        "Proofs that the claimed hashes should have brought, on average.",
        miners,
        |miner| miner.hashrate.judgement.as_ref().map(|judgement| judgement.due),
    ));
    families.push(of_miners(
        "pearlbed_accused",
        "1 where the proofs do not bear out the claim, else 0.",
        miners,
        |miner| miner.hashrate.judgement.as_ref().map(|judgement| u64::from(judgement.verdict.accuses())),
    ));
    families.push(of_miners(
        "pearlbed_miner_restarts_total",
        "Restarts of the miner's process.",
        miners,
        |miner| Some(miner.restarts),
    ));
    families.push(of_miners(
        "pearlbed_verified_hashrate",
        "Hashes per second that the verified proofs show.",
        miners,
        |miner| miner.hashrate.verified.map(|rate| rate.hashrate),
    ));
    families.push(of_miners(
        "pearlbed_accepted_hashrate",
        "Hashes per second that accepted proofs show.",
        miners,
        |miner| miner.hashrate.accepted.map(|rate| rate.hashrate),
    ));
    families.push(programs(miners));
    families.push(windows(miners));
    families
}

/// Which programs there are at the miner port.
fn programs(miners: &[MinerReport]) -> Family {
    let samples = miners.iter().filter_map(|miner| {
        let program = miner.program.as_ref()?;
        let pid = program.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let labels = vec![
            ("miner", miner.name.clone()),
            ("dialect", program.dialect.clone()),
            ("agent", program.agent.clone()),
            ("address", program.address.clone()),
            ("pid", pid),
        ];
        Some(Sample { labels, value: program.connections.into() })
    });
    Family {
        name: "pearlbed_miner_program_connections",
        help: "Connections of a program at the miner port, and which program it is.",
        samples: samples.collect(),
    }
}

fn windows(miners: &[MinerReport]) -> Family {
    let samples = miners.iter().flat_map(|miner| {
        let raw = &miner.hashrate.raw;
        [("10s", raw.s10), ("60s", raw.s60), ("15m", raw.m15)].into_iter().filter_map(|(window, rate)| {
            let labels = vec![("miner", miner.name.clone()), ("window", window.to_owned())];
            Some(Sample { labels, value: rate?.into() })
        })
    });
    Family {
        name: "pearlbed_hashrate",
        help: "Hashes per second that the miner claims.",
        samples: samples.collect(),
    }
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
    use crate::session::report::Windows;
    use crate::session::state::State;

    #[test]
    fn a_page_has_each_name_once_and_only_what_is_known() {
        let mut report = Report::without_session(State::Running);
        report.proofs.submitted = 3;
        report.started_at = Some(1_795_477_409);
        let mut miner = MinerReport::named("card \"0\"");
        miner.hashrate.raw = Windows { s10: Some(1.5e12), s60: None, m15: Some(0.0) };
        miner.proofs.found = 7;
        report.miners = vec![miner, MinerReport::named("b")];
        let page = page(families(&report));
        for lines in [
            "# HELP pearl_gateway_shares_submitted_total Proofs handed to the work source.\n\
             # TYPE pearl_gateway_shares_submitted_total counter\n\
             pearl_gateway_shares_submitted_total 3\n",
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1795477409\n",
            "# TYPE pearlbed_earning gauge\npearlbed_earning 0\n",
            "# TYPE pearlbed_hashrate gauge\n\
             pearlbed_hashrate{miner=\"card \\\"0\\\"\",window=\"10s\"} 1500000000000.0\n\
             pearlbed_hashrate{miner=\"card \\\"0\\\"\",window=\"15m\"} 0.0\n",
            "pearlbed_proofs_found_total{miner=\"card \\\"0\\\"\"} 7\npearlbed_proofs_found_total{miner=\"b\"} 0\n",
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
    fn the_pool_in_use_is_named_with_how_long_why_not_the_first_and_what_a_share_takes() {
        let row = |address: &str, in_use| crate::session::pools::PoolRowReport {
            address: address.into(),
            name: None,
            wallet: "prl1p".into(),
            security: "TLS 1.3".into(),
            in_use,
            trouble: None,
            barred_seconds: None,
            connect_ms: None,
            tls_ms: None,
            dialect: None,
            latency_ms: None,
            easier: None,
            shares: Default::default(),
            all: Default::default(),
        };
        let mut report = Report::without_session(State::Running);
        report.pool = Some(PoolReport {
            in_use: Some("stratum+ssl://b:2".into()),
            since_seconds: Some(12.5),
            why_not_first: Some("it says \"no\"".into()),
            pools: vec![row("stratum+tcp://a:1", false), row("stratum+ssl://b:2", true)],
            ..PoolReport::default()
        });
        report.expected_seconds.share = Some(7200.0);
        let told = page(families(&report));
        for line in [
            "pearlbed_pool_in_use{pool=\"stratum+tcp://a:1\",security=\"TLS 1.3\"} 0\n",
            "pearlbed_pool_in_use{pool=\"stratum+ssl://b:2\",security=\"TLS 1.3\"} 1\n",
            "pearlbed_pool_in_use_seconds{pool=\"stratum+ssl://b:2\"} 12.5\n",
            "pearlbed_pool_first_passed_over{pool=\"stratum+tcp://a:1\",why=\"it says \\\"no\\\"\"} 1\n",
            "pearlbed_pool_share_seconds 7200.0\n",
            "pearlbed_pool_share_slow{advice=\"ask the pool for a port with a lower difficulty\"} 1\n",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
        // Where the first is in use and a share takes minutes, there is nothing to be told of it.
        report.expected_seconds.share = Some(60.0);
        if let Some(pool) = &mut report.pool {
            pool.why_not_first = None;
        }
        let told = page(families(&report));
        assert!(!told.contains("passed_over") && !told.contains("share_slow"), "{told}");
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
