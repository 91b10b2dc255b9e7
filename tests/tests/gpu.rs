//! The provider for graphics cards in the real sandbox, on a software device: proofs accepted, nothing refused, nothing
//! tried that is not granted, and nothing left behind.
//!
//! `PEARLBED_TEST_KILLS` sets how many times it is killed; with `PEARLBED_NEED_SOFTWARE_GPU` set, as the gate does, a
//! machine without a software device fails.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says where"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::session::{Answer, Bed};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(180);
/// A product that a software device computes in a moment.
const EXTRA: &str = "software = true\ndevices = [\"software\"]\nm = 128\nn = 512\nk = 2048";

/// A software device computes on the processor, at which a miner else stands back for every program: beside other tests it
/// would not come to its first job in time.
const SECTIONS: &str = "[mining]\nnice = 0\n[mining.session]\nstall_after = \"5m\"";

/// A bed with the provider, unless this machine has no software device or does not confine.
fn bed() -> Option<Bed> {
    let manifests = std::fs::read_dir("/usr/share/vulkan/icd.d").into_iter().flatten().flatten();
    let has_device =
        manifests.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("lvp_icd"));
    if !has_device {
        assert!(std::env::var_os("PEARLBED_NEED_SOFTWARE_GPU").is_none(), "no software Vulkan device here");
        println!("skipped: no software Vulkan device here (mesa-vulkan-drivers)");
        return None;
    }
    let support = pearlbed::sandbox::support();
    if !support.seccomp_notify || support.landlock_abi.is_none() {
        println!("skipped: this kernel lacks {:?}", support.missing());
        return None;
    }
    let bed = Bed::with(EXTRA, SECTIONS);
    let file = Path::new(bed.plugins()).join(format!("libgpu_pearl{}", std::env::consts::DLL_SUFFIX));
    std::fs::copy(build::plugin("gpu-pearl"), &file).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    Some(bed)
}

fn start(bed: &Bed) -> Answer {
    // A software device can take longer to open and test itself than `start` waits unasked.
    // No card is here, as `detect` says; the settings name a device that is none.
    let wait = ["--anyway", "--wait", "300", "--provider", "gpu-pearl", "--plugin-dir", bed.plugins()];
    bed.run(&[&["start", "--devnet"][..], &wait].concat())
}

#[test]
fn three_sessions_in_a_row_have_proofs_accepted_none_refused_and_nothing_denied() {
    let Some(bed) = bed() else { return };
    for _ in 0..3 {
        let answer = start(&bed);
        assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
        let status = bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(2));
        assert_eq!(status["proofs"]["rejected"], 0, "{status:#}");
        assert_eq!(status["restarts"], 0, "{status:#}\n{}", bed.log());
        let denied = status["confinement"]["denied"].as_object().unwrap();
        assert!(denied.is_empty(), "{denied:?}");
        assert!(status["last_error"].is_null(), "{status:#}");
        let pids = bed.pids();
        assert_eq!(bed.run(&["stop"]).code, 0);
        assert_eq!(bed.alive(&pids), Vec::<u32>::new());
    }
}

#[test]
fn killed_at_any_moment_it_leaves_nothing() {
    let Some(bed) = bed() else { return };
    let kills = std::env::var("PEARLBED_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_u64);
    for kill in 0..kills {
        // While it starts, opens the device, tests itself, mines.
        let mut child = bed
            .command(&[
                "start",
                "--devnet",
                "--anyway",
                "--provider",
                "gpu-pearl",
                "--plugin-dir",
                bed.plugins(),
            ])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let moment = Duration::from_millis(kill * 7919 % 8000);
        let begun = Instant::now();
        let mut seen = Vec::new();
        while begun.elapsed() < moment || seen.is_empty() {
            seen = bed.processes();
            assert!(begun.elapsed() < PATIENCE, "no process was started\n{}", bed.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        // The provider where there is one, or else the supervisor: both must leave nothing.
        let victim = if kill % 2 == 0 { seen.last() } else { seen.first() };
        bed.signal(*victim.unwrap(), Signal::KILL);
        child.wait().unwrap();
        bed.run(&["stop"]);
        // A provider whose supervisor was killed is nobody's child any more, and ends in a moment of its own.
        let left = || [bed.processes(), bed.alive(&seen)].concat();
        let deadline = Instant::now() + PATIENCE;
        while !left().is_empty() {
            assert!(Instant::now() < deadline, "left behind after kill {kill}: {:?}", left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // 4 is "not yet": a software device can take longer to open than `start` waits.
    let answer = start(&bed);
    assert!(matches!(answer.code, 0 | 4), "{answer:?}\n{}", bed.log());
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
}
