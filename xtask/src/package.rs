//! The `.tar.gz` and the `.deb`, and the test that installs both into a scratch root.
//!
//! The `.deb` is made by `dpkg-deb`, which every Debian has, from a tree that we lay out anyway: `cargo-deb` would
//! have to be compiled first, for minutes, and would build the workspace a second time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::sh::Profile;
use crate::{dist, sh};

/// What was made.
pub struct Packages {
    /// The archive, with one folder in it.
    pub tar: PathBuf,
    /// The Debian package, where `dpkg-deb` exists.
    pub deb: Option<PathBuf>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Packs the installation `dist` into `folder`; what is not shipped is hardly compressed, to save the time.
pub fn make(dist: &Path, folder: &Path, profile: Profile) -> Result<Packages> {
    sh::fresh(folder)?;
    let level = if profile == Profile::Release { 9 } else { 1 };
    let tar = tar(dist, folder, level)?;
    let deb = if sh::has("dpkg-deb") { Some(deb(dist, folder, level)?) } else { None };
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

fn deb(dist: &Path, folder: &Path, level: u32) -> Result<PathBuf> {
    let architecture = String::from_utf8(sh::output(Command::new("dpkg").arg("--print-architecture"))?)?;
    let architecture = architecture.trim();
    let tree = folder.join("deb");
    sh::fresh(&tree)?;
    sh::run(Command::new("cp").arg("-a").arg(dist).arg(tree.join("usr")))?;
    dist::units(&tree.join("usr/lib/systemd"), "/usr/bin", "/usr/bin")?;
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
             Depends: {}, libgcc-s1\n\
             Recommends: libvulkan1, mesa-vulkan-drivers | nvidia-vulkan-icd\n\
             Description: host for Pearl (PRL) mining providers\n \
              Mines Pearl with providers that come as shared libraries. The host owns the\n \
              network, the wallet address, the work and the verification; a provider runs\n \
              in a confined process that can do nothing else.\n",
            libc()?
        ),
    )?;
    let file = folder.join(format!("pearlbed_{VERSION}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", &format!("-z{level}"), "--build"]);
    sh::run(build.arg(&tree).arg(&file))?;
    std::fs::remove_dir_all(tree)?;
    Ok(file)
}

/// The dependency on the C library: the one of this machine or newer, which is safe and at most too strict.
fn libc() -> Result<String> {
    let version = String::from_utf8(sh::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?)?;
    let version = version.trim().strip_prefix("glibc ").context("a .deb is made on a glibc system")?;
    Ok(format!("libc6 (>= {version})"))
}

/// Installs each package into a scratch root and runs what was installed. Says what it did.
pub fn check(made: &Packages) -> Result<String> {
    let scratch = sh::target().join("xtask/installed");
    sh::fresh(&scratch)?;
    let unpacked = scratch.join("tar");
    std::fs::create_dir_all(&unpacked)?;
    sh::run(Command::new("tar").arg("-C").arg(&unpacked).arg("-xzf").arg(&made.tar))?;
    let name = made.tar.file_name().and_then(|name| name.to_str()).context("the archive has a name")?;
    check_tree(&unpacked.join(name.trim_end_matches(".tar.gz")), &scratch.join("tar-home"))?;
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
            let unit = std::fs::read_to_string(root.join("usr/lib/systemd/system/pearlbed.service"))?;
            ensure!(unit.contains("ExecStart=/usr/bin/pearlbed "), "the unit starts another binary");
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
        "lib/systemd/user/pearlbed.service",
        "share/bash-completion/completions/pearlbed",
        "share/zsh/site-functions/_pearlbed",
        "share/fish/vendor_completions.d/pearlbed.fish",
        "share/man/man1/pearlbed.1",
        "share/doc/pearlbed/LICENSE-MIT",
        "share/doc/pearlbed/LICENSE-APACHE",
        "share/doc/pearlbed/THIRD-PARTY.txt",
    ] {
        let size = std::fs::metadata(prefix.join(file)).with_context(|| format!("{file} is missing"))?.len();
        ensure!(size > 0, "{file} is empty");
    }
    Ok(())
}
