//! The client of pools against a pool that misbehaves by name, over real sockets.
//!
//! What needs minutes or hours is played without clocks in `host/src/work/pool/desk/tests.rs`; here are the faults that
//! show at once. After each one mining goes on, or the reason is told.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{Matrix, MiningConfiguration, PeriodicPattern};
use pearlbed::config::PoolUrl;
use pearlbed::work::devnet::pool::core::Fate;
use pearlbed::work::pool::ledger::{Ledger, Outcome};
use pearlbed::work::pool::rejected::Record;
use pearlbed::work::pool::resolver::Resolver;
use pearlbed::work::{
    FoundProof, Pool, PoolConfig, ProofId, ProofState, ProofStore, SourceConfig, WorkEvent, WorkHandle,
    WorkJob, spawn,
};
use pearlbed_tests::build;
use pearlbed_tests::pool::{Fault, TestPool, easiest_work};

#[path = "pools/faults.rs"]
mod faults;

/// The machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(future);
    runtime.shutdown_background();
    answer
}

/// Seeds that were used: two sessions of one process must not find the same proof.
static SEED: Mutex<u64> = Mutex::new(1);

/// A proof that meets the job's target.
fn mine(job: &WorkJob) -> Vec<u8> {
    let rules = job.to_pow().unwrap();
    let (rows, k) = (256, 2048);
    let config = MiningConfiguration::dense(
        k as u32,
        128,
        PeriodicPattern::from_offsets(&[0, 8, 64, 72]).unwrap(),
        PeriodicPattern::from_offsets(&[0, 1, 8, 9, 32, 33, 40, 41]).unwrap(),
    );
    let bound = rules.effective_target().bound(&config, true);
    loop {
        let seed = {
            let mut seed = SEED.lock().unwrap();
            *seed += 2;
            *seed
        };
        let (a, bt) = (test_matrix(seed, rows * k), test_matrix(seed + 1, rows * k));
        let product = Product::new(
            &rules.header,
            &config,
            rules.certificate.seed_rule(),
            Matrix::new(&a, k).unwrap(),
            Matrix::new(&bt, k).unwrap(),
        );
        if let Some(attempt) = product.mine(bound) {
            return product.prove(&attempt).encode();
        }
    }
}

/// The supervisor's part: reads events, mines, hands over.
struct Session {
    handle: WorkHandle,
    jobs: Vec<WorkJob>,
    states: Vec<(ProofId, ProofState)>,
    notes: Vec<String>,
    _home: tempfile::TempDir,
}

impl Session {
    fn start(pools: Vec<Pool>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = PoolConfig::new(pools, home.path());
        Self::with(home, config)
    }

    fn with(home: tempfile::TempDir, config: PoolConfig) -> Self {
        let store = ProofStore::open(&home.path().join("proofs")).unwrap();
        let handle = spawn(SourceConfig::Pool(Box::new(config)), store).unwrap();
        Self { handle, jobs: Vec::new(), states: Vec::new(), notes: Vec::new(), _home: home }
    }

    fn take(&mut self, event: WorkEvent) {
        match event {
            WorkEvent::Job(job) => self.jobs.push(job),
            WorkEvent::Proof { id, state } => self.states.push((id, state)),
            WorkEvent::Note(note) => self.notes.push(note),
            _ => {}
        }
    }

    /// Listens until something is so.
    async fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            let next = tokio::time::timeout(Duration::from_millis(50), self.handle.events.recv()).await;
            if let Ok(event) = next {
                self.take(event.expect("the source runs"));
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "never saw {what}; notes {:#?}; states {:?}",
                self.notes,
                self.states
            );
        }
    }

    /// A share for the newest job, found and handed over.
    async fn share(&mut self) -> ProofId {
        let job = self.jobs.last().expect("there is a job").clone();
        let proofs = self.handle.proofs.clone();
        let handed = tokio::task::spawn_blocking(move || {
            let proof = mine(&job);
            proofs.hand_over(FoundProof { job, proof, found: SystemTime::now(), block: false })
        });
        handed.await.unwrap().unwrap().id
    }

    fn state(&self, id: &ProofId) -> Option<&ProofState> {
        self.states.iter().rev().find(|(known, _)| known == id).map(|(_, state)| state)
    }

    fn ledger(&self) -> Ledger {
        self.handle.status.borrow().pool.as_ref().map(|pool| pool.ledger.clone()).unwrap_or_default()
    }

    fn told(&self, text: &str) -> bool {
        let status = self.handle.status.borrow();
        let troubles = status.pool.iter().flat_map(|pool| &pool.pools).filter_map(|row| row.trouble.clone());
        self.notes.iter().cloned().chain(troubles).any(|note| note.contains(text))
    }

    /// Mines until a share is credited. Shares that do not survive their connection are replaced.
    async fn credit(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.until("a job", |session| !session.jobs.is_empty()).await;
            let id = self.share().await;
            self.until("a fate", |session| session.state(&id).is_some_and(|state| state.is_final())).await;
            if self.state(&id) == Some(&ProofState::Credited) {
                return;
            }
            assert!(Instant::now() < deadline, "{:?}; {:?}", self.state(&id), self.notes);
        }
    }
}

fn pool(pool: &TestPool) -> Pool {
    Pool::new(PoolUrl::parse(&pool.url()).unwrap(), WALLET, "rig1")
}

/// Case 21: a stop in the middle of finding out which form of login a pool understands.
#[test]
fn a_stop_while_detecting_waits_for_nobody() {
    block_on(async {
        let silent = TestPool::start(vec![vec![Fault::HangsOnObject]]);
        let mut session = Session::start(vec![pool(&silent)]);
        session.until("a connection", |_| silent.connections() == 1).await;
        let stopped = tokio::time::timeout(Duration::from_secs(8), session.handle.stop()).await;
        assert!(stopped.is_ok(), "it waits for an answer that never comes");
        assert_eq!((silent.connections(), silent.workers()), (1, 0));
    });
}

#[test]
fn the_clients_ledger_is_the_pools_to_the_last_share() {
    block_on(async {
        let honest = TestPool::honest();
        let mut session = Session::start(vec![pool(&honest)]);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        for round in 0..6 {
            let id = session.share().await;
            session.until("a fate", |session| session.state(&id).is_some_and(ProofState::is_final)).await;
            if round % 3 == 2 {
                let before = session.jobs.len();
                honest.new_tip();
                session.until("the next job", |session| session.jobs.len() > before).await;
            }
        }
        let (ours, theirs) = (session.ledger(), honest.ledger());
        let credited = ours.of(Outcome::Accepted);
        assert_eq!(Some(&credited.shares), theirs.shares.get(&Fate::Accepted), "{theirs:?}");
        assert_eq!(credited.shares, 6);
        assert!(
            (credited.work / theirs.credited - 1.0).abs() < 1e-9,
            "{} {}",
            credited.work,
            theirs.credited
        );
        assert!((credited.work / (6.0 * easiest_work()) - 1.0).abs() < 1e-6);
        let status = session.handle.status.borrow().pool.clone().unwrap();
        assert!(status.pools[0].latency.is_some() && status.pools[0].in_use);
        assert_eq!(status.pools[0].security, "plain, unauthenticated");
        session.handle.stop().await;
    });
}

/// Case 21: two machines that were given one name are one worker to the pool, and nobody's share is anybody else's.
#[test]
fn two_rigs_with_one_name_are_credited_together_and_each_counts_its_own() {
    block_on(async {
        let honest = TestPool::honest();
        let mut rigs = [Session::start(vec![pool(&honest)]), Session::start(vec![pool(&honest)])];
        for _ in 0..2 {
            for rig in &mut rigs {
                rig.credit().await;
            }
        }
        let ledgers = rigs.each_ref().map(Session::ledger);
        let theirs = honest.ledger();
        for ours in &ledgers {
            assert_eq!((ours.of(Outcome::Accepted).shares, ours.all_sent().shares), (2, 2), "{ours:?}");
        }
        assert_eq!(theirs.shares.get(&Fate::Accepted), Some(&4));
        assert_eq!(theirs.shares.len(), 1, "no duplicate, nothing stale: {theirs:?}");
        let both: f64 = ledgers.iter().map(|ours| ours.of(Outcome::Accepted).work).sum();
        assert!((both / theirs.credited - 1.0).abs() < 1e-9);
        assert_eq!(honest.workers(), 1, "one row for both");
        for rig in rigs {
            rig.handle.stop().await;
        }
    });
}

#[test]
fn a_share_whose_reply_never_comes_is_the_only_difference_and_is_not_sent_again() {
    block_on(async {
        let mute = TestPool::start(vec![vec![Fault::NoReplies]]);
        let mut session = Session::start(vec![pool(&mute)]);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        let id = session.share().await;
        session.until("the pool's credit", |_| mute.ledger().shares.contains_key(&Fate::Accepted)).await;
        mute.drop_all();
        session.until("a fate", |session| session.state(&id).is_some_and(ProofState::is_final)).await;
        assert!(matches!(session.state(&id), Some(ProofState::Untraced { .. })));
        session.jobs.clear();
        session.credit().await;
        let (ours, theirs) = (session.ledger(), mute.ledger());
        assert_eq!((ours.of(Outcome::Accepted).shares, ours.of(Outcome::Unanswered).shares), (1, 1));
        assert_eq!(theirs.shares.get(&Fate::Accepted), Some(&2));
        assert_eq!(theirs.shares.get(&Fate::Duplicate), None);
        session.handle.stop().await;
    });
}

#[test]
fn a_refusing_pool_is_left_for_its_backup_within_two_seconds_of_the_last_connection() {
    block_on(async {
        let backup = TestPool::honest();
        // A port where nobody listens.
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], pearlbed_tests::ports::free()));
        let dead = Pool::new(PoolUrl::parse(&format!("stratum+tcp://{nobody}")).unwrap(), WALLET, "rig1");
        let mut session = Session::start(vec![dead, pool(&backup)]);
        let began = Instant::now();
        session.until("a job", |session| !session.jobs.is_empty()).await;
        let took = began.elapsed();
        // Two seconds and what a busy machine adds.
        assert!(took < Duration::from_secs(15), "{took:?}");
        session.credit().await;
        let status = session.handle.status.borrow().pool.clone().unwrap();
        assert_eq!(status.current, Some(1));
        assert!(status.why_not_first.unwrap().contains("refused"));
        session.handle.stop().await;
    });
}

#[test]
fn names_without_an_address_with_dead_ones_and_with_another_one_each_time() {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    block_on(async {
        let alive = TestPool::honest();
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], pearlbed_tests::ports::free()));
        let named = || Pool::new(PoolUrl::parse("stratum+tcp://pool.test:3333").unwrap(), WALLET, "rig1");
        let table = Arc::new(Mutex::new(BTreeMap::new()));
        let start = |table: &Arc<Mutex<BTreeMap<String, Vec<std::net::SocketAddr>>>>| {
            let home = tempfile::tempdir().unwrap();
            let mut config = PoolConfig::new(vec![named()], home.path());
            config.resolver = Resolver::Table(Arc::clone(table));
            Session::with(home, config)
        };
        // No address at all, and then one.
        let mut session = start(&table);
        session.until("the reason", |session| session.told("no such name")).await;
        table.lock().unwrap().insert("pool.test".to_owned(), vec![alive.address]);
        session.credit().await;
        session.handle.stop().await;
        // The first is dead, IPv6 is dead, and the last one answers.
        let v6 = format!("[::1]:{}", nobody.port()).parse().unwrap();
        table.lock().unwrap().insert("pool.test".to_owned(), vec![v6, nobody, alive.address]);
        let mut session = start(&table);
        session.credit().await;
        // The name moves while the old address is gone.
        let other = TestPool::honest();
        table.lock().unwrap().insert("pool.test".to_owned(), vec![other.address]);
        session.jobs.clear();
        drop(alive);
        session.credit().await;
        assert!(other.connections() >= 1);
        session.handle.stop().await;
    });
}

#[test]
fn what_a_pool_refuses_is_recorded_and_verify_reads_the_record() {
    block_on(async {
        let wrong = TestPool::start(vec![vec![Fault::RefuseShares(r#"[20,"Invalid share",null]"#)]]);
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("rejected");
        let config = PoolConfig::new(vec![pool(&wrong)], home.path());
        let mut session = Session::with(home, config);
        session.until("a job", |session| !session.jobs.is_empty()).await;
        let id = session.share().await;
        session.until("a fate", |session| session.state(&id).is_some_and(ProofState::is_final)).await;
        assert!(matches!(session.state(&id), Some(ProofState::Rejected { .. })));
        let records = || -> Vec<_> {
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        session.until("a record", |_| !records().is_empty()).await;
        // Written in one go, but not in no time.
        session
            .until("a whole record", |_| {
                std::fs::read(&records()[0]).is_ok_and(|bytes| Record::read(&bytes).is_some())
            })
            .await;
        let record = Record::read(&std::fs::read(&records()[0]).unwrap()).unwrap();
        assert_eq!((record.reply.as_str(), record.verifier.as_str()), ("Invalid share (20)", "accepts it"));
        let found = record.found.clone().unwrap();
        assert_eq!((found.m, found.k, found.rank), (256, 2048, 128));
        let verify =
            std::process::Command::new(build::pearlbed()).arg("verify").arg(&records()[0]).output().unwrap();
        assert!(verify.status.success(), "{verify:?}");
        session.handle.stop().await;
        // The last twenty are kept, and nothing of another's is touched.
        std::fs::write(folder.join("notes.txt"), "mine").unwrap();
        for later in 1..=30 {
            Record { at: record.at + later, ..record.clone() }.write(&folder).unwrap();
        }
        let mut kept: Vec<u64> = records()
            .iter()
            .filter_map(|path| Record::read(&std::fs::read(path).unwrap()))
            .map(|kept| kept.at - record.at)
            .collect();
        kept.sort();
        assert_eq!(kept, (11..=30).collect::<Vec<_>>());
        assert!(folder.join("notes.txt").exists());
    });
}

/// Whether this process runs the test `name` and no other beside it; where it does not, one that does is run to its end.
fn is_alone(name: &str) -> bool {
    const ALONE: &str = "PEARLBED_TESTS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let run = command.args(["--exact", name]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    false
}

/// Resident memory of this process, in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn memory_stays_flat_under_a_flood_of_jobs_and_an_endless_line() {
    if !cfg!(target_os = "linux") {
        println!("skipped: memory is measured on Linux only");
        return;
    }
    // What the others take is in the same number.
    if !is_alone("memory_stays_flat_under_a_flood_of_jobs_and_an_endless_line") {
        return;
    }
    block_on(async {
        for fault in [Fault::Flood(200_000), Fault::Endless] {
            let flood = TestPool::start(vec![vec![fault.clone()], vec![fault.clone()]]);
            let mut session = Session::start(vec![pool(&flood)]);
            session.until("a job", |session| !session.jobs.is_empty()).await;
            let before = memory();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
            while tokio::time::Instant::now() < deadline {
                let next =
                    tokio::time::timeout(Duration::from_millis(20), session.handle.events.recv()).await;
                if let Ok(Some(event)) = next {
                    session.take(event);
                }
            }
            let grown = memory().saturating_sub(before);
            // The pool's own queue is in this process, too: it holds what was not taken.
            let allowed = if fault == Fault::Endless { 24 << 20 } else { 160 << 20 };
            assert!(grown < allowed, "{fault:?}: {grown} bytes");
            session.handle.stop().await;
        }
    });
}
