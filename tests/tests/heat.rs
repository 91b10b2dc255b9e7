//! A miner whose card is too hot has no work until the card has cooled down: by the machine's own sensors, whatever the
//! provider says. The card is one of a fake machine, in a name space of the test's own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::session::{Bed, ended, wait_until};

/// For whatever takes a moment on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const CARD: &str = "0000:03:00.0";

/// Whether `program` is on this machine.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Has the card's sensor say so many degrees.
fn heat(machine: &Path, degrees: u32) {
    let sensor = machine.join(CARD).join("hwmon/hwmon4/temp1_input");
    std::fs::write(sensor, format!("{degrees}000\n")).expect("the folder is the test's own");
}

#[test]
fn a_card_at_its_limit_has_its_miner_rest_and_one_that_has_cooled_down_lets_it_work_again() {
    if !rustix::process::geteuid().is_root() || !has("unshare") {
        return println!("skipped: a machine with another card takes root and unshare");
    }
    let machine = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(machine.path().join(CARD).join("hwmon/hwmon4")).unwrap();
    for (file, text) in [("class", "0x030000\n"), ("vendor", "0x1002\n"), ("device", "0x744c\n")] {
        std::fs::write(machine.path().join(CARD).join(file), text).unwrap();
    }
    std::os::unix::fs::symlink("../amdgpu", machine.path().join(CARD).join("driver")).unwrap();
    heat(machine.path(), 60);
    let settings = format!(
        "[mining]\nprovider = \"odd-miner\"\ndevices = [\"{CARD}\"]\ntemperature_limit = 80\n\
         [[mining.miners]]\nname = \"cool\"\nprovider = \"odd-miner\"\ndevices = [\"cpu\"]\ntemperature_limit = 80\n"
    );
    let bed = Bed::with("", &settings);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--kill-child", "sh", "-c"]);
    command
        .arg("mount --bind \"$MACHINE\" /sys/bus/pci/devices && exec \"$@\"")
        .arg("sh")
        .arg(build::pearlbed());
    command.args(["start", "--devnet", "--foreground", "--plugin-dir", bed.plugins()]);
    command.env_clear().env("PEARLBED_HOME", bed.home()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let mut session = command.env("MACHINE", machine.path()).stderr(Stdio::null()).spawn().unwrap();

    let mines = |status: &serde_json::Value| status["miners"][0]["condition"] == "mining";
    bed.wait_for(PATIENCE, |status| {
        mines(status) && status["miners"][0]["proofs"]["verified"].as_u64() >= Some(1)
    });
    heat(machine.path(), 85);
    let status = bed.wait_for(PATIENCE, |status| status["miners"][0]["condition"] == "too-hot");
    let miner = &status["miners"][0];
    let reason = miner["reason"].as_str().unwrap();
    assert!(reason.starts_with("its card 0000:03:00.0 is at 85 °C, and its limit is 80 °C"), "{reason}");
    assert!(miner["job"].is_null(), "it has nothing to work on: {miner:#}");
    assert_eq!(
        (&miner["restarts"], &status["miners"][1]["condition"]),
        (&0.into(), &"mining".into()),
        "{status:#}"
    );
    let pid = miner["provider_pid"].clone();

    heat(machine.path(), 77);
    let told = "[odd-miner] it rests: its card 0000:03:00.0 is at 85 °C";
    wait_until(PATIENCE, || bed.log().contains(told), || bed.log());
    heat(machine.path(), 70);
    let status = bed.wait_for(PATIENCE, |status| mines(status));
    assert_eq!(status["miners"][0]["provider_pid"], pid, "its process stayed: {status:#}");
    let log = bed.log();
    assert_eq!(log.matches("it rests: ").count(), 1, "{log}");
    assert!(log.contains("[odd-miner] it works again: its hottest card, 0000:03:00.0, is at 70 °C"), "{log}");
    let without = "[cool] no temperature of its cards can be read, so `temperature_limit` is without effect";
    assert_eq!(log.matches(without).count(), 1, "{log}");
    assert_eq!(bed.run(&["stop"]).code, 0, "{log}");
    assert!(ended(&mut session, PATIENCE).success());
}
