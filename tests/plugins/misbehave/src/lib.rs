//! A plugin that does one wrong thing, told to it by a text in its own file.
//!
//! The library is built once. A test copies it and writes over two placeholders in the copy: `ORDER`, which says when
//! (`ctor:`, in a constructor, or `detect:`) and what, and the id in the manifest. Without an order it is a healthy
//! plugin that supports every machine. The orders are the entries M1-M26 of `docs/faults.md`, and some of F20-F26.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing where it must not is one of the faults"
)]

#[cfg(target_os = "linux")]
mod attack;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod hijack;
#[cfg(target_os = "linux")]
mod hoard;
#[cfg(target_os = "linux")]
mod sly;

use std::cell::UnsafeCell;
use std::ffi::{CString, c_void};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::time::Duration;

use abi_stable::library::CheckTypeLayout;
use pearlbed_plugin_api::__private::{self, Entry, LibHeader, RootModuleResult, Spec, TableAnswer, v1};
use pearlbed_plugin_api::abi::{DOOR_MAGIC, Door, EntryRef};
use pearlbed_plugin_api::{
    HardwareInfo, Host, MiningCapabilities, MiningConfig, MiningProvider, MiningStats, ProviderError,
};

/// How many bytes of an order there may be.
const ORDER_BYTES: usize = 96;
const MARK: &[u8; 24] = b"PEARLBED-TESTS-ORDER-->>";

/// The order follows the mark and ends with a NUL; the test finds the mark in the file.
#[used]
static ORDER: [u8; MARK.len() + ORDER_BYTES] = {
    let mut order = [0; MARK.len() + ORDER_BYTES];
    let mut i = 0;
    while i < MARK.len() {
        order[i] = MARK[i];
        i += 1;
    }
    order
};

/// The id is overwritten in the copy as well: 40 bytes, padded with `x`.
const SPEC: Spec = Spec {
    id: "misbehave-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    version: env!("CARGO_PKG_VERSION"),
    vendor: "pearlbed tests",
    license: "MIT OR Apache-2.0",
    homepage: "",
    summary: "Does one wrong thing.",
    certificate_versions: &[1, 2, 3],
    engines: &[],
    permissions: &[],
    settings: &[],
};

#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__pearlbed"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".pearlbed.manifest"))]
static MANIFEST: [u8; SPEC.json_len()] = SPEC.json();

#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static CONSTRUCTOR: extern "C" fn() = constructor;

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: Changeable<LibHeader> = Changeable(UnsafeCell::new(__private::header(entry)));

/// What a constructor may still change.
#[repr(transparent)]
struct Changeable<T>(UnsafeCell<T>);

// SAFETY: the constructor changes it before anybody else can look.
unsafe impl<T: Sync> Sync for Changeable<T> {}

/// F34: the header of a library whose author switched the layout check off.
fn forget_layout() {
    // SAFETY: the constructor runs before anybody has the header, whose entry stays the same.
    unsafe {
        HEADER.0.get().write(LibHeader::from_constructor::<EntryRef>(entry, CheckTypeLayout::No));
    }
}

static TABLE: v1::ProviderTable = {
    let mut table = __private::table::<Healthy>(manifest);
    table.detect = detect;
    table
};

extern "C" fn entry() -> RootModuleResult {
    __private::entry(Entry { table })
}

extern "C" fn table(version: u32) -> TableAnswer {
    let answer = __private::answer(version, &TABLE);
    match order().as_str() {
        // F21: the plugin declines every version it is asked for.
        "entry:decline" => TableAnswer::NONE,
        // M17, in three depths.
        "entry:null-table" => TableAnswer { table: std::ptr::null(), ..answer },
        "entry:null-layout" => TableAnswer { layout: None, ..answer },
        "entry:null-functions" => {
            static ZEROS: [usize; 64] = [0; 64];
            TableAnswer { table: (&raw const ZEROS).cast(), ..answer }
        }
        _ => answer,
    }
}

/// The second way in, which declines unless it is told otherwise.
#[unsafe(no_mangle)]
extern "C" fn pearlbed_door_open(version: u32) -> *const Door {
    const fn door(table: &'static v1::ProviderTable) -> Shared<Door> {
        Shared(Door {
            magic: DOOR_MAGIC,
            size: size_of::<Door>() as u32,
            version: v1::VERSION,
            table_size: size_of::<v1::ProviderTable>() as u64,
            table: std::ptr::from_ref(table).cast(),
        })
    }
    static OTHER_TABLE: v1::ProviderTable = __private::table::<Healthy>(manifest);
    static SAME: Shared<Door> = door(&TABLE);
    static OTHER: Shared<Door> = door(&OTHER_TABLE);
    match order().as_str() {
        "door:same" if version == v1::VERSION => &raw const SAME.0,
        "door:other" if version == v1::VERSION => &raw const OTHER.0,
        _ => std::ptr::null(),
    }
}

/// Whose pointers lead to what is never changed.
#[repr(transparent)]
struct Shared<T>(T);

// SAFETY: a door is read only, and so is the table that it leads to.
unsafe impl Sync for Shared<Door> {}

/// The order in the file, read at run time: the compiler must not know it.
fn order() -> String {
    // SAFETY: `ORDER` is a static array; the read is volatile only so that it is not folded into a constant.
    let bytes = unsafe { std::ptr::read_volatile(&raw const ORDER) };
    let text = &bytes[MARK.len()..];
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end]).into_owned()
}

extern "C" fn constructor() {
    match order().as_str() {
        "entry:no-layout" => forget_layout(),
        order => order.strip_prefix("ctor:").map_or((), misbehave),
    }
}

unsafe extern "C" fn manifest(out: v1::Sink) {
    let text = String::from_utf8_lossy(&MANIFEST).into_owned();
    // F26: the code answers another id than the file shows.
    let text = match order().as_str() {
        "manifest:other-id" => text.replacen("\"id\":\"", "\"id\":\"z", 1),
        "manifest:other-version" => text.replacen("\"version\":\"", "\"version\":\"7.", 1),
        _ => text,
    };
    // SAFETY: the caller vouches for the sink.
    unsafe { out.put(text.as_bytes()) }
}

unsafe extern "C" fn detect(
    _instance: *mut c_void,
    hardware: v1::Bytes,
    _engine_id: v1::Bytes,
    _model: v1::Bytes,
    capabilities: *mut v1::Capabilities,
    reason: v1::Sink,
    error: v1::Sink,
) -> u32 {
    let mut answer = v1::Capabilities { supported: 1, has_estimated_hashrate: 1, estimated_hashrate: 1e9 };
    let mut text = b"healthy".to_vec();
    let mut status = v1::OK;
    let order = order();
    // With these it says no, so that nobody goes on to mine with it.
    if order.starts_with("no:") || order == "manifest:other-version" {
        answer.supported = 0;
        text = b"it was told to say no".to_vec();
    }
    if order == "no:fickle" {
        text = format!("this is process {}", std::process::id()).into_bytes();
    }
    match order.strip_prefix("detect:").or_else(|| order.strip_prefix("no:")) {
        Some("null-answer") => {
            // SAFETY: none. A null pointer with a length is the fault.
            unsafe { (reason.write)(reason.context, v1::Bytes { data: std::ptr::null(), len: 1 << 20 }) };
            return v1::OK;
        }
        Some("escapes") => text = b"\x1b[2J\x1b]0;owned\x07 all clear".to_vec(),
        Some("nul") => text = b"before\0after".to_vec(),
        Some("not-utf8") => text = b"\xff\xfe\xc0".to_vec(),
        Some("long") => text = vec![b'x'; 100 << 20],
        Some("nan") => answer.estimated_hashrate = f64::NAN,
        Some("infinity") => answer.estimated_hashrate = f64::INFINITY,
        Some("negative") => answer.estimated_hashrate = -1.0,
        // More than any machine does, and a number that is none below zero.
        Some("boundless") => answer.estimated_hashrate = 1e308,
        Some("whole-network") => answer.estimated_hashrate = 2e18,
        Some("below-nothing") => answer.estimated_hashrate = -f64::MIN_POSITIVE,
        Some("bad-status") => status = 77,
        Some("failed") => {
            text = b"no such luck".to_vec();
            status = v1::FAILED;
        }
        Some("panic") => {
            let panic = std::panic::catch_unwind(|| panic!("told to panic in detect"));
            text = b"told to panic in detect".to_vec();
            status = if panic.is_err() { v1::PANICKED } else { v1::OK };
        }
        Some("panic-through") => panic!("told to panic through the boundary"),
        Some("fickle") | None => {}
        Some(what) if what.starts_with("only=") => {
            // SAFETY: the host lends so many bytes for the time of the call.
            let machine = unsafe { std::slice::from_raw_parts(hardware.data, hardware.len) };
            let cards = cards(&String::from_utf8_lossy(machine));
            answer.supported =
                u32::from(cards.iter().any(|card| what.strip_prefix("only=") == Some(card.as_str())));
            text = format!("asked about [{}]", cards.join(", ")).into_bytes();
        }
        Some(what) => misbehave(what),
    }
    // SAFETY: the caller vouches for its arguments during the call.
    unsafe {
        capabilities.write(answer);
        if status == v1::OK { reason.put(&text) } else { error.put(&text) }
    }
    status
}

/// The addresses of the cards in what a host says of a machine.
fn cards(machine: &str) -> Vec<String> {
    let value = |rest: &str| rest.split('"').nth(1).map(str::to_owned);
    machine.split("\"pci_address\":").skip(1).filter_map(value).collect()
}

/// Does `what`, and returns if that is survivable.
fn misbehave(what: &str) {
    let (what, argument) = what.split_once('=').unwrap_or((what, ""));
    #[cfg(target_os = "linux")]
    if attack::attack(what, argument)
        || crowd::crowd(what, argument)
        || hoard::hoard(what, argument)
        || sly::sly(what, argument)
    {
        return;
    }
    let c_argument = CString::new(argument).unwrap_or_default();
    // SAFETY: none is promised: each call below is a fault on purpose, in a process that is made to survive it.
    unsafe {
        match what {
            "segv" => std::ptr::null_mut::<u8>().write_volatile(1),
            "abort" => libc::abort(),
            "stack-overflow" => _ = overflow(0),
            "fpe" => _ = libc::raise(libc::SIGFPE),
            "trap" => trap(),
            "kill" => _ = libc::kill(libc::getpid(), libc::SIGKILL),
            "panic" => panic!("told to panic"),
            "exit-0" => libc::exit(0),
            "_exit-0" => libc::_exit(0),
            "exit-3" => libc::exit(3),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "sleep" => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            "nap" => std::thread::sleep(Duration::from_millis(argument.parse().unwrap_or(0))),
            "loop-no-term" => {
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                loop {
                    std::hint::spin_loop();
                }
            }
            "close-all" => (0..1024).for_each(|fd| _ = libc::close(fd)),
            "rubbish" => {
                let rubbish = "\x1b[31mrubbish\x07 {\"supported\":true}\n".repeat(20_000);
                print!("{rubbish}");
                eprint!("{rubbish}");
                _ = std::io::stdout().flush();
            }
            "fork" => {
                if libc::fork() == 0 {
                    libc::sleep(600);
                    libc::_exit(0);
                }
            }
            "double-fork" => {
                if libc::fork() == 0 {
                    libc::setsid();
                    if libc::fork() == 0 {
                        libc::sleep(600);
                    }
                    libc::_exit(0);
                }
            }
            "alloc" => loop {
                let mut block = vec![0_u8; 64 << 20];
                block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
                std::mem::forget(block);
            },
            "stop" => _ = libc::raise(libc::SIGSTOP),
            "late-crash" => {
                std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_millis(20));
                    std::ptr::null_mut::<u8>().write_volatile(1);
                });
            }
            "exec" => {
                _ = std::process::Command::new("/bin/sh").arg("-c").arg("true").status();
            }
            "execve" => {
                let arguments = [c"/bin/sh".as_ptr(), std::ptr::null()];
                _ = libc::execve(arguments[0], arguments.as_ptr(), std::ptr::null());
            }
            "system" => _ = libc::system(c"true".as_ptr()),
            "connect" => {
                _ = std::net::TcpStream::connect("127.0.0.1:9");
            }
            "udp" => {
                _ = std::net::UdpSocket::bind("127.0.0.1:0");
            }
            "unix-socket" => {
                _ = std::os::unix::net::UnixStream::connect(argument);
            }
            "write-file" => _ = std::fs::write(argument, "written by a plugin"),
            "rename-file" => _ = std::fs::rename(argument, format!("{argument}.renamed")),
            "delete-file" => _ = std::fs::remove_file(argument),
            "chmod-file" => _ = libc::chmod(c_argument.as_ptr(), 0o777),
            "signal-parent" => _ = libc::kill(libc::getppid(), libc::SIGTERM),
            #[cfg(target_os = "linux")]
            "ptrace-parent" => _ = libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0),
            #[cfg(target_os = "linux")]
            "io-uring" => _ = libc::syscall(libc::SYS_io_uring_setup, 8, [0_u64; 32].as_mut_ptr()),
            "forge" => forge(),
            "signal-handlers" => {
                for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGPIPE, libc::SIGSEGV, libc::SIGALRM] {
                    libc::signal(signal, libc::SIG_IGN);
                }
            }
            "environment" => {
                libc::setenv(c"PEARLBED_LEAKED".as_ptr(), c"1".as_ptr(), 1);
                libc::setlocale(libc::LC_ALL, c"C".as_ptr());
                libc::chdir(c"/".as_ptr());
                libc::umask(0);
                libc::nice(5);
                let none = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none);
            }
            "secret" => {
                for (name, value) in std::env::vars() {
                    println!("{name}={value}");
                }
                if let Ok(text) = std::fs::read("/proc/self/environ") {
                    println!("{}", String::from_utf8_lossy(&text));
                }
            }
            "alarm" => _ = libc::alarm(100),
            "self-mem" => {
                _ = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem");
            }
            "detach" => _ = libc::setsid(),
            "descriptors" => while libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) >= 0 {},
            "deadlock" => {
                // A thread that waits for the loader's lock, which the thread that waits for it holds.
                let other =
                    std::thread::spawn(|| libc::dlopen(c"libm.so.6".as_ptr(), libc::RTLD_NOW) as usize);
                _ = other.join();
                loop {
                    libc::pause();
                }
            }
            other => eprintln!("unknown order {other:?}"),
        }
    }
}

/// Uses the stack up. The depth is returned so that the recursion is not made a loop.
fn overflow(depth: u64) -> u64 {
    if depth == u64::MAX {
        return 0;
    }
    let block = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + block[(depth % 512) as usize]
}

fn trap() {
    // SAFETY: an undefined instruction ends the process, which is the fault.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2");
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0");
    }
}

/// Writes what looks like an answer to every descriptor there is.
fn forge() {
    for fd in 0..1024 {
        // SAFETY: a descriptor that is not open makes the write fail; none is closed, the file is forgotten.
        let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
        _ = file.write_all(b"{\"supported\":true,\"reason\":\"forged\",\"estimated_hashrate\":1e15}\n");
        std::mem::forget(file);
    }
}

/// What the table does where no order says otherwise.
#[derive(Default)]
struct Healthy;

impl MiningProvider for Healthy {
    fn detect(&self, _: &HardwareInfo, _: &str, _: &str) -> MiningCapabilities {
        MiningCapabilities::supported()
    }
    fn start(&self, _: &MiningConfig, _: Host) -> Result<(), ProviderError> {
        Err(ProviderError::new("this plugin never mines"))
    }
    fn stop(&self) -> Result<(), ProviderError> {
        Ok(())
    }
    fn is_running(&self) -> bool {
        false
    }
    fn stats(&self) -> MiningStats {
        MiningStats::default()
    }
}
