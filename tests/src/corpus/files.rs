//! What can lie in a plugin folder: F1 to F34 of `docs/faults.md`, made of a healthy plugin, and how each is named.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Fault, skipped};
use crate::misbehave::{self, put, put_bytes, put_library};

/// What random code may do.
pub const SCRAMBLED: &str = "crashed|killed|exited|timed-out|panicked|bad-answer|broken-table|other-layout|out-of-memory|detect-failed";

const ENTRY: &str = pearlbed_plugin_api::abi::ENTRY_SYMBOL;
const DOOR: &str = pearlbed_plugin_api::abi::DOOR_SYMBOL;

/// Puts all of them into `folder`.
pub fn put_files(folder: &Path) -> Vec<Fault> {
    let good = |id: &str| misbehave::library(id, "");
    let len = good("x").bytes.len();

    put_bytes(folder, "f01.so", b"");
    put_bytes(folder, "f02.so", b"this is not a library\n");
    put_library(folder, "f03", &good("f03").cut(64));
    put_library(folder, "f04", &good("f04").cut(len / 2));
    put_library(folder, "f05", &good("f05").cut(4096));
    put_library(folder, "f06", &good("f06").dynamic_zeroed());
    put_library(folder, "f07", &good("f07").dynamic_astray());
    put_library(folder, "f08", &good("f08").code_scrambled());
    put_library(folder, "f09", &good("f09").for_aarch64());
    put_library(folder, "f10", &good("f10").class_32());
    put_library(folder, "f11", &good("f11").executable());
    std::fs::copy("/bin/sh", folder.join("f11-pie.so")).unwrap();
    std::fs::create_dir(folder.join("f12.so")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", folder.join("f13.so")).unwrap();
    std::os::unix::fs::symlink("f14-b.so", folder.join("f14-a.so")).unwrap();
    std::os::unix::fs::symlink("f14-a.so", folder.join("f14-b.so")).unwrap();
    make_node(&folder.join("f15.so"), libc::S_IFIFO, 0);
    put_library(folder, "f17", &good("f17").replaced(b"libgcc_s.so.1\0", b"libnone_.so.1\0"));
    // Neither of the two ways in has the name that it should have.
    let [root_module, door] = [ENTRY, DOOR].map(|name| (name.as_bytes(), vec![b'x'; name.len()]));
    let other_api = good("f19").replaced(root_module.0, &root_module.1).replaced(door.0, &door.1);
    put_library(folder, "f19-other-api", &other_api);
    let api = br#"{"id":"f20","version":"9.0.0","plugin_api":[7,8],"certificate_versions":[9]}"#;
    put_library(folder, "f20", &good("f20").with_manifest(api));
    put(folder, "f21", "entry:decline");
    drop(std::os::unix::net::UnixListener::bind(folder.join("f22-socket.so")).unwrap());
    put_library(folder, "f23-a", &good("f23"));
    std::fs::hard_link(folder.join("f23-a.so"), folder.join("f23-b-hard.so")).unwrap();
    std::os::unix::fs::symlink("f23-a.so", folder.join("f23-c-link.so")).unwrap();
    std::fs::copy(folder.join("f23-a.so"), folder.join("f23-d-copy.so")).unwrap();
    put_library(folder, "f24-a", &good("f24"));
    put_library(folder, "f24-b", &misbehave::library("f24", "detect:nothing-known"));
    put_library(folder, "f25-cut", &good("f25").with_manifest(br#"{"id":"f25","version":"#));
    put_library(folder, "f25-empty", &good("f25").with_manifest(b""));
    put_library(folder, "f25-gigabyte", &good("f25").with_manifest_size(1 << 30));
    put_library(folder, "f25-none", &good("f25").replaced(b".pearlbed.manifest\0", b".pearlbed.manifesto"));
    put_library(folder, "f25-not-json", &good("f25").with_manifest(b"id = 'f25'"));
    put_library(folder, "f25-not-utf8", &good("f25").with_manifest(b"{\"id\":\"\xff\xfe\"}"));
    put(folder, "f26", "manifest:other-id");
    put_library(folder, "f28-group", &good("f28"));
    std::fs::set_permissions(folder.join("f28-group.so"), PermissionsExt::from_mode(0o664)).unwrap();
    put_library(folder, "f28-world", &good("f28"));
    std::fs::set_permissions(folder.join("f28-world.so"), PermissionsExt::from_mode(0o646)).unwrap();
    put_library(folder, "f43'; touch x; '", &good("f43"));
    std::fs::set_permissions(folder.join("f43'; touch x; '.so"), PermissionsExt::from_mode(0o646)).unwrap();
    put(folder, "f34", "entry:no-layout");
    put_library(folder, "f31-big-endian", &good("f31").big_endian());
    put_library(folder, "f31-headers-outside", &good("f31").headers_outside());
    put_library(folder, "f31-segment-too-long", &good("f31").segment_too_long());
    let has_device = make_node(&folder.join("f22-device.so"), libc::S_IFCHR, libc::makedev(1, 5));
    let undefined = c_plugin(
        "f18",
        &format!("extern int nobody_defines_me(void); int {ENTRY}(void) {{ return nobody_defines_me(); }}"),
    );
    let has_compiler = put_c(folder, "f18", &undefined).is_some();
    if has_compiler {
        // F19 in earnest, F32: the right symbol, and something else behind it, F33: a resolver that crashes before any
        // constructor runs.
        put_c(folder, "f19", "int answer(void) { return 42; }");
        let nested = format!("{{\\\"x\\\":{}", "[".repeat(10_000));
        let section = "__attribute__((section(\".pearlbed.manifest\"), used))";
        put_c(
            folder,
            "f25-nested",
            &format!(
                "{section} static const char manifest[] = \"{nested}\"; int {ENTRY}(void) {{ return 42; }}"
            ),
        );
        put_c(folder, "f32", &c_plugin("f32", &format!("int {ENTRY}(void) {{ return 42; }}")));
        let resolver = "static void *resolve(void) { return *(void **)0; } void f(void) __attribute__((ifunc(\"resolve\")));";
        put_c(
            folder,
            "f33",
            &c_plugin("f33", &format!("{resolver} int {ENTRY}(void) {{ f(); return 42; }}")),
        );
        put_brought(folder);
    } else {
        skipped("F18, F19, F25 (nested), F32, F33, F41, F42", "no C compiler");
    }

    let expected = [
        ("f01.so", "empty", "the file is empty"),
        ("f02.so", "not-a-library", "a text file"),
        ("f03.so", "truncated", "cut off"),
        ("f04.so", "truncated", "cut off"),
        ("f05.so", "truncated", "cut off"),
        ("f06.so", "broken", "damaged"),
        ("f07.so", "broken", "damaged"),
        ("f08.so", SCRAMBLED, ""),
        ("f09.so", "wrong-machine", "built for"),
        ("f10.so", "wrong-machine", "built for"),
        ("f11.so", "a-program", "a program"),
        ("f11-pie.so", "a-program", "a program"),
        ("f12.so", "not-a-file", "a folder"),
        ("f13.so", "dangling-link", "/nowhere/at/all"),
        ("f14-a.so", "link-loop", "leads back to itself"),
        ("f14-b.so", "link-loop", "leads back to itself"),
        ("f15.so", "not-a-file", "a named pipe"),
        ("f17.so", "missing-library", "libnone_.so.1"),
        ("f19-other-api.so", "not-a-plugin", "exports no provider"),
        ("f20.so", "other-api", "plugin API 7, 8, this host speaks 1"),
        ("f21.so", "declined", "declines plugin API 1"),
        ("f22-socket.so", "not-a-file", "a socket"),
        ("f23-a.so", "usable", ""),
        ("f23-b-hard.so", "same-file", "f23-a.so"),
        ("f23-c-link.so", "same-file", "f23-a.so"),
        ("f23-d-copy.so", "same-contents", "is a copy of"),
        ("f24-a.so", "usable", ""),
        ("f24-b.so", "same-id", "f24-a.so"),
        ("f25-cut.so", "manifest-not-json", "EOF"),
        ("f25-empty.so", "manifest-empty", "empty"),
        ("f25-gigabyte.so", "manifest-too-long", "1073741824"),
        ("f25-none.so", "no-manifest", "no manifest"),
        ("f25-not-json.so", "manifest-not-json", "JSON"),
        ("f25-not-utf8.so", "manifest-not-utf8", "not UTF-8"),
        ("f26.so", "other-id", "calls itself `zf26"),
        ("f28-group.so", "writable-by-others", "its group may write"),
        ("f28-world.so", "writable-by-others", "everybody may write"),
        ("f43'; touch x; '.so", "writable-by-others", "everybody may write"),
        ("f31-big-endian.so", "wrong-machine", "big-endian"),
        ("f31-headers-outside.so", "truncated", "cut off"),
        ("f31-segment-too-long.so", "truncated|broken", "the file is"),
        ("f34.so", "other-layout", "its header says nothing of how its entry is laid out"),
    ];
    let mut faults: Vec<Fault> =
        expected.iter().map(|&(file, code, words)| Fault::new(file, "", code, words)).collect();
    if has_compiler {
        faults.extend([
            Fault::new("f18.so", "", "undefined-symbol", "nobody_defines_me"),
            Fault::new("f19.so", "", "not-a-plugin", "exports no provider"),
            Fault::new("f25-nested.so", "", "manifest-not-json", ""),
            Fault::new("f32.so", "", "other-layout|crashed", ""),
            Fault::new("f33.so", "", "crashed", "while it was loaded"),
            Fault::new(
                "f41.so",
                "",
                "writable-by-others",
                "everybody may write to the library libf41.so that it brings along (mode 0666)",
            ),
            Fault::new("f42.so", "", "folder-writable-by-others", "everybody may put a library into "),
        ]);
    }
    if has_device {
        faults.push(Fault::new("f22-device.so", "", "not-a-file", "a device"));
    } else {
        skipped("F22 (device)", "only root may make a device node");
    }
    faults
}

/// F41: a plugin whose own library everybody may write to. F42: one whose libraries are looked for where everybody may put one.
fn put_brought(folder: &Path) {
    let [libraries, open] = ["f41-libraries", "f42-open"].map(|name| folder.join(name));
    for made in [&libraries, &open] {
        std::fs::create_dir(made).unwrap();
    }
    let source = "int beside(void) { return 42; }";
    let library = put_c_with(&libraries, "libf41", source, &["-Wl,-soname,libf41.so"]).unwrap();
    let library = library.to_str().unwrap();
    let entry = format!("extern int beside(void); int {ENTRY}(void) {{ return beside(); }}");
    let open_path = format!("-Wl,-rpath,{}:$ORIGIN/f41-libraries", open.display());
    let f41 = ["-Wl,-rpath,$ORIGIN/f41-libraries", library];
    put_c_with(folder, "f41", &c_plugin("f41", &entry), &f41).unwrap();
    put_c_with(folder, "f42", &c_plugin("f42", &entry), &[&open_path, library]).unwrap();
    std::fs::set_permissions(library, PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::set_permissions(open, PermissionsExt::from_mode(0o1777)).unwrap();
}

/// Makes a FIFO or a device node; says whether it could.
fn make_node(path: &Path, kind: libc::mode_t, device: libc::dev_t) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a string that lives.
    unsafe { libc::mknod(path.as_ptr(), kind | 0o644, device) == 0 }
}

/// Compiles `source` as a C library to `<folder>/<name>.so`, if there is a compiler.
fn put_c(folder: &Path, name: &str, source: &str) -> Option<PathBuf> {
    put_c_with(folder, name, source, &[])
}

/// The same, linked with `more`.
fn put_c_with(folder: &Path, name: &str, source: &str, more: &[&str]) -> Option<PathBuf> {
    let path = folder.join(format!("{name}.so"));
    let text = folder.join(format!("{name}.c"));
    std::fs::write(&text, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(&text).args(more).output();
    std::fs::remove_file(&text).unwrap();
    match built {
        Ok(output) if output.status.success() => {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            Some(path)
        }
        _ => None,
    }
}

/// The beginning of a C library that passes the look: our entry symbol, and a manifest.
fn c_plugin(id: &str, entry: &str) -> String {
    format!(
        r#"
        __attribute__((section(".pearlbed.manifest"), used)) static const char manifest[] =
            "{{\"id\":\"{id}\",\"version\":\"1.0.0\",\"plugin_api\":[1],\"certificate_versions\":[1]}}";
        {entry}
        "#
    )
}
