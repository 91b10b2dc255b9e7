//! NVIDIA's management library, opened at run time: the functions that an inventory needs, and what its
//! sensors say.
//!
//! All `unsafe` of [`crate::hardware`] is in this file. It runs in the child of [`super::child`] only, since
//! `nvmlInit` waits for the driver for as long as the driver likes.
//!
//! # Limitations
//!
//! The slices of a card that is divided (MIG) are not listed, only the card.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;

use libloading::Library;

use super::answer::{Answer, Seen, Sensors, Trouble, pci_address};
use super::read::clean;

/// The name by which the loader finds the library.
pub const LIBRARY: &str = "libnvidia-ml.so.1";
/// Where Windows puts it in its Linux guests, in no folder that the loader knows.
const LIBRARY_IN_WSL: &str = "/usr/lib/wsl/lib/libnvidia-ml.so.1";

type Handle = *mut c_void;
type Status = c_int;

const SUCCESS: Status = 0;
/// More cards than any machine has; a count above it is not believed.
const CARDS_MAX: c_uint = 256;

/// `nvmlPciInfo_t` of `nvmlDeviceGetPciInfo_v3`.
#[repr(C)]
struct PciInfo {
    bus_id_legacy: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    pci_device_id: c_uint,
    pci_subsystem_id: c_uint,
    bus_id: [c_char; 32],
}

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// The functions, as long as the library is open. It is never closed: the process ends soon.
struct Nvml {
    init: unsafe extern "C" fn() -> Status,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    driver_version: unsafe extern "C" fn(*mut c_char, c_uint) -> Status,
    cuda_version: unsafe extern "C" fn(*mut c_int) -> Status,
    count: unsafe extern "C" fn(*mut c_uint) -> Status,
    handle: unsafe extern "C" fn(c_uint, *mut Handle) -> Status,
    name: unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> Status,
    uuid: unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> Status,
    pci: unsafe extern "C" fn(Handle, *mut PciInfo) -> Status,
    memory: unsafe extern "C" fn(Handle, *mut Memory) -> Status,
    capability: unsafe extern "C" fn(Handle, *mut c_int, *mut c_int) -> Status,
    /// Missing in drivers from before 2020.
    mig_mode: Option<unsafe extern "C" fn(Handle, *mut c_uint, *mut c_uint) -> Status>,
    /// In degrees Celsius; the second argument is the sensor. A library without them has no sensors.
    temperature: Option<unsafe extern "C" fn(Handle, c_int, *mut c_uint) -> Status>,
    /// In thousandths of a watt.
    power: Option<unsafe extern "C" fn(Handle, *mut c_uint) -> Status>,
}

/// Opens `library`, asks it for every card, and closes nothing.
pub fn ask(library: &Path) -> Answer {
    match Nvml::open(library) {
        Ok(nvml) => nvml.inventory().unwrap_or_else(|status| nvml.trouble(status)),
        Err(err) => missing(&err.to_string()),
    }
}

fn missing(err: &str) -> Answer {
    let finding = format!("the NVIDIA driver is loaded, but its library cannot be opened: {}", clean(err));
    let fix = "install the driver's library (package libnvidia-compute or nvidia-utils); in a container, start it \
               with the NVIDIA runtime (`--gpus all`)";
    Answer { trouble: Some(Trouble { finding, fix: fix.into() }), ..Answer::default() }
}

impl Nvml {
    fn open(library: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: the initialisers are those of the machine's graphics driver, which already runs in the kernel; this
        // process exists to run them, holds no secrets, and is killed when they hang.
        let opened = unsafe { Library::new(library) };
        let opened = match opened {
            // SAFETY: as above.
            Err(_) if library == Path::new(LIBRARY) => unsafe { Library::new(LIBRARY_IN_WSL) },
            opened => opened,
        };
        let library: &'static Library = Box::leak(Box::new(opened?));
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the type is the one that NVIDIA documents for this name; a versioned name never changes its
                // type.
                let function = unsafe { library.get($name) };
                *function?
            }};
        }
        Ok(Self {
            init: function!(b"nvmlInit_v2\0"),
            error_string: function!(b"nvmlErrorString\0"),
            driver_version: function!(b"nvmlSystemGetDriverVersion\0"),
            cuda_version: function!(b"nvmlSystemGetCudaDriverVersion_v2\0"),
            count: function!(b"nvmlDeviceGetCount_v2\0"),
            handle: function!(b"nvmlDeviceGetHandleByIndex_v2\0"),
            name: function!(b"nvmlDeviceGetName\0"),
            uuid: function!(b"nvmlDeviceGetUUID\0"),
            pci: function!(b"nvmlDeviceGetPciInfo_v3\0"),
            memory: function!(b"nvmlDeviceGetMemoryInfo\0"),
            capability: function!(b"nvmlDeviceGetCudaComputeCapability\0"),
            // SAFETY: as above.
            mig_mode: unsafe { library.get(b"nvmlDeviceGetMigMode\0") }.ok().map(|function| *function),
            // SAFETY: as above.
            temperature: unsafe { library.get(b"nvmlDeviceGetTemperature\0") }.ok().map(|function| *function),
            // SAFETY: as above.
            power: unsafe { library.get(b"nvmlDeviceGetPowerUsage\0") }.ok().map(|function| *function),
        })
    }

    /// Every card that this process may use. A card that answers nothing is left to the other sources.
    fn inventory(&self) -> Result<Answer, Status> {
        // SAFETY: takes nothing; every other function is called after it has succeeded.
        check(unsafe { (self.init)() })?;
        let mut answer = Answer::default();
        // SAFETY: the buffer is as long as is said.
        let driver = text(|buffer, length| unsafe { (self.driver_version)(buffer, length) });
        let mut version = 0;
        // SAFETY: writes one integer, which lives until it returns.
        if unsafe { (self.cuda_version)(&mut version) } == SUCCESS && version > 0 {
            answer
                .details
                .insert("cuda_version".into(), format!("{}.{}", version / 1000, version % 1000 / 10).into());
        }
        let mut count = 0;
        // SAFETY: writes one integer.
        check(unsafe { (self.count)(&mut count) })?;
        for index in 0..count.min(CARDS_MAX) {
            let mut handle = std::ptr::null_mut();
            // SAFETY: writes one handle.
            if unsafe { (self.handle)(index, &mut handle) } != SUCCESS {
                continue;
            }
            let mut seen = self.card(handle);
            seen.gpu.driver = driver.as_ref().map(|driver| format!("nvidia {driver}"));
            seen.details.insert("nvml_index".into(), index.into());
            answer.gpus.push(seen);
        }
        answer.details.insert("nvml_cards".into(), count.into());
        Ok(answer)
    }

    /// What the library knows of one card. `handle` came from the library.
    fn card(&self, handle: Handle) -> Seen {
        let mut seen = Seen::default();
        seen.gpu.vendor = "nvidia".into();
        // SAFETY: the handle came from the library and the buffer is as long as is said.
        seen.gpu.name =
            text(|buffer, length| unsafe { (self.name)(handle, buffer, length) }).unwrap_or_default();
        // SAFETY: as above.
        seen.gpu.uuid = text(|buffer, length| unsafe { (self.uuid)(handle, buffer, length) });
        let mut pci = PciInfo {
            bus_id_legacy: [0; 16],
            domain: 0,
            bus: 0,
            device: 0,
            pci_device_id: 0,
            pci_subsystem_id: 0,
            bus_id: [0; 32],
        };
        // SAFETY: the handle came from the library, and the structure has version 3's layout.
        if unsafe { (self.pci)(handle, &mut pci) } == SUCCESS {
            seen.gpu.pci_address = chars(&pci.bus_id).as_deref().and_then(pci_address);
        }
        let mut memory = Memory::default();
        // SAFETY: the handle came from the library, and the structure has version 1's layout.
        if unsafe { (self.memory)(handle, &mut memory) } == SUCCESS && memory.total > 0 {
            seen.gpu.vram_bytes = Some(memory.total);
            seen.details.insert("vram_free_bytes".into(), memory.free.into());
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the handle came from the library; writes two integers.
        if unsafe { (self.capability)(handle, &mut major, &mut minor) } == SUCCESS {
            seen.gpu.compute_capability = Some(format!("{major}.{minor}"));
        }
        let (mut current, mut pending) = (0, 0);
        if let Some(mig_mode) = self.mig_mode
            // SAFETY: the handle came from the library; writes two integers.
            && unsafe { mig_mode(handle, &mut current, &mut pending) } == SUCCESS
        {
            seen.details.insert("mig".into(), (current != 0).into());
        }
        seen.sensors = self.sensors(handle);
        seen
    }

    /// What the card's sensors say. `handle` came from the library.
    fn sensors(&self, handle: Handle) -> Sensors {
        /// The sensor on the chip, the only one there is.
        const CHIP: c_int = 0;
        let mut sensors = Sensors::default();
        let (mut degrees, mut milliwatts) = (0, 0);
        if let Some(temperature) = self.temperature
            // SAFETY: the handle came from the library; writes one integer.
            && unsafe { temperature(handle, CHIP, &mut degrees) } == SUCCESS
        {
            sensors.temperature_celsius = Some(f64::from(degrees));
        }
        if let Some(power) = self.power
            // SAFETY: as above.
            && unsafe { power(handle, &mut milliwatts) } == SUCCESS
        {
            sensors.power_watts = Some(f64::from(milliwatts) / 1000.0);
        }
        sensors
    }

    /// Why there is no inventory.
    fn trouble(&self, status: Status) -> Answer {
        // SAFETY: takes any number and returns static text, or null.
        let words = unsafe { (self.error_string)(status) };
        let words = if words.is_null() {
            format!("error {status}")
        } else {
            // SAFETY: it is not null, and text that NVIDIA's library returns from here ends with a zero.
            clean(&unsafe { CStr::from_ptr(words) }.to_string_lossy())
        };
        let fix = match status {
            // Version mismatch.
            18 => "reboot: the driver was updated, and its old half is still loaded",
            // No permission.
            4 => "give this user access to /dev/nvidia*",
            // Driver not loaded.
            9 => "load the driver (`modprobe nvidia`), or reboot",
            // GPU is lost, reset required.
            15 | 16 => "power the machine off and on: a card has stopped answering",
            _ => "see what `dmesg` says about NVRM, and install the driver again if nothing else helps",
        };
        let finding = format!("the NVIDIA driver does not work: {words}");
        Answer { trouble: Some(Trouble { finding, fix: fix.into() }), ..Answer::default() }
    }
}

fn check(status: Status) -> Result<(), Status> {
    if status == SUCCESS { Ok(()) } else { Err(status) }
}

/// The text that `call` writes into the buffer that it is given.
fn text(call: impl FnOnce(*mut c_char, c_uint) -> Status) -> Option<String> {
    let mut buffer: [c_char; 128] = [0; 128];
    if call(buffer.as_mut_ptr(), buffer.len() as c_uint) != SUCCESS {
        return None;
    }
    chars(&buffer)
}

/// The text before the first zero, cleaned; nothing if it is empty.
fn chars(buffer: &[c_char]) -> Option<String> {
    let bytes: Vec<u8> = buffer.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
    Some(clean(&String::from_utf8_lossy(&bytes))).filter(|text| !text.is_empty())
}
