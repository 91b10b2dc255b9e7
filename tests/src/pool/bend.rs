//! What the honest lines of a pool become on their way out.

use pearl_pow::Header;

use super::fault::Fault;

/// What the honest lines become on their way out.
pub(super) struct Outgoing {
    faults: Vec<Fault>,
    /// Jobs so far.
    pub(super) jobs: usize,
    held: Option<String>,
    merged: Vec<u8>,
}

impl Outgoing {
    /// What `faults` make of the lines of one connection.
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self { faults, jobs: 0, held: None, merged: Vec::new() }
    }

    /// The pieces that are written in the place of a line.
    pub(super) fn bend(&mut self, line: String) -> Vec<Vec<u8>> {
        let mut lines = vec![line.clone()];
        let is_job = line.contains("mining.notify");
        let is_ack = line.contains(r#""result":true"#) && line.contains(r#""type""#);
        let is_reply = !is_job && !is_ack && line.starts_with(r#"{"id":"#) && line.contains("result");
        let mut extra: Vec<Vec<u8>> = Vec::new();
        for fault in self.faults.clone() {
            match fault {
                Fault::NoJobs if is_job => lines.clear(),
                // Counted by the pool and never told.
                Fault::NoReplies if is_reply => lines.clear(),
                Fault::AckAfterJob if is_ack => self.held = lines.pop(),
                Fault::AckAfterJob if is_job => lines.extend(self.held.take()),
                Fault::AckType(kind) if is_ack => {
                    lines = vec![line.replace(r#""type":"plain""#, &format!(r#""type":"{kind}""#))];
                }
                Fault::JobMember(name, text) if is_job => {
                    lines = vec![with_member(&line, name, |_| text.to_owned())];
                }
                Fault::TestNetwork if is_job => {
                    lines = vec![with_member(&line, "header", test_network)];
                }
                // The hour in the header's own words is another.
                Fault::RepeatId if is_job => lines.insert(0, with_member(&line, "header", another_time)),
                Fault::Jumps if is_job && self.jobs % 2 == 1 => {
                    lines = vec![with_member(&line, "target", a_64th)];
                }
                Fault::Reversed if is_reply => match self.held.take() {
                    Some(first) => lines.push(first),
                    None => self.held = lines.pop(),
                },
                Fault::InJob(what, with) if is_job => {
                    lines = lines.into_iter().map(|line| line.replace(what, with)).collect();
                }
                Fault::Flood(count) if is_job => {
                    for number in 0..count {
                        extra.push(
                            line.replacen("\"diff\"", &format!("\"n\":{number},\"diff\""), 1).into_bytes(),
                        );
                    }
                }
                Fault::Twice if is_reply => lines.push(line.clone()),
                Fault::WrongId if is_reply => {
                    let end = line.find(',').unwrap_or(0);
                    lines.insert(0, format!(r#"{{"id":987654{}"#, &line[end..]));
                }
                Fault::TextId if is_reply => {
                    let end = line.find(',').unwrap_or(0);
                    lines = vec![format!(r#"{{"id":"{}"{}"#, &line[6..end], &line[end..])];
                }
                Fault::LongLine(bytes) if is_job && self.jobs == 0 => extra.push(vec![b'x'; bytes]),
                Fault::Line(bytes) if is_job && self.jobs == 0 => extra.push(bytes),
                Fault::AsksVersion(count) if is_job && self.jobs == 0 => {
                    for number in 0..count {
                        extra.push(
                            format!(r#"{{"id":{number},"method":"client.get_version","params":[]}}"#).into(),
                        );
                    }
                }
                _ => {}
            }
        }
        self.jobs += usize::from(is_job);
        let end: &[u8] = if self.faults.contains(&Fault::Crlf) { b"\r\n\r\n\n" } else { b"\n" };
        let lines = lines.into_iter().map(String::into_bytes).chain(extra);
        let lines: Vec<Vec<u8>> = lines.map(|line| [&line[..], end].concat()).collect();
        if !self.faults.contains(&Fault::Merged) {
            return lines;
        }
        self.merged.extend(lines.concat());
        if self.jobs == 0 { Vec::new() } else { vec![std::mem::take(&mut self.merged)] }
    }
}

/// A line whose parameter `name`, a text, is changed.
fn with_member(line: &str, name: &str, change: impl Fn(&str) -> String) -> String {
    let mut value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = change(value["params"][name].as_str().unwrap_or_default());
    value["params"][name] = text.into();
    value.to_string()
}

/// A header in hex, made at another moment.
fn another_time(header: &str) -> String {
    let mut text = header.to_owned();
    let (at, digit) = (136, if text.ends_with('0') { "1" } else { "0" });
    text.replace_range(at..=at, digit);
    text
}

/// A header in hex, of a network whose blocks are as easy as they may be.
fn test_network(header: &str) -> String {
    Header::from_hex(header).map_or_else(|_| header.to_owned(), |header| of_test_network(&header).to_string())
}

/// The same header as a test network would have it: the last four bytes are the compact target.
pub(super) fn of_test_network(header: &Header) -> Header {
    let mut bytes = *header.as_bytes();
    bytes[Header::LEN - 4..].copy_from_slice(&0x1b00_ffff_u32.to_le_bytes());
    Header::from_bytes(bytes)
}

/// A 64th of a number in 64 hex digits.
fn a_64th(number: &str) -> String {
    let mut carried = 0_u32;
    number
        .chars()
        .map(|digit| {
            // Six bits to the right: one digit and two bits.
            let bits = carried << 4 | digit.to_digit(16).unwrap_or(0);
            carried = bits & 0xff;
            char::from_digit(bits >> 6 & 0xf, 16).unwrap_or('0')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_64th_is_six_bits_to_the_right() {
        for number in [0x40_u64, 0x1234_5678_9abc_def0, 0xffff_ffff_ffff_ffff, 0x3f] {
            assert_eq!(a_64th(&format!("{number:016x}")), format!("{:016x}", number / 64));
        }
    }
}
