//! The `.tar.gz` and the `.deb`, and the test that installs both into a scratch root.
//!
//! The `.deb` is made by `dpkg-deb`, which every Debian has, from a tree that we lay out anyway: `cargo-deb` would
//! have to be compiled first, for minutes, and would build the workspace a second time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::sh::Profile;
use crate::{sh, units};

/// What was made.
pub struct Packages {
    /// The archive, with one folder in it.
    pub tar: PathBuf,
    /// The Debian package, where `dpkg-deb` exists.
    pub deb: Option<PathBuf>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where Debian looks for the terms of a package.
const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pearlbed
Source: https://github.com/pearlbed/pearlbed

Files: *
Copyright: The pearlbed developers
License: MIT or Apache-2.0
 The texts of both licences are in /usr/share/doc/pearlbed, LICENSE-MIT and
 LICENSE-APACHE; those of the crates that are linked in are in THIRD-PARTY.txt.
";

/// Packs the installation `dist` into `folder`; what is not shipped is hardly compressed, to save the time.
pub fn make(dist: &Path, folder: &Path, profile: Profile) -> Result<Packages> {
    sh::fresh(folder)?;
    let (level, of_deb) = match profile {
        Profile::Release => (9, ["-Zxz", "-z9"]),
        Profile::Dev => (1, ["-Zgzip", "-z1"]),
    };
    let tar = tar(dist, folder, level)?;
    let deb = if sh::has("dpkg-deb") { Some(deb(dist, folder, of_deb)?) } else { None };
    Ok(Packages { tar, deb })
}

fn tar(dist: &Path, folder: &Path, level: u32) -> Result<PathBuf> {
    let name = format!("pearlbed-{VERSION}-{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let file = folder.join(format!("{name}.tar.gz"));
    let mut command = Command::new("tar");
    command.arg("-C").arg(dist).arg(format!("--use-compress-program=gzip -{level}")).arg("-cf").arg(&file);
    // The names in the archive get the folder in front; the owner of the build is nobody's business.
    command.args(["--owner=0", "--group=0", "--sort=name"]).arg(format!("--transform=s,^\\.,{name},"));
    sh::run(command.arg("."))?;
    Ok(file)
}

fn deb(dist: &Path, folder: &Path, compression: [&str; 2]) -> Result<PathBuf> {
    let architecture = String::from_utf8(sh::output(Command::new("dpkg").arg("--print-architecture"))?)?;
    let architecture = architecture.trim();
    let tree = folder.join("deb");
    sh::fresh(&tree)?;
    sh::run(Command::new("cp").arg("-a").arg(dist).arg(tree.join("usr")))?;
    std::fs::remove_dir_all(tree.join("usr/share/systemd"))?;
    units::lay_out(&tree.join("usr"), units::Prefix::Usr)?;
    // Where the guide has secrets put; empty, so that nobody's are overwritten.
    std::fs::create_dir_all(tree.join("etc/pearlbed"))?;
    for script in ["postinst", "prerm", "postrm"] {
        let source = sh::root().join("packaging/deb").join(script);
        sh::copy(&source, &tree.join("DEBIAN").join(script), 0o755)?;
    }
    sh::write(&tree.join("usr/share/doc/pearlbed/copyright"), COPYRIGHT)?;
    sh::readable_by_all(&tree)?;
    let bytes = String::from_utf8(sh::output(Command::new("du").args(["-sk", "usr"]).current_dir(&tree))?)?;
    let kib = bytes.split_whitespace().next().context("du prints a number")?;
    sh::write(
        &tree.join("DEBIAN/control"),
        format!(
            "Package: pearlbed\n\
             Version: {VERSION}\n\
             Architecture: {architecture}\n\
             Maintainer: The pearlbed developers <maintainers@pearlbed.invalid>\n\
             Section: net\n\
             Priority: optional\n\
             Installed-Size: {kib}\n\
             Depends: {}, passwd | systemd-sysusers\n\
             Recommends: ca-certificates, libvulkan1, mesa-vulkan-drivers | nvidia-vulkan-icd\n\
             Suggests: podman | docker.io\n\
             Homepage: https://github.com/pearlbed/pearlbed\n\
             Description: host for Pearl (PRL) mining providers\n \
              Mines Pearl with providers that come as shared libraries. The host owns the\n \
              network, the wallet address, the work and the verification; a provider runs\n \
              in a confined process that can do nothing else.\n",
            depends(&tree)?
        ),
    )?;
    let file = folder.join(format!("pearlbed_{VERSION}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.arg("--root-owner-group").args(compression).arg("--build");
    // What it says is no more than what is said below, in the middle of a line of progress.
    sh::output(build.arg(&tree).arg(&file))?;
    std::fs::remove_dir_all(tree)?;
    Ok(file)
}

/// What the programs and libraries below `tree` need of the system, as packages: each library that they name, and of the C
/// library the newest version of a symbol that they use, whatever this machine has.
fn depends(tree: &Path) -> Result<String> {
    let mut libc = (0, 0);
    let mut libgcc = false;
    for file in linked(tree)? {
        let headers = String::from_utf8(sh::output(Command::new("objdump").arg("-p").arg(&file))?)?;
        for line in headers.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["NEEDED", "libgcc_s.so.1"] => libgcc = true,
                ["NEEDED", name] => ensure!(
                    ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"].contains(&name)
                        || name.starts_with("ld-linux"),
                    "{} needs {name}: say here in which package that is",
                    file.display()
                ),
                [.., version] => libc = libc.max(glibc_version(version).unwrap_or_default()),
                [] => {}
            }
        }
    }
    ensure!(libc > (2, 0), "the programs use no version of glibc: a .deb is made on a glibc system");
    Ok(format!("libc6 (>= {}.{}){}", libc.0, libc.1, if libgcc { ", libgcc-s1" } else { "" }))
}

/// `GLIBC_2.34` as numbers.
fn glibc_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("GLIBC_")?.split_once('.')?;
    Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
}

/// The program, the library and the plugins below `tree`.
fn linked(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![tree.join("usr/bin/pearlbed"), tree.join("usr/lib/libpearl_pow.so.0")];
    for entry in std::fs::read_dir(tree.join("usr/lib/pearlbed/plugins"))? {
        let path = entry?.path();
        // A container's data file is linked to nothing.
        if path.extension().is_none_or(|extension| extension != "toml") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Installs each package into a scratch root and runs what was installed. Says what it did.
pub fn check(made: &Packages) -> Result<String> {
    let scratch = sh::target().join("xtask/installed");
    sh::fresh(&scratch)?;
    let unpacked = scratch.join("tar");
    std::fs::create_dir_all(&unpacked)?;
    sh::run(Command::new("tar").arg("-C").arg(&unpacked).arg("-xzf").arg(&made.tar))?;
    let name = made.tar.file_name().and_then(|name| name.to_str()).context("the archive has a name")?;
    let prefix = unpacked.join(name.trim_end_matches(".tar.gz"));
    check_tree(&prefix, &scratch.join("tar-home"))?;
    let unit = std::fs::metadata(prefix.join("share/systemd/user/pearlbed.service"));
    ensure!(unit.is_ok(), "the archive's user unit does not lie where systemd looks below a prefix");
    let mut said = "tar.gz installed and run".to_owned();

    match &made.deb {
        None => println!("skipped: no dpkg-deb on this machine, so the .deb is not checked"),
        Some(deb) => {
            let root = scratch.join("deb");
            said += match install_deb(deb, &root)? {
                true => ", .deb installed by dpkg and run",
                false => ", .deb unpacked by dpkg-deb and run",
            };
            check_tree(&root.join("usr"), &scratch.join("deb-home"))?;
            for kind in ["system", "user"] {
                let unit = root.join("usr/lib/systemd").join(kind).join("pearlbed.service");
                let unit = std::fs::read_to_string(unit)?;
                ensure!(
                    unit.contains("ExecStart=/usr/bin/pearlbed "),
                    "the {kind} unit starts another binary"
                );
            }
        }
    }
    std::fs::remove_dir_all(scratch)?;
    Ok(said)
}

/// Installs `deb` under `root`: with `dpkg` where it may, else by unpacking. Says which.
fn install_deb(deb: &Path, root: &Path) -> Result<bool> {
    let database = root.join("var/lib/dpkg");
    std::fs::create_dir_all(database.join("info"))?;
    std::fs::create_dir_all(database.join("updates"))?;
    sh::write(&database.join("status"), "")?;
    // The scratch root has no libc6 of its own: what is asked here is whether the package installs.
    let dpkg = Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .args([
            "--force-depends",
            "--force-not-root",
            "--force-script-chrootless",
            "--log=/dev/null",
            "--install",
        ])
        .arg(deb)
        .output()
        .context("cannot run dpkg")?;
    if dpkg.status.success() {
        return Ok(true);
    }
    sh::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root))?;
    Ok(false)
}

/// Runs the `pearlbed` of an installation under `prefix`, which must find its plugins by itself.
fn check_tree(prefix: &Path, home: &Path) -> Result<()> {
    let pearlbed = prefix.join("bin/pearlbed");
    let run = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(&pearlbed);
        command.env_clear().env("PEARLBED_HOME", home).env("PATH", "/usr/bin:/bin").args(args);
        Ok(String::from_utf8(sh::output(&mut command)?)?)
    };
    let version = run(&["--version"])?;
    ensure!(version.trim() == format!("pearlbed {VERSION}"), "`pearlbed --version` prints {version}");
    let plugins: serde_json::Value = serde_json::from_str(&run(&["plugins", "list", "--json"])?)?;
    for name in sh::bundled_plugins()? {
        let found = plugins["plugins"].as_array().is_some_and(|plugins| {
            plugins.iter().any(|plugin| plugin["id"] == name.as_str() && plugin["state"] == "usable")
        });
        ensure!(found, "the installed pearlbed does not find its plugin {name}:\n{plugins:#}");
    }
    for file in [
        "lib/systemd/system/pearlbed.service",
        "lib/sysusers.d/pearlbed.conf",
        "lib/tmpfiles.d/pearlbed.conf",
        "share/bash-completion/completions/pearlbed",
        "share/zsh/site-functions/_pearlbed",
        "share/fish/vendor_completions.d/pearlbed.fish",
        "share/man/man1/pearlbed.1",
        "include/pearlbed.h",
        "include/pearlbed_testing.h",
        "include/pearl_pow.h",
        "lib/libpearl_pow.a",
        "lib/libpearl_pow.so",
        "lib/pkgconfig/pearlbed.pc",
        "lib/pkgconfig/pearl_pow.pc",
        "lib/cmake/pearlbed/pearlbed-config.cmake",
        "share/pearlbed/Cargo.lock",
        "share/pearlbed/crates/pearlbed-plugin-api/Cargo.toml",
        "share/pearlbed/crates/pearl-pow/Cargo.toml",
        "share/doc/pearlbed/LICENSE-MIT",
        "share/doc/pearlbed/LICENSE-APACHE",
        "share/doc/pearlbed/THIRD-PARTY.txt",
    ] {
        let size = std::fs::metadata(prefix.join(file)).with_context(|| format!("{file} is missing"))?.len();
        ensure!(size > 0, "{file} is empty");
    }
    check_links(&prefix.join("share/doc/pearlbed"))
}

/// Every link between the shipped documents leads to a shipped document.
fn check_links(folder: &Path) -> Result<()> {
    let mut pages = 0;
    for folder in [folder.to_owned(), folder.join("docs")] {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
            let page = entry?.path();
            if page.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            pages += 1;
            let text = std::fs::read_to_string(&page)?;
            for (at, _) in text.match_indices("](") {
                let link = text[at + 2..].split([')', '#']).next().unwrap_or_default();
                let there = link.is_empty() || link.contains("://") || folder.join(link).exists();
                ensure!(there, "{} links to {link}, which is not shipped", page.display());
            }
        }
    }
    ensure!(pages > 1, "no documents are shipped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_c_library_are_compared_as_numbers() {
        assert_eq!(glibc_version("GLIBC_2.34"), Some((2, 34)));
        assert!(glibc_version("GLIBC_2.4") < glibc_version("GLIBC_2.34"));
        assert_eq!(glibc_version("GLIBC_2.3.4"), Some((2, 3)));
        assert_eq!(glibc_version("GCC_3.0"), None);
    }

    /// What this machine has is no measure: packages were refused by systems that could have run what is in them.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_package_asks_for_the_c_library_that_its_programs_use_and_for_no_newer_one() {
        let tree = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        for place in ["usr/bin/pearlbed", "usr/lib/libpearl_pow.so.0", "usr/lib/pearlbed/plugins/a.so"] {
            sh::copy(&this, &tree.path().join(place), 0o755).unwrap();
        }
        let asked = depends(tree.path()).unwrap();
        let versions =
            sh::output(Command::new("readelf").args(["--wide", "--version-info"]).arg(&this)).unwrap();
        let versions = String::from_utf8(versions).unwrap();
        let used = versions.split_whitespace().filter(|word| word.starts_with("GLIBC_"));
        let newest = used.filter_map(glibc_version).max().unwrap();
        assert!(
            asked.starts_with(&format!("libc6 (>= {}.{})", newest.0, newest.1)),
            "{asked} for {newest:?}"
        );
    }
}
