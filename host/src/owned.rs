//! Files that keep their owner: what root writes into somebody's home belongs to that somebody.
//!
//! A service runs as a user of its own, and root sets it up. A file of root's there is one that the service cannot read.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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
/// folder. Whatever somebody has put in its place, nobody is waited for.
///
/// # Errors
///
/// Whatever opening, making or giving away meets, and where it is a folder, a pipe, a socket or a device.
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
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            regular(options.clone().create(true).mode(0o600).custom_flags(flags).open(path), path)
        }
        Err(err) => Err(err),
    }
}

/// Opens the file at `path` for reading. Whatever somebody has put in its place, nobody is waited for.
///
/// # Errors
///
/// Whatever opening meets, and where it is a folder, a pipe, a socket or a device.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    regular(File::options().read(true).custom_flags(flags).open(path), path)
}

/// `opened`, unless it is no file.
fn regular(opened: io::Result<File>, path: &Path) -> io::Result<File> {
    let kind = match &opened {
        Ok(file) => file.metadata()?.file_type(),
        // A socket, and a pipe that nobody reads: the number alone says neither.
        Err(err) if err.raw_os_error() == Some(libc::ENXIO) => std::fs::metadata(path)?.file_type(),
        Err(_) => return opened,
    };
    if kind.is_file() {
        return opened;
    }
    if kind.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let what = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and no file")))
}

/// No file of ours that is read as a whole is larger, in bytes, unless it says so.
pub const READ_BYTES_MAX: u64 = 16 << 20;

/// What the file at `path` holds, of at most [`READ_BYTES_MAX`].
///
/// # Errors
///
/// As [`open`], and whatever reading meets; [`io::ErrorKind::FileTooLarge`] for a larger one.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, READ_BYTES_MAX)
}

/// The same of at most `most` bytes.
///
/// # Errors
///
/// As [`read`].
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut len = file.metadata()?.len();
    let mut bytes = Vec::new();
    if len <= most {
        file.take(most + 1).read_to_end(&mut bytes)?;
        // It may have grown meanwhile.
        len = bytes.len() as u64;
    }
    if len > most {
        let (len, most) = (crate::text::bytes(len), crate::text::bytes(most));
        let words = format!("it has {len}, more than the {most} that such a file may have");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
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
/// a new one is for its owner alone, who is the owner of its folder. So is one in the place of a link, a pipe or a device:
/// what those lead to is left alone, and their mode is none of ours.
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
    let replaced = std::fs::symlink_metadata(path).ok().filter(Metadata::is_file);
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
    let bytes = read(path)?;
    let model = std::fs::metadata(path)?;
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".bak-{number}"));
        let copy = PathBuf::from(name);
        match File::options().write(true).create_new(true).mode(0o600).open(&copy) {
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
        assert_eq!(read(&pipe).unwrap_err().to_string(), "it is a pipe, and no file");
        for options in [File::options().append(true), File::options().read(true).write(true)] {
            assert_eq!(open_or_make(&pipe, options).unwrap_err().to_string(), "it is a pipe, and no file");
        }
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(read(&socket).unwrap_err().to_string(), "it is a socket, and no file");
        for device in ["/dev/null", "/dev/zero"] {
            assert_eq!(read(Path::new(device)).unwrap_err().to_string(), "it is a device, and no file");
            let opened = open_or_make(Path::new(device), File::options().read(true).write(true));
            assert_eq!(opened.unwrap_err().to_string(), "it is a device, and no file");
        }
        assert_eq!(read(dir.path()).unwrap_err().raw_os_error(), Some(libc::EISDIR));
        let nowhere = dir.path().join("link");
        std::os::unix::fs::symlink("gone/file", &nowhere).unwrap();
        let err = open_or_make(&nowhere, File::options().append(true)).unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn of_a_file_that_is_larger_than_ours_are_nothing_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_at_most(&path, 4).unwrap(), b"four");
        let err = read_at_most(&path, 3).unwrap_err();
        assert_eq!((err.kind(), err.raw_os_error()), (io::ErrorKind::FileTooLarge, None), "{err}");
        // It has no bytes on the disk, and would fill the memory.
        File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(
            read(&path).unwrap_err().to_string().starts_with("it has 1 TiB"),
            "{}",
            read(&path).unwrap_err()
        );
        assert!(back_up(&path).is_err());
        assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_takes_the_place_of_a_link_has_neither_the_mode_nor_the_place_of_what_that_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (other, link) = (dir.path().join("other"), dir.path().join("link"));
        std::fs::write(&other, "a letter").unwrap();
        std::fs::set_permissions(&other, Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        replace(&link, b"ours").unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"a letter");
        let now = std::fs::symlink_metadata(&link).unwrap();
        assert!(now.is_file() && now.mode() & 0o777 == 0o600, "{now:?}");
    }
}
