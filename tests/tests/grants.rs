//! Every kind of permission in a confined provider of the real binary: what is wanted and granted works, what is only
//! wanted or only granted does not, and the reason names what was tried.
//!
//! Devices are those that every machine has (`/dev/full`, pseudo-terminals); no GPU is needed, and none is tested. On Linux
//! only: elsewhere nothing is refused.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use pearlbed_tests::session::Bed;
use pearlbed_tests::surgery::Library;
use serde_json::{Value, json};

/// Long enough for the slowest machine; nothing waits for its end unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a session did with a provider that wanted `wanted`, was granted `granted` and tried `tries`.
struct Outcome {
    log: String,
    status: Value,
}

/// Runs the session until everything was tried, `denials` are known and a proof was found after it; nothing where the
/// kernel cannot confine.
fn session(wanted: &[String], granted: &[String], tries: &[String], denials: usize) -> Option<Outcome> {
    let support = pearlbed::sandbox::support();
    if !support.seccomp_notify || support.landlock_abi.is_none() {
        #[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
        {
            println!("skipped: this kernel lacks {:?}", support.missing());
        }
        return None;
    }
    let list = |texts: &[String]| serde_json::to_string(texts).unwrap();
    let extra = format!("odd = \"try\"\ntries = {}", list(tries));
    let bed = Bed::with(&extra, &format!("[mining.grants]\nodd-miner = {}", list(granted)));
    let plugin = Path::new(bed.plugins()).join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
    let manifest = format!(
        r#"{{"id":"odd-miner","version":"1.0.0","plugin_api":[1],"certificate_versions":[1,2,3],"permissions":{}}}"#,
        list(wanted)
    );
    let library = Library::new(std::fs::read(&plugin).unwrap()).with_manifest(manifest.as_bytes());
    std::fs::write(&plugin, library.bytes).unwrap();
    let answer = bed.start();
    assert_eq!(answer.code, 0, "{answer:?}");
    let status = bed.wait_for(PATIENCE, |status| {
        let all_tried = bed.log().matches("tried ").count() >= tries.len();
        // They are looked at now and then.
        let known = status["confinement"]["denied"].as_object().is_some_and(|denied| denied.len() >= denials);
        all_tried && known && status["proofs"]["verified"].as_u64() >= Some(1)
    });
    assert_eq!(status["restarts"], 0, "{status:#}\n{}", bed.log());
    Some(Outcome { log: bed.log(), status })
}

impl Outcome {
    fn assert_done(&self, tries: &[String]) {
        for attempt in tries {
            assert!(self.log.contains(&format!("tried {attempt}: done")), "{attempt}\n{}", self.log);
        }
    }

    /// It failed, and what the confinement says of it has these words.
    fn assert_denied(&self, attempt: &str, words: &str) {
        assert!(self.log.contains(&format!("tried {attempt}: ")), "{attempt}\n{}", self.log);
        assert!(!self.log.contains(&format!("tried {attempt}: done")), "{attempt}\n{}", self.log);
        assert!(self.denied().iter().any(|denial| denial == words), "`{words}`: {:?}", self.denied());
    }

    fn denied(&self) -> Vec<String> {
        self.status["confinement"]["denied"].as_object().unwrap().keys().cloned().collect()
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A pseudo-terminal and the path of its other side.
fn terminal() -> Option<(OwnedFd, String)> {
    let (mut master, mut slave) = (0, 0);
    let mut name = [0_u8; 128];
    let none = std::ptr::null_mut();
    // SAFETY: the first call writes two descriptors, and the second a name with its end that is no longer than said.
    let made = unsafe {
        libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) == 0
            && libc::ptsname_r(master, name.as_mut_ptr().cast(), name.len()) == 0
    };
    if !made {
        return None;
    }
    // SAFETY: both were just made, and nothing else owns them; the other side is opened again by its name.
    let (master, _slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let name = name.split(|&byte| byte == 0).next()?;
    Some((master, String::from_utf8(name.to_vec()).ok()?))
}

#[test]
fn a_device_is_opened_and_controlled_where_it_is_granted() {
    let (Some((_one, granted)), Some((_two, wanted))) = (terminal(), terminal()) else {
        panic!("this system gives no pseudo-terminals");
    };
    let device = |path: &str| format!("device:{path}");
    let open = |path: &str| format!("open:{path}");
    let control = |path: &str| format!("control:{path}");
    // The pattern in the manifest is granted word for word.
    let both = [device(&granted), device("/dev/ful*")];
    let done = [open("/dev/full"), control(&granted), open("/dev/null"), "read:/dev/zero".into()];
    let denied = [control(&wanted), open("/dev/zero"), open("/dev/ptmx"), "read:/dev/tty".into()];
    let outcome = session(
        &[&both[..], &[device(&wanted)]].concat(),
        &[&both[..], &[device("/dev/ptmx")]].concat(),
        &[&done[..], &denied].concat(),
        denied.len(),
    );
    let Some(outcome) = outcome else { return };
    outcome.assert_done(&done);
    outcome.assert_denied(&control(&wanted), &format!("tried to write a file: {wanted}"));
    outcome.assert_denied(&open("/dev/zero"), "tried to write a file: /dev/zero");
    // Granted, but it never asked for that.
    outcome.assert_denied(&open("/dev/ptmx"), "tried to write a file: /dev/ptmx");
    outcome.assert_denied("read:/dev/tty", "tried to read a file: /dev/tty");
    assert_eq!(outcome.denied().len(), denied.len(), "{:?}", outcome.denied());
    assert_eq!(outcome.status["confinement"]["withheld"], json!([device(&wanted)]));
    assert_eq!(outcome.status["confinement"]["granted"], json!(both));
}

#[test]
fn a_folder_of_devices_is_granted_with_what_is_in_it() {
    let Some((_master, terminal)) = terminal() else {
        panic!("this system gives no pseudo-terminals");
    };
    let grants = texts(&["device:/dev/pts"]);
    let done = [format!("control:{terminal}"), "list:/dev/pts".into()];
    let Some(outcome) = session(&grants, &grants, &[&done[..], &texts(&["open:/dev/full"])].concat(), 1)
    else {
        return;
    };
    outcome.assert_done(&done);
    outcome.assert_denied("open:/dev/full", "tried to write a file: /dev/full");
}

#[test]
fn folders_are_read_and_written_where_they_are_granted() {
    let ground = tempfile::tempdir().unwrap();
    let at = |name: &str| ground.path().join(name).to_str().unwrap().to_owned();
    for folder in ["r", "w", "x"] {
        std::fs::create_dir(at(folder)).unwrap();
        std::fs::write(at(folder) + "/file", "text").unwrap();
    }
    let grants = [format!("read:{}", at("r")), format!("write:{}", at("w"))];
    let done = [
        format!("read:{}/file", at("r")),
        format!("list:{}", at("r")),
        format!("write:{}/new", at("w")),
        format!("read:{}/file", at("w")),
    ];
    let denied = [
        format!("write:{}/file", at("r")),
        format!("read:{}/file", at("x")),
        format!("write:{}/new", at("x")),
    ];
    let Some(outcome) = session(&grants, &grants, &[&done[..], &denied].concat(), denied.len()) else {
        return;
    };
    outcome.assert_done(&done);
    outcome.assert_denied(&denied[0], &format!("tried to write a file: {}/file", at("r")));
    outcome.assert_denied(&denied[1], &format!("tried to read a file: {}/file", at("x")));
    outcome.assert_denied(&denied[2], &format!("tried to write a file: {}/new", at("x")));
    assert_eq!(std::fs::read_to_string(at("r") + "/file").unwrap(), "text");
    assert_eq!(std::fs::read_to_string(at("w") + "/new").unwrap(), "written");
    assert!(!Path::new(&(at("x") + "/new")).exists());
}

#[test]
fn in_a_session_of_root_what_only_root_may_read_is_not_read_in_the_systems_folders_either() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a session of root takes root");
        return;
    }
    // A program's own folder, as they lie there, and two ways in which its secrets are kept.
    let program = tempfile::Builder::new().prefix("pearlbed-tests-").tempdir_in("/opt").unwrap();
    let at = |name: &str| program.path().join(name);
    let mode =
        |name: &str, mode| std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::set_permissions(program.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(at("closed")).unwrap();
    for name in ["open", "secret", "closed/file"] {
        std::fs::write(at(name), "text").unwrap();
    }
    mode("open", 0o644);
    mode("secret", 0o600);
    mode("closed/file", 0o644);
    mode("closed", 0o700);
    let read = |name: &str| format!("read:{}", at(name).display());
    let done = [read("open"), "read:/proc/self/environ".into()];
    let denied = [read("secret"), read("closed/file")];
    let Some(outcome) = session(&[], &[], &[&done[..], &denied].concat(), denied.len()) else {
        return;
    };
    outcome.assert_done(&done);
    for (attempt, name) in denied.iter().zip(["secret", "closed/file"]) {
        outcome.assert_denied(attempt, &format!("tried to read a file: {}", at(name).display()));
    }
}

/// Who is connected to whom, and which programs run with which arguments, is nobody's business: a gateway's command line names
/// a wallet, and a connection a pool.
#[test]
fn a_provider_sees_of_proc_what_is_its_own_and_the_machines() {
    let other = std::process::id();
    let done = texts(&[
        "read:/proc/self/status",
        "read:/proc/thread-self/stat",
        "read:/proc/cpuinfo",
        "read:/proc/mounts",
        "read:/etc/mtab",
        "list:/proc",
    ]);
    let denied = [
        "read:/proc/net/tcp".to_owned(),
        "read:/proc/self/net/unix".into(),
        format!("read:/proc/{other}/cmdline"),
        format!("read:/proc/{other}/environ"),
        format!("read:/proc/self/root/proc/{other}/stat"),
    ];
    let done: Vec<String> = done
        .into_iter()
        .filter(|attempt| !attempt.contains("mtab") || Path::new("/etc/mtab").exists())
        .collect();
    let Some(outcome) = session(&[], &[], &[&done[..], &denied].concat(), denied.len()) else { return };
    outcome.assert_done(&done);
    outcome.assert_denied(&denied[0], "tried to read a file: /proc/net/tcp");
    for attempt in &denied[2..4] {
        let path = attempt.split_once(':').unwrap().1;
        outcome.assert_denied(attempt, &format!("tried to read a file: {path}"));
    }
    for attempt in &denied {
        assert!(!outcome.log.contains(&format!("tried {attempt}: done")), "{attempt}\n{}", outcome.log);
    }
}

#[test]
fn hosts_and_sockets_are_called_where_they_are_granted() {
    let ground = tempfile::tempdir().unwrap();
    let [granted, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, elsewhere] = [&granted, &other].map(|listener| listener.local_addr().unwrap().to_string());
    let [socket, hidden] = ["s", "h"].map(|name| ground.path().join(name).to_str().unwrap().to_owned());
    let _listeners = [UnixListener::bind(&socket).unwrap(), UnixListener::bind(&hidden).unwrap()];
    let grants = [format!("network:{address}"), format!("unix-socket:{socket}")];
    let done = [format!("connect:{address}"), format!("connect-unix:{socket}")];
    let denied = [format!("connect:{elsewhere}"), format!("connect-unix:{hidden}")];
    let Some(outcome) = session(&grants, &grants, &[&done[..], &denied].concat(), denied.len()) else {
        return;
    };
    outcome.assert_done(&done);
    outcome.assert_denied(&denied[0], &format!("tried to open a network connection: {elsewhere}"));
    outcome.assert_denied(&denied[1], &format!("tried to connect to a Unix socket: {hidden}"));
    let mut heard = String::new();
    granted.accept().unwrap().0.take(5).read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
}

/// By path or name, by `posix_spawn` (which is a `vfork`), by `fork` and `execvp`, and in its own place.
#[test]
fn programs_are_run_where_they_are_granted_however_they_are_called() {
    let ground = tempfile::tempdir().unwrap();
    let script = ground.path().join("s").to_str().unwrap().to_owned();
    std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    // Whatever folder the system keeps it in.
    let program = std::fs::canonicalize("/bin/true").unwrap().to_str().unwrap().to_owned();
    let grants = [format!("program:{program}"), format!("program:{script}")];
    let done =
        [format!("spawn:{program}"), format!("fork:{program}"), "spawn:true".into(), "fork:true".into()];
    let denied = [
        "spawn:/bin/ls".into(),
        "fork:ls".into(),
        "exec:ls".into(),
        "spawn:no-such-program-anywhere".into(),
        format!("spawn:{script}"),
    ];
    let Some(outcome) = session(&grants, &grants, &[&done[..], &denied].concat(), 2) else { return };
    outcome.assert_done(&done);
    outcome.assert_denied("spawn:/bin/ls", "tried to run a program: /bin/ls");
    // By its name it is tried in each folder; which of them is the first is the C library's choice.
    outcome.assert_denied("fork:ls", "tried to run a program: /bin/ls");
    outcome.assert_denied("exec:ls", "tried to run a program: /bin/ls");
    // A script is no more than what runs it.
    outcome.assert_denied(
        &format!("spawn:{script}"),
        &format!("tried to run a program: /bin/sh, which runs {script}"),
    );
    let missing = "tried spawn:no-such-program-anywhere: No such file";
    assert!(outcome.log.contains(missing), "{}", outcome.log);
    assert!(!outcome.denied().iter().any(|denial| denial.contains("no-such")), "{:?}", outcome.denied());
}

/// Without any program granted there is no process to run one in: the call that makes it is refused, and it says no name.
#[test]
fn without_a_granted_program_no_process_is_made() {
    let tries = texts(&["spawn:/bin/true", "spawn:true", "fork:/bin/true", "exec:/bin/true"]);
    let Some(outcome) = session(&[], &[], &tries, 3) else { return };
    outcome.assert_denied("spawn:/bin/true", "tried to run a program");
    outcome.assert_denied("spawn:true", "tried to run a program");
    outcome.assert_denied("fork:/bin/true", "tried to start a process");
    // In its own place the name is known.
    outcome.assert_denied("exec:/bin/true", "tried to run a program: /bin/true");
}

#[test]
fn hints_ask_for_nothing_and_are_not_withheld() {
    let hints = texts(&["threads-hint:2", "memory-hint:1048576"]);
    let Some(outcome) = session(&hints, &[], &texts(&["read:/etc/hostname"]), 0) else { return };
    assert_eq!(outcome.status["confinement"]["withheld"], json!([]));
    assert_eq!(outcome.status["confinement"]["granted"], json!([]));
    assert!(File::open("/etc/hostname").is_err() || outcome.log.contains("tried read:/etc/hostname: done"));
}
