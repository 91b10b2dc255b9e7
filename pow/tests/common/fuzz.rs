//! What the fuzz targets and the bounded test run share: functions that take any bytes and must neither panic
//! nor find a contradiction.

use pearl_pow::address::Address;
use pearl_pow::commitment::Tree;
use pearl_pow::opening::{Matrix, MatrixOpening};
use pearl_pow::verify::{Job, Stage, verify_bytes_staged, verify_canonical};
use pearl_pow::{
    CertificateVersion, Encoding, Header, MiningConfiguration, PeriodicPattern, PlainProof, Target, job_key,
    verify, verify_bytes,
};

fn job(selector: u8) -> Job {
    Job {
        header: Header::new(1, [2; 32], [3; 32], 4, 0x1d00_ffff),
        target: (selector & 1 == 0).then_some(Target::MAX),
        certificate: CertificateVersion::ALL[usize::from(selector >> 1) % 3],
        rank_penalty: selector & 0x80 != 0,
    }
}

/// The reader takes bytes that are exactly a proof, and writes them back as they were.
pub fn proof_reader(bytes: &[u8]) {
    if let Ok((proof, encoding)) = PlainProof::decode(bytes) {
        let mut written = proof.encode();
        assert_eq!(written.len(), proof.encoded_len());
        if encoding == Encoding::LegacyV1 {
            assert_eq!(written.pop(), Some(0));
        }
        assert_eq!(written, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok((proof, _)) = PlainProof::from_base64(text)
    {
        assert_eq!(PlainProof::from_base64(&proof.to_base64()), Ok((proof, Encoding::Current)));
    }
}

/// Any bytes go through the verifier; its stages come in order, and all its doors agree.
pub fn verifier(bytes: &[u8]) {
    let Some((&selector, bytes)) = bytes.split_first() else { return };
    let job = job(selector);
    let mut passed = Vec::new();
    let result = verify_bytes_staged(&job, bytes, &mut |event| passed.push(event.stage()));
    match &result {
        Ok(_) => assert_eq!(passed, Stage::ALL),
        Err(rejection) => {
            let refused = rejection.stage().expect("only the canonical check has no stage");
            let before: Vec<Stage> = Stage::ALL.into_iter().take_while(|&stage| stage < refused).collect();
            assert_eq!(passed, before, "{rejection}");
        }
    }
    assert_eq!(verify_bytes(&job, bytes), result);
    let canonical = result.as_ref().is_ok_and(|verified| verified.deviations.is_empty());
    assert_eq!(verify_canonical(&job, bytes).is_ok(), canonical);
}

/// A proof whose roots are right and whose everything else is whatever the bytes say reaches the later
/// stages.
///
/// Gives back the stage that refused it, if any.
pub fn committed_proof(bytes: &[u8]) -> Option<Stage> {
    let mut bytes = bytes.iter().copied();
    let mut next = || bytes.next().unwrap_or(0);
    let job = job(next());
    let k = match next() {
        0 => 1 + usize::from(next()),
        multiple => 64 * usize::from(multiple % 80 + 1),
    };
    let noise_rank = match next() {
        shift @ 0..=15 => 1 << shift,
        other => u64::from(other) << (next() % 9),
    };
    let mut side = || {
        let rows = 1 + usize::from(next() % 64);
        let fill = next();
        let entries: Vec<i8> =
            (0..rows * k).map(|at| ((at % 129) as i16 - 64) as i8 ^ (fill & 0xc0) as i8).collect();
        let base = u64::from(next() % 8);
        let (stride, count) = (u64::from(next() % 4) + 1, u64::from(next() % 20) + 1);
        let mut tile: Vec<u64> =
            (0..count).map(|step| base + step * stride).filter(|&row| row < rows as u64).collect();
        if tile.is_empty() {
            tile.push(0);
        }
        (entries, tile, rows)
    };
    let ((a, rows, m), (bt, cols, n)) = (side(), side());

    let pattern = |tile: &[u64]| {
        let offsets: Vec<u64> = tile.iter().map(|row| row - tile[0]).collect();
        PeriodicPattern::from_offsets(&offsets).expect("one loop")
    };
    let config = MiningConfiguration::dense(k as u32, noise_rank as u16, pattern(&rows), pattern(&cols));
    let key = job_key(&job.header, &config);
    let open = |entries: &[i8], tile: &[u64]| {
        MatrixOpening::new(&Tree::new(&key, entries), Matrix::new(entries, k).expect("whole rows"), tile)
    };
    let proof = PlainProof {
        m: m as u64,
        n: n as u64,
        k: k as u64,
        noise_rank,
        a: open(&a, &rows),
        bt: open(&bt, &cols),
    };
    match verify(&job, &proof) {
        Ok(verified) => {
            assert_eq!(verified.deviations, []);
            None
        }
        Err(rejection) => {
            let stage = rejection.stage().expect("only the canonical check has no stage");
            // Our own openings are never what is wrong.
            assert!(
                !matches!(stage, Stage::Decode | Stage::Leaves | Stage::RootA | Stage::RootBT)
                    || noise_rank > u64::from(u16::MAX),
                "{rejection}"
            );
            Some(stage)
        }
    }
}

/// Encoded patterns are read in one form only, and the offsets lead back to it.
pub fn pattern(bytes: &[u8]) {
    if let Ok(pattern) = PeriodicPattern::from_bytes(bytes) {
        assert_eq!(pattern.to_bytes(), bytes);
        assert!(pattern.is_base(0));
        if pattern.size() <= 4096 {
            let offsets: Vec<u64> = pattern.offsets().map(u64::from).collect();
            assert_eq!(PeriodicPattern::from_offsets(&offsets), Ok(pattern));
            assert_eq!(offsets.last(), Some(&u64::from(pattern.max_offset())));
        }
    }
    let list: Vec<u64> =
        bytes.chunks(8).map(|chunk| chunk.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))).collect();
    for list in [list, bytes.iter().map(|&byte| u64::from(byte)).collect()] {
        if let Ok(pattern) = PeriodicPattern::from_offsets(&list) {
            assert!(pattern.offsets().map(u64::from).eq(list.iter().copied()));
            assert_eq!(PeriodicPattern::from_bytes(&pattern.to_bytes()), Ok(pattern));
        }
        if let Ok((pattern, base)) = PeriodicPattern::from_rows(&list) {
            assert!(pattern.tile(base).eq(list));
        }
    }
    if let Ok(config) = MiningConfiguration::from_bytes(bytes) {
        assert_eq!(config.to_bytes().as_slice(), bytes);
        let _ = pearl_pow::parameters::check_configuration(&config);
    }
}

/// Text is an address or it is not; an address is written back as it was.
pub fn address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Address>() {
        Ok(address) => assert_eq!(address.to_string(), text.to_ascii_lowercase()),
        Err(err) => assert!(!err.to_string().is_empty() && err.hint() != Some(String::new())),
    }
}
