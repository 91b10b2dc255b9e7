//! Whole sessions on a software device: jobs, devices that fail, hits that do not hold.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pearl_pow::{CertificateVersion, Header, Target, U256, verify};
use pearlbed_plugin_api::host_side::{HostServices, Provider};
use pearlbed_plugin_api::serde_json::{Value, json};
use pearlbed_plugin_api::{Job, LogLevel, MiningConfig, NextJob, SubmitError};

use super::{alone, software};
use crate::kernel::KERNELS;

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A host in this process.
#[derive(Default)]
struct Bench {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    offered: Option<Job>,
    jobs: Vec<Job>,
    current: u64,
    proofs: Vec<(u64, Vec<u8>)>,
    log: Vec<String>,
    hashes: u64,
}

impl HostServices for Bench {
    fn next_job(&self, timeout: Duration) -> NextJob {
        let mut state = self.state.lock().unwrap();
        if state.offered.is_none() {
            state = self.changed.wait_timeout(state, timeout).unwrap().0;
        }
        state.offered.take().map_or(NextJob::TimedOut, NextJob::Job)
    }

    fn is_stale(&self, job_id: u64) -> bool {
        self.state.lock().unwrap().current != job_id
    }

    fn submit(&self, job_id: u64, proof: &[u8]) -> Result<(), SubmitError> {
        let mut state = self.state.lock().unwrap();
        state.proofs.push((job_id, proof.to_vec()));
        self.changed.notify_all();
        if state.current == job_id { Ok(()) } else { Err(SubmitError::Stale) }
    }

    fn progress(&self, hashes: u64) {
        self.state.lock().unwrap().hashes += hashes;
        self.changed.notify_all();
    }

    fn log(&self, _level: LogLevel, message: &[u8]) {
        self.state.lock().unwrap().log.push(String::from_utf8_lossy(message).into_owned());
        self.changed.notify_all();
    }
}

impl Bench {
    /// Offers a job; about one tile in `2^bits` is a hit.
    fn offer(&self, id: u64, certificate_version: u32, bits: usize) {
        let target = Target(U256::MAX >> (19 + bits)).to_le_bytes();
        let job = Job::new(id, [id as u8; 76], target, certificate_version, id.is_multiple_of(2));
        let mut state = self.state.lock().unwrap();
        state.current = id;
        state.jobs.push(job.clone());
        state.offered = Some(job);
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap();
        while !done(&state) {
            assert!(Instant::now() < end, "{what} did not happen in time: {:?}", state.log);
            state = self.changed.wait_timeout(state, Duration::from_millis(20)).unwrap().0;
        }
    }

    /// Every proof that came is one for its job.
    fn assert_all_hold(&self) -> usize {
        let state = self.state.lock().unwrap();
        for (id, proof) in &state.proofs {
            let job = state.jobs.iter().find(|job| job.id == *id).unwrap();
            let its = verify::Job {
                header: Header::from_bytes(job.header),
                target: Some(Target::from_le_bytes(job.target)),
                certificate: CertificateVersion::try_from(job.certificate_version).unwrap(),
                rank_penalty: job.rank_penalty,
            };
            verify::verify_canonical(&its, proof).unwrap_or_else(|err| panic!("job {id}: {err}"));
        }
        state.proofs.len()
    }
}

/// A started provider.
fn start(extra: Value) -> (Provider, Arc<Bench>) {
    let provider = Provider::of_static(crate::PEARLBED_PROVIDER).unwrap();
    let host = Arc::new(Bench::default());
    let Value::Object(extra) = extra else { panic!("settings are an object") };
    provider.start(&MiningConfig::compute_only("gpu-pearl", extra), host.clone()).unwrap();
    (provider, host)
}

fn small() -> Value {
    json!({"software": true, "devices": ["software"], "m": 144, "n": 528, "k": 2048})
}

fn device(provider: &Provider, index: usize) -> Value {
    provider.stats().unwrap().details["devices"][index].clone()
}

#[test]
fn jobs_of_every_certificate_are_mined_and_every_proof_holds_across_changes_in_mid_chunk() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    let (provider, host) = start(small());
    for id in 1..=8 {
        host.offer(id, 1 + (id % 3) as u32, 7);
        host.wait("a proof of this job", |state| state.proofs.iter().any(|(job, _)| *job == id));
    }
    // Jobs that change faster than a chunk takes.
    for id in 9..=30 {
        host.offer(id, 3, 7);
    }
    host.wait("a proof of the last job", |state| state.proofs.iter().any(|(job, _)| *job == 30));
    assert!(provider.is_running());
    provider.stop().unwrap();
    assert!(!provider.is_running());
    assert!(host.assert_all_hold() >= 9);
}

#[test]
fn a_stale_job_ends_within_chunks_and_stats_tell_of_the_device() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    let (provider, host) = start(small());
    host.offer(1, 3, 200);
    host.wait("work", |state| state.hashes > 0);
    host.state.lock().unwrap().current = 0;
    // Two chunks in flight may end; after that nothing moves.
    let hashes = || device(&provider, 0)["hashes"].as_u64().unwrap();
    let end = Instant::now() + PATIENCE;
    let mut before = hashes();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = hashes();
        if now == before {
            break;
        }
        assert!(Instant::now() < end, "work on a stale job goes on");
        before = now;
    }
    let shown = device(&provider, 0);
    assert_eq!(shown["hits_refused"], 0);
    assert!(shown["limit_hashrate"].as_f64() > Some(1e6) && shown["memory_bytes"].as_u64() > Some(1 << 20));
    assert!(shown["kernel"].is_string() && shown["shape"].as_str().unwrap().starts_with("144x528x2048"));
    host.offer(2, 3, 200);
    host.wait("work on the next job", |_| hashes() > before);
    provider.stop().unwrap();
}

#[test]
fn a_new_job_is_worked_on_after_the_chunks_in_flight_and_how_long_that_takes_is_told() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    let mut extra = small();
    (extra["m"], extra["n"]) = (json!(128), json!(128));
    let (provider, host) = start(extra);
    let of_new_job = |id: u64| {
        let begun = Instant::now();
        // Every hundredth tile or so is a hit: the first proof is that of an early chunk.
        host.offer(id, 3, 5);
        host.wait("a proof of the new job", |state| state.proofs.iter().any(|(job, _)| *job == id));
        let to_proof = begun.elapsed().as_secs_f64();
        // What the device says of itself lies within that.
        let to_work = device(&provider, 0)["job_to_work_ms"].as_f64().unwrap() / 1e3;
        assert!(to_work > 0.0 && to_work <= to_proof, "{to_work} {to_proof}");
        [to_work, to_proof]
    };
    of_new_job(1);
    let took: Vec<[f64; 2]> = (2..=21).map(of_new_job).collect();
    for (of, what) in ["the end of its first chunk", "its first verified proof"].iter().enumerate() {
        let mut times: Vec<f64> = took.iter().map(|one| one[of] * 1e3).collect();
        times.sort_unstable_by(f64::total_cmp);
        println!("from a new job to {what}: {:.1} ms in the median, {:.1} ms at most", times[10], times[19]);
    }
    provider.stop().unwrap();
    host.assert_all_hold();
}

#[test]
fn every_kernel_mines_proofs_that_hold_where_it_is_named() {
    let _alone = alone();
    let Some(adapter) = software() else { return };
    for kernel in KERNELS.iter().filter(|kernel| kernel.is_offered_by(&adapter)) {
        let mut extra = small();
        extra["kernel"] = json!(kernel.name);
        let (provider, host) = start(extra);
        for id in 1..=3 {
            host.offer(id, id as u32, 7);
            host.wait("a proof of this job", |state| state.proofs.iter().any(|(job, _)| *job == id));
        }
        let shown = device(&provider, 0);
        assert_eq!((&shown["kernel"], &shown["hits_refused"]), (&json!(kernel.name), &json!(0)));
        provider.stop().unwrap();
        println!("{}: {} proofs, all hold", kernel.name, host.assert_all_hold());
    }
}

#[test]
fn two_devices_share_a_job_and_never_a_matrix() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    let (provider, host) = start(json!({"devices": ["software", "software"], "m": 144, "n": 528, "k": 2048}));
    host.offer(1, 3, 8);
    host.wait("proofs of both", |state| {
        let works = |index: usize| device(&provider, index)["hashes"].as_u64() > Some(0);
        works(0) && works(1) && state.proofs.len() > 4
    });
    provider.stop().unwrap();
    host.assert_all_hold();
    let state = host.state.lock().unwrap();
    let distinct: std::collections::HashSet<_> = state.proofs.iter().map(|(_, proof)| proof).collect();
    assert_eq!(distinct.len(), state.proofs.len());
}

#[test]
fn a_lost_device_is_opened_again_and_given_up_after_three_losses_while_the_other_mines() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    *super::NEXT.lock().unwrap() = (0, 3);
    let (provider, host) = start(json!({"devices": ["software", "software"], "m": 16, "n": 144, "k": 2048}));
    host.offer(1, 3, 6);
    host.wait("the device to be given up", |_| device(&provider, 0)["off"].is_string());
    let off = device(&provider, 0)["off"].as_str().unwrap().to_owned();
    assert!(off.contains("given up after 3 losses"), "{off}");
    assert_eq!(device(&provider, 0)["reopened"], 2);
    let before = device(&provider, 1)["hashes"].as_u64().unwrap();
    host.wait("the other to go on", |_| device(&provider, 1)["hashes"].as_u64() > Some(before));
    assert!(provider.is_running());
    provider.stop().unwrap();
    host.assert_all_hold();
}

#[test]
fn a_device_that_is_lost_once_mines_again() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    *super::NEXT.lock().unwrap() = (0, 1);
    let (provider, host) = start(small());
    host.offer(1, 3, 7);
    host.wait("a proof", |state| !state.proofs.is_empty());
    assert_eq!(device(&provider, 0)["reopened"], 1);
    provider.stop().unwrap();
    host.assert_all_hold();
}

#[test]
fn a_hit_that_the_processor_does_not_confirm_is_counted_and_three_switch_the_device_off() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    *super::NEXT.lock().unwrap() = (1, 0);
    let (provider, host) = start(small());
    host.offer(1, 3, 7);
    host.wait("proofs after the wrong one", |state| state.proofs.len() > 2);
    assert_eq!(device(&provider, 0)["hits_refused"], 1);
    assert!(provider.stats().unwrap().last_error.unwrap().contains("does not confirm a hit"));
    provider.stop().unwrap();
    host.assert_all_hold();

    *super::NEXT.lock().unwrap() = (1000, 0);
    let (provider, host) = start(small());
    host.offer(1, 3, 7);
    host.wait("the device to be switched off", |_| device(&provider, 0)["off"].is_string());
    assert_eq!(device(&provider, 0)["hits_refused"], 3);
    assert!(device(&provider, 0)["off"].as_str().unwrap().contains("did not confirm 3 of its hits"));
    assert_eq!(host.state.lock().unwrap().proofs.len(), 0, "no wrong proof left the provider");
    assert!(!provider.is_running(), "there is no other device");
    provider.stop().unwrap();
}

#[test]
fn lists_that_overflow_count_and_stop_leaves_no_thread() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    // Every tile is a hit.
    let (provider, host) =
        start(json!({"software": true, "devices": ["software"], "m": 256, "n": 2176, "chunk_ms": 1000}));
    host.offer(1, 3, 0);
    host.wait("proofs", |state| state.proofs.len() > 3);
    host.state.lock().unwrap().current = 0;
    provider.stop().unwrap();
    #[cfg(target_os = "linux")]
    {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let own: Vec<String> = names.filter(|name| name.starts_with("pearl-")).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

#[test]
fn settings_and_devices_that_are_not_there_are_refused_with_a_reason() {
    let _alone = alone();
    if software().is_none() {
        return;
    }
    for (settings, said) in [
        (json!({"devices": ["0000:ff:00.0"]}), "the drivers offer no device 0000:ff:00.0; there are "),
        (json!({"colour": 1}), "no setting `colour`"),
        (json!({"software": true, "devices": ["software"], "k": 2049}), "rule 12"),
        (json!({"software": true, "devices": ["software"], "m": 8}), "no room for a tile"),
        (json!({"software": true, "devices": ["software"], "n": 524_288, "k": 65536}), "the device takes"),
    ] {
        let provider = Provider::of_static(crate::PEARLBED_PROVIDER).unwrap();
        let Value::Object(extra) = settings.clone() else { unreachable!() };
        let host = Arc::new(Bench::default());
        let err = provider.start(&MiningConfig::compute_only("gpu-pearl", extra), host).unwrap_err();
        assert!(err.to_string().contains(said), "{settings}: {err}");
        assert!(!provider.is_running());
    }
}
