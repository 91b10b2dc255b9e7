//! The temperature of NVIDIA's cards: their driver fills none of the kernel's sensors and tells it through its own library,
//! `libnvidia-ml.so.1`.
//!
//! It is opened when a card of NVIDIA's that has a limit is first looked at, and never otherwise. Nothing is set through it.
//! No card has answered here yet: the tests have a library of their own, which answers as the documented one.

use std::ffi::{CString, OsStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use libloading::Library;

/// The name by which the loader finds the library.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// The sensor of the chip, the only one that there is a name for.
const CHIP: c_int = 0;
/// What is no temperature of a card that answers, in degrees.
const DEGREES_MAX: c_uint = 200;

type Handle = *mut c_void;
type Status = c_int;

/// The library, open and begun. It is never closed: threads of its own may run.
struct Nvml {
    handle: unsafe extern "C" fn(*const c_char, *mut Handle) -> Status,
    temperature: unsafe extern "C" fn(Handle, c_int, *mut c_uint) -> Status,
}

/// The temperature of the card at `pci` in degrees Celsius; none where there is no such library or it does not say.
///
/// The first call takes as long as the driver takes to begin, usually some milliseconds.
pub(crate) fn degrees(pci: &str) -> Option<f64> {
    static ONE: OnceLock<Option<Nvml>> = OnceLock::new();
    ONE.get_or_init(|| Nvml::open(OsStr::new(LIBRARY))).as_ref()?.degrees(pci)
}

impl Nvml {
    fn open(library: &OsStr) -> Option<Self> {
        // SAFETY: runs the initialisers of the driver's library; a process that was given a card of NVIDIA's is to run
        // them, as it does those of its Vulkan.
        let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(library) }.ok()?));
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the type is the one that NVIDIA documents for this name; a name with a version keeps its type.
                let function = unsafe { library.get($name) };
                *function.ok()?
            }};
        }
        let init: unsafe extern "C" fn() -> Status = function!(b"nvmlInit_v2\0");
        let its = Self {
            handle: function!(b"nvmlDeviceGetHandleByPciBusId_v2\0"),
            temperature: function!(b"nvmlDeviceGetTemperature\0"),
        };
        // SAFETY: takes nothing, and comes before every other function.
        (unsafe { init() } == 0).then_some(its)
    }

    fn degrees(&self, pci: &str) -> Option<f64> {
        let pci = CString::new(pci).ok()?;
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the library was begun; the text ends with a zero, and the handle lives until the call returns.
        if unsafe { (self.handle)(pci.as_ptr(), &mut handle) } != 0 || handle.is_null() {
            return None;
        }
        let mut degrees = 0;
        // SAFETY: the handle is one that the library gave out, which keeps it; the number lives until the call returns.
        let status = unsafe { (self.temperature)(handle, CHIP, &mut degrees) };
        (status == 0 && degrees <= DEGREES_MAX).then_some(f64::from(degrees))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A library that knows one card; `flags` change what it does.
    fn library(folder: &std::path::Path, flags: &[&str]) -> std::path::PathBuf {
        let (source, made) = (folder.join("nvml.c"), folder.join(format!("nvml{}.so", flags.join(""))));
        let text = r#"
            #include <string.h>
            static int begun, card;
            int nvmlInit_v2(void) { begun = 1; return INIT; }
            int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **handle) {
                if (!begun || strcmp(bus, "0000:01:00.0")) return 6;
                *handle = &card;
                return 0;
            }
            #ifndef OLD
            int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees) {
                if (handle != &card || sensor != 0) return 2;
                *degrees = DEGREES;
                return STATUS;
            }
            #endif
        "#;
        std::fs::write(&source, text).unwrap();
        let defaults = ["INIT=0", "DEGREES=71", "STATUS=0"];
        let of = |name: &&&str| !flags.iter().any(|flag| flag.split('=').next() == name.split('=').next());
        let defined = defaults.iter().filter(of).chain(flags).map(|define| format!("-D{define}"));
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-o"]).arg(&made).args(defined).arg(&source);
        assert!(compile.status().expect("a C compiler links every test").success());
        made
    }

    #[test]
    fn a_card_s_temperature_is_the_library_s_and_nothing_else_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let asked = |flags: &[&str], pci: &str| {
            Nvml::open(library(folder.path(), flags).as_os_str()).and_then(|nvml| nvml.degrees(pci))
        };
        assert_eq!(asked(&[], "0000:01:00.0"), Some(71.0));
        assert_eq!(asked(&[], "0000:02:00.0"), None, "another card");
        assert_eq!(asked(&[], "0000:01:00.0\0"), None, "no text of C's");
        assert_eq!(asked(&["INIT=9"], "0000:01:00.0"), None, "the driver is not loaded");
        assert_eq!(asked(&["STATUS=3"], "0000:01:00.0"), None, "no sensor");
        assert_eq!(asked(&["DEGREES=4000000000u"], "0000:01:00.0"), None, "nonsense");
        assert_eq!(asked(&["OLD"], "0000:01:00.0"), None, "a library without the function");
        assert!(Nvml::open(folder.path().join("none.so").as_os_str()).is_none());
    }
}
