//! The desk without sockets: what programs of either language hear, and what the supervisor hears of them.

use super::*;
use crate::miner::frame::{PROOF_BYTES_MAX, Receipt, WireJob};
use crate::port::wire::Sitter;
use crate::work::gateway::protocol::{self, MiningInfo};

struct World {
    desk: Desk,
    now: Instant,
    /// What every connection was sent, and what the supervisor was told.
    sent: Vec<(GuestId, String)>,
    told: Vec<FromPort>,
    closed: Vec<GuestId>,
}

impl World {
    fn new() -> Self {
        Self::with(None)
    }

    fn with(password: Option<&str>) -> Self {
        let password = password.map(|password| blake3::hash(password.as_bytes()));
        let (sent, told, closed) = (Vec::new(), Vec::new(), Vec::new());
        Self { desk: Desk::new(password), now: Instant::now(), sent, told, closed }
    }

    fn collect(&mut self) {
        while let Some(act) = self.desk.act() {
            match act {
                Act::Send(id, line) => self.sent.push((id, line)),
                Act::Close(id) => self.closed.push(id),
                Act::Tell(frame) => self.told.push(frame),
            }
        }
    }

    fn come(&mut self, id: GuestId, peer: Peer) {
        self.desk.opened(id, peer, self.now);
    }

    fn say(&mut self, id: GuestId, line: &str) {
        self.desk.bytes(id, format!("{line}\n").as_bytes(), self.now);
        self.collect();
    }

    fn tell(&mut self, frame: ToPort) {
        self.desk.frame(frame, self.now, 1_800_000_000);
        self.collect();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.desk.tick(self.now);
        self.collect();
    }

    /// What was sent to `id` since the last look.
    fn heard(&mut self, id: GuestId) -> Vec<String> {
        let (own, others) = std::mem::take(&mut self.sent).into_iter().partition(|(to, _)| *to == id);
        self.sent = others;
        let own: Vec<(GuestId, String)> = own;
        own.into_iter().map(|(_, line)| line).collect()
    }

    fn told(&mut self) -> Vec<FromPort> {
        std::mem::take(&mut self.told)
    }

    /// The proofs that were handed in since the last look: seat, sequence, job.
    fn proofs(&mut self) -> Vec<(SeatId, u64, u64)> {
        let told = self.told().into_iter().filter_map(|frame| match frame {
            FromPort::Said(seat, FromProvider::Submit { sequence, job, .. }) => Some((seat, sequence, job)),
            _ => None,
        });
        told.collect()
    }

    fn judge(&mut self, seat: SeatId, sequence: u64, receipt: Receipt, reason: &str) {
        self.tell(ToPort::Tell(seat, ToProvider::Receipt { sequence, receipt, reason: reason.into() }));
    }
}

fn over_unix(pid: u32) -> Peer {
    Peer { unix: true, guarded: false, address: "unix".into(), pid: Some(pid) }
}

fn over_tcp(address: &str) -> Peer {
    Peer { unix: false, guarded: false, address: address.into(), pid: None }
}

fn job(id: u64, target: u8) -> WireJob {
    let mut bytes = [0; 32];
    bytes[28] = target;
    WireJob { id, header: [id as u8; 76], target: bytes, certificate_version: 3, rank_penalty: true }
}

fn put(seat: SeatId, job: WireJob) -> ToPort {
    ToPort::Tell(seat, ToProvider::Job(job))
}

fn proof_line(id: u64, job: &WireJob, proof: &[u8]) -> String {
    let info = MiningInfo { header: job.header, target: job.target, certificate_version: 3 };
    protocol::submit_plain_proof(id, &info, proof)
}

const LOGIN: &str = r#"{"id":1,"method":"mining.authorize","params":{"wallet":"prl1x","worker":"rig1","agent":"lpminer/1.2","pass":"x"}}"#;

fn share_line(id: u64, job: u64) -> String {
    format!(
        r#"{{"id":{id},"method":"mining.submit","params":{{"worker":"rig1","job_id":"{job}","plain_proof":"AAAA"}}}}"#
    )
}

#[test]
fn a_gateways_client_hears_of_its_first_job_when_there_is_one_and_takes_it_by_asking() {
    let mut world = World::new();
    world.come(1, over_unix(77));
    world.say(1, &protocol::get_mining_info(5));
    let told = world.told();
    let [FromPort::Sat(seat, sitter)] = &told[..] else { panic!("one sits down") };
    let seat = *seat;
    let sitter: Sitter = serde_json::from_str(sitter).unwrap();
    assert_eq!(
        (sitter.dialect, sitter.pid, sitter.address.as_str()),
        (Dialect::GatewayRpc, Some(77), "unix")
    );
    assert!(world.heard(1).is_empty(), "it waits");
    world.tell(put(seat, job(1, 9)));
    let [answer]: [String; 1] = world.heard(1).try_into().unwrap();
    let reply = protocol::read_mining_info(&answer).unwrap();
    let wanted = MiningInfo { header: [1; 76], target: job(1, 9).target, certificate_version: 3 };
    assert_eq!((reply.id, reply.outcome), (Some(5), Ok(wanted)));
    assert_eq!(world.told(), [FromPort::Said(seat, FromProvider::Took(1))]);
    world.say(1, &protocol::get_mining_info(6));
    assert_eq!(world.heard(1).len(), 1, "at once");
    assert!(world.told().is_empty(), "taken once");
    // The source is lost: the last job goes on being answered, as a gateway does.
    world.tell(ToPort::Tell(seat, ToProvider::Stale(1)));
    world.say(1, &protocol::get_mining_info(7));
    assert!(world.heard(1)[0].contains("result"));
}

#[test]
fn who_waits_for_the_first_job_is_told_after_ten_minutes_and_never_sent_away() {
    let mut world = World::new();
    world.come(1, over_unix(77));
    world.say(1, &protocol::get_mining_info(5));
    world.wait(FIRST_JOB - Duration::from_secs(1));
    assert!(world.heard(1).is_empty());
    world.wait(Duration::from_secs(1));
    let [answer]: [String; 1] = world.heard(1).try_into().unwrap();
    assert!(protocol::read_mining_info(&answer).unwrap().outcome.unwrap_err().is_paused());
    assert!(world.closed.is_empty());
}

#[test]
fn every_connection_of_one_process_is_one_miner_and_its_proofs_are_answered_where_they_came() {
    let mut world = World::new();
    for (id, pid) in [(1, 77), (2, 77), (3, 78)] {
        world.come(id, over_unix(pid));
        world.say(id, &protocol::get_mining_info(1));
    }
    let seats = world.told().into_iter().filter(|frame| matches!(frame, FromPort::Sat(..))).count();
    assert_eq!(seats, 2);
    world.tell(put(1, job(4, 9)));
    world.told();
    world.say(2, &proof_line(9, &job(4, 9), b"proof"));
    assert_eq!(world.proofs(), [(1, 1, 4)]);
    world.heard(1);
    world.heard(2);
    world.judge(1, 1, Receipt::Refused, "difficulty: it is above the bound");
    let [answer]: [String; 1] = world.heard(2).try_into().unwrap();
    let refusal = protocol::read_submitted(&answer).unwrap().outcome.unwrap_err();
    assert_eq!(refusal.code, -32000);
    assert!(refusal.message.contains("difficulty: it is above the bound"), "{refusal}");
    assert!(world.heard(1).is_empty());
    // One that was never given out is told apart from one that is over, once that is known.
    world.tell(ToPort::Seated(1));
    world.say(1, &proof_line(2, &job(200, 9), b"proof"));
    assert_eq!(world.proofs(), [(1, 2, 0)]);
    world.judge(1, 2, Receipt::Stale, "the job is over");
    assert!(world.heard(1)[0].contains("submitted"), "stale, as a gateway answers it");
}

#[test]
fn what_was_mined_for_a_job_of_an_earlier_port_process_is_for_that_job_and_not_for_none() {
    let mut world = World::new();
    world.come(1, over_unix(77));
    // It connects again and hands in at once, before anybody has said what it knows.
    world.say(1, &proof_line(1, &job(5, 9), b"late"));
    assert!(world.proofs().is_empty(), "it waits");
    world.say(1, &proof_line(2, &job(200, 9), b"of nobody"));
    for id in [4, 5] {
        world.tell(ToPort::Earlier(1, job(id, 9)));
    }
    assert!(world.heard(1).is_empty(), "what is over is not given out");
    world.tell(put(1, job(6, 9)));
    assert!(world.proofs().is_empty(), "the job on offer is not all there is to say");
    world.tell(ToPort::Seated(1));
    assert_eq!(world.proofs(), [(1, 1, 5), (1, 2, 0)]);
    world.judge(1, 1, Receipt::Stale, "the job is over");
    assert!(world.heard(1)[0].contains("submitted"), "stale, as a gateway answers it");
    world.come(2, over_unix(77));
    world.say(2, &protocol::get_mining_info(3));
    let [answer]: [String; 1] = world.heard(2).try_into().unwrap();
    assert_eq!(protocol::read_mining_info(&answer).unwrap().outcome.unwrap().header, [6; 76]);
    // Nobody is given an earlier job where there is no other.
    world.come(3, over_unix(88));
    world.say(3, &protocol::get_mining_info(1));
    world.tell(ToPort::Earlier(2, job(4, 9)));
    world.tell(ToPort::Seated(2));
    assert!(world.heard(3).is_empty());
}

#[test]
fn over_tcp_a_connection_that_only_hands_in_belongs_to_the_one_that_was_given_the_job() {
    let mut world = World::new();
    for id in [1, 2] {
        world.come(id, over_tcp("127.0.0.1"));
        world.say(id, &protocol::get_mining_info(1));
    }
    world.tell(put(1, job(5, 9)));
    world.tell(put(2, WireJob { id: 6, ..job(5, 9) }));
    world.tell(put(2, WireJob { id: 7, ..job(8, 9) }));
    world.told();
    world.come(3, over_tcp("127.0.0.1"));
    world.say(3, &proof_line(1, &job(8, 9), b"proof"));
    assert_eq!(world.proofs(), [(2, 1, 7)]);
    // One header, two targets of one seat: the echoed target says which.
    world.tell(put(2, WireJob { id: 8, ..job(8, 200) }));
    world.say(3, &proof_line(2, &job(8, 200), b"a"));
    world.say(3, &proof_line(3, &job(8, 9), b"b"));
    let jobs: Vec<u64> = world.proofs().into_iter().map(|(.., job)| job).collect();
    assert_eq!(jobs, [8, 7]);
}

#[test]
fn a_pools_client_subscribes_logs_in_gets_jobs_unasked_and_hears_each_verdict() {
    let mut world = World::new();
    world.come(1, over_tcp("127.0.0.1"));
    world.say(1, r#"{"id":0,"method":"mining.subscribe","params":["other/1"]}"#);
    assert_eq!(world.heard(1), [r#"{"id":0,"result":true,"error":null}"#]);
    world.say(1, &share_line(1, 1));
    assert!(world.heard(1)[0].contains("[24,\"Not authorized\""));
    world.say(1, LOGIN);
    assert_eq!(world.heard(1), [r#"{"id":1,"error":null,"result":true}"#]);
    let told = world.told();
    let [FromPort::Sat(1, sitter)] = &told[..] else { panic!("one sits down") };
    let sitter: Sitter = serde_json::from_str(sitter).unwrap();
    assert_eq!((sitter.worker.as_str(), sitter.agent.as_str()), ("rig1", "lpminer/1.2"));
    world.tell(put(1, job(3, 9)));
    let lines = world.heard(1);
    assert!(lines[0].contains("set_difficulty") && lines[1].contains(r#""job_id":"3""#), "{lines:?}");
    assert_eq!(world.told(), [FromPort::Said(1, FromProvider::Took(3))]);
    for (sequence, (receipt, reason, code)) in [
        (Receipt::Kept, "", "true"),
        (Receipt::Stale, "the job is over", "[21,"),
        (Receipt::Refused, "duplicate: again", "[22,"),
        (Receipt::Refused, "difficulty: above", "[23,"),
        (Receipt::Refused, "commitment: other root", "[20,\"Invalid proof: commitment"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = sequence as u64 + 10;
        world.say(1, &share_line(id, 3));
        assert_eq!(world.proofs(), [(1, sequence as u64 + 1, 3)]);
        world.judge(1, sequence as u64 + 1, receipt, reason);
        let [answer]: [String; 1] = world.heard(1).try_into().unwrap();
        assert!(answer.contains(code) && answer.contains(&format!("\"id\":{id},")), "{answer}");
    }
    world.say(1, r#"{"id":7,"method":"mining.ping","params":{}}"#);
    world.say(1, r#"{"id":8,"method":"mining.dance","params":{}}"#);
    let answers = world.heard(1);
    assert!(answers[0].contains("pong") && answers[1].contains("[25,"), "{answers:?}");
    world.desk.closed(1, world.now);
    world.collect();
    assert_eq!(world.told(), [FromPort::Left(1)]);
}

#[test]
fn the_array_form_of_a_login_is_taken_and_names_the_worker() {
    let mut world = World::new();
    world.come(1, over_tcp("127.0.0.1"));
    world.say(1, r#"{"id":1,"method":"mining.subscribe","params":["kernel/3"]}"#);
    world.say(1, r#"{"id":2,"method":"mining.authorize","params":["prl1x.rig7","x"]}"#);
    let told = world.told();
    let [FromPort::Sat(1, sitter)] = &told[..] else { panic!("one sits down") };
    let sitter: Sitter = serde_json::from_str(sitter).unwrap();
    assert_eq!((sitter.worker.as_str(), sitter.agent.as_str()), ("rig7", "kernel/3"));
}

#[test]
fn only_so_many_proofs_of_one_are_under_way_and_nobody_else_waits_for_him() {
    let mut world = World::new();
    for id in [1, 2] {
        world.come(id, over_tcp("127.0.0.1"));
        world.say(id, LOGIN);
        world.tell(put(id as SeatId, job(3, 9)));
    }
    world.told();
    for id in 0..20 {
        world.say(1, &share_line(id, 3));
    }
    assert_eq!(world.proofs().len(), 8);
    assert!(!world.desk.wants(1, world.now), "it is not read from");
    world.say(2, &share_line(1, 3));
    assert_eq!(world.proofs(), [(2, 1, 3)]);
    assert!(world.desk.wants(2, world.now));
    world.judge(1, 1, Receipt::Kept, "");
    assert_eq!(world.proofs(), [(1, 9, 3)], "the next one has its place");
    for sequence in 2..=20 {
        world.judge(1, sequence, Receipt::Kept, "");
    }
    assert!(world.desk.wants(1, world.now));
}

#[test]
fn what_waits_for_the_supervisor_is_bounded_in_bytes_whoever_sends_it() {
    let mut world = World::new();
    let large = "A".repeat(700 << 10);
    let mut handed_in = 0;
    for id in 1..=18 {
        world.come(id, over_tcp("127.0.0.1"));
        world.say(id, LOGIN);
        world.tell(put(id as SeatId, job(3, 9)));
        for number in 0..2 {
            world.say(id, &format!(
                r#"{{"id":{number},"method":"mining.submit","params":{{"job_id":"3","plain_proof":"{large}"}}}}"#
            ));
        }
        handed_in += world.proofs().len();
    }
    assert!((8..=16).contains(&handed_in), "{handed_in} proofs of half a megabyte");
}

#[test]
fn rubbish_is_answered_slowed_down_and_sent_away_and_costs_a_known_program_its_speed_alone() {
    let mut world = World::new();
    world.come(1, over_tcp("127.0.0.1"));
    for _ in 0..100 {
        world.say(1, "rubbish");
    }
    assert_eq!(world.closed, [1]);
    assert!(world.heard(1).iter().all(|line| line.contains("-32700")));
    // One that is known is slowed down and kept.
    world.come(2, over_tcp("127.0.0.1"));
    world.say(2, LOGIN);
    for _ in 0..1000 {
        world.say(2, "{}");
    }
    assert_eq!(world.closed, [1]);
    assert!(!world.desk.wants(2, world.now) && world.desk.holds_somebody_up(world.now));
    assert!(world.told().contains(&FromPort::Throttled(1)));
    let answered = world.heard(2).len();
    assert!(answered < 40, "{answered} of 1000 were looked at");
    world.wait(Duration::from_secs(60));
    assert!(world.heard(2).len() > 1, "it is heard again");
}

#[test]
fn the_silent_make_room_and_those_who_speak_stay() {
    let mut world = World::new();
    for id in 1..=GUESTS_MAX as u64 {
        world.come(id, over_tcp("127.0.0.1"));
    }
    world.say(1, LOGIN);
    assert!(!world.desk.has_room(world.now));
    world.wait(SILENCE);
    assert!(world.desk.has_room(world.now));
    world.come(100, over_tcp("127.0.0.1"));
    world.collect();
    assert_eq!(world.closed, [2]);
    world.say(100, LOGIN);
    assert!(world.heard(100)[0].contains("true"));
}

#[test]
fn somebody_who_does_not_read_gets_the_newest_job_once_he_does_and_holds_nothing_up() {
    let mut world = World::new();
    world.come(1, over_tcp("127.0.0.1"));
    world.say(1, LOGIN);
    world.tell(put(1, job(1, 9)));
    world.heard(1);
    world.desk.unsent(1, 300 << 10, world.now);
    for id in 2..100 {
        world.tell(put(1, job(id, 9)));
    }
    assert!(world.heard(1).is_empty());
    assert!(!world.desk.wants(1, world.now));
    world.desk.unsent(1, 0, world.now);
    world.collect();
    let lines = world.heard(1);
    assert!(lines.len() == 1 && lines[0].contains(r#""job_id":"99""#), "{lines:?}");
}

#[test]
fn a_guarded_door_asks_for_the_password_and_lets_no_language_in_that_has_none() {
    let guarded = || Peer { guarded: true, ..over_tcp("192.0.2.7") };
    let mut world = World::with(Some("geheim"));
    world.come(1, guarded());
    world.say(1, LOGIN);
    assert!(world.heard(1)[0].contains("[24,") && world.closed == [1]);
    world.come(2, guarded());
    world.say(2, &LOGIN.replace("\"pass\":\"x\"", "\"pass\":\"geheim\""));
    assert!(world.heard(2)[0].contains("true"));
    world.come(3, guarded());
    world.say(3, &protocol::get_mining_info(1));
    assert!(world.heard(3)[0].contains("password") && world.closed == [1, 3]);
    // A door without a password is none.
    let mut world = World::new();
    world.come(1, guarded());
    world.say(1, LOGIN);
    assert_eq!(world.closed, [1]);
}

#[test]
fn a_program_that_is_barred_is_told_so_in_its_language_until_there_is_a_job_for_it() {
    let mut world = World::new();
    world.come(1, over_unix(7));
    world.say(1, &protocol::get_mining_info(1));
    world.come(2, over_tcp("127.0.0.1"));
    world.say(2, LOGIN);
    world.heard(2);
    for seat in [1, 2] {
        world.tell(put(seat, job(1, 9)));
        world.heard(seat.into());
        world.tell(ToPort::Bar(seat, "it mines certificate version 2, and 3 is wanted".into()));
    }
    world.say(1, &protocol::get_mining_info(2));
    let refusal = protocol::read_mining_info(&world.heard(1)[0]).unwrap().outcome.unwrap_err();
    assert!(refusal.is_paused() && refusal.message.contains("version 2"), "{refusal}");
    world.say(2, &share_line(5, 1));
    let lines = world.heard(2);
    assert!(lines[0].contains("client.show_message") && lines[1].contains("needs-update"), "{lines:?}");
    world.told();
    world.tell(put(1, job(2, 9)));
    world.say(1, &protocol::get_mining_info(3));
    assert!(world.heard(1)[0].contains("result"));
}

#[test]
fn a_program_without_a_connection_keeps_its_seat_for_a_while_and_takes_it_again() {
    let mut world = World::new();
    for id in 1..10 {
        world.come(id, over_tcp("127.0.0.1"));
        world.say(id, &protocol::get_mining_info(1));
        world.desk.closed(id, world.now);
        world.wait(Duration::from_secs(1));
    }
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    world.wait(LINGER);
    assert_eq!(world.told(), [FromPort::Left(1)]);
}

#[test]
fn what_is_too_large_is_refused_with_the_shape_that_made_it_so() {
    let mut world = World::new();
    world.come(1, over_unix(7));
    world.say(1, &protocol::get_mining_info(1));
    world.tell(put(1, job(1, 9)));
    world.heard(1);
    let shaped = |bytes: usize| {
        let mut proof = Vec::new();
        for number in [131_072_u64, 131_072, 28_672, 128, 448] {
            proof.extend_from_slice(&number.to_le_bytes());
        }
        proof.resize(bytes, 7);
        proof
    };
    world.told();
    for bytes in [PROOF_BYTES_MAX + 3, 2 << 20] {
        world.say(1, &proof_line(2, &job(1, 9), &shaped(bytes)));
        let answer = world.heard(1).join("");
        assert!(answer.contains("-32000") && answer.contains("k = 28672"), "{answer}");
    }
    assert!(world.proofs().is_empty());
    // What k = 8192 makes passes: 736,088 characters.
    world.say(1, &proof_line(3, &job(1, 9), &shaped(552_065)));
    assert_eq!(world.proofs(), [(1, 1, 1)]);
}

#[test]
fn numbers_are_told_and_a_stop_ends_every_connection_of_the_seat() {
    let mut world = World::new();
    for id in [1, 2] {
        world.come(id, over_unix(7));
        world.say(id, &protocol::get_mining_info(1));
    }
    world.told();
    world.wait(Duration::from_secs(20));
    world.tell(ToPort::Tell(1, ToProvider::AskStats));
    let told = world.told();
    let [FromPort::Said(1, FromProvider::Stats(stats))] = &told[..] else { panic!("numbers were asked for") };
    let stats: Value = serde_json::from_str(stats).unwrap();
    assert_eq!(
        (&stats["connections"], &stats["requests"], &stats["polls_10s"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!(stats["last_request_at"], 1_800_000_000 - 20);
    world.tell(ToPort::Tell(1, ToProvider::Stop));
    assert_eq!(world.closed, [1, 2]);
    assert_eq!(world.told(), [FromPort::Said(1, FromProvider::Stopped(String::new())), FromPort::Left(1)]);
}
