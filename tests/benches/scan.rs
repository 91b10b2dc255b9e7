//! How long it takes to find, read and probe plugins, beside a bare `dlopen` loop over the same files in the same run.
//!
//! `cargo xtask bench scan` runs it, in release. Numbers are medians of whole processes, start and end included, so they
//! are what a person waits for. A shared machine makes all of them longer together: the ratios say more.

#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::misbehave::put;
use pearlbed_tests::pearlbed::Playground;

const PLUGINS: usize = 100;
const HANGING: usize = 5;
const RUNS: usize = 15;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "--dlopen") {
        return dlopen_all(Path::new(&arguments.next().expect("the folder follows")));
    }
    println!("what                                                 median     worst    bound");
    let ground = Playground::new();
    for number in 0..PLUGINS {
        put(&ground.plugins(), &format!("h{number:03}"), "");
    }
    let folder = ground.plugins();
    let folder = folder.to_str().expect("temporary folders are UTF-8");

    let mut bare = Command::new(std::env::current_exe().expect("a benchmark knows where it lies"));
    bare.arg("--dlopen").arg(folder);
    let bare = measure("a bare dlopen loop over the same 100", None, || bare.stdout(Stdio::null()).status());

    let run = |arguments: &[&str]| {
        let mut command = ground.command(arguments);
        move || command.stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let list = ["plugins", "list", "--plugin-dir", folder];
    let list = measure("plugins list, 100 healthy", Some(30), run(&list));

    let empty = Playground::new();
    let nothing = empty.plugins();
    let nothing = nothing.to_str().expect("temporary folders are UTF-8");
    let without = measure("doctor, no plugin", None, run(&["doctor", "--plugin-dir", nothing]));
    let with = measure("doctor, 100 healthy", None, run(&["doctor", "--plugin-dir", folder]));
    let beyond = with.saturating_sub(without);
    println!("{:<50} {:>7.1} ms            150 ms", "  of which for the plugins", milliseconds(beyond));

    let bundled = Playground::new();
    let library = build::plugin("cpu-pearl");
    let name = library.file_name().expect("a library has a name");
    std::fs::copy(&library, bundled.plugins().join(name)).expect("the plugin was just built");
    let bundled = bundled.plugins();
    let bundled = bundled.to_str().expect("temporary folders are UTF-8");
    measure("doctor, the bundled plugin", Some(50), run(&["doctor", "--plugin-dir", bundled]));

    for number in 0..HANGING {
        put(&ground.plugins(), &format!("g{number}"), "detect:sleep");
    }
    let hanging = ["doctor", "--probe-timeout", "1s", "--plugin-dir", folder];
    let hang = measure("doctor, 5 of 105 hang for their 1 s", None, run(&hanging));
    println!(
        "{:<50} {:>7.1} ms",
        "  beyond that second",
        milliseconds(hang.saturating_sub(Duration::from_secs(1)))
    );

    let ratio = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
    println!(
        "\nof the bare loop: list {:.2}, probing in confined processes {:.2}",
        ratio(list),
        ratio(beyond)
    );
}

/// The median of some runs, printed.
fn measure<T: std::fmt::Debug>(
    what: &str,
    bound: Option<u64>,
    mut run: impl FnMut() -> std::io::Result<T>,
) -> Duration {
    // The first run finds nothing in the cache of files.
    let _ = run().expect("it was just built");
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            run().expect("it ran before");
            started.elapsed()
        })
        .collect();
    times.sort();
    let (median, worst) = (times[RUNS / 2], times[RUNS - 1]);
    let bound = bound.map(|bound| format!("{bound:>7} ms")).unwrap_or_default();
    println!("{what:<50} {:>7.1} ms {:>7.1} {bound}", milliseconds(median), milliseconds(worst));
    median
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What a host without any care does.
fn dlopen_all(folder: &Path) {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let path = CString::new(file.as_os_str().as_bytes()).expect("a path holds no NUL");
        // SAFETY: the plugins are healthy ones of our own; this process does nothing else.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null(), "{} does not load", file.display());
    }
}
