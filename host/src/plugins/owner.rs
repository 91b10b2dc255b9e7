//! Who can change a file that is loaded, by its owner, its mode and its folder.
#![forbid(unsafe_code)]

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::reason::Reason;
use crate::text::in_shell;

/// Whether only root and this user can change the file at `real_path`, of which `metadata` are; `what` it is called.
///
/// # Errors
///
/// Who else can, and the command that changes that.
pub fn check(what: &str, real_path: &Path, metadata: &Metadata) -> Result<String, Reason> {
    let me = rustix::process::geteuid().as_raw();
    let shown = in_shell(real_path);
    let mode = metadata.mode() & 0o7777;
    if metadata.uid() != 0 && metadata.uid() != me {
        return Err(Reason::new(
            "wrong-owner",
            format!("{what} belongs to user {}, who is neither you nor root", metadata.uid()),
            format!("take it over (`sudo chown {me} {shown}`) if you trust it, or pass --relax-file-checks"),
        ));
    }
    if mode & 0o022 != 0 {
        let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
        return Err(Reason::new(
            "writable-by-others",
            format!("{who} may write to {what} (mode {mode:04o})"),
            format!("`chmod go-w {shown}`, or pass --relax-file-checks"),
        ));
    }
    let folder = real_path.parent().and_then(|folder| Some((folder, std::fs::metadata(folder).ok()?)));
    // In a sticky folder, as /tmp is, others can add files but not replace this one.
    if let Some((folder, _)) = folder.filter(|(_, metadata)| metadata.mode() & 0o1002 == 0o002) {
        return Err(Reason::new(
            "folder-writable-by-others",
            format!("everybody may replace {what}: its folder is writable by everybody"),
            format!("`chmod o-w {}`, or pass --relax-file-checks", in_shell(folder)),
        ));
    }
    let owner = if metadata.uid() == me { "you" } else { "root" };
    Ok(format!("belongs to {owner}, mode {mode:04o}"))
}

/// Whether nobody but root and this user can put a file into `folder` in which libraries are looked for, there or not.
///
/// # Errors
///
/// That everybody can, and the command that changes that.
pub fn check_search(folder: &Path) -> Result<(), Reason> {
    let Some((there, metadata)) =
        folder.ancestors().find_map(|step| Some((step, std::fs::metadata(step).ok()?)))
    else {
        return Ok(());
    };
    // A sticky one keeps what is in it, and not others from adding to it.
    if !metadata.is_dir() || metadata.mode() & 0o002 == 0 {
        return Ok(());
    }
    // The plugin chose it.
    let looked_for = in_shell(folder);
    let fix = match there == folder && metadata.mode() & 0o1000 == 0 {
        true => format!("`chmod o-w {}`, or pass --relax-file-checks", in_shell(folder)),
        // Not to be changed: /tmp is everybody's.
        false => {
            "put it, with what it brings along, into a folder of your own, or get a build that looks for its \
                  libraries elsewhere; or pass --relax-file-checks"
                .into()
        }
    };
    let words = match there == folder {
        true => format!("everybody may put a library into {looked_for}, where it looks for its own"),
        false => format!("everybody may make {looked_for}, where it looks for its libraries"),
    };
    Err(Reason::new("folder-writable-by-others", words, fix))
}
