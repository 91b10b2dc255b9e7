//! `pearlbed plugins install`, `remove`, `trust` and `block`: what lies in the home folder's plugins, and what is known.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Chosen, chosen};
use crate::cli::{Context, Error, PluginDirs};
use crate::exit::Exit;
use crate::owned;
use crate::plugins::trust::{self, Memory, SIGNATURE_SUFFIX, Signed, Trust};
use crate::plugins::{Entry, Identity, Options, SearchPath, survey, survey_file};
use crate::text::printable_path;

const INSTALL_EXAMPLES: &str = "\
The file is looked at before it is copied, and nothing of it runs. A session
that runs keeps the file that it has.

Examples:
  pearlbed plugins install ./libmy_provider.so
  pearlbed plugins install ./libmy_provider.so --key RWQ…   only if signed so";

/// Copy a plugin, and the signature beside it, into the home folder
#[derive(clap::Args, Debug)]
#[command(after_help = INSTALL_EXAMPLES)]
pub(super) struct Install {
    /// The library
    file: PathBuf,

    /// Install it only if it is signed by this minisign key, which vouches for it from then on
    #[arg(long, value_name = "KEY", value_parser = key)]
    key: Option<String>,
}

/// Remove a provider's plugin from the home folder, and forget it
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  pearlbed plugins remove my-provider")]
pub(super) struct Remove {
    /// The id of the provider
    id: String,
}

/// Take a provider's plugin, as it is now, for the one that is meant
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A plugin is known by the key that it was signed with when it was used first.
This replaces what is known by what is there now.

Example:
  pearlbed plugins trust my-provider")]
pub(super) struct TrustArgs {
    /// The id of the provider
    id: PathBuf,

    #[command(flatten)]
    plugins: PluginDirs,
}

/// Never use a provider, or a file, wherever it lies
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed plugins block my-provider          whatever file carries it
  pearlbed plugins block 3f5a…                a file with these contents
  pearlbed plugins block --undo my-provider   let it be used again
  pearlbed plugins block                      what is blocked")]
pub(super) struct Block {
    /// The id of a provider, or the BLAKE3 hash of a file; without one, show what is blocked
    #[arg(value_name = "ID|HASH")]
    what: Option<String>,

    /// Let it be used again
    #[arg(long, requires = "what")]
    undo: bool,
}

fn key(text: &str) -> Result<String, String> {
    match trust::is_key(text) {
        true => Ok(text.to_owned()),
        false => Err("a minisign public key is one line that begins with `RW`".into()),
    }
}

fn io_error(what: &str, path: &Path, err: std::io::Error) -> Error {
    Error::of_file(format!("failed to {what} {}", printable_path(path)), err, path)
}

pub(super) fn install(args: &Install, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let section = context.config(&[])?.plugins;
    let mut trust = Trust::of(&section, Some(&home)).anew();
    if let Some(key) = &args.key {
        trust = trust.with_key(key).requiring(true);
    }
    // Whose the file is does not matter: the copy is the user's own.
    let entry = survey_file(&args.file, &Options { relaxed: true, probe: None, trust: trust.clone() });
    let refused = |entry: &Entry| {
        let reason = entry.skipped()?;
        let what =
            format!("{} was not installed: {} [{}]", printable_path(&args.file), reason.reason, reason.code);
        Some(Error::new(what).with_hint(reason.fix.clone()).with_exit(Exit::Futile))
    };
    if let Some(err) = refused(&entry) {
        return Err(err);
    }
    let (Some(manifest), Some(name)) = (entry.manifest(), args.file.file_name()) else {
        return Err(Error::new("a plugin has a name and a manifest"));
    };
    let folder = home.plugins_dir();
    owned::create_private(home.root())
        // Whoever runs it need not be who installs it.
        .and_then(|()| owned::create_open(&folder))
        .map_err(|err| io_error("create", &folder, err))?;
    let target = folder.join(name);
    // Its signature was one of the file that was looked at.
    let identity = entry.look.as_ref().and_then(|look| look.identity);
    let copy = place(entry.real_path(), &target, identity.as_ref())?;
    let signature = with_suffix(&args.file);
    let signature = signature.exists().then(|| place(&signature, &with_suffix(&target), None)).transpose()?;
    // What is put in place is what was looked at: the copy is looked at again, by its own name.
    let looked = survey_file(copy.path(), &Options { relaxed: false, probe: None, trust: Trust::default() });
    if let Some(err) = refused(&looked).or_else(|| (looked.id() != entry.id()).then(changed_meanwhile)) {
        return Err(err);
    }
    let others = carriers(&folder, &manifest.id);
    match signature {
        Some(signature) => persist(signature, &with_suffix(&target))?,
        // A signature of another file would only be wrong.
        None => remove_file(&with_suffix(&target))?,
    }
    persist(copy, &target)?;
    for other in others.iter().filter(|other| **other != target) {
        remove_file(other)?;
        remove_file(&with_suffix(other))?;
    }
    let signed = entry.judgement.signed.clone();
    trust::remember(&home, &manifest.id, &manifest.version, &target, &signed, true)
        .map_err(|err| io_error("remember", &target, err))?;
    context.print(&format!(
        "installed {} {} in {}, {signed}\n",
        manifest.id,
        manifest.version,
        printable_path(&target)
    ))?;
    if signed == Signed::Unsigned {
        context.note("nobody vouches for it; `pearlbed plugins verify` tries whether it keeps the contract");
    }
    Ok(Exit::Ok)
}

fn changed_meanwhile() -> Error {
    Error::new("the file changed while it was copied").with_hint("run the command again")
}

/// Copies `from`, which is still the file with `identity`, beside `to`, with the mode that a plugin has, so that one rename puts
/// it in place.
fn place(from: &Path, to: &Path, identity: Option<&Identity>) -> Result<tempfile::NamedTempFile, Error> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |err| io_error("write", to, err);
    let folder = to.parent().unwrap_or(Path::new("."));
    let suffix = to.extension().map(|suffix| format!(".{}", suffix.to_string_lossy())).unwrap_or_default();
    let mut file = tempfile::Builder::new()
        .prefix(".installing-")
        .suffix(&suffix)
        .tempfile_in(folder)
        .map_err(|err| failed(owned::plain(err)))?;
    let mut source = owned::open(from).map_err(|err| io_error("read", from, err))?;
    std::io::copy(&mut source, &mut file).map_err(failed)?;
    file.flush().map_err(failed)?;
    file.as_file().set_permissions(PermissionsExt::from_mode(0o644)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let now = source.metadata().map_err(|err| io_error("read", from, err))?;
    match identity {
        Some(looked_at) if Identity::of(&now) != *looked_at => Err(changed_meanwhile()),
        _ => Ok(file),
    }
}

fn persist(file: tempfile::NamedTempFile, to: &Path) -> Result<(), Error> {
    file.persist(to).map(drop).map_err(|err| io_error("replace", to, err.error))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, err)),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(SIGNATURE_SUFFIX);
    name.into()
}

/// The files in `folder` that carry the provider `id`.
fn carriers(folder: &Path, id: &str) -> Vec<PathBuf> {
    let path = SearchPath::new(&[folder.to_owned()], &crate::home::Env::of::<&str, &str>([]), None);
    let found = survey(&path, &Options { relaxed: true, ..Options::default() });
    let of_id = found.entries.into_iter().filter(|entry| entry.id() == Some(id));
    of_id.map(|entry| entry.path).collect()
}

pub(super) fn remove(args: &Remove, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let files = carriers(&home.plugins_dir(), &args.id);
    for file in &files {
        remove_file(file)?;
        remove_file(&with_suffix(file))?;
        context.print(&format!("removed {}\n", printable_path(file)))?;
    }
    let forgotten =
        Memory::forget(&home, &args.id).map_err(|err| io_error("write", &Memory::file(&home), err))?;
    if files.is_empty() && !forgotten {
        let what = format!("no plugin in {} carries `{}`", printable_path(&home.plugins_dir()), args.id);
        return Err(Error::new(what).with_hint("`pearlbed plugins list` shows where each one lies"));
    }
    Ok(Exit::Ok)
}

pub(super) fn trust(args: &TrustArgs, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let section = context.config(&[])?.plugins;
    let path = match chosen(&args.id, &args.plugins, context)? {
        Chosen::File(path) => path,
        Chosen::Skipped(entry) => entry.path,
    };
    let options = Options {
        relaxed: args.plugins.relaxed(context),
        probe: None,
        trust: Trust::of(&section, Some(&home)).anew(),
    };
    let entry = survey_file(&path, &options);
    if let Some(reason) = entry.skipped() {
        let what = format!("{} cannot be used: {} [{}]", printable_path(&path), reason.reason, reason.code);
        return Err(Error::new(what).with_hint(reason.fix.clone()));
    }
    let Some(manifest) = entry.manifest() else { return Err(Error::new("it has no manifest")) };
    let signed = &entry.judgement.signed;
    trust::remember(&home, &manifest.id, &manifest.version, entry.real_path(), signed, true)
        .map_err(|err| io_error("remember", &path, err))?;
    let text = format!(
        "{} {} is known from now on as {}, {signed}\n",
        manifest.id,
        manifest.version,
        printable_path(&path)
    );
    context.print(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn block(args: &Block, context: &Context) -> Result<Exit, Error> {
    let home = context.home()?;
    let Some(what) = &args.what else {
        let memory = Memory::read(&home);
        let list: String = memory.blocked().map(|what| format!("{what}\n")).collect();
        context.print(if list.is_empty() { "nothing is blocked\n" } else { &list })?;
        return Ok(Exit::Ok);
    };
    let is_hash = what.len() == 64 && what.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hash && !pearlbed_plugin_api::manifest::is_id(what) {
        return Err(Error::usage(format!("`{}` is neither an id nor a hash", crate::text::printable(what)))
            .with_hint("a hash has 64 digits, as `pearlbed plugins inspect` shows it"));
    }
    let changed =
        Memory::block(&home, what, !args.undo).map_err(|err| io_error("write", &Memory::file(&home), err))?;
    let text = match (args.undo, changed) {
        (false, true) => format!("{what} is not used any more\n"),
        (false, false) => format!("{what} was blocked already\n"),
        (true, true) => format!("{what} may be used again\n"),
        (true, false) => format!("{what} was not blocked\n"),
    };
    context.print(&text)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H7: what is installed as signed is what was found to be signed.
    #[test]
    fn a_file_that_is_exchanged_between_the_look_and_the_copy_is_not_installed() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to, other] = ["from.so", "to.so", "other.so"].map(|name| folder.path().join(name));
        std::fs::write(&from, "signed").unwrap();
        let identity = Identity::of(&std::fs::metadata(&from).unwrap());
        assert!(place(&from, &to, Some(&identity)).is_ok());
        std::fs::write(&other, "other!").unwrap();
        std::fs::rename(&other, &from).unwrap();
        let said = format!("{:?}", place(&from, &to, Some(&identity)).unwrap_err());
        assert!(said.contains("changed while it was copied"), "{said}");
        assert!(place(&from, &to, None).is_ok());
    }
}
