//! The hardware inventory against drivers that are not there: a stand-in for NVIDIA's library, and folders that stand
//! for machines. The child that asks the drivers is the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pearlbed::hardware::{Drivers, Inventory, Options, Root, Sensors, inspect, sensors};
use pearlbed_tests::{build, misbehave};
use tempfile::TempDir;

/// A machine with NVIDIA's kernel module and two cards on the bus, and a library compiled with `flags`.
struct Machine {
    folder: TempDir,
    library: PathBuf,
}

impl Machine {
    fn new(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        let source = build::workspace().join("tests/fixtures/nvml/nvml.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(&library)
            .args(flags)
            .arg(source)
            .status();
        assert!(status.expect("a C compiler is installed").success());
        for address in ["0000:41:00.0", "0000:c1:00.0"] {
            let device = folder.path().join("sys/bus/pci/devices").join(address);
            std::fs::create_dir_all(&device).unwrap();
            for (name, value) in [("class", "0x030200"), ("vendor", "0x10de"), ("device", "0x2335")] {
                std::fs::write(device.join(name), value).unwrap();
            }
            std::os::unix::fs::symlink("../../drivers/nvidia", device.join("driver")).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("proc/driver/nvidia/gpus")).unwrap();
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n";
        std::fs::write(folder.path().join("proc/driver/nvidia/version"), version).unwrap();
        Self { folder, library }
    }

    fn options(&self, limit: Duration) -> Options {
        Options {
            root: Root::new(self.folder.path()),
            drivers: Drivers::Child(build::pearlbed()),
            limit,
            nvml: self.library.clone(),
        }
    }

    fn inspect(&self, limit: Duration) -> Inventory {
        inspect(&self.options(limit))
    }
}

/// Long enough for a child on a busy machine.
const AMPLE: Duration = Duration::from_secs(60);

#[test]
fn every_card_is_listed_with_what_the_library_knows() {
    let inventory = Machine::new(&[]).inspect(AMPLE);
    assert_eq!(inventory.troubles, []);
    let [first, second] = &inventory.info.gpus[..] else { panic!("{:?}", inventory.info.gpus) };
    // The library counts the other way round than the bus.
    assert_eq!((first.pci_address.as_deref(), first.name.as_str()), (Some("0000:41:00.0"), "NVIDIA Test 1"));
    assert_eq!(
        (second.pci_address.as_deref(), second.name.as_str()),
        (Some("0000:c1:00.0"), "NVIDIA Test 0")
    );
    assert_eq!(first.vendor, "nvidia");
    assert_eq!(first.uuid.as_deref(), Some("GPU-0000-1"));
    assert_eq!(first.vram_bytes, Some(32 << 30));
    assert_eq!(first.driver.as_deref(), Some("nvidia 550.54.15"));
    assert_eq!(first.compute_capability.as_deref(), Some("9.1"));
    assert_eq!(inventory.info.details["cuda_version"], "12.4");
    assert_eq!(inventory.info.details["gpus"][0]["nvml_index"], 1);
}

#[test]
fn the_librarys_sensors_are_told_as_far_as_a_card_has_them() {
    let machine = Machine::new(&[]);
    let told = sensors(&machine.options(AMPLE));
    let of = |degrees, watts| Sensors {
        temperature_celsius: Some(degrees),
        power_watts: watts,
        ..Sensors::default()
    };
    let expected = [("0000:c1:00.0", of(60.0, Some(312.5))), ("0000:41:00.0", of(61.0, None))];
    assert_eq!(told, expected.map(|(address, sensors)| (address.to_owned(), sensors)));
    assert_eq!(sensors(&Machine::new(&["-DINIT_HANGS"]).options(Duration::from_millis(700))), []);
}

#[test]
fn a_provider_is_asked_about_each_card_alone_and_mines_on_the_one_that_it_supports() {
    use pearlbed::config::Device;
    use pearlbed::plugins::matrix::matrix;
    use pearlbed::plugins::{Options, ProbeOptions, SearchPath, survey};

    let info = Machine::new(&[]).inspect(AMPLE).info;
    let folder = tempfile::tempdir().unwrap();
    for (id, card) in [("first", "0000:41:00.0"), ("second", "0000:c1:00.0")] {
        let library = misbehave::library(id, &format!("detect:only={card}"));
        let library = misbehave::asking_for(library, &["device:/dev/nvidia*"]);
        misbehave::put_library(folder.path(), id, &library);
    }
    let mut probe = ProbeOptions::new(info.clone());
    probe.program = Some(build::pearlbed());
    probe.timeout = AMPLE;
    let path = SearchPath::new(&[folder.path().to_owned()], &Default::default(), None);
    let survey = survey(&path, &Options { relaxed: false, probe: Some(probe), trust: Default::default() });
    let rows = matrix(&info, &survey);
    assert_eq!(rows.len(), 3, "{rows:?}");
    let cards = [None, Some(("first", "0000:41:00.0")), Some(("second", "0000:c1:00.0"))];
    for (row, wanted) in rows.iter().zip(cards) {
        let id = wanted.map(|(id, _)| misbehave::padded_id(id));
        assert_eq!(row.best().map(|best| best.provider.clone()), id, "{row:?}");
        let asked = format!("asked about [{}]", wanted.map_or("", |(_, address)| address));
        assert_eq!(row.opinions.len(), 2);
        assert!(row.opinions.iter().all(|one| one.reason.as_deref() == Some(asked.as_str())), "{row:?}");
        let device = wanted.map_or(Device::Processor, |(_, address)| Device::Pci(address.into()));
        assert_eq!(row.device, device);
    }
}

#[test]
fn a_driver_that_hangs_costs_its_deadline_and_keeps_what_the_bus_knows() {
    let begin = Instant::now();
    let inventory = Machine::new(&["-DINIT_HANGS"]).inspect(Duration::from_millis(700));
    assert!(begin.elapsed() < AMPLE);
    assert_eq!(inventory.info.gpus.len(), 2);
    let [trouble] = &inventory.troubles[..] else { panic!("{:?}", inventory.troubles) };
    assert_eq!(trouble.finding, "the NVIDIA driver did not answer within 700 ms");
}

#[test]
fn a_library_that_does_not_fit_its_driver_is_named_with_what_to_do() {
    let inventory = Machine::new(&["-DINIT_STATUS=18"]).inspect(AMPLE);
    let [trouble] = &inventory.troubles[..] else { panic!("{:?}", inventory.troubles) };
    assert_eq!(trouble.finding, "the NVIDIA driver does not work: Driver/library version mismatch");
    assert!(trouble.fix.starts_with("reboot"), "{}", trouble.fix);
    let inventory = Machine::new(&["-DINIT_STATUS=77"]).inspect(AMPLE);
    assert_eq!(inventory.troubles[0].finding, "the NVIDIA driver does not work: error 77");
}

#[test]
fn a_library_that_crashes_takes_only_the_child_with_it() {
    let inventory = Machine::new(&["-DCRASHES"]).inspect(AMPLE);
    assert_eq!(inventory.info.gpus.len(), 2);
    assert_eq!(inventory.troubles[0].finding, "the NVIDIA driver crashed when it was asked about its cards");
}

#[test]
fn garbage_from_a_library_is_bounded_and_cleaned() {
    let inventory = Machine::new(&["-DGARBAGE"]).inspect(AMPLE);
    assert_eq!(inventory.info.gpus.len(), 2);
    assert!(inventory.info.gpus.iter().all(|gpu| !gpu.name.chars().any(char::is_control)));
}

#[test]
fn a_missing_library_is_told_where_the_module_is_loaded() {
    let machine = Machine::new(&[]);
    std::fs::remove_file(&machine.library).unwrap();
    let inventory = machine.inspect(AMPLE);
    assert!(
        inventory.troubles[0].finding.contains("its library cannot be opened"),
        "{:?}",
        inventory.troubles
    );
    assert_eq!(inventory.info.gpus[0].driver.as_deref(), Some("nvidia"));
}

#[test]
fn the_child_has_nothing_to_say_where_there_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(build::pearlbed())
        .args(["__drivers", "--nvml", "none", "--root"])
        .arg(folder.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(output.stdout.ends_with(b"\"done\"\n"));
    assert!(!Path::new(folder.path()).join("proc").exists());
}
