//! The vectors of the pool protocol, and the lines of its text.

use pearl_pow::shares::PoolConvention;
use pearl_pow::{CompactTarget, MiningConfiguration, PeriodicPattern, Target, U256};
use serde_json::Value;

use super::from_miner::{Credentials, Request};
use super::from_pool::{Asked, FromPool, JobError, JobLine, NotALine, Reply, looks_like, read};
use super::reply::Class;
use super::to_pool::{Dialect, Login, Signature, Submit};
use super::{Encoding, Verdict, from_miner, target, to_miner, to_pool};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/pool/pool-vectors.json")).unwrap()
}

fn rows(name: &str, count: usize) -> Vec<Value> {
    let rows = vectors()[name].as_array().unwrap().clone();
    assert_eq!(rows.len(), count, "{name}");
    rows
}

fn hex(row: &Value, name: &str) -> Target {
    Target::from_hex(row[name].as_str().unwrap()).unwrap()
}

/// A tile of h × w over `k`, contiguous where that is a legal pattern and by its area elsewhere.
fn config(row: &Value) -> MiningConfiguration {
    let number = |name: &str| u32::try_from(row[name].as_u64().unwrap()).unwrap();
    let side = |name: &str| PeriodicPattern::contiguous(number(name)).unwrap();
    MiningConfiguration::dense(number("k"), u16::try_from(number("rank")).unwrap(), side("h"), side("w"))
}

#[test]
fn the_35_targets_of_three_conventions_are_made_rounded_and_weighed_as_the_vectors_say() {
    for row in rows("targets", 35) {
        let difficulty = row["difficulty"].to_string().replace('"', "");
        let (whole, fraction) = difficulty.split_once('.').unwrap_or((&difficulty, ""));
        let digits = format!("{whole}{fraction}").parse().unwrap();
        let convention = match row["convention"].as_str().unwrap() {
            "pdiff" => PoolConvention::Bitcoin,
            "2^224/D-1" => PoolConvention::PowerOfTwo,
            _ => PoolConvention::Millions,
        };
        let made = convention.target_of_fraction(digits, u32::try_from(fraction.len()).unwrap()).unwrap();
        assert_eq!(made, hex(&row, "target"), "{row}");
        assert_eq!(CompactTarget::from_target(made).to_string(), row["compact"].as_str().unwrap());
        assert_eq!(target::rounded(made), hex(&row, "effective"), "{row}");
        assert_eq!(target::work(made).to_string(), row["work"].as_str().unwrap(), "{row}");
        let nearly = target::work_f64(made) / row["work"].as_str().unwrap().parse::<f64>().unwrap();
        assert!((nearly - 1.0).abs() < 1e-6, "{row}: {nearly}");
    }
    assert_eq!(PoolConvention::Millions.target(0), None);
    assert_eq!(target::work(Target(U256::ZERO)), U256::MAX);
    assert_eq!(target::work(Target(U256::from(1_u64) << 255_usize)), U256::from(2_u64));
}

#[test]
fn the_24_bounds_follow_from_the_rounded_target() {
    for row in rows("bounds", 24) {
        let config = config(&row);
        let exact = PoolConvention::Bitcoin.target(row["difficulty"].as_u64().unwrap()).unwrap();
        let factor = pearl_pow::difficulty::penalized_factor(&config);
        assert_eq!(factor, u128::from(row["factor"].as_u64().unwrap()), "{row}");
        assert_eq!(Target(exact.penalized_bound(&config)), hex(&row, "bound_exact"), "{row}");
        let bound = target::rounded(exact).penalized_bound(&config);
        assert_eq!(Target(bound), hex(&row, "bound_effective"), "{row}");
        assert_eq!(config.hashes_per_attempt(), u128::from(row["macs_per_tile"].as_u64().unwrap()), "{row}");
    }
}

#[test]
fn the_5_easy_targets_saturate_as_the_vectors_say() {
    for row in rows("too_easy", 5) {
        let saturates = row["saturates"].as_bool().unwrap();
        let easy = hex(&row, "target");
        assert_eq!(easy.checked_penalized_bound(&config(&row)).is_none(), saturates, "{row}");
        assert_eq!(target::is_too_easy(easy), saturates, "{row}");
    }
}

/// Family B is not spoken; its arithmetic is held by the vectors all the same, for the day when it is.
#[test]
fn the_5_challenges_are_met_by_the_first_nonce_of_the_vectors_and_by_none_before() {
    for row in rows("challenge", 5) {
        let bytes = |name: &str| {
            let text = row[name].as_str().unwrap();
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let seed: Vec<u8> = bytes("seed");
        let digest = |nonce: u64| {
            let mut message = [0; 40];
            message[..32].copy_from_slice(&seed);
            message[32..].copy_from_slice(&nonce.to_le_bytes());
            (message, blake3::hash(&message))
        };
        let zeros = |hash: &blake3::Hash| {
            let number = U256::from_be_bytes(*hash.as_bytes());
            256 - number.bit_len() as u64
        };
        let (difficulty, first) = (row["difficulty"].as_u64().unwrap(), row["first_nonce"].as_u64().unwrap());
        assert!((0..first).all(|nonce| zeros(&digest(nonce).1) < difficulty), "{row}");
        let (message, hash) = digest(first);
        assert!(zeros(&hash) >= difficulty, "{row}");
        assert_eq!(message.to_vec(), bytes("input"));
        assert_eq!(hash.to_string(), row["blake3"].as_str().unwrap());
        assert_eq!(format!("{first:016x}"), row["nonce_hex"].as_str().unwrap());
    }
}

fn reply(line: &str) -> Reply {
    match read(line) {
        Ok(FromPool::Reply(reply)) => reply,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_24_replies_are_classified_as_the_vectors_say_and_keep_their_id() {
    for row in rows("replies", 24) {
        let reply = reply(row["line"].as_str().unwrap());
        assert_eq!(reply.verdict.class.word(), row["class"].as_str().unwrap(), "{row}");
        assert_eq!(reply.id, Some(7), "{row}");
    }
}

fn classify(tail: &str) -> Verdict {
    reply(&format!(r#"{{"id":1,{tail}}}"#)).verdict
}

#[test]
fn the_first_rule_that_fits_wins() {
    for (tail, class) in [
        (r#""error":[21,"bandwidth exceeded",null]"#, Class::Stale),
        (r#""error":[20,"You are banned",null]"#, Class::Banned { seconds: None }),
        (r#""error":"ban for 10 min""#, Class::Banned { seconds: Some(600) }),
        (r#""error":"IP banned 30s: too many invalid shares""#, Class::Banned { seconds: Some(30) }),
        (r#""error":"banned for 99999999999999999 hours""#, Class::Banned { seconds: Some(86_400) }),
        (r#""error":{"code":24,"msg":"User-Agent not supported"}"#, Class::AgentRefused),
        (r#""error":[24,"Not authorised",null]"#, Class::Unauthorized),
        (r#""error":[20,"unsubscribed: not subscribed",null]"#, Class::Unauthorized),
        (r#""error":[22,"already seen",null]"#, Class::Duplicate),
        (r#""error":[23,"Low difficulty share",null]"#, Class::LowDifficulty),
        (r#""error":[20,"Hash A mismatch",null]"#, Class::Invalid),
        (r#""error":[20,"share below_target",null]"#, Class::Invalid),
        (r#""error":{"code":-32700}"#, Class::Malformed),
        (r#""error":{"code":-1,"message":"job expired"}"#, Class::Stale),
        (r#""error":[24,null,null]"#, Class::Unauthorized),
        (r#""error":[99,"?",null]"#, Class::Invalid),
        (r#""error":{"message":{"msg":"duplicate"}}"#, Class::Duplicate),
        (r#""error":[]"#, Class::Invalid),
        (r#""result":false,"message":"stale""#, Class::Stale),
        (r#""result":"OK""#, Class::Accepted),
        (r#""result":true"#, Class::Accepted),
        (r#""result":true,"error":false"#, Class::Accepted),
        (r#""result":true,"error":[20,"Invalid share",null]"#, Class::Invalid),
        (r#""result":{"status":"queued"}"#, Class::Unclear),
        (r#""result":1e999"#, Class::Unclear),
    ] {
        assert_eq!(classify(tail).class, class, "{tail}");
    }
}

#[test]
fn ids_are_read_in_every_spelling_that_pools_use() {
    for (id, number) in [
        ("7", Some(7)),
        ("7.0", Some(7)),
        ("\"7\"", Some(7)),
        ("null", None),
        ("\"x\"", None),
        ("7.5", None),
        ("-7", None),
        ("1e400", None),
        ("[7]", None),
    ] {
        assert_eq!(reply(&format!(r#"{{"id":{id},"result":true}}"#)).id, number, "{id}");
    }
}

#[test]
fn a_foreign_text_reaches_us_as_one_short_harmless_line() {
    let long = format!(r#""error":[20,"\u001b[2J\n{}",null]"#, "x".repeat(100_000));
    let verdict = classify(&long);
    assert!(verdict.text.starts_with("\\u{1b}[2J\\n"), "{}", verdict.text);
    assert!(verdict.text.chars().count() < 240);
}

/// The example of section 3.5.
const JOB: &str = r#"{"id":null,"method":"mining.notify","params":{"job_id":"5f2c0a17_50000","header":"00004020190ba09a3acba294d8fd990d10c759e036053716a8ae1c4ac80d53795d01ceeaeb51b7e7955bf2f89093b3fe5fbc39f2fba06993a6d4c428ba57c2a21327c9293fc01a6ab2d10118","target":"0000000000014f8a0902de00d1b71758e219652bd3c36113404ea4a8c154c985","height":119375,"cert_version":3,"diff":50000}}"#;
const TARGET: &str = "0000000000014f8a0902de00d1b71758e219652bd3c36113404ea4a8c154c985";

fn job(line: &str) -> Result<JobLine, JobError> {
    match read(line) {
        Ok(FromPool::Job(job)) => job,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_job_of_the_text_is_read_to_the_last_digit_also_in_a_list_of_one() {
    let read = job(JOB).unwrap();
    assert_eq!((read.id.as_str(), read.height), (r#""5f2c0a17_50000""#, Some(119_375)));
    assert_eq!((read.target.to_string().as_str(), read.certificate_version), (TARGET, Some(3)));
    assert_eq!(read.label, Some(50_000.0));
    let listed = JOB.replace(r#""params":{"#, r#""params":[{"#).replace("}}", "}]}");
    assert_eq!(job(&listed), Ok(read));
}

#[test]
fn every_form_of_target_is_taken_or_refused_for_its_reason() {
    let with =
        |target: &str| job(&JOB.replace(&format!("\"{TARGET}\""), target)).map(|job| job.target.to_string());
    let quoted = |text: &str| with(&format!("\"{text}\""));
    assert_eq!(quoted(&format!("0x{TARGET}")), Ok(TARGET.to_owned()));
    assert_eq!(quoted(&TARGET[4..]), Ok(TARGET.to_owned()), "60 digits are padded on the left");
    assert_eq!(quoted(&TARGET.to_uppercase()), Ok(TARGET.to_owned()));
    assert_eq!(quoted(&"f".repeat(64)), Ok("f".repeat(64)), "that it is too easy is another's to say");
    for (target, why) in [
        (format!("\"0{TARGET}\""), "longer than 64 hex digits"),
        (format!("\"{}\"", "0".repeat(64)), "zero"),
        ("\"\"".to_owned(), "not hex"),
        ("\"target\"".to_owned(), "not hex"),
        ("5".to_owned(), "no text"),
        ("null".to_owned(), "missing"),
    ] {
        assert_eq!(with(&target), Err(JobError::Target(why)), "{target}");
    }
    assert_eq!(job(&JOB.replace("\"target\"", "\"tragt\"")).unwrap_err(), JobError::Target("missing"));
}

#[test]
fn a_header_is_152_hex_digits_and_everything_else_is_named_with_its_length() {
    let header = &JOB[JOB.find("00004020").unwrap()..][..152];
    let with = |text: &str| job(&JOB.replace(header, text)).map(|job| job.header.to_string());
    assert_eq!(with(&header.to_uppercase()).as_deref(), Ok(header));
    for (text, digits) in
        [(&header[2..], 150), (&format!("{header}00"), 154), (&format!("{header}00000000"), 160)]
    {
        assert_eq!(with(text), Err(JobError::HeaderLength { digits }));
    }
    assert_eq!(with(&header.replace('9', "x")), Err(JobError::Header("not hex")));
}

#[test]
fn certificate_versions_are_read_in_every_spelling_and_carried_whatever_they_are() {
    let with = |text: &str| job(&JOB.replace(r#""cert_version":3"#, text)).map(|job| job.certificate_version);
    for (text, version) in [
        (r#""cert_version":2"#, Some(2)),
        (r#""cert_version":4"#, Some(4)),
        (r#""cert_version":"3""#, Some(3)),
        (r#""cert_version":3.0"#, Some(3)),
        (r#""other":3"#, None),
        (r#""cert_version":null"#, None),
    ] {
        assert_eq!(with(text), Ok(version), "{text}");
    }
    for text in [
        r#""cert_version":3.5"#,
        r#""cert_version":"three""#,
        r#""cert_version":-3"#,
        r#""cert_version":1e30"#,
    ] {
        assert_eq!(with(text), Err(JobError::CertificateVersion), "{text}");
    }
}

#[test]
fn a_job_name_is_echoed_byte_for_byte_in_whatever_form_it_came() {
    let login = login();
    for id in [
        r#""""#.to_owned(),
        format!("\"{}\"", "x".repeat(1000)),
        r#""a\"b\\c\u00e9é\/""#.to_owned(),
        "17".to_owned(),
        "1.50".to_owned(),
    ] {
        let line = JOB.replace(r#""5f2c0a17_50000""#, &id);
        let read = job(&line).unwrap();
        assert_eq!(read.id, id);
        let share = Submit {
            id: 9,
            login: &login,
            signature: Signature::Both,
            job_id: &read.id,
            proof: &[1, 2, 3],
            encoding: Encoding::Plain,
            names_encoding: false,
        };
        let sent = to_pool::submit(&share);
        assert!(sent.contains(&format!(r#""job_id":{id},"#)), "{sent}");
        match from_miner::read(&sent).unwrap().what {
            Request::Submit(share) => assert_eq!(share.job_id, id),
            other => panic!("{other:?}"),
        }
    }
    let endless = JOB.replace("5f2c0a17_50000", &"x".repeat(5000));
    assert_eq!(job(&endless), Err(JobError::LongId { bytes: 5002 }));
    for none in [r#"{"a":1}"#, "[1]", "null"] {
        assert_eq!(job(&JOB.replace(r#""5f2c0a17_50000""#, none)), Err(JobError::NoId));
    }
}

#[test]
fn what_is_no_message_is_named_by_what_it_looks_like() {
    let deep = format!(r#"{{"id":1,"result":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(read(&deep), Ok(FromPool::Reply(_))), "a deep value is an unclear reply and no crash");
    let deep = format!(r#"{{"method":"mining.notify","params":{}"#, "[".repeat(10_000));
    assert!(read(&deep).is_err());
    for (line, what) in [
        ("{}", "neither a reply nor"),
        ("[]", "JSON array"),
        ("null", "not JSON"),
        ("<!DOCTYPE html>", "HTTP"),
        ("HTTP/1.1 400 Bad Request", "HTTP"),
        ("{\"id\":1,\"result\":tru", "not JSON"),
        ("{\"id\":1,\u{0}\"result\":true}", "not JSON"),
        (r#"{"id":1,"method":7}"#, "method is no text"),
    ] {
        let NotALine(said) = read(line).unwrap_err();
        assert!(said.contains(what), "{line}: {said}");
    }
    assert_eq!(looks_like(&[0x15, 3, 1, 0, 2]), "this port speaks TLS");
    assert_eq!(looks_like(&[0xff, 0xfe]), "binary bytes, not JSON");
}

#[test]
fn targets_and_difficulties_are_read_as_lists_and_as_objects_and_nonsense_is_named() {
    let message =
        |method: &str, params: &str| read(&format!(r#"{{"method":"mining.{method}","params":{params}}}"#));
    for params in ["[5]", r#"{"difficulty":5}"#, r#"["5"]"#, "[5.0]"] {
        assert_eq!(message("set_difficulty", params), Ok(FromPool::SetDifficulty(Ok(5.0))), "{params}");
    }
    for params in ["[0]", "[-1]", r#"["NaN"]"#, "[1e400]", "[]", "null", "{}"] {
        let read = message("set_difficulty", params);
        assert!(matches!(read, Ok(FromPool::SetDifficulty(Err(_)))), "{params}: {read:?}");
    }
    for params in [format!("[\"{TARGET}\"]"), format!("{{\"target\":\"{TARGET}\"}}")] {
        assert_eq!(
            message("set_target", &params),
            Ok(FromPool::SetTarget(Ok(Target::from_hex(TARGET).unwrap())))
        );
    }
    assert!(matches!(message("set_target", "[0]"), Ok(FromPool::SetTarget(Err(_)))));
    assert_eq!(message("notify", "null"), Ok(FromPool::Job(Err(JobError::NoMembers))));
    assert_eq!(message("notify", r#"["a","b"]"#), Ok(FromPool::Positional("its jobs are arrays")));
}

#[test]
fn what_a_pool_asks_and_tells_is_told_apart() {
    let request = |method: &str| read(&format!(r#"{{"id":5,"method":"{method}","params":[]}}"#)).unwrap();
    let asked = |what| FromPool::Request { id: "5".to_owned(), what };
    assert_eq!(request("mining.ping"), asked(Asked::Ping));
    assert_eq!(request("client.get_version"), asked(Asked::Version));
    assert_eq!(request("mining.dance"), asked(Asked::Other("mining.dance".to_owned())));
    assert_eq!(request("client.reconnect"), FromPool::Reconnect);
    let told = r#"{"id":null,"method":"client.show_message","params":["fee\u001b[0m 1 %"]}"#;
    assert_eq!(read(told), Ok(FromPool::Message("fee\\u{1b}[0m 1 %".to_owned())));
    assert_eq!(read(r#"{"method":"x.y","params":1}"#), Ok(FromPool::Unknown("x.y".to_owned())));
    let challenge = r#"{"id":null,"method":"pearl.challenge","params":{"seed":"00","difficulty":32}}"#;
    assert!(matches!(read(challenge), Ok(FromPool::Positional(_))));
    assert_eq!(to_pool::answer("5", "pong"), r#"{"id":5,"result":"pong","error":null}"#);
    assert_eq!(to_pool::unsupported("5"), r#"{"id":5,"result":null,"error":[20,"unsupported",null]}"#);
}

fn login() -> Login {
    Login {
        wallet: "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k".to_owned(),
        worker: "rig1".to_owned(),
        agent: "pearlbed/0.2.0".to_owned(),
        password: "x".to_owned(),
    }
}

#[test]
fn the_opening_is_the_line_of_the_text_and_a_server_reads_it_back() {
    let login = login();
    let line = to_pool::authorize(1, Dialect::Object, &login, Encoding::Plain);
    let text = r#"{"id":1,"method":"mining.authorize","params":{"wallet":"prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k","worker":"rig1","agent":"pearlbed/0.2.0","pass":"x"}}"#;
    assert_eq!((line.as_str(), line.len()), (text, 174));
    let credentials = |line: &str| match from_miner::read(line).unwrap().what {
        Request::Authorize(credentials) => credentials,
        other => panic!("{other:?}"),
    };
    let Credentials { dialect, wallet, worker, agent, password, wants } = credentials(&line);
    assert_eq!((dialect, wants), (Dialect::Object, None));
    assert_eq!(
        (wallet, worker, agent, password),
        (login.wallet.clone(), "rig1".into(), login.agent.clone(), "x".into())
    );
    let packed = to_pool::authorize(1, Dialect::Object, &login, Encoding::Gzip);
    assert_eq!(credentials(&packed).wants.as_deref(), Some("v2"));
    let array = to_pool::authorize(2, Dialect::Array, &login, Encoding::Plain);
    assert_eq!(
        array,
        format!(r#"{{"id":2,"method":"mining.authorize","params":["{}.rig1","x"]}}"#, login.wallet)
    );
    assert_eq!(credentials(&array).wallet, login.joined());
    assert!(!format!("{login:?}").contains("password"), "a password is not shown by accident");
}

#[test]
fn a_proof_arrives_whole_in_both_encodings_and_never_unpacks_without_limit() {
    let proof: Vec<u8> = (0..50_833_u32).map(|at| at.to_le_bytes()[0]).collect();
    for encoding in [Encoding::Plain, Encoding::Gzip] {
        let text = encoding.encode(&proof);
        assert_eq!(encoding.decode(&text, proof.len()), Ok(proof.clone()));
        assert!(encoding.decode(&text, proof.len() - 1).is_err());
        assert_eq!(Encoding::from_word(encoding.word()), Some(encoding));
    }
    assert_eq!(Encoding::Plain.encode(&proof).len(), 67_780, "the table of section 2");
    assert_eq!(Encoding::from_word("v3"), None);
    assert!(Encoding::Gzip.decode(&Encoding::Plain.encode(&proof), 1 << 20).is_err());
    assert!(Encoding::Plain.decode("AAA", 10).is_err(), "padding is part of the form");
    // A hundred megabytes of nothing pack into a hundred kilobytes.
    let bomb = Encoding::Gzip.encode(&vec![0; 10 << 20]);
    assert!(Encoding::Gzip.decode(&bomb, 1 << 20).is_err());
}

#[test]
fn what_a_server_writes_a_client_reads() {
    let header = job(JOB).unwrap().header;
    let line = to_miner::notify(&to_miner::Job {
        id: "5f2c0a17_50000",
        header: &header,
        target: Target::from_hex(TARGET).unwrap(),
        height: Some(119_375),
        certificate_version: 3,
        label: 50_000.0,
    });
    assert_eq!(line, JOB);
    assert_eq!(line.len() + 1, 360, "the text says so, with the newline");
    assert_eq!(read(&to_miner::set_difficulty(1.22)), Ok(FromPool::SetDifficulty(Ok(1.22))));
    let acknowledged = reply(&to_miner::acknowledge("1", Some("v2")));
    assert_eq!((acknowledged.verdict.class, acknowledged.kind.as_deref()), (Class::Accepted, Some("v2")));
    assert_eq!(reply(&to_miner::accept("\"7\"")).id, Some(7));
    assert_eq!(reply(&to_miner::refuse("7", 22, "Duplicate share")).verdict.class, Class::Duplicate);
}

#[test]
fn a_server_names_what_a_client_does_wrong() {
    let what = |line: &str| from_miner::read(line).map(|line| line.what);
    let submit =
        |params: &str| what(&format!(r#"{{"id":1,"method":"mining.submit","params":{params}}}"#)).unwrap();
    assert_eq!(submit("{}"), Request::Malformed("Missing job_id".into()));
    assert_eq!(submit(r#"{"job_id":"a"}"#), Request::Malformed("Missing plain_proof".into()));
    assert_eq!(submit(r#"["a","b"]"#), Request::Malformed("Missing plain_proof".into()));
    assert!(matches!(submit(r#"["w.r","b","AAAA"]"#), Request::Submit(share) if share.positional));
    let login = what(r#"{"id":1,"method":"mining.authorize","params":{"login":"prl1"}}"#).unwrap();
    assert_eq!(login, Request::Malformed("Wallet is missing".into()));
    assert_eq!(
        what(r#"{"id":1,"method":"mining.subscribe","params":["a/1"]}"#),
        Ok(Request::Subscribe("a/1".into()))
    );
    for line in ["", "[]", "{}", r#"{"id":{},"method":"mining.ping"}"#, "x"] {
        assert!(what(line).is_err(), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_makes_a_reader_panic(line in ".{0,300}", cut in 0..JOB.len(), byte in 0..128_u8) {
        let _ = (read(&line), from_miner::read(&line), read(&JOB[..cut]));
        let mut bytes = JOB.as_bytes().to_vec();
        bytes[cut] = byte;
        let altered = String::from_utf8(bytes).unwrap();
        let _ = (read(&altered), from_miner::read(&altered));
    }
}
