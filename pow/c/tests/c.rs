//! The library as a kernel's author uses it: from C, against the crate, and with every wrong argument.
#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use std::path::{Path, PathBuf};
use std::process::Command;

use pearl_pow::reference::{Product, test_matrix};
use pearl_pow::{Header, Matrix, MiningConfiguration, PeriodicPattern, SeedRule, Target, U256};
use pearl_pow_c::*;

const K: usize = 2048;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo put the libraries: beside this test's own folder.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config() -> MiningConfiguration {
    let tile = PeriodicPattern::contiguous(16).unwrap();
    MiningConfiguration::dense(K as u32, 128, tile, tile)
}

#[test]
fn a_miner_in_c_finds_what_the_crate_finds() {
    // The libraries are this package's own, but a test alone does not make cargo build them.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked"]).current_dir(folder());
    // Where the whole workspace was built, for this package alone cargo would choose other features, and with it all that
    // stands on the library would be built anew.
    match std::env::var_os("PEARLBED_BUILT_WHOLE") {
        Some(_) => command.args(["--workspace", "--lib", "--bins", "--tests", "--examples"]),
        None => command.args(["--lib", "-p", "pearl-pow-c"]),
    };
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    assert!(command.status().unwrap().success());

    let room = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (a, bt) = (test_matrix(1, 16 * K), test_matrix(2, 16 * K));
    let (a, bt) = (Matrix::new(&a, K).unwrap(), Matrix::new(&bt, K).unwrap());
    let product = Product::new(&Header::from_bytes([0; 76]), &config(), SeedRule::Salted, a, bt);
    let attempt = product.attempt(0, 0);
    for (compiler, flags, library) in [
        ("cc", ["-std=c99", "-xc"], "libpearl_pow_c.a"),
        ("c++", ["-std=c++17", "-xc++"], "libpearl_pow_c.so"),
    ] {
        let program = room.join(format!("miner-{compiler}-{}", std::process::id()));
        let compiled = Command::new(compiler)
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .args(flags)
            .arg("-I")
            .arg(folder().join("include"))
            .arg(folder().join("tests/miner.c"))
            .args(["-xnone"])
            .arg(built().join(library))
            .args(["-lpthread", "-ldl", "-lm", "-o"])
            .arg(&program)
            .output();
        let Ok(compiled) = compiled else {
            skipped(compiler, "it is not installed");
            continue;
        };
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        // The shared library has the name that it is installed under.
        let installed = room.join("libpearl_pow.so.0");
        if library.ends_with(".so") {
            std::fs::copy(built().join(library), &installed).unwrap();
        }
        let ran = Command::new(&program).env("LD_LIBRARY_PATH", room).output().unwrap();
        std::fs::remove_file(program).unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{compiler}: {said} {}", String::from_utf8_lossy(&ran.stderr));
        let expected =
            format!("jackpot {}\nseed_b {}\nrefused ", hex(&attempt.jackpot), hex(&product.seeds().b));
        assert!(said.starts_with(&expected), "{said}\n{expected}");
    }
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn skipped(what: &str, reason: &str) {
    println!("skipped: {what}: {reason}");
}

#[test]
fn the_proof_is_the_crates_and_pairs_and_rows_make_the_same_noise() {
    let (a, bt) = (test_matrix(1, 32 * K), test_matrix(2, 16 * K));
    let header = Header::from_bytes([3; 76]);
    let config = config();
    let product = Product::new(
        &header,
        &config,
        SeedRule::Legacy,
        Matrix::new(&a, K).unwrap(),
        Matrix::new(&bt, K).unwrap(),
    );
    let expected = product.prove(&product.attempt(16, 0)).encode();
    let mut proof = vec![0; expected.len()];
    let mut len = 0;
    let mut error = Error::NONE;
    let bytes = config.to_bytes();
    let seed = product.seeds().a;
    let (mut plus, mut minus) = (vec![0; K], vec![0; K]);
    let mut dense = [0; 128];
    let mut noised = vec![0; 4 * K];
    // SAFETY: every pointer leads to as much memory as its length says.
    unsafe {
        let code = pearl_pow_prove(
            header.as_bytes().as_ptr(),
            bytes.as_ptr(),
            a.as_ptr(),
            a.len(),
            bt.as_ptr(),
            bt.len(),
            16,
            0,
            proof.as_mut_ptr(),
            proof.len(),
            &raw mut len,
            &raw mut error,
        );
        assert_eq!((code, len), (0, expected.len()), "{}", error.text());
        assert_eq!(proof, expected);
        assert_eq!(
            pearl_pow_noise_pairs(
                0,
                seed.as_ptr(),
                128,
                K as u32,
                plus.as_mut_ptr(),
                minus.as_mut_ptr(),
                &raw mut error
            ),
            0
        );
        assert_eq!(pearl_pow_noise_dense(0, seed.as_ptr(), 128, 5, dense.as_mut_ptr(), &raw mut error), 0);
        assert_eq!(
            pearl_pow_add_noise(
                0,
                seed.as_ptr(),
                128,
                K as u32,
                4,
                a[4 * K..].as_ptr(),
                4 * K,
                noised.as_mut_ptr(),
                &raw mut error
            ),
            0
        );
    }
    assert_eq!(noised, product.a_noised()[4 * K..8 * K]);
    let by_hand: Vec<i8> = (0..K)
        .map(|at| a[5 * K + at] + dense[usize::from(plus[at])] - dense[usize::from(minus[at])])
        .collect();
    assert_eq!(by_hand, product.a_noised()[5 * K..6 * K]);
    let target = Target(U256::MAX >> 8);
    let mut bound = [0; 32];
    // SAFETY: as above.
    let code = unsafe {
        pearl_pow_bound(target.to_le_bytes().as_ptr(), bytes.as_ptr(), 1, bound.as_mut_ptr(), &raw mut error)
    };
    assert_eq!((code, U256::from_le_bytes(bound)), (0, target.bound(&config, true)));
}

#[test]
fn every_wrong_argument_is_a_code_and_a_text() {
    let mut error = Error::NONE;
    let mut config = [0; 52];
    let (mut out, header, entries) = ([0_u8; 32], [0_u8; 76], [65_i8; 4096]);
    let none = std::ptr::null();
    let mut wrong = vec![];
    let mut noised = [0_i8; 4096];
    let e = &raw mut error;
    // SAFETY: what is not null leads to as much memory as its length says.
    unsafe {
        let mut expect = |what: &str, code: Code, answered: u32| {
            if answered != code as u32 || (*e).code != answered || (*e).text().is_empty() != (answered == 0) {
                wrong.push(format!("{what}: {answered} `{}`", (*e).text()));
            }
        };
        expect("a config", Code::Ok, pearl_pow_config_contiguous(2048, 128, 16, 16, config.as_mut_ptr(), e));
        expect(
            "no place",
            Code::Null,
            pearl_pow_config_contiguous(2048, 128, 16, 16, std::ptr::null_mut(), e),
        );
        let mut other = [0; 52];
        for (k, rank, rows) in
            [(2048, 0, 16), (2048, 100, 16), (64, 32, 16), (2048, 128, 0), (2048, 128, 1 << 20)]
        {
            let answered = pearl_pow_config_contiguous(k, rank, rows, 16, other.as_mut_ptr(), e);
            expect("a wrong config", Code::Value, answered);
        }
        let offsets = [0_u64, 1, 5];
        let answered = pearl_pow_config_offsets(
            2048,
            128,
            offsets.as_ptr(),
            3,
            offsets.as_ptr(),
            3,
            other.as_mut_ptr(),
            e,
        );
        expect("no pattern", Code::Value, answered);
        expect("no header", Code::Null, pearl_pow_job_key(none, config.as_ptr(), out.as_mut_ptr(), e));
        expect(
            "zeros",
            Code::Value,
            pearl_pow_job_key(header.as_ptr(), [0; 52].as_ptr(), out.as_mut_ptr(), e),
        );
        expect(
            "nothing",
            Code::Length,
            pearl_pow_root(out.as_ptr(), entries.as_ptr(), 0, [0; 32].as_mut_ptr(), e),
        );
        let long = usize::MAX / 2 + 2;
        expect(
            "too long",
            Code::Length,
            pearl_pow_root(out.as_ptr(), entries.as_ptr(), long, [0; 32].as_mut_ptr(), e),
        );
        let root = out;
        let answered = pearl_pow_seeds(
            4,
            root.as_ptr(),
            root.as_ptr(),
            1,
            root.as_ptr(),
            1,
            [0; 32].as_mut_ptr(),
            [0; 32].as_mut_ptr(),
            e,
        );
        expect("a certificate of the future", Code::Certificate, answered);
        let answered = pearl_pow_noise_dense(2, root.as_ptr(), 32, 0, noised.as_mut_ptr(), e);
        expect("a third side", Code::Value, answered);
        let answered = pearl_pow_noise_dense(0, root.as_ptr(), 32, 1 << 24, noised.as_mut_ptr(), e);
        expect("a row too far", Code::Value, answered);
        let answered = pearl_pow_add_noise(
            0,
            root.as_ptr(),
            32,
            4095,
            0,
            entries.as_ptr(),
            4096,
            noised.as_mut_ptr(),
            e,
        );
        expect("half a row", Code::Length, answered);
        let answered =
            pearl_pow_add_noise(0, root.as_ptr(), 32, 0, 0, entries.as_ptr(), 4096, noised.as_mut_ptr(), e);
        expect("no columns", Code::Length, answered);
        let large = [127_i8; 4096];
        let answered =
            pearl_pow_add_noise(0, root.as_ptr(), 32, 4096, 0, large.as_ptr(), 4096, noised.as_mut_ptr(), e);
        expect("an entry too large", Code::Value, answered);
        let mut words = [0; 16];
        let answered = pearl_pow_tile(
            config.as_ptr(),
            entries.as_ptr(),
            4096,
            entries.as_ptr(),
            4096,
            words.as_mut_ptr(),
            e,
        );
        expect("another tile", Code::Length, answered);
        let mut len = 0;
        let mut prove = |row, e| {
            let place = std::ptr::null_mut();
            pearl_pow_prove(
                header.as_ptr(),
                config.as_ptr(),
                entries.as_ptr(),
                4096,
                entries.as_ptr(),
                4096,
                row,
                0,
                place,
                0,
                &raw mut len,
                e,
            )
        };
        expect("a matrix smaller than a tile", Code::Value, prove(0, e));
        expect("a row beyond all", Code::Value, prove(u64::MAX / 16 * 16, e));
        let verify = |proof: &[u8], version, e| {
            pearl_pow_verify(header.as_ptr(), none, version, 0, proof.as_ptr(), proof.len(), e)
        };
        expect("no proof", Code::Refused, verify(b"proof", 1, e));
        expect("an empty one", Code::Refused, verify(b"", 1, e));
        expect("version 0", Code::Certificate, verify(b"proof", 0, e));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
