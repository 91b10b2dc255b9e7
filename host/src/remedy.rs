//! What to do about an error of the system, told from its number.
//!
//! One place, because the same mistake is made everywhere: advice that fits the error that was thought of, and not the one
//! that came. A full disk is not helped by rights, nor a read-only one by an owner.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::exit::Exit;
use crate::text::{in_shell, printable_path};

/// How to choose another home, as the end of a sentence.
const ANOTHER: &str = "or choose another home with --home or PEARLBED_HOME";

/// The system's number of `err`, also where somebody has wrapped it to say more.
pub fn number(err: &io::Error) -> Option<i32> {
    // Who makes temporary files for us keeps the words alone: `No space left on device (os error 28) at path "…"`.
    err.raw_os_error().or_else(|| number_in(&err.to_string()))
}

/// The system's number in an error's words, as Rust's library writes it.
fn number_in(text: &str) -> Option<i32> {
    let (_, rest) = text.rsplit_once("(os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

/// What to do about `err`, as [`for_file`] says it, where `path` is none of a home's: another home would not help.
pub fn for_file_elsewhere(err: &io::Error, path: &Path) -> Option<String> {
    let local = "choose a home on a local disk, with --home or PEARLBED_HOME";
    for_file(err, path).map(|text| {
        let text = text.replace(&format!(", {ANOTHER}"), "").replace(local, "choose a place on a local disk");
        text.replace("cannot do what a session needs", "cannot do that")
    })
}

/// What to do about `err`, which was met while the file or folder at `path` was to be made, read or written. Nothing where
/// the error itself is all that can be said.
pub fn for_file(err: &io::Error, path: &Path) -> Option<String> {
    let shown = printable_path(path);
    let nearest = path.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(path);
    let folder = if nearest.is_dir() { nearest } else { nearest.parent().unwrap_or(nearest) };
    let here = printable_path(folder);
    let Some(number) = number(err) else {
        // A pipe or a device, which would never end, or more than anybody would read.
        let large = err.kind() == io::ErrorKind::FileTooLarge;
        let other = err.kind() == io::ErrorKind::InvalidInput
            && path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
        return match (large, other) {
            (true, _) => Some(format!("{shown} is none of pearlbed's own: move it away, {ANOTHER}")),
            (_, true) => Some(format!("what lies at {shown} is no file: move it away, {ANOTHER}")),
            _ => None,
        };
    };
    Some(match number {
        libc::EROFS => format!("the file system of {here} is read-only: have it mounted writable, {ANOTHER}"),
        libc::ENOSPC if has_no_inodes(folder) => {
            format!("the file system of {here} has room but no free inodes: remove files there, {ANOTHER}")
        }
        libc::ENOSPC => format!("make room on the disk of {here}, {ANOTHER}"),
        libc::EDQUOT => {
            format!("your quota on the disk of {here} is used up: remove files of yours, {ANOTHER}")
        }
        libc::EFBIG => "raise the limit of the size of files (`ulimit -f`)".into(),
        libc::EACCES => denied(path),
        libc::EPERM => format!(
            "something other than rights refuses it (a flag of `chattr`, a mount option, a security module): see `lsattr -d \
             {here}`, {ANOTHER}"
        ),
        libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPROTO => {
            format!(
                "the file system of {here} cannot do what a session needs: choose a home on a local disk, with --home or PEARLBED_HOME"
            )
        }
        libc::ENAMETOOLONG => {
            format!("the name {shown} is too long: choose a shorter home with --home or PEARLBED_HOME")
        }
        libc::ELOOP => format!("a symbolic link on the way to {shown} leads back to itself: remove it"),
        libc::ENOENT | libc::ENOTDIR | libc::EEXIST => return in_the_way(path),
        libc::EISDIR => format!("a folder stands at {shown}: move it away, {ANOTHER}"),
        libc::ENOTEMPTY => format!("{shown} is not empty: move away what is in it, {ANOTHER}"),
        libc::ENXIO => format!("what lies at {shown} is a pipe or a device: move it away, {ANOTHER}"),
        libc::EBUSY => {
            format!("{shown} is in use by the system, perhaps a mount of its own: mount its folder instead")
        }
        libc::ETXTBSY => format!("a program runs from {shown}: end it first"),
        libc::EIO => format!("the disk of {here} failed to answer: see `dmesg`"),
        libc::ESTALE | libc::ENOTCONN | libc::EHOSTDOWN => {
            format!("the network file system of {here} has lost the file: mount it anew, {ANOTHER}")
        }
        _ => return for_process(err),
    })
}

/// What to do about an error of the system that somebody else has put into words, as `… (os error 11)`.
pub fn in_words(text: &str) -> Option<String> {
    for_process(&io::Error::from_raw_os_error(number_in(text)?))
}

/// What to do about `err`, which was met while a process, a thread or a descriptor was to be made.
pub fn for_process(err: &io::Error) -> Option<String> {
    Some(match number(err)? {
        // A thread's stack that finds no room in the addresses that a process may have has the same number.
        libc::EAGAIN if crate::limits::has_few_addresses() => {
            "raise the limit of the memory that a process may map (`ulimit -v`, `ulimit -d`)".into()
        }
        libc::EAGAIN => {
            "this user or container may have no more processes: end some, or raise the limit (`ulimit -u`, the pids limit of \
             the container, `TasksMax=` of the unit)"
                .into()
        }
        libc::ENOMEM if crate::limits::has_few_addresses() => {
            "raise the limit of the memory that a process may map (`ulimit -v`, `ulimit -d`)".into()
        }
        libc::ENOMEM => "free some memory, or raise the limit of the container".into(),
        libc::EMFILE => "raise the limit of open files (`ulimit -n`)".into(),
        libc::ENFILE => "the whole system has too many files open: end a program that holds many (`lsof`)".into(),
        libc::ETOOMANYREFS => {
            "another program of this user has too many open files under way between processes: end it".into()
        }
        libc::ENOENT if !Path::new("/proc/self/exe").exists() => {
            "/proc is not mounted here, and pearlbed finds itself there: mount it".into()
        }
        _ => return None,
    })
}

/// What to do about `err`, which was met while a socket was to listen at an address; `choose` says how another is chosen.
pub fn for_address(err: &io::Error, choose: &str) -> String {
    match number(err) {
        Some(libc::EADDRINUSE) => format!("another program listens there: end it, or {choose}"),
        Some(libc::EADDRNOTAVAIL) => {
            format!("no interface of this machine or container has that address: {choose}")
        }
        Some(libc::EACCES) => format!("ports below 1024 are for root alone: {choose}"),
        Some(libc::EPERM) => format!("a firewall, a container or a security module refuses it: {choose}"),
        Some(libc::EAFNOSUPPORT) => {
            format!("this machine or container has no such kind of address: {choose}")
        }
        _ => for_process(err).unwrap_or_else(|| choose.to_owned()),
    }
}

/// What stands in the way to `path`, by what is there: a link that leads nowhere, or something else than a folder.
fn in_the_way(path: &Path) -> Option<String> {
    let mut steps: Vec<&Path> = path.ancestors().filter(|step| !step.as_os_str().is_empty()).collect();
    steps.reverse();
    steps.into_iter().find_map(|step| {
        let found = step.symlink_metadata().ok()?;
        let shown = printable_path(step);
        match step.metadata() {
            Err(_) if found.is_symlink() => {
                Some(format!("{shown} is a symbolic link that leads nowhere: remove it, {ANOTHER}"))
            }
            Ok(there) if !there.is_dir() => {
                Some(format!("{shown} is a file, and a folder is needed there: move it away, {ANOTHER}"))
            }
            _ => None,
        }
    })
}

/// Whose the file or folder is that keeps this user out, and the command that changes it.
fn denied(path: &Path) -> String {
    let me = rustix::process::geteuid().as_raw();
    // The first on the way down that may not be passed, else what is there of the path itself.
    let mut guilty = path;
    for folder in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
        if folder.symlink_metadata().is_err() {
            break;
        }
        guilty = folder;
    }
    let Ok(metadata) = guilty.metadata() else {
        let above = guilty.parent().unwrap_or(guilty);
        return format!("you may not look into {}: ask its owner, {ANOTHER}", printable_path(above));
    };
    let shown = printable_path(guilty);
    // The first that is not there: what somebody has to make where the folder above is everybody's.
    let missing = path.ancestors().take_while(|step| *step != guilty).last().unwrap_or(guilty);
    if metadata.uid() == me {
        let rights = if metadata.is_dir() { "u+rwx" } else { "u+rw" };
        return format!("it is yours: `chmod {rights} {}`, {ANOTHER}", in_shell(guilty));
    }
    let owner = user_name(metadata.uid());
    if container().is_some() {
        // Nothing in there may change an owner, and who this user is was said from outside.
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let own = (me, rustix::process::getegid().as_raw());
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        return format!(
            "{shown} belongs to {owner}, and this is user {me}: {}, {ANOTHER}",
            for_mounted(own, (uid, gid), &map, container() == Some("Podman"))
        );
    }
    if metadata.uid() == 0 && is_the_systems(guilty) {
        let whose = format!("{shown} belongs to root, as part of the system");
        return match missing == guilty {
            true => format!("{whose}: {}", ANOTHER.trim_start_matches("or ")),
            false => {
                let missing = printable_path(missing);
                format!("{whose}: `sudo install -d -o \"$(id -un)\" {missing}`, {ANOTHER}")
            }
        };
    }
    if metadata.uid() == 0 {
        return format!(
            "{shown} belongs to root: `sudo chown -R \"$(id -un)\" {}`, run pearlbed as root, {ANOTHER}",
            in_shell(guilty)
        );
    }
    // To take somebody else's home away from him would only move the trouble: a service mines there, or another person.
    format!("{shown} belongs to {owner}: run the command as {owner} (`sudo -u {owner} …`), {ANOTHER}")
}

/// Whether a folder is part of the system, so that it is given to nobody.
fn is_the_systems(folder: &Path) -> bool {
    let names: Vec<_> = folder.components().skip(1).map(|name| name.as_os_str().to_owned()).collect();
    let first = names.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match &*first {
        "usr" | "etc" | "bin" | "sbin" | "lib" | "lib64" | "boot" | "dev" | "proc" | "sys" => true,
        "var" | "run" => names.len() <= 2,
        _ => names.len() <= 1,
    }
}

/// What to do where a container's user `me` may not use a folder of `owner`, each a user and a group as the container has
/// them; `map` is its `/proc/self/uid_map`. A container with a name space of users has other numbers than the machine.
fn for_mounted(me: (u32, u32), owner: (u32, u32), map: &str, podman: bool) -> String {
    let give = "give it to this user where the container is started";
    let numbers = |line: &str| -> Option<[u32; 3]> {
        let numbers: Vec<u32> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        numbers.try_into().ok()
    };
    let ranges: Vec<[u32; 3]> = map.lines().filter_map(numbers).collect();
    let own_space = !ranges.is_empty() && ranges != [[0, 0, u32::MAX]];
    // Nobody is told to mine as root, and in a name space of users root is somebody else.
    let as_owner = match owner.0 {
        0 if !own_space => String::new(),
        _ => format!(", run the container as its owner (`--user {}:{}`)", owner.0, owner.1),
    };
    if own_space && podman {
        return format!(
            "{give} (`podman unshare chown -R {} FOLDER`), let this user be you \
             (`--userns keep-id:uid={},gid={}`){as_owner}",
            me.0, me.0, me.1
        );
    }
    let within = |[inside, _, count]: &[u32; 3]| (*inside..inside.saturating_add(*count)).contains(&me.0);
    let outside = match ranges.iter().find(|range| own_space && within(range)) {
        Some([inside, outside, _]) => outside.saturating_add(me.0 - inside),
        None => me.0,
    };
    format!(
        "{give} (`chown -R {outside}` of the folder that is mounted there, `uid={}` of a tmpfs){as_owner}",
        me.0
    )
}

/// Which engine's container this process is in, as far as that engine says so.
pub fn container() -> Option<&'static str> {
    let marks = [("Docker", "/.dockerenv"), ("Podman", "/run/.containerenv")];
    let engine = marks.into_iter().find(|(_, file)| Path::new(file).exists()).map(|(engine, _)| engine)?;
    // A machine that was made from an image has the mark as well. It has the kernel's own name spaces, whose numbers are the
    // same on every machine, where a container has at least one of these for itself.
    let own = [("uts", "uts:[4026531838]"), ("pid", "pid:[4026531836]")].iter().all(|(kind, first)| {
        std::fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|here| here == Path::new(first))
    });
    (!own).then_some(engine)
}

/// Whether `err` stays until somebody changes what it was met at: whose a folder is, what lies where, what a file system can.
pub fn is_for_good(err: &io::Error) -> bool {
    // A pipe, a device, or more than anybody would read, which have no number.
    let other = matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge);
    if number(err).is_none() && other {
        return true;
    }
    matches!(
        number(err),
        Some(
            libc::ENOENT
                | libc::EACCES
                | libc::EPERM
                | libc::EROFS
                | libc::ENOTDIR
                | libc::EISDIR
                | libc::EEXIST
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::ENXIO
                | libc::ENOTEMPTY
                | libc::ENOLCK
                | libc::EOPNOTSUPP
                | libc::ENOSYS
        )
    )
}

/// How a process ends that `err` ended, which it met at a file.
pub fn exit_for(err: &io::Error) -> Exit {
    if is_for_good(err) { Exit::Futile } else { Exit::Failed }
}

/// The name of a user, or its number in words.
pub fn user_name(id: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| crate::text::printable(name).into_owned())
    });
    name.unwrap_or_else(|| format!("user {id}"))
}

/// The same as `sudo -u` takes it.
pub fn sudo_name(id: u32) -> String {
    let name = user_name(id);
    if name.contains(' ') { format!("'#{id}'") } else { name }
}

fn has_no_inodes(folder: &Path) -> bool {
    // A file system that counts none says 0 of 0.
    rustix::fs::statvfs(folder).is_ok_and(|stat| stat.f_files > 0 && stat.f_favail == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_remedy_that_helps_against_it_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let said = |number: i32| for_file(&io::Error::from_raw_os_error(number), &path).unwrap_or_default();
        for (number, words) in [
            (libc::EROFS, "read-only"),
            (libc::ENOSPC, "make room"),
            (libc::EDQUOT, "quota"),
            (libc::ENOLCK, "local disk"),
            (libc::EOPNOTSUPP, "local disk"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EAGAIN, "ulimit -u"),
            (libc::EBUSY, "mount"),
            (libc::EIO, "dmesg"),
            (libc::ENFILE, "whole system"),
            (libc::ENOMEM, "memory"),
            (libc::ELOOP, "symbolic link"),
            (libc::ENAMETOOLONG, "shorter home"),
            (libc::ETXTBSY, "end it first"),
            (libc::ESTALE, "mount it anew"),
            (libc::EISDIR, "move it away"),
            (libc::ENXIO, "pipe"),
            (libc::EFBIG, "ulimit -f"),
            (libc::EPERM, "lsattr"),
        ] {
            assert!(said(number).contains(words), "{number}: {}", said(number));
        }
        for number in [libc::EROFS, libc::ENOSPC, libc::EDQUOT, libc::ENOLCK, libc::EMFILE] {
            assert!(!said(number).contains("chown") && !said(number).contains("chmod"), "{}", said(number));
        }
        assert!(said(libc::EACCES).contains("chmod u+rwx"), "{}", said(libc::EACCES));
    }

    #[test]
    fn an_error_that_was_wrapped_to_say_more_has_the_remedy_of_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let err = tempfile::tempfile_in(folder.path().join("no")).unwrap_err();
        assert_eq!(number(&err), Some(libc::ENOENT), "{err:?}");
        let err = tempfile::Builder::new().tempdir_in(folder.path().join("no")).unwrap_err();
        assert_eq!((err.raw_os_error(), number(&err)), (None, Some(libc::ENOENT)), "{err:?}");
        assert_eq!(number(&io::Error::other("nothing of the system's")), None);
    }

    #[test]
    fn of_a_file_that_is_no_homes_nobody_is_sent_to_another_home() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.txt");
        for number in [libc::EROFS, libc::ENOSPC, libc::EDQUOT, libc::EACCES, libc::EISDIR, libc::ENOLCK] {
            let err = io::Error::from_raw_os_error(number);
            let said = for_file_elsewhere(&err, &path).unwrap();
            assert!(!said.contains("home") && !said.contains("session"), "{number}: {said}");
            assert!(for_file(&err, &path).unwrap().contains("home"), "{number}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named_and_nothing_is_where_nothing_does() {
        let folder = tempfile::tempdir().unwrap();
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(for_file(&missing, &folder.path().join("a/b")), None);
        std::os::unix::fs::symlink("nowhere", folder.path().join("a")).unwrap();
        let said = for_file(&missing, &folder.path().join("a/b")).unwrap();
        assert!(
            said.starts_with(&format!("{} is a symbolic link", folder.path().join("a").display())),
            "{said}"
        );
        std::fs::write(folder.path().join("f"), "").unwrap();
        let no_folder = io::Error::from_raw_os_error(libc::ENOTDIR);
        let said = for_file(&no_folder, &folder.path().join("f/b/c")).unwrap();
        assert!(said.starts_with(&format!("{} is a file", folder.path().join("f").display())), "{said}");
    }

    #[test]
    fn an_address_that_cannot_be_listened_at_has_a_remedy_by_its_number() {
        let said = |number: i32| for_address(&io::Error::from_raw_os_error(number), "choose another");
        for (number, words) in [
            (libc::EADDRINUSE, "another program"),
            (libc::EADDRNOTAVAIL, "no interface"),
            (libc::EACCES, "below 1024"),
            (libc::EMFILE, "ulimit -n"),
        ] {
            assert!(said(number).contains(words), "{number}: {}", said(number));
        }
        assert_eq!(said(libc::EIO), "choose another");
    }

    #[test]
    fn what_a_person_has_to_change_is_told_from_what_may_pass() {
        let exit = |number: i32| exit_for(&io::Error::from_raw_os_error(number));
        for number in [libc::EACCES, libc::EROFS, libc::ENOTDIR, libc::ENOENT, libc::ENAMETOOLONG] {
            assert_eq!(exit(number), Exit::Futile, "{number}");
        }
        for number in [libc::ENOSPC, libc::EMFILE, libc::EAGAIN, libc::ENOMEM, libc::EIO, libc::ESTALE] {
            assert_eq!(exit(number), Exit::Failed, "{number}");
        }
        assert_eq!(exit_for(&io::Error::other("who knows")), Exit::Failed);
        let said = in_words("the provider: no thread: Resource temporarily unavailable (os error 11)");
        assert!(said.is_some_and(|said| said.contains("TasksMax=")));
        assert_eq!(in_words("it has no wish to (os error many)"), None);
    }

    #[test]
    fn no_folder_of_the_system_is_given_away() {
        for folder in ["/", "/var", "/var/lib", "/usr/local/share", "/home", "/opt", "/etc/x", "/run/user"] {
            assert!(is_the_systems(Path::new(folder)), "{folder}");
        }
        for folder in ["/home/alice", "/var/lib/pearlbed", "/opt/pearlbed", "/srv/beds/one"] {
            assert!(!is_the_systems(Path::new(folder)), "{folder}");
        }
    }

    #[test]
    fn a_folder_in_a_container_is_given_by_the_numbers_that_the_machine_has() {
        let (me, root) = ((65532, 65532), (0, 0));
        let plain = for_mounted(me, root, "         0          0 4294967295\n", true);
        assert!(plain.contains("`chown -R 65532`") && !plain.contains("--user"), "{plain}");
        let rootless = for_mounted(me, root, "0 1000 1\n1 600000 65536\n", true);
        assert!(rootless.contains("`podman unshare chown -R 65532 FOLDER`"), "{rootless}");
        assert!(rootless.contains("`--userns keep-id:uid=65532,gid=65532`"), "{rootless}");
        assert!(rootless.contains("`--user 0:0`"), "root in there is who started it: {rootless}");
        let remapped = for_mounted(me, (1000, 1000), "0 100000 65536\n", false);
        assert!(remapped.contains("`chown -R 165532`") && remapped.contains("`uid=65532`"), "{remapped}");
        assert!(remapped.contains("`--user 1000:1000`"), "{remapped}");
    }

    #[test]
    fn what_belongs_to_another_is_named_with_its_owner_and_a_command_that_works() {
        let root = Path::new("/");
        let said = denied(&root.join("no-such-folder-of-ours"));
        if rustix::process::geteuid().is_root() {
            assert!(said.starts_with("it is yours"), "{said}");
        } else {
            let made = "belongs to root, as part of the system: `sudo install -d -o \"$(id -un)\" /no-such-folder-of-ours`";
            assert!(said.contains(made) || container().is_some(), "{said}");
        }
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_000), "user 4000000000");
    }
}
