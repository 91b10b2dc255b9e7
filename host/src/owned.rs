//! Files that keep their owner: what root writes into somebody's home belongs to that somebody.
//!
//! A service runs as a user of its own, and root sets it up. A file of root's there is one that the service cannot read.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

/// Whose a file at `path` should be: the owner of what is there, else of the folder that it will lie in, or of the nearest
/// one above that exists.
fn model(path: &Path) -> Option<Metadata> {
    path.ancestors().find_map(|at| std::fs::metadata(at).ok())
}

/// Gives `file` to the owner that `model` has, where this user may give files away.
fn give(file: impl AsFd, model: &Metadata) -> io::Result<()> {
    let me = rustix::process::geteuid();
    if !me.is_root() || (model.uid(), model.gid()) == (0, 0) {
        return Ok(());
    }
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(model.uid())), Some(Gid::from_raw(model.gid())))?)
}

/// Gives `file`, which was just made in `folder`, to the owner of the folder.
///
/// # Errors
///
/// Where the system refuses.
pub fn give_to_owner_of(folder: &Path, file: impl AsFd) -> io::Result<()> {
    model(folder).map_or(Ok(()), |model| give(file, &model))
}

/// Opens the file at `path` as `options` say, and makes it where it is missing: for its owner alone, who is the owner of its
/// folder. Never waits for the other end of a pipe.
///
/// # Errors
///
/// Whatever opening, making or giving away meets.
pub fn open_or_make(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let mut made = options.clone();
    made.create_new(true).mode(0o600).custom_flags(libc::O_NONBLOCK);
    match made.open(path) {
        Ok(file) => {
            if let Some(folder) = path.parent() {
                give_to_owner_of(folder, &file)?;
            }
            Ok(file)
        }
        // Also a symbolic link, which leads to a file that is made, or nowhere.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            options.clone().create(true).mode(0o600).custom_flags(libc::O_NONBLOCK).open(path)
        }
        Err(err) => Err(err),
    }
}

/// Opens the file at `path` for reading. Whatever somebody has put in its place, nobody is waited for.
///
/// # Errors
///
/// Whatever opening meets, and where it is a folder, a pipe or a device.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() {
        true => Ok(file),
        false if kind.is_dir() => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "what lies there is no file")),
    }
}

/// What the file at `path` holds.
///
/// # Errors
///
/// As [`open`], and whatever reading meets.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same without the name of a file that nobody has heard of.
pub fn plain(err: io::Error) -> io::Error {
    crate::remedy::number(&err).map_or(err, io::Error::from_raw_os_error)
}

/// What tells the file that `path` leads to, also by a link, from every other that has had its name; nothing where there is
/// none.
pub fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The same of an open file.
pub fn id_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Makes the folder at `path`, which everybody may look into, in a folder that is there; it belongs to the owner of that one.
///
/// # Errors
///
/// Whatever making or giving it away meets. One that is there is left as it is.
pub fn create_open(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => {
            made?;
            give_to_owner_of(path.parent().unwrap_or(path), File::open(path)?)
        }
    }
}

/// Makes the folder at `path` and those above it, each for its owner alone, who is the owner of the folder that it is in.
///
/// # Errors
///
/// Whatever making or giving one away meets. Folders that are there are left as they are.
pub fn create_private(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        let model = model(folder);
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => continue,
            made => made?,
        }
        if let Some(model) = model {
            give(File::open(folder)?, &model)?;
        }
    }
    // What is there and no folder is told as that.
    if path.is_dir() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOTDIR)) }
}

/// Replaces the file at `path` by `bytes`, whole or not at all. It keeps the mode and the owner of the file that it replaces;
/// a new one is for its owner alone, who is the owner of its folder.
///
/// # Errors
///
/// Whatever creating, writing, syncing or renaming meets; nothing is left behind then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, true)
}

/// The same without waiting for the disk, for what need not outlive the machine.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, false)
}

fn put(path: &Path, bytes: &[u8], synced: bool) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("the path has no folder"))?;
    // It is created with mode 0600 and removed again unless it is persisted.
    let mut file = tempfile::Builder::new().prefix(".pearlbed-").tempfile_in(folder).map_err(plain)?;
    let replaced = std::fs::metadata(path).ok();
    if let Some(model) = replaced.clone().or_else(|| model(folder)) {
        give(file.as_file(), &model)?;
    }
    if let Some(replaced) = &replaced {
        file.as_file().set_permissions(Permissions::from_mode(replaced.mode() & 0o7777))?;
    }
    file.write_all(bytes)?;
    if synced {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|err| err.error)?;
    if synced { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Copies the file at `path` to `<path>.bak-N`, with the first N that is free: an older copy is never overwritten. It has the
/// owner and the mode of the original.
///
/// # Errors
///
/// Whatever reading or writing meets; nothing is left behind then.
pub fn back_up(path: &Path) -> io::Result<PathBuf> {
    let bytes = std::fs::read(path)?;
    let model = std::fs::metadata(path)?;
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".bak-{number}"));
        let copy = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&copy) {
            Ok(mut file) => {
                let written = give(&file, &model)
                    .and_then(|()| file.set_permissions(Permissions::from_mode(model.mode() & 0o7777)))
                    .and_then(|()| file.write_all(&bytes))
                    .and_then(|()| file.sync_all());
                return match written {
                    Ok(()) => Ok(copy),
                    Err(err) => {
                        let _ = std::fs::remove_file(&copy);
                        Err(err)
                    }
                };
            }
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err),
        }
    }
    unreachable!("the numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_writes_into_anothers_home_belongs_to_that_other() {
        if !rustix::process::geteuid().is_root() {
            // Nobody else may give files away, and then there is nothing to keep.
            return;
        }
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(home.path(), Some(61_234), Some(61_235)).unwrap();
        let owner = |path: &Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        };
        create_private(&home.path().join("runtime/proofs")).unwrap();
        assert_eq!(owner(&home.path().join("runtime")), (61_234, 61_235, 0o700));
        assert_eq!(owner(&home.path().join("runtime/proofs")), (61_234, 61_235, 0o700));
        let log = home.path().join("runtime/mining.log");
        open_or_make(&log, OpenOptions::new().append(true)).unwrap();
        assert_eq!(owner(&log), (61_234, 61_235, 0o600));
        let file = home.path().join("config.toml");
        replace(&file, b"one").unwrap();
        assert_eq!(owner(&file), (61_234, 61_235, 0o600));
        // Whose it is by now, it stays.
        std::os::unix::fs::chown(&file, Some(61_236), Some(61_236)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let copy = back_up(&file).unwrap();
        replace(&file, b"two").unwrap();
        assert_eq!(owner(&file), (61_236, 61_236, 0o640));
        assert_eq!(owner(&copy), (61_236, 61_236, 0o640));
        assert_eq!(std::fs::read(copy).unwrap(), b"one");
    }
    #[test]
    fn nobody_is_waited_for_where_something_else_lies_in_the_place_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        );
        made.unwrap();
        assert!(read(&pipe).unwrap_err().to_string().contains("no file"));
        assert!(open_or_make(&pipe, File::options().append(true)).is_err());
        assert_eq!(read(dir.path()).unwrap_err().raw_os_error(), Some(libc::EISDIR));
        let nowhere = dir.path().join("link");
        std::os::unix::fs::symlink("gone/file", &nowhere).unwrap();
        let err = open_or_make(&nowhere, File::options().append(true)).unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::ENOENT));
    }
}
