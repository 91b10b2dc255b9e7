//! The edge cases of the pool protocol's section 10 that need no socket, and what the desk promises, played through
//! without clocks. A pool is a text here: what it sends is given in, what is sent to it is read back.

use std::time::SystemTime;

use pearl_pow::Target;
use serde_json::{Value, json};

use super::*;
use crate::config::PoolUrl;
use crate::work::FoundProof;
use crate::work::pool::ledger::StaleCause;

const SECOND: Duration = Duration::from_secs(1);
const HEADER: &str = "00004020190ba09a3acba294d8fd990d10c759e036053716a8ae1c4ac80d53795d01ceeaeb51b7e7955bf2f89093b3fe5fbc39f2fba06993a6d4c428ba57c2a21327c9293fc01a6ab2d10118";
const TARGET: &str = "0000000000014f8a0902de00d1b71758e219652bd3c36113404ea4a8c154c985";

/// A desk, its time, and what it said.
struct Play {
    desk: Desk,
    now: Instant,
    /// Connections that are wanted, in order: number and pool.
    wanted: Vec<(u64, usize)>,
    closed: Vec<u64>,
    sent: Vec<(u64, String)>,
    jobs: Vec<WorkJob>,
    states: Vec<(ProofId, ProofState)>,
    notes: Vec<String>,
    records: Vec<Rejected>,
    paused: u32,
    /// Lines are told to be written as soon as they are sent.
    writes: bool,
    next_proof: u64,
}

fn pools(count: usize) -> Vec<Pool> {
    (1..=count)
        .map(|number| {
            let url = PoolUrl::parse(&format!("stratum+tcp://pool{number}.example:3333")).unwrap();
            Pool::new(url, "prl1pwallet", "rig1")
        })
        .collect()
}

fn times() -> Times {
    Times {
        tcp: SECOND / 100,
        tls: None,
        security: "plain, unauthenticated".to_owned(),
        peer: "127.0.0.1:1".to_owned(),
    }
}

/// A header with another tip and another time.
fn header(tip: u8, time: u8) -> String {
    let mut header = HEADER.to_owned();
    header.replace_range(8..10, &format!("{tip:02x}"));
    header.replace_range(136..138, &format!("{time:02x}"));
    header
}

fn job(id: &str, header: &str) -> Value {
    json!({"id": null, "method": "mining.notify",
        "params": {"job_id": id, "header": header, "target": TARGET, "height": 119375, "cert_version": 3}})
}

impl Play {
    fn new(count: usize) -> Self {
        Self::with(pools(count))
    }

    fn with(pools: Vec<Pool>) -> Self {
        let now = Instant::now();
        let mut play = Self {
            desk: Desk::new(pools, Book::default(), 7, now),
            now,
            wanted: Vec::new(),
            closed: Vec::new(),
            sent: Vec::new(),
            jobs: Vec::new(),
            states: Vec::new(),
            notes: Vec::new(),
            records: Vec::new(),
            paused: 0,
            writes: true,
            next_proof: 0,
        };
        play.turn();
        play
    }

    /// Lets the desk act until it has nothing to do at this moment.
    fn turn(&mut self) {
        for _ in 0..100 {
            let actions = self.desk.actions(self.now);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Connect { connection, pool } => self.wanted.push((connection, pool)),
                    Action::Close { connection } => self.closed.push(connection),
                    Action::Send { connection, line, tag } => {
                        self.sent.push((connection, line));
                        if let (true, Some(tag)) = (self.writes, tag) {
                            self.desk.written(connection, tag, self.now);
                        }
                    }
                    Action::Tell(WorkEvent::Job(job)) => self.jobs.push(job),
                    Action::Tell(WorkEvent::NoJob { .. }) => self.paused += 1,
                    Action::Tell(WorkEvent::Proof { id, state }) => self.states.push((id, state)),
                    Action::Tell(WorkEvent::Note(note)) => self.notes.push(note),
                    Action::Tell(other) => panic!("{other:?}"),
                    Action::Record(record) => self.records.push(*record),
                    Action::Save => {}
                }
            }
        }
        panic!("the desk never rests");
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.desk.deadline(self.now).min(end);
            self.turn();
        }
    }

    /// The newest connection that is wanted.
    fn newest(&self) -> u64 {
        self.wanted.last().expect("a connection is wanted").0
    }

    fn line(&mut self, connection: u64, line: &str) {
        self.desk.line(connection, line, self.now);
        self.turn();
    }

    fn message(&mut self, connection: u64, message: &Value) {
        self.line(connection, &message.to_string());
    }

    fn connect(&mut self, connection: u64) {
        self.desk.connected(connection, times(), self.now);
        self.turn();
    }

    fn lose(&mut self, connection: u64) {
        self.desk.closed(connection, Closed::Lost("connection reset".to_owned()), self.now);
        self.turn();
    }

    /// The id of the last request that was sent.
    fn last_id(&self) -> u64 {
        self.last()["id"].as_u64().unwrap()
    }

    fn last(&self) -> Value {
        serde_json::from_str(&self.sent.last().expect("something was sent").1).unwrap()
    }

    /// Connects the newest wanted connection up to its first job.
    fn work(&mut self) -> u64 {
        let connection = self.newest();
        self.connect(connection);
        self.accept(connection);
        self.message(connection, &job("first", HEADER));
        connection
    }

    fn accept(&mut self, connection: u64) {
        let id = self.last_id();
        self.message(connection, &json!({"id": id, "result": true, "error": null}));
    }

    fn refuse(&mut self, connection: u64, error: &Value) {
        let id = self.last_id();
        self.message(connection, &json!({"id": id, "result": null, "error": error}));
    }

    /// A share for a job.
    fn share(&mut self, job: &WorkJob) -> ProofId {
        self.next_proof += 1;
        let found = FoundProof {
            job: job.clone(),
            proof: self.next_proof.to_le_bytes().to_vec(),
            found: SystemTime::UNIX_EPOCH,
            block: false,
        };
        let kept = KeptProof { id: ProofId::of(&found), found, handed_over: false };
        let id = kept.id.clone();
        self.desk.found(kept, self.now);
        self.turn();
        id
    }

    fn share_now(&mut self) -> ProofId {
        let job = self.jobs.last().expect("there is a job").clone();
        self.share(&job)
    }

    /// Answers every ping that was sent; how many there were.
    fn pong(&mut self) -> usize {
        let mut answered = 0;
        for (on, line) in self.sent.split_off(0) {
            if line.contains("mining.ping") {
                let id = serde_json::from_str::<Value>(&line).unwrap()["id"].clone();
                self.message(on, &json!({"id": id, "result": "pong", "error": null}));
                answered += 1;
            }
        }
        answered
    }

    fn state(&self, id: &ProofId) -> &ProofState {
        &self.states.iter().rev().find(|(known, _)| known == id).expect("the share has a state").1
    }

    fn submits(&self) -> usize {
        self.sent.iter().filter(|(_, line)| line.contains("mining.submit")).count()
    }

    fn ledger(&self) -> Ledger {
        self.desk.status(self.now).ledger
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        self.ledger().of(outcome).shares
    }

    fn trouble(&self, pool: usize) -> String {
        self.desk.status(self.now).pools[pool].trouble.clone().unwrap_or_default()
    }
}

#[test]
fn case_1_ack_and_job_two_jobs_and_blank_lines_come_as_lines_and_the_newest_job_counts() {
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    let login = play.last();
    assert_eq!(login["params"]["wallet"], "prl1pwallet");
    assert_eq!(login["params"]["pass"], "x");
    assert!(login.get("jsonrpc").is_none());
    let id = play.last_id();
    for line in [
        format!(r#"{{"id":{id},"result":true,"error":null}}"#),
        String::new(),
        "\r".to_owned(),
        job("a", &header(1, 1)).to_string(),
        job("b", &header(1, 2)).to_string(),
    ] {
        play.desk.line(connection, &line, play.now);
    }
    play.turn();
    assert_eq!(play.jobs.len(), 1, "one of two jobs in one segment is enough");
    assert_eq!(&*play.jobs[0].origin.as_ref().unwrap().job_id, "\"b\"");
}

#[test]
fn case_2_a_job_before_the_ack_is_used_when_the_ack_comes_and_dropped_with_a_refusal() {
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    play.line(connection, r#"{"id":null,"method":"mining.set_difficulty","params":[5]}"#);
    play.message(connection, &job("early", HEADER));
    assert!(play.jobs.is_empty());
    play.accept(connection);
    assert_eq!(play.jobs.len(), 1);

    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    play.message(connection, &job("early", HEADER));
    play.refuse(connection, &json!({"code": 24, "msg": "Invalid Pearl address"}));
    assert!(play.jobs.is_empty());
    assert_eq!(play.closed, [connection]);
    assert!(play.trouble(0).contains("Invalid Pearl address"), "{}", play.trouble(0));
}

#[test]
fn case_3_a_reply_is_matched_by_its_id_in_any_spelling_and_without_one_where_only_one_is_open() {
    let mut play = Play::new(1);
    let connection = play.work();
    for form in ["{id}", "\"{id}\"", "{id}.0", "null"] {
        let share = play.share_now();
        let id = play.last_id().to_string();
        play.line(
            connection,
            &format!(r#"{{"id":{},"result":true,"error":null}}"#, form.replace("{id}", &id)),
        );
        assert_eq!(play.state(&share), &ProofState::Credited, "{form}");
    }
    // Two are open: a reply without an id could be meant for either.
    let (one, two) = (play.share_now(), play.share_now());
    play.line(connection, r#"{"id":null,"result":true,"error":null}"#);
    assert_eq!(play.outcome(Outcome::Accepted), 4);
    for share in [one, two] {
        assert_eq!(play.state(&share), &ProofState::HandedOver { attempt: 1 });
    }
    play.line(connection, r#"{"id":null,"method":"mining.notify","params":null}"#);
    assert!(play.notes.iter().any(|note| note.contains("without members")), "{:?}", play.notes);
}

#[test]
fn cases_4_and_5_a_bad_job_is_told_once_and_mining_goes_on_with_the_last_good_one() {
    let mut play = Play::new(1);
    let connection = play.work();
    let before = play.notes.len();
    let mut bad = job("bad", &format!("{HEADER}00000000"));
    for _ in 0..10 {
        play.message(connection, &bad);
    }
    assert_eq!(play.notes.len(), before + 1);
    assert!(play.trouble(0).contains("160 hex digits"), "{}", play.trouble(0));
    bad["params"]["header"] = json!(HEADER);
    bad["params"]["target"] = json!("f".repeat(64));
    play.message(connection, &bad);
    assert!(play.trouble(0).contains("easier than a tile can express"), "{}", play.trouble(0));
    assert_eq!(play.jobs.len(), 1);
    let share = play.share_now();
    play.accept(connection);
    assert_eq!(play.state(&share), &ProofState::Credited);
    // A new id with the same header is another job; the same id with another header, too.
    play.now += SECOND;
    play.message(connection, &job("second", HEADER));
    play.now += SECOND;
    play.message(connection, &job("second", &header(1, 9)));
    play.now += SECOND;
    play.message(connection, &job("second", &header(1, 9)));
    assert_eq!(play.jobs.len(), 3, "and the same again is no news");
    assert_ne!(play.jobs[0].key(), play.jobs[1].key());
    assert_eq!(play.trouble(0), "");
}

#[test]
fn case_6_certificate_versions_are_carried_stated_or_guessed_by_height_and_a_wrong_guess_is_left() {
    let mut play = Play::new(1);
    let connection = play.work();
    for (version, carried) in [(json!(4), 4), (json!("3"), 3), (json!(2), 2), (json!(3.0), 3)] {
        play.now += SECOND;
        let mut next = job(&version.to_string(), &header(2, carried));
        next["params"]["cert_version"] = version;
        play.message(connection, &next);
        assert_eq!(play.jobs.last().unwrap().certificate_version, u32::from(carried));
    }
    for (height, version) in [(json!(50_000), 1), (json!(98_999), 2), (json!(99_000), 3), (Value::Null, 3)] {
        play.now += SECOND;
        let mut next = job(&format!("h{height}"), HEADER);
        next["params"]["height"] = height;
        next["params"]["cert_version"] = Value::Null;
        play.message(connection, &next);
        assert_eq!(play.jobs.last().unwrap().certificate_version, version);
    }
    assert!(play.notes.iter().any(|note| note.contains("does not say which certificate version")));
    assert_eq!(play.closed, [0; 0]);

    // The first two shares of such a pool are refused: the guess was wrong.
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    play.accept(connection);
    let mut guess = job("guess", HEADER);
    guess["params"]["cert_version"] = Value::Null;
    play.message(connection, &guess);
    for _ in 0..2 {
        play.share_now();
        play.refuse(connection, &json!([20, "Invalid share", null]));
    }
    assert_eq!(play.closed, [connection]);
    assert!(play.trouble(0).contains("set `cert_version`"), "{}", play.trouble(0));
    // Stated, it is no guess.
    let mut stated = pools(1);
    stated[0].certificate_version = Some(2);
    let mut play = Play::with(stated);
    let connection = play.newest();
    play.connect(connection);
    play.accept(connection);
    play.message(connection, &guess);
    assert_eq!(play.jobs[0].certificate_version, 2);
}

#[test]
fn case_7_the_share_names_the_job_exactly_as_the_pool_did() {
    let mut play = Play::new(1);
    let connection = play.work();
    for id in ["", "x\"\\é", &"y".repeat(1000)] {
        play.now += SECOND;
        play.message(connection, &job(id, HEADER));
        play.share_now();
        assert_eq!(play.last()["params"]["job_id"], id);
        play.accept(connection);
    }
    play.now += SECOND;
    play.line(connection, &job("N", HEADER).to_string().replace("\"N\"", "1.50"));
    play.share_now();
    assert!(play.sent.last().unwrap().1.contains(r#""job_id":1.50,"#));
}

#[test]
fn case_8_the_acknowledgement_decides_the_encoding_and_an_unknown_one_is_refused() {
    use crate::work::stratum::Encoding;
    for (wants, kind, sent) in [
        (Encoding::Plain, None, Encoding::Plain),
        (Encoding::Gzip, None, Encoding::Plain),
        (Encoding::Gzip, Some("plain"), Encoding::Plain),
        (Encoding::Plain, Some("v2"), Encoding::Gzip),
        (Encoding::Gzip, Some("v2"), Encoding::Gzip),
    ] {
        let mut pools = pools(1);
        pools[0].wants = wants;
        let mut play = Play::with(pools);
        let connection = play.newest();
        play.connect(connection);
        assert_eq!(play.last()["params"].get("type").is_some(), wants == Encoding::Gzip);
        let mut ack = json!({"id": play.last_id(), "result": true, "error": null});
        if let Some(kind) = kind {
            ack["type"] = json!(kind);
        }
        play.message(connection, &ack);
        play.message(connection, &job("a", HEADER));
        play.share_now();
        let text = play.last()["params"]["plain_proof"].as_str().unwrap().to_owned();
        assert_eq!(sent.decode(&text, 100).unwrap(), 1_u64.to_le_bytes(), "{wants:?} {kind:?}");
    }
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    let id = play.last_id();
    play.message(connection, &json!({"id": id, "result": true, "error": null, "type": "v3"}));
    assert!(play.trouble(0).contains("`v3`"), "{}", play.trouble(0));
    assert_eq!(play.closed, [connection]);
}

#[test]
fn case_9_the_last_word_counts_and_a_reply_to_nothing_completes_nothing() {
    let mut play = Play::new(1);
    let connection = play.work();
    play.line(connection, r#"{"id":999,"result":true,"error":null}"#);
    assert_eq!(play.ledger().all_sent().shares, 0);
    let share = play.share_now();
    let id = play.last_id();
    let yes = json!({"id": id, "result": true, "error": null});
    let no = json!({"id": id, "result": null, "error": [20, "Invalid share", null]});
    for (reply, accepted, invalid) in [(&yes, 1, 0), (&yes, 1, 0), (&no, 0, 1), (&yes, 1, 0)] {
        play.message(connection, reply);
        assert_eq!((play.outcome(Outcome::Accepted), play.outcome(Outcome::Invalid)), (accepted, invalid));
        assert!(play.ledger().adds_up());
    }
    assert_eq!(play.state(&share), &ProofState::Credited);
}

#[test]
fn case_10_a_reply_after_the_job_was_replaced_counts_and_one_after_a_reconnect_does_not() {
    let mut play = Play::new(1);
    let connection = play.work();
    let share = play.share_now();
    let id = play.last_id();
    play.now += SECOND;
    play.message(connection, &job("next", &header(7, 1)));
    play.message(connection, &json!({"id": id, "result": null, "error": [21, "Job not found", null]}));
    assert!(matches!(play.state(&share), ProofState::Stale { .. }));
    assert_eq!(
        play.ledger().stale_causes().get(&StaleCause::Network),
        Some(&1),
        "the tip changed on the way"
    );

    let share = play.share_now();
    let id = play.last_id();
    play.lose(connection);
    assert!(matches!(play.state(&share), ProofState::Untraced { .. }));
    play.wait(SECOND * 2);
    let second = play.work();
    assert_ne!(second, connection);
    play.message(second, &json!({"id": id, "result": true, "error": null}));
    assert_eq!((play.outcome(Outcome::Accepted), play.outcome(Outcome::Unanswered)), (0, 1));
    assert_eq!(play.sent.iter().filter(|(_, line)| line.contains(&format!("\"id\":{id},"))).count(), 1);
}

#[test]
fn cases_11_and_12_labels_change_nothing_a_new_target_does_and_drops_what_no_longer_meets_it() {
    let mut play = Play::new(1);
    let connection = play.work();
    for params in ["[0]", "[-1]", "[\"NaN\"]", "[1e400]", "[77]"] {
        play.line(
            connection,
            &format!(r#"{{"id":null,"method":"mining.set_difficulty","params":{params}}}"#),
        );
    }
    assert_eq!((play.jobs.len(), play.closed.len()), (1, 0));
    let easy = play.jobs[0].clone();
    let harder =
        Target::from_hex("0000000000000f8a0902de00d1b71758e219652bd3c36113404ea4a8c154c985").unwrap();
    play.now += SECOND;
    play.message(connection, &json!({"method": "mining.set_target", "params": [harder.to_string()]}));
    let hard = play.jobs.last().unwrap().clone();
    assert_eq!(hard.header, easy.header);
    assert_eq!(Target::from_le_bytes(hard.target), crate::work::stratum::target::rounded(harder));
    let share = play.share(&easy);
    assert!(matches!(play.state(&share), ProofState::NotSent { reason } if reason.contains("harder")));
    let share = play.share(&hard);
    play.accept(connection);
    assert_eq!(play.state(&share), &ProofState::Credited);
    // Easier again: what met the harder one meets it too.
    play.now += SECOND;
    play.message(connection, &json!({"method": "mining.set_target", "params": {"target": TARGET}}));
    let share = play.share(&hard);
    play.accept(connection);
    assert_eq!(play.state(&share), &ProofState::Credited);
    // Harder than the block's own target: said, and mined for.
    play.now += SECOND;
    let mut next = job("hard", HEADER);
    next["params"]["target"] = json!("1");
    play.message(connection, &next);
    assert!(play.notes.iter().any(|note| note.contains("harder than the network's")), "{:?}", play.notes);
}

#[test]
fn case_13_a_flood_of_jobs_is_coalesced_and_the_newest_counts() {
    let mut play = Play::new(1);
    let connection = play.work();
    for number in 0..10_000_u32 {
        let [a, b, ..] = number.to_le_bytes();
        let mut text = header(a, 0);
        text.replace_range(134..136, &format!("{b:02x}"));
        play.desk.line(connection, &job(&number.to_string(), &text).to_string(), play.now);
        if number % 100 == 0 {
            play.now += Duration::from_millis(10);
            play.turn();
        }
    }
    play.wait(SECOND);
    assert!(play.jobs.len() <= 102, "{}", play.jobs.len());
    assert_eq!(&*play.jobs.last().unwrap().origin.as_ref().unwrap().job_id, "\"9999\"");
    assert!(play.desk.actions.is_empty());
    // Refreshes of one tip reach the miners twenty times a second at most.
    let before = play.jobs.len();
    for number in 0..1000_u16 {
        play.now += Duration::from_millis(1);
        let [low, high] = number.to_le_bytes();
        let mut text = header(255, low);
        text.replace_range(134..136, &format!("{high:02x}"));
        play.message(connection, &job(&format!("r{number}"), &text));
    }
    assert!((19..=22).contains(&(play.jobs.len() - before)), "{}", play.jobs.len() - before);
}

#[test]
fn case_14_what_is_no_message_is_survived_in_small_doses_and_ends_the_connection_in_large_ones() {
    let garbage = ["{}", "[]", "null", "<html>", "{\"id\"", "\u{0}", "garbage"];
    let mut play = Play::new(1);
    let connection = play.work();
    for line in garbage {
        play.line(connection, line);
    }
    assert!(play.closed.is_empty());
    let share = play.share_now();
    play.accept(connection);
    assert_eq!(play.state(&share), &ProofState::Credited);
    for line in garbage.iter().chain(&garbage) {
        play.line(connection, line);
    }
    assert_eq!(play.closed, [connection]);
    // As the first thing, it says what it is.
    for (line, what) in
        [("HTTP/1.1 400 Bad Request", "web server"), ("[1]", "JSON array"), ("hello", "not JSON")]
    {
        let mut play = Play::new(1);
        let connection = play.newest();
        play.connect(connection);
        play.line(connection, line);
        assert_eq!(play.closed, [connection]);
        assert!(play.trouble(0).contains(what), "{line}: {}", play.trouble(0));
    }
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    play.desk.closed(connection, Closed::Garbled("a line of more than 262144 bytes".to_owned()), play.now);
    play.turn();
    assert!(play.trouble(0).contains("262144"), "{}", play.trouble(0));
}

#[test]
fn case_15_silence_is_noticed_by_the_pools_own_cadence_also_where_pings_are_answered() {
    let mut patient = pools(1);
    patient[0].pings = true;
    let mut play = Play::with(patient);
    let connection = play.work();
    // Jobs every 20 s, so three minutes of silence are enough.
    for number in 0..6_u8 {
        play.wait(SECOND * 20);
        play.pong();
        play.message(connection, &job(&format!("j{number}"), &header(1, number)));
    }
    let mut answered = 0;
    let silent_since = play.now;
    while play.closed.is_empty() && play.now < silent_since + SECOND * 400 {
        play.wait(SECOND * 5);
        answered += play.pong();
    }
    let silence = play.now.duration_since(silent_since).as_secs();
    assert!((180..=190).contains(&silence), "{silence}");
    assert!(answered >= 8, "{answered}");
    // Unanswered, three pings are enough.
    let mut patient = pools(1);
    patient[0].pings = true;
    let mut play = Play::with(patient);
    play.work();
    play.wait(SECOND * 100);
    assert!(!play.closed.is_empty());
    assert!(play.notes.iter().any(|note| note.contains("pings")), "{:?}", play.notes);
}

#[test]
fn case_15_a_pool_that_reads_nothing_is_left_and_its_share_is_unanswered() {
    let mut play = Play::new(2);
    let connection = play.work();
    play.writes = false;
    let share = play.share_now();
    let second = play.share_now();
    assert_eq!(play.submits(), 1, "one line is under way at a time");
    // New jobs are read all the same.
    play.now += SECOND;
    play.message(connection, &job("next", &header(1, 5)));
    assert_eq!(play.jobs.len(), 2);
    play.wait(SECOND * 31);
    assert_eq!(play.closed, [connection]);
    assert!(matches!(play.state(&share), ProofState::Untraced { .. }));
    assert!(matches!(play.state(&second), ProofState::Stale { .. }));
    assert_eq!(play.outcome(Outcome::Unanswered), 1);
}

#[test]
fn three_shares_in_a_row_without_a_reply_end_the_connection_and_one_does_not() {
    let mut play = Play::new(1);
    let connection = play.work();
    let share = play.share_now();
    let id = play.last_id();
    play.wait(SECOND * 31);
    assert!(matches!(play.state(&share), ProofState::Untraced { .. }));
    assert!(play.closed.is_empty());
    // The word that comes late counts all the same.
    play.message(connection, &json!({"id": id, "result": true, "error": null}));
    assert_eq!((play.outcome(Outcome::Accepted), play.outcome(Outcome::Unanswered)), (1, 0));
    for _ in 0..3 {
        play.share_now();
        play.wait(SECOND);
    }
    play.wait(SECOND * 31);
    assert_eq!(play.closed, [connection]);
}

#[test]
fn case_16_an_end_in_the_middle_of_a_share_leaves_it_unanswered_and_never_sends_it_again() {
    let mut play = Play::new(1);
    let connection = play.work();
    play.writes = false;
    let share = play.share_now();
    play.lose(connection);
    assert!(matches!(play.state(&share), ProofState::Untraced { .. }));
    play.wait(SECOND * 2);
    play.work();
    play.wait(SECOND * 100);
    assert_eq!(play.submits(), 1);
}

#[test]
fn case_18_a_certificate_that_is_not_trusted_is_skipped_at_once_and_its_text_shown() {
    let mut play = Play::new(2);
    let connection = play.newest();
    play.desk.closed(connection, Closed::Untrusted("its certificate is self-signed".to_owned()), play.now);
    play.turn();
    assert_eq!(play.wanted.last().unwrap().1, 1);
    assert!(play.trouble(0).contains("self-signed"));
}

#[test]
fn case_19_refusals_skip_the_pool_and_a_ban_lasts_as_long_as_it_says() {
    for error in [
        json!({"code": 24, "msg": "miner agent not allowed"}),
        json!({"code": 24, "msg": "Invalid Pearl address"}),
        json!([24, "Not authorized", null]),
        json!([24, "You are banned for 60 seconds", null]),
    ] {
        let mut play = Play::new(2);
        let connection = play.newest();
        play.connect(connection);
        let before = play.now;
        play.refuse(connection, &error);
        assert_eq!(play.wanted.last().unwrap().1, 1, "{error}");
        assert_eq!(play.now, before, "at once");
        assert!(!play.trouble(0).is_empty());
    }
    // Alone, a banned client waits out the minute and connects once after it.
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    play.refuse(connection, &json!([24, "You are banned for 60 seconds", null]));
    play.wait(SECOND * 59);
    assert_eq!(play.wanted.len(), 1);
    play.wait(SECOND * 2);
    assert_eq!(play.wanted.len(), 2);
}

#[test]
fn case_19_closed_right_after_authorize_ten_times_is_not_hammered() {
    let mut play = Play::new(1);
    let mut closes = 0;
    let start = play.now;
    while closes < 10 {
        let connection = play.newest();
        play.connect(connection);
        let wanted = play.wanted.len();
        play.lose(connection);
        closes += 1;
        while play.wanted.len() == wanted {
            play.wait(SECOND);
        }
    }
    assert!(play.now.duration_since(start) >= SECOND * 600, "{:?}", play.now.duration_since(start));
}

#[test]
fn case_20_with_all_pools_out_for_an_hour_mining_pauses_once_and_nothing_spins() {
    let mut play = Play::new(2);
    play.work();
    let (first, start) = (play.newest(), play.now);
    play.lose(first);
    let mut answered = play.wanted.len() - 1;
    while play.now < start + SECOND * 3600 {
        play.wait(SECOND);
        while answered < play.wanted.len() {
            let connection = play.wanted[answered].0;
            answered += 1;
            play.desk.closed(connection, Closed::Lost("connection refused".to_owned()), play.now);
            play.turn();
        }
    }
    assert_eq!(play.paused, 1, "heat for nothing is spent for a minute only");
    assert!((60..300).contains(&play.wanted.len()), "{}", play.wanted.len());
    assert!(matches!(play.desk.condition(), Condition::NoPool { paused: true, .. }));
    assert!(play.notes.len() < 40, "the same failure is told once: {}", play.notes.len());
    // One comes back: there is a job again.
    let jobs = play.jobs.len();
    let wanted = play.wanted.len();
    while play.wanted.len() == wanted {
        play.wait(SECOND);
    }
    play.work();
    assert_eq!(play.jobs.len(), jobs + 1);
    assert_eq!(play.desk.condition(), Condition::Healthy);
}

#[test]
fn a_refusal_leads_to_the_backup_within_two_seconds_and_silence_within_31() {
    let mut play = Play::new(2);
    let connection = play.work();
    let start = play.now;
    play.lose(connection);
    while play.wanted.last().unwrap().1 == 0 {
        let newest = play.newest();
        if !play.closed.contains(&newest) {
            play.desk.closed(newest, Closed::Lost("connection refused".to_owned()), play.now);
            play.turn();
        }
        play.wait(Duration::from_millis(20));
    }
    assert!(play.now.duration_since(start) <= SECOND * 2, "{:?}", play.now.duration_since(start));
    play.work();
    assert_eq!(play.desk.status(play.now).current, Some(1));
    assert!(play.desk.status(play.now).why_not_first.unwrap().contains("refused"));

    // It accepts and says nothing.
    let mut play = Play::new(2);
    let start = play.now;
    loop {
        let (newest, pool) = *play.wanted.last().unwrap();
        if pool == 1 {
            break;
        }
        play.connect(newest);
        play.wait(Duration::from_millis(100));
    }
    assert!(play.now.duration_since(start) <= SECOND * 31, "{:?}", play.now.duration_since(start));
}

#[test]
fn the_first_pool_is_returned_to_and_the_old_connection_hears_its_last_reply() {
    let mut play = Play::new(2);
    let first = play.newest();
    play.desk.closed(first, Closed::Untrusted("x".to_owned()), play.now);
    play.turn();
    let backup = play.work();
    // Barred for ten minutes, then looked at.
    while play.wanted.last().unwrap().1 == 1 {
        play.wait(SECOND);
        if play.now.duration_since(play.desk.began) > SECOND * 1000 {
            panic!("never looked at again");
        }
        let next = format!("k{:?}", play.now);
        play.message(backup, &job(&next, HEADER));
    }
    let probe = play.work();
    let jobs = play.jobs.len();
    for second in 0..59_u8 {
        play.wait(SECOND);
        play.message(backup, &job(&format!("b{second}"), HEADER));
        assert_eq!(play.jobs.last().unwrap().origin.as_ref().unwrap().connection, backup);
    }
    assert!(play.jobs.len() > jobs);
    let share = play.share_now();
    let id = play.last_id();
    play.wait(SECOND * 2);
    assert_eq!(play.jobs.last().unwrap().origin.as_ref().unwrap().connection, probe);
    assert_eq!(play.desk.status(play.now).current, Some(0));
    assert!(!play.closed.contains(&backup), "a reply is still to come");
    play.message(backup, &json!({"id": id, "result": true, "error": null}));
    assert_eq!(play.state(&share), &ProofState::Credited);
    play.wait(SECOND * 2);
    assert!(play.closed.contains(&backup));
}

#[test]
fn case_21_a_stop_in_the_middle_of_a_share_counts_it_and_keeps_what_waits() {
    let mut play = Play::new(1);
    play.work();
    play.writes = false;
    let (flying, waiting) = (play.share_now(), play.share_now());
    play.desk.stop(play.now);
    play.turn();
    assert!(matches!(play.state(&flying), ProofState::Untraced { .. }));
    assert!(play.states.iter().all(|(id, _)| *id != waiting), "it stays on disk");
    assert!(play.ledger().adds_up());
    // In the middle of detecting, too.
    let mut play = Play::new(1);
    let connection = play.newest();
    play.connect(connection);
    play.desk.stop(play.now);
    play.turn();
}

#[test]
fn case_22_escapes_and_a_megabyte_of_text_reach_the_log_as_one_short_line() {
    let mut play = Play::new(1);
    let connection = play.work();
    let share = play.share_now();
    let text = format!("\u{1b}[2J\u{202e}{}", "A".repeat(1 << 18));
    play.refuse(connection, &json!([20, text, null]));
    let ProofState::Rejected { reason } = play.state(&share) else { panic!() };
    assert!(reason.len() < 300 && !reason.contains('\u{1b}'), "{reason}");
    assert_eq!(play.records.len(), 1);
    assert!(play.records[0].reply.len() < 300);
}

#[test]
fn a_stale_duplicate_or_low_difficulty_reply_never_closes_the_connection() {
    let mut play = Play::new(1);
    let connection = play.work();
    for error in ["stale share", "duplicate share", "low difficulty share"] {
        for _ in 0..20 {
            play.wait(SECOND * 2);
            play.share_now();
            play.refuse(connection, &json!(error));
        }
    }
    assert!(play.closed.is_empty());
    assert_eq!(play.ledger().all_sent().shares, 60);
    assert_eq!(play.ledger().stale_causes().get(&StaleCause::Pool), Some(&20));
    // And "job not found" is not taken for "not authorized", which has the same code.
    play.wait(SECOND * 2);
    play.share_now();
    play.refuse(connection, &json!([21, "Job not found", null]));
    assert_eq!(play.sent.iter().filter(|(_, line)| line.contains("authorize")).count(), 1);
}

#[test]
fn unauthorised_for_a_share_logs_in_again_once_and_then_leaves() {
    let mut play = Play::new(1);
    let connection = play.work();
    play.share_now();
    play.refuse(connection, &json!({"code": 21, "message": "Not authorized"}));
    assert_eq!(play.last()["method"], "mining.authorize");
    assert!(play.closed.is_empty());
    play.accept(connection);
    play.share_now();
    play.refuse(connection, &json!({"code": 21, "message": "Not authorized"}));
    assert_eq!(play.closed, [connection]);
}

#[test]
fn five_invalid_in_a_row_leave_the_pool_and_late_ones_do_not_count() {
    let mut play = Play::new(2);
    let connection = play.work();
    let invalid = json!([20, "Jackpot condition not satisfied", null]);
    for round in 0..8_u8 {
        play.wait(SECOND * 2);
        let old = play.jobs.last().unwrap().clone();
        play.message(connection, &job(&format!("late{round}"), &header(1, round)));
        play.wait(SECOND);
        play.share(&old);
        play.refuse(connection, &invalid);
    }
    assert!(play.closed.is_empty());
    // The first was of another tip than the rest.
    assert_eq!(play.outcome(Outcome::InvalidLate), 7);
    for _ in 0..5 {
        play.wait(SECOND * 2);
        play.share_now();
        play.refuse(connection, &invalid);
    }
    assert_eq!(play.closed, [connection]);
    assert_eq!(play.wanted.last().unwrap().1, 1);
    assert!(play.trouble(0).contains("our verifier accepts"), "{}", play.trouble(0));
    assert_eq!(play.records.len(), 12);
    assert_eq!(play.records[11].offer.sent.to_string(), TARGET);
}

#[test]
fn the_other_form_of_login_is_tried_at_once_and_kept_for_the_life_of_the_process() {
    for error in
        [json!([20, "Unsupported", null]), json!({"code": 25, "msg": "x"}), json!([-32602, "bad", null])]
    {
        let mut play = Play::new(1);
        let connection = play.newest();
        play.connect(connection);
        play.refuse(connection, &error);
        let second = play.newest();
        assert_ne!(second, connection, "{error}");
        play.connect(second);
        assert_eq!(play.last()["params"], json!(["prl1pwallet.rig1", "x"]));
        play.accept(second);
        play.message(second, &job("a", HEADER));
        play.share_now();
        assert_eq!(play.last()["params"]["worker"], "prl1pwallet.rig1");
        assert!(play.last()["params"].get("wallet").is_none());
        play.lose(second);
        play.wait(SECOND * 2);
        let third = play.newest();
        play.connect(third);
        assert!(play.last()["params"].is_array(), "it is known by now");
    }
    // Closed without a word, then refused: both texts are shown.
    let mut play = Play::new(1);
    let first = play.newest();
    play.connect(first);
    play.lose(first);
    let second = play.newest();
    play.connect(second);
    play.refuse(second, &json!([20, "params must be an object", null]));
    let trouble = play.trouble(0);
    assert!(trouble.contains("neither form") && trouble.contains("connection reset"), "{trouble}");
    assert!(trouble.contains("params must be an object"), "{trouble}");
}

#[test]
fn a_pool_of_another_family_is_named_and_skipped() {
    for line in [
        r#"{"id":null,"method":"pearl.challenge","params":{"seed":"00","difficulty":32}}"#,
        r#"{"id":null,"method":"mining.notify","params":["a","b","c"]}"#,
    ] {
        let mut play = Play::new(2);
        let connection = play.newest();
        play.connect(connection);
        play.line(connection, line);
        assert!(play.trouble(0).contains("another family"), "{}", play.trouble(0));
        assert_eq!(play.wanted.last().unwrap().1, 1);
    }
}

#[test]
fn questions_of_a_pool_are_answered_and_a_flood_of_them_is_not() {
    let mut play = Play::new(1);
    let connection = play.work();
    play.line(connection, r#"{"id":"a","method":"mining.ping","params":[]}"#);
    assert_eq!(play.last(), json!({"id": "a", "result": "pong", "error": null}));
    play.line(connection, r#"{"id":5,"method":"client.get_version","params":[]}"#);
    assert!(play.last()["result"].as_str().unwrap().starts_with("pearlbed/"));
    play.line(connection, r#"{"id":6,"method":"x","params":[]}"#);
    assert_eq!(play.last()["error"][1], "unsupported");
    let before = play.sent.len();
    for _ in 0..100_000 {
        play.desk.line(connection, r#"{"id":5,"method":"client.get_version","params":[]}"#, play.now);
    }
    play.turn();
    assert!(play.sent.len() - before <= 10, "{}", play.sent.len() - before);
    // It is never sent to another place.
    for _ in 0..3 {
        play.line(connection, r#"{"id":null,"method":"client.reconnect","params":["evil.example",1]}"#);
    }
    assert!(play.closed.is_empty());
    assert_eq!(play.notes.iter().filter(|note| note.contains("never followed")).count(), 1);
}

#[test]
fn more_shares_than_a_pool_wants_are_dropped_and_counted_with_advice() {
    let mut play = Play::new(1);
    let connection = play.work();
    let shares: Vec<_> = (0..30)
        .map(|_| {
            let share = play.share_now();
            if matches!(play.state(&share), ProofState::HandedOver { .. }) {
                play.accept(connection);
            }
            share
        })
        .collect();
    assert_eq!(play.outcome(Outcome::Accepted), 10);
    assert_eq!(play.ledger().drops()[&Dropped::TooMany].shares, 20);
    // Their job is good: "stale" would send the user looking for a slow network.
    let reason = match play.state(&shares[29]) {
        ProofState::NotSent { reason } => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("higher difficulty"), "{reason}");
    assert_eq!(play.ledger().stale_causes().len(), 0);
    let said = |play: &Play| play.notes.iter().filter(|note| note.contains("a share is not sent")).count();
    assert_eq!(said(&play), 1, "once for many: {:#?}", play.notes);
    play.now += SECOND * 61;
    for _ in 0..12 {
        play.share_now();
    }
    assert_eq!(said(&play), 2, "and again after a minute");
}

#[test]
fn a_share_too_large_for_a_line_is_not_sent_and_its_shape_is_named() {
    use pearl_pow::reference::{Product, test_matrix};
    use pearl_pow::{Matrix, MiningConfiguration, PeriodicPattern, SeedRule};
    let mut play = Play::new(1);
    play.work();
    // 16 rows of 64 KiB on either side.
    let k = 1 << 15;
    let tile = PeriodicPattern::contiguous(16).unwrap();
    let config = MiningConfiguration::dense(k as u32, 128, tile, tile);
    let [a, bt] = [1, 2].map(|seed| test_matrix(seed, 16 * k));
    let [a, bt] = [&a, &bt].map(|entries| Matrix::new(entries, k).unwrap());
    let job = play.jobs[0].clone();
    let product = Product::new(&pearl_pow::Header::from_bytes(job.header), &config, SeedRule::Salted, a, bt);
    let proof = product.prove(&product.attempt(0, 0)).encode();
    assert!(proof.len() > 800_000, "{}", proof.len());
    let found = FoundProof { job, proof, found: SystemTime::UNIX_EPOCH, block: false };
    let kept = KeptProof { id: ProofId::of(&found), found, handed_over: false };
    let id = kept.id.clone();
    play.desk.found(kept, play.now);
    play.turn();
    assert!(matches!(play.state(&id), ProofState::NotSent { reason } if reason.contains("1 MiB")));
    assert_eq!(play.submits(), 0);
    let said: Vec<_> = play.notes.iter().filter(|note| note.contains("is not sent")).collect();
    assert!(said.len() == 1 && said[0].contains("16×16 with k = 32768 (m = 16, n = 16)"), "{said:?}");
}

#[test]
fn a_share_of_the_same_tip_is_sent_late_and_one_of_another_tip_is_not() {
    let mut play = Play::new(1);
    let connection = play.work();
    let first = play.jobs[0].clone();
    play.now += SECOND;
    let mut refreshed = HEADER.to_owned();
    refreshed.replace_range(136..138, "77");
    play.message(connection, &job("refresh", &refreshed));
    assert!(play.jobs[1].keeps_earlier);
    let late = play.share(&first);
    assert_eq!(play.last()["params"]["job_id"], "first");
    play.accept(connection);
    assert_eq!(play.state(&late), &ProofState::Credited);
    play.now += SECOND;
    play.message(connection, &job("tip", &header(9, 9)));
    assert!(!play.jobs[2].keeps_earlier);
    let over = play.share(&first);
    assert!(matches!(play.state(&over), ProofState::Stale { .. }));
    assert_eq!(play.ledger().stale_causes().get(&StaleCause::Ours), Some(&1));
}

#[test]
fn what_an_earlier_process_left_is_sent_only_where_its_very_job_is_offered_again() {
    let mut play = Play::new(1);
    play.work();
    let job = play.jobs[0].clone();
    let kept = |proof: u8, handed_over: bool, job: &WorkJob| {
        let mut job = job.clone();
        let origin = job.origin.as_mut().unwrap();
        (origin.connection, origin.serial) = (0, 0);
        let found = FoundProof { job, proof: vec![proof], found: SystemTime::UNIX_EPOCH, block: false };
        KeptProof { id: ProofId::of(&found), found, handed_over }
    };
    let mut other = job.clone();
    other.header[70] ^= 1;
    let (same, gone, sent) = (kept(1, false, &job), kept(2, false, &other), kept(3, true, &job));

    let mut play = Play::new(1);
    for kept in [&same, &gone, &sent] {
        play.desk.take_up(kept.clone());
    }
    play.turn();
    assert!(
        matches!(play.state(&sent.id), ProofState::Untraced { .. }),
        "whether it was answered is not known"
    );
    let connection = play.work();
    assert_eq!(play.submits(), 1);
    assert_eq!(play.last()["params"]["job_id"], "first");
    play.accept(connection);
    assert_eq!(play.state(&same.id), &ProofState::Credited);
    play.wait(SECOND * 601);
    assert!(
        matches!(play.state(&gone.id), ProofState::Stale { reason } if reason.contains("before pearlbed ended"))
    );
    assert_eq!(play.submits(), 1);
    let ledger = play.ledger();
    assert!(ledger.adds_up());
    assert_eq!((ledger.all_found().shares, ledger.of(Outcome::Unanswered).shares), (3, 1));
}

#[test]
fn what_an_earlier_process_dropped_does_not_wait_for_its_job_again() {
    let mut play = Play::new(1);
    play.work();
    let shares: Vec<_> = (0..11).map(|_| play.share_now()).collect();
    let dropped = shares.last().unwrap();
    assert!(matches!(play.state(dropped), ProofState::NotSent { .. }));
    let job = play.jobs[0].clone();
    let found = FoundProof {
        job,
        proof: play.next_proof.to_le_bytes().to_vec(),
        found: SystemTime::UNIX_EPOCH,
        block: false,
    };
    // The book was written, and the process ended before the share's file went.
    let kept = KeptProof { id: dropped.clone(), found, handed_over: false };
    let book = play.desk.book().clone();
    let mut play = Play::new(1);
    play.desk = Desk::new(pools(1), book, 7, play.now);
    play.desk.take_up(kept);
    play.turn();
    assert!(matches!(play.state(dropped), ProofState::NotSent { .. }));
    assert_eq!(play.ledger().all_found().shares, 0, "it is counted by the process that found it");
}

#[test]
fn a_share_that_may_be_a_block_is_said_and_counted_and_called_no_more_than_a_candidate() {
    let mut play = Play::new(1);
    let connection = play.work();
    let job = play.jobs[0].clone();
    let found = FoundProof { job, proof: vec![1], found: SystemTime::UNIX_EPOCH, block: true };
    let kept = KeptProof { id: ProofId::of(&found), found, handed_over: false };
    play.desk.found(kept, play.now);
    play.turn();
    play.accept(connection);
    assert_eq!(play.ledger().block_candidates(), 1);
    let said: Vec<_> = play.notes.iter().filter(|note| note.contains("block")).collect();
    assert!(said.len() == 1 && said[0].contains("a block candidate"), "{said:?}");
    play.share_now();
    assert_eq!(play.ledger().block_candidates(), 1, "the next share is a share");
}

/// Case 23: times are monotonic. What a found share's own time says is for people, and decides nothing.
#[test]
fn case_23_a_system_clock_that_runs_backwards_decides_nothing() {
    let mut play = Play::new(1);
    let connection = play.work();
    let hour = SECOND * 3600;
    let noon = SystemTime::UNIX_EPOCH + hour * 500_000;
    for (number, found) in
        [noon, noon - hour, noon - hour * 24 * 365, noon + hour * 2].into_iter().enumerate()
    {
        let job = play.jobs.last().unwrap().clone();
        let found = FoundProof { job, proof: vec![number as u8], found, block: false };
        let kept = KeptProof { id: ProofId::of(&found), found, handed_over: false };
        let id = kept.id.clone();
        play.desk.found(kept, play.now);
        play.turn();
        play.accept(connection);
        assert_eq!(play.state(&id), &ProofState::Credited);
        play.wait(SECOND * 5);
    }
    assert_eq!((play.outcome(Outcome::Accepted), play.wanted.len()), (4, 1));
}

#[test]
fn a_share_for_no_connection_of_ours_is_never_sent() {
    let mut play = Play::new(1);
    let connection = play.work();
    let job = play.jobs[0].clone();
    let mut foreign = job.clone();
    foreign.origin = None;
    let share = play.share(&foreign);
    assert!(matches!(play.state(&share), ProofState::Stale { .. }));
    play.lose(connection);
    let share = play.share(&job);
    assert!(matches!(play.state(&share), ProofState::Stale { reason } if reason.contains("has ended")));
    play.wait(SECOND * 2);
    play.work();
    assert_eq!(play.submits(), 0);
}

/// Ten thousand switches between two pools: no share is sent twice, none to another connection than the one that
/// issued its job, none for a job that was not issued there; and every share is in one place at every moment.
#[test]
fn ten_thousand_switches_send_every_share_to_its_own_connection_and_once() {
    let mut play = Play::new(2);
    let mut random = 12_345_u64;
    let mut next = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut issued: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut old: Vec<WorkJob> = Vec::new();
    for round in 0..10_000_u32 {
        let connection = loop {
            let (newest, _) = *play.wanted.last().unwrap();
            if !play.closed.contains(&newest) {
                break newest;
            }
            play.wait(SECOND);
        };
        play.connect(connection);
        play.accept(connection);
        for number in 0..=next(2) {
            let id = format!("{}", next(5));
            issued.entry(connection).or_default().push(id.clone());
            let [a, b, ..] = round.to_le_bytes();
            let mut text = header(a, b);
            text.replace_range(134..136, &format!("{number:02x}"));
            play.message(connection, &job(&id, &text));
            play.now += Duration::from_millis(60);
            play.turn();
        }
        old.push(play.jobs.last().unwrap().clone());
        let from = old.len().saturating_sub(5);
        let pick = from + usize::try_from(next(5)).unwrap() % (old.len() - from);
        let (current, earlier) = (old.last().unwrap().clone(), old[pick].clone());
        play.share(&current);
        play.share(&earlier);
        if next(2) == 0 {
            for (on, line) in play.sent.clone() {
                if on == connection && line.contains("mining.submit") {
                    let id = serde_json::from_str::<Value>(&line).unwrap()["id"].clone();
                    play.message(connection, &json!({"id": id, "result": next(3) > 0, "error": null}));
                }
            }
        }
        for (on, line) in play.sent.drain(..) {
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["method"] != "mining.submit" {
                continue;
            }
            let id = line["params"]["job_id"].as_str().unwrap();
            assert!(issued[&on].iter().any(|known| known == id), "not issued there");
            assert!(seen.insert(line["params"]["plain_proof"].to_string()), "sent twice");
        }
        assert!(play.ledger().adds_up());
        play.jobs.clear();
        play.notes.clear();
        play.states.clear();
        play.records.clear();
        match next(3) {
            0 => play.lose(connection),
            1 => {
                play.desk.closed(connection, Closed::Untrusted("x".to_owned()), play.now);
                play.turn();
            }
            _ => {
                play.message(connection, &json!({"id": 0, "method": "mining.notify", "params": ["b"]}));
            }
        }
        issued.retain(|known, _| *known + 8 > connection);
        while play.closed.contains(&play.newest()) {
            play.wait(SECOND * 30);
        }
        let newest = play.newest();
        play.closed.retain(|closed| *closed + 8 > newest);
    }
    assert!(seen.len() > 8_000, "{}", seen.len());
    let ledger = play.ledger();
    assert_eq!(ledger.all_found().shares, 20_000);
}
