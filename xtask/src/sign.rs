//! Signs the plugins of an installation with `minisign`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::sh;

/// Signs every plugin in the installation `dist` with the secret key in the file `key`; `minisign` asks for its password
/// where it has one. Says how many there were.
pub fn plugins(dist: &Path, key: &Path) -> Result<usize> {
    ensure!(
        sh::has("minisign"),
        "there is no `minisign` on this machine; on Debian: apt-get install minisign"
    );
    let folder = dist.join("lib/pearlbed/plugins");
    let mut signed = 0;
    for entry in std::fs::read_dir(&folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(std::env::consts::DLL_SUFFIX) && !name.ends_with(".container.toml") {
            continue;
        }
        let comment = format!("file:{name} pearlbed {}", env!("CARGO_PKG_VERSION"));
        let mut minisign = Command::new("minisign");
        sh::run(minisign.args(["-S", "-t", &comment, "-s"]).arg(key).arg("-m").arg(entry.path()))?;
        signed += 1;
    }
    Ok(signed)
}
