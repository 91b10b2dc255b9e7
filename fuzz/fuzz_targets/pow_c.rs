//! The C library with whatever a kernel hands it: every call answers, and writes nothing beyond what it was lent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pearl_pow_c::*;

fuzz_target!(|input: &[u8]| {
    let Some((&[call, side, rank_low, rank_high, columns, version, row, seed_byte], data)) =
        input.split_first_chunk()
    else {
        return;
    };
    let rank = u16::from_le_bytes([rank_low, rank_high]);
    let (seed, mut header, mut config) = ([seed_byte; 32], [0; 76], [0; 52]);
    for (place, byte) in header.iter_mut().chain(&mut config).zip(data) {
        *place = *byte;
    }
    let entries: Vec<i8> = data.iter().map(|&byte| byte as i8).collect();
    let mut error = Error::NONE;
    let e = &raw mut error;
    // With room for its length and a guard behind it.
    let mut out = vec![0x5a_u8; 70_000 + 64];
    let mut len = 0;
    // SAFETY: every pointer leads to as much memory as its length says.
    let code = unsafe {
        match call % 6 {
            0 => pearl_pow_verify(
                header.as_ptr(),
                seed.as_ptr(),
                version.into(),
                (side & 1).into(),
                data.as_ptr(),
                data.len(),
                e,
            ),
            1 => pearl_pow_prove(
                header.as_ptr(),
                config.as_ptr(),
                entries.as_ptr(),
                entries.len(),
                entries.as_ptr(),
                entries.len(),
                row.into(),
                side.into(),
                out.as_mut_ptr(),
                70_000,
                &raw mut len,
                e,
            ),
            2 => pearl_pow_add_noise(
                side.into(),
                seed.as_ptr(),
                rank,
                columns.into(),
                row.into(),
                entries.as_ptr(),
                entries.len(),
                out.as_mut_ptr().cast(),
                e,
            ),
            3 => pearl_pow_noise_dense(
                side.into(),
                seed.as_ptr(),
                rank,
                row.into(),
                out.as_mut_ptr().cast(),
                e,
            ),
            4 => pearl_pow_job_key(header.as_ptr(), config.as_ptr(), out.as_mut_ptr(), e),
            _ => pearl_pow_root(seed.as_ptr(), entries.as_ptr(), entries.len(), out.as_mut_ptr(), e),
        }
    };
    assert_ne!(code, Code::Fault as u32, "{}", error.text());
    assert_eq!(code, error.code);
    assert!(out[70_000..].iter().all(|&byte| byte == 0x5a), "wrote beyond its room");
});
