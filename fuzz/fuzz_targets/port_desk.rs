//! Bytes as what strangers say at the miner port, cut anywhere, in both languages and with verdicts in between.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pearlbed::miner::frame::{Frame, FromProvider, Receipt, ToProvider, WireJob};
use pearlbed::port::desk::{Act, Desk, Peer};
use pearlbed::port::wire::{FromPort, ToPort};

fuzz_target!(|bytes: &[u8]| {
    let mut desk = Desk::new(None);
    let mut now = Instant::now();
    let mut last = 0;
    let mut sequence = 0;
    // 0xff and a byte is something that happens beside the bytes; connections take turns.
    for part in bytes.split(|byte| *byte == 0xff) {
        let (&what, rest) = part.split_first().unwrap_or((&0, &[]));
        let who = u64::from(what >> 3) % (last + 1);
        match what & 7 {
            0 => {
                let pid = (what & 8 != 0).then_some(7);
                if desk.has_room(now) {
                    last += 1;
                    let peer = Peer { unix: pid.is_some(), guarded: what & 16 != 0, address: "a".into(), pid };
                    desk.opened(last, peer, now);
                }
            }
            1 => desk.closed(who, now),
            2 => now += Duration::from_secs(11),
            3 => {
                let job = WireJob {
                    id: 1 + u64::from(what >> 3),
                    header: [b'A'; 76],
                    target: [what; 32],
                    certificate_version: 3,
                    rank_penalty: true,
                };
                desk.frame(ToPort::Tell(who as u32, ToProvider::Job(job)), now, 0);
            }
            4 => {
                sequence += 1;
                let receipt = ToProvider::Receipt { sequence, receipt: Receipt::Refused, reason: "job".into() };
                desk.frame(ToPort::Tell(who as u32, receipt), now, 0);
            }
            5 => desk.unsent(who, usize::from(what) << 12, now),
            _ => {}
        }
        desk.bytes(who, rest, now);
        desk.tick(now);
        while let Some(act) = desk.act() {
            match act {
                Act::Send(id, line) => assert!(id <= last && !line.contains('\n')),
                Act::Close(id) => assert!(id <= last),
                Act::Tell(frame) => {
                    if let FromPort::Said(_, FromProvider::Submit { sequence: number, .. }) = &frame {
                        assert!(*number > 0);
                    }
                    let (kind, body) = frame.parts();
                    assert_eq!(FromPort::decode(kind, &body).expect("it is ours"), frame);
                }
            }
        }
    }
});
