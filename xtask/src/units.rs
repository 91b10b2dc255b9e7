//! What systemd reads of an installation: the units, the user that the system unit runs as, and its folder for sockets.
//!
//! The templates lie in `packaging`. Where a file goes depends on the prefix: systemd reads units below `/usr/lib` and
//! `/usr/local/lib`, and those of a user also below `share/systemd/user` of `/usr/local` and of `~/.local`.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::sh;

/// Where the installation will lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// In `/usr`, by a package.
    Usr,
    /// Where the archive is unpacked: `/usr/local` for everybody, `~/.local` for one user.
    Anywhere,
}

/// Writes the files below `prefix`, for an installation that will lie in `kind`.
pub fn lay_out(prefix: &Path, kind: Prefix) -> Result<()> {
    let (system, user, folder) = match kind {
        Prefix::Usr => ("/usr/bin/pearlbed", "/usr/bin/pearlbed", "lib/systemd/user"),
        // A unit names a program by its whole path, and this one may lie in either place.
        Prefix::Anywhere => (
            "/usr/local/bin/pearlbed",
            "/usr/bin/env PATH=%h/.local/bin:/usr/local/bin:/usr/bin:/bin pearlbed",
            "share/systemd/user",
        ),
    };
    for (source, to, command) in [
        ("systemd/system/pearlbed.service", "lib/systemd/system/pearlbed.service", system),
        ("systemd/user/pearlbed.service", &format!("{folder}/pearlbed.service"), user),
        ("sysusers.d/pearlbed.conf", "lib/sysusers.d/pearlbed.conf", ""),
        ("tmpfiles.d/pearlbed.conf", "lib/tmpfiles.d/pearlbed.conf", ""),
    ] {
        let template = sh::root().join("packaging").join(source);
        let text = std::fs::read_to_string(&template)
            .with_context(|| format!("cannot read {}", template.display()))?
            .replace("@COMMAND@", command);
        sh::write(&prefix.join(to), text)?;
    }
    Ok(())
}
