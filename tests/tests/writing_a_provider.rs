//! `docs/writing-a-provider.md`, followed line by line outside of the workspace, from `cargo new` to the doctor.

use std::path::Path;
use std::process::Command;

use pearlbed_tests::build;

/// The text between the first fence of `kind` after `heading` and its end.
fn block<'a>(document: &'a str, heading: &str, kind: &str) -> &'a str {
    let (_, section) = document.split_once(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let (_, text) = section.split_once(&format!("```{kind}\n")).expect("the section has such a block");
    text.split_once("```").expect("the block ends").0
}

#[test]
fn the_page_leads_from_cargo_new_to_a_green_doctor() {
    let workspace = build::workspace();
    let page = std::fs::read_to_string(workspace.join("docs/writing-a-provider.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("my-provider");

    let first = block(&page, "## 1. A library", "sh");
    assert_eq!(first, "cargo new --lib my-provider\ncd my-provider\n");
    build::run(
        Command::new("cargo")
            .args(["new", "--quiet", "--lib", "--vcs", "none", "my-provider"])
            .current_dir(&folder),
    );

    // The page takes the crates from the repository, the test from the working tree.
    let mut manifest = block(&page, "## 1. A library", "toml").to_owned();
    for (package, place) in [("pearl-pow", "pow"), ("pearlbed-plugin-api", "plugin-api")] {
        let git = format!("{package} = {{ git = \"https://github.com/pearlbed/pearlbed\" }}");
        let path = format!("{package} = {{ path = {:?} }}", workspace.join(place));
        assert!(manifest.contains(&git), "{manifest}");
        manifest = manifest.replace(&git, &path);
    }
    std::fs::write(project.join("Cargo.toml"), manifest).unwrap();
    // The versions that the workspace was tested with; a newcomer gets the newest.
    std::fs::copy(workspace.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();

    let example = workspace.join("examples/minimal-provider/src/lib.rs");
    let example = std::fs::read_to_string(example).unwrap();
    let (code, _) = example.split_once("export_provider! {").expect("the example ends with the macro");
    let mut text = format!("{code}{}", block(&page, "## 2. The provider", "rust"));
    let last: Vec<_> = example.lines().rev().take(4).collect();
    assert!(last[3].starts_with("export_provider!"), "the page speaks of the last four lines");
    text.push('\n');
    std::fs::write(project.join("src/lib.rs"), text).unwrap();

    let steps = block(&page, "## 3. Build it", "sh");
    assert!(steps.starts_with("cargo build --release\n"), "{steps}");
    // Cargo tells the tests about their own package; a newcomer's shell does not.
    let target = folder.path().join("target");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--release", "--offline", "--target-dir"])
        .arg(&target)
        // What is built is only looked at: it need not be fast.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .current_dir(&project);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_")
            || name.to_string_lossy().starts_with("CARGO_MANIFEST_")
        {
            cargo.env_remove(name);
        }
    }
    build::run(&mut cargo);

    let home = folder.path().join("home");
    std::fs::create_dir_all(home.join("plugins")).unwrap();
    let library = target.join("release/libmy_provider.so");
    std::fs::copy(&library, home.join("plugins/libmy_provider.so")).unwrap();
    let pearlbed = |args: &[&str]| {
        let mut command = Command::new(build::pearlbed());
        // Only the home's plugins: the workspace has others beside the binary.
        command.env("PEARLBED_HOME", &home).args(args).arg("--plugin-dir").arg(home.join("plugins"));
        build::run(&mut command)
    };
    let said = pearlbed(&["plugins", "inspect", "my-provider"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("my-provider"));
    let said = pearlbed(&["doctor", "--only", "plugins,providers", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    let ours = report["plugins"].as_array().unwrap().iter().find(|plugin| plugin["id"] == "my-provider");
    assert_eq!(ours.expect("it is listed")["state"], "usable", "{report:#}");
}

#[test]
fn the_steps_of_the_page_are_the_ones_that_the_test_takes() {
    let page = std::fs::read_to_string(build::workspace().join("docs/writing-a-provider.md")).unwrap();
    let steps: Vec<_> = block(&page, "## 3. Build it", "sh").lines().collect();
    assert_eq!(
        steps,
        [
            "cargo build --release",
            "mkdir -p ~/.openjarvis/plugins",
            "cp target/release/libmy_provider.so ~/.openjarvis/plugins/",
            "pearlbed plugins inspect my-provider",
            "pearlbed doctor --only plugins,providers",
        ]
    );
    assert!(Path::new(&build::workspace().join("examples/minimal-provider/src/lib.rs")).exists());
}

/// The packages that cargo finds in a clone of this repository: it looks into every folder but hidden ones and `target`.
fn packages(folder: &Path, found: &mut Vec<String>) {
    if let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) {
        let (_, package) = manifest.split_once("[package]").unwrap_or_default();
        let name = package.lines().find_map(|line| line.strip_prefix("name = "));
        found.extend(name.map(|name| name.trim_matches('"').to_owned()));
    }
    for entry in std::fs::read_dir(folder).expect("the folder is the repository's own").flatten() {
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".") || name == "target";
        if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            packages(&entry.path(), found);
        }
    }
}

#[test]
fn a_vendor_who_depends_on_the_repository_is_warned_of_no_package_that_is_there_twice() {
    let mut names = vec![];
    packages(build::workspace(), &mut names);
    names.sort();
    assert!(names.iter().any(|name| name == "pearlbed-plugin-api"), "{names:?}");
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
