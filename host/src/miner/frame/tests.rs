//! Every word there and back, and bytes that nobody sent.

use proptest::prelude::*;

use super::encoding::kind;
use super::*;

fn round_trip(frames: &[FromProvider], chunk: usize) -> Vec<FromProvider> {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for piece in bytes.chunks(chunk) {
        decoder.feed(piece);
        while let Some(frame) = decoder.take().unwrap() {
            out.push(frame);
        }
    }
    assert!(!decoder.is_midway());
    out
}

#[test]
fn every_frame_survives_its_encoding_however_the_bytes_arrive() {
    let frames = [
        FromProvider::Hello { version: VERSION },
        FromProvider::Confined("{}".into()),
        FromProvider::Started,
        FromProvider::Failed("no".into()),
        FromProvider::Took(7),
        FromProvider::Submit { sequence: 1, job: 7, proof: vec![9; 100_000] },
        FromProvider::Progress(u64::MAX),
        FromProvider::Log { level: 2, message: "höh".into() },
        FromProvider::LogDropped(3),
        FromProvider::Stats("{}".into()),
        FromProvider::Denied("tried to run a program".into()),
        FromProvider::Stopped(String::new()),
    ];
    for chunk in [1, 3, 4096, usize::MAX] {
        assert_eq!(round_trip(&frames, chunk), frames);
    }
    let job = WireJob { id: 5, header: [1; 76], target: [2; 32], certificate_version: 3, rank_penalty: true };
    for frame in [
        ToProvider::Hello { version: VERSION },
        ToProvider::Start("{}".into()),
        ToProvider::Job(job),
        ToProvider::Stale(5),
        ToProvider::Receipt { sequence: 9, receipt: Receipt::Refused, reason: "below target".into() },
        ToProvider::AskStats,
        ToProvider::Stop,
    ] {
        let (kind, body) = frame.parts();
        assert_eq!(ToProvider::decode(kind, &body), Ok(frame));
    }
}

#[test]
fn a_frame_that_promises_too_much_is_refused_before_its_body_comes() {
    let mut decoder = Decoder::<FromProvider>::default();
    decoder.feed(&u32::MAX.to_le_bytes());
    assert_eq!(decoder.take(), Ok(None));
    decoder.feed(&[kind::LOG]);
    assert!(matches!(decoder.take(), Err(FrameError::TooLong { limit, .. }) if limit == LOG_BYTES_MAX + 1));
}

#[test]
fn a_stream_that_does_not_greet_or_speaks_another_version_is_refused() {
    let mut decoder = Decoder::<FromProvider>::default();
    decoder.feed(&FromProvider::Progress(1).encode());
    assert_eq!(decoder.take(), Err(FrameError::NoGreeting { kind: kind::PROGRESS }));
    let mut decoder = Decoder::<FromProvider>::default();
    decoder.feed(&FromProvider::Hello { version: 9 }.encode());
    assert_eq!(decoder.take(), Err(FrameError::Version { found: 9 }));
}

#[test]
fn frames_of_the_other_direction_are_unknown() {
    let mut decoder = Decoder::<FromProvider>::default();
    decoder.feed(&ToProvider::Stop.encode());
    assert_eq!(decoder.take(), Err(FrameError::UnknownKind(kind::STOP)));
}

#[test]
fn over_long_text_is_clipped_between_characters() {
    let message = "é".repeat(LOG_BYTES_MAX);
    let (_, body) = FromProvider::Log { level: 3, message }.parts();
    assert!(body.len() <= LOG_BYTES_MAX + 1);
    assert!(std::str::from_utf8(&body[1..]).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_keep_more_than_it_was_given(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32),
    ) {
        let mut decoder = Decoder::<FromProvider>::default();
        let mut given = 0;
        for piece in pieces {
            given += piece.len();
            decoder.feed(&piece);
            match decoder.take() {
                Ok(_) => prop_assert!(decoder.kept() <= given),
                Err(_) => break,
            }
        }
    }

    #[test]
    fn any_body_of_any_kind_decodes_or_is_refused(kind: u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = FromProvider::decode(kind, &body) {
            prop_assert_eq!(frame.parts(), (kind, body.clone()));
        }
        if let Ok(frame) = ToProvider::decode(kind, &body) {
            prop_assert_eq!(frame.parts(), (kind, body));
        }
    }
}
