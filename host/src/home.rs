//! Where the files of one user's pearlbed lie.
//!
//! The home folder is the first of `--home`, `$PEARLBED_HOME`, `$OPENJARVIS_HOME`,
//! `$XDG_DATA_HOME/openjarvis` and `~/.openjarvis`. Names below it are given out by [`Home`] alone, so that no
//! two modules disagree about one. Nothing here creates, reads or tests a file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::explain::Explain;

/// The environment variables of this process, or of a test.
///
/// A variable that is set to nothing counts as not set.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<OsString, OsString>,
}

impl Env {
    /// The variables that this process was started with.
    pub fn of_process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// Exactly these variables.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { variables: variables.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }

    /// The value of `name`, unless it is missing or empty.
    pub fn var_os(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// Every variable whose name begins with `prefix`, name and value; empty ones and non-UTF-8 ones left out.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
            .filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty())
    }

    /// The value of `name`, unless it is missing, empty or not UTF-8.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.var_os(name).and_then(OsStr::to_str)
    }
}

/// What decided where the home folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeOrigin {
    /// The flag `--home`.
    Flag,
    /// `$PEARLBED_HOME`.
    PearlbedHome,
    /// `$OPENJARVIS_HOME`.
    OpenjarvisHome,
    /// `$XDG_DATA_HOME/openjarvis`.
    XdgDataHome,
    /// `~/.openjarvis`.
    Default,
}

impl HomeOrigin {
    /// The origin in words a person knows, such as `$PEARLBED_HOME`.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Flag => "--home",
            Self::PearlbedHome => "$PEARLBED_HOME",
            Self::OpenjarvisHome => "$OPENJARVIS_HOME",
            Self::XdgDataHome => "$XDG_DATA_HOME",
            Self::Default => "the default",
        }
    }
}

/// The home folder, as an absolute path that need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    origin: HomeOrigin,
}

/// Why there is no home folder.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum NoHome {
    #[error("cannot tell where the home folder is: neither $PEARLBED_HOME nor $HOME is set")]
    Unnamed,
    #[error("the name of the home folder ({}) is not UTF-8: `{}`", origin.describe(), crate::text::printable_path(path))]
    NotText { path: PathBuf, origin: HomeOrigin },
    #[error("the home folder ({}) is `{}`, and there is no user of that name here", origin.describe(), crate::text::printable_path(path))]
    NoUser { path: PathBuf, origin: HomeOrigin },
}

impl Explain for NoHome {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unnamed => "set PEARLBED_HOME to a folder of yours, or pass --home DIR".into(),
            // It stands in records that other programs read, and those are text.
            Self::NotText { .. } => {
                "rename the folder, or choose another home with --home or PEARLBED_HOME".into()
            }
            Self::NoUser { origin, .. } => {
                format!("write the whole path in {}; `./~name` is a folder of that name", origin.describe())
            }
        })
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Home {
    /// Finds the home folder: `flag` where given, else from `env`.
    ///
    /// A relative `$XDG_DATA_HOME` is passed over, as its specification demands; other relative paths are taken
    /// from the working directory. A variable may begin with `~` or `~name`, which no shell has replaced in a service's
    /// environment.
    ///
    /// # Errors
    ///
    /// [`NoHome`] where nothing names a folder, or one whose name is not UTF-8.
    pub fn find(flag: Option<&Path>, env: &Env) -> Result<Self, NoHome> {
        let own = |name| {
            env.var_os(name).map(|path| without_tilde(Path::new(path), env).unwrap_or_else(|| path.into()))
        };
        let found = None
            .or_else(|| Some((flag?.to_owned(), HomeOrigin::Flag)))
            .or_else(|| Some((own("PEARLBED_HOME")?, HomeOrigin::PearlbedHome)))
            .or_else(|| Some((own("OPENJARVIS_HOME")?, HomeOrigin::OpenjarvisHome)))
            .or_else(|| {
                let data = own("XDG_DATA_HOME").filter(|data| data.is_absolute())?;
                Some((data.join("openjarvis"), HomeOrigin::XdgDataHome))
            })
            .or_else(|| Some((own("HOME")?.join(".openjarvis"), HomeOrigin::Default)));
        let (root, origin) = found.ok_or(NoHome::Unnamed)?;
        if root.to_str().is_none() {
            return Err(NoHome::NotText { path: root, origin });
        }
        // A shell has replaced what it could in a flag; in a variable it is a user that is not there.
        if origin != HomeOrigin::Flag && tilde(&root).is_some() {
            return Err(NoHome::NoUser { path: root, origin });
        }
        // Without a working directory a relative path stays what it is, and fails where it is used.
        let root = std::path::absolute(&root).unwrap_or(root);
        Ok(Self { root, origin })
    }

    /// A home at `root`, for tests and for processes that are told where it is.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), origin: HomeOrigin::Flag }
    }

    /// What decided where it is.
    pub fn origin(&self) -> HomeOrigin {
        self.origin
    }

    /// `pearlbed <words>` as a person types it for this home; with `--home` where it is not the one that a person's
    /// own shell leads to.
    pub fn command(&self, words: &str) -> String {
        let home = match self.origin {
            HomeOrigin::Flag => true,
            // A service has its home from its unit, and whoever types the command has another environment.
            HomeOrigin::PearlbedHome => self.is_a_services(),
            _ => false,
        };
        if home { self.command_of_others(words) } else { format!("pearlbed {words}") }
    }

    /// `text` with the commands in it as a person types them for this home.
    pub fn addressed(&self, text: &str) -> String {
        let Some(flag) = self.command("").strip_prefix("pearlbed ").map(str::to_owned) else {
            return text.into();
        };
        if flag.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("`pearlbed ") {
            let (before, behind) = rest.split_at(at + "`pearlbed ".len());
            out.push_str(before);
            if !behind.starts_with("--home ") {
                out.push_str(&flag);
            }
            rest = behind;
        }
        out + rest
    }

    /// The same for whoever has another environment, as behind `sudo`: the home is always named.
    pub fn command_of_others(&self, words: &str) -> String {
        let root = crate::text::printable_path(&self.root);
        let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
        let root = if root.chars().all(plain) { root } else { format!("'{}'", root.replace('\'', "'\\''")) };
        format!("pearlbed --home {root} {words}")
    }

    /// Whether the folder is where services keep what is theirs: such a one has a `/tmp` of its own, and sees nobody's home.
    pub fn is_a_services(&self) -> bool {
        self.root.starts_with("/var/lib")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config.toml`, shared with OpenJarvis.
    pub fn config_file(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// `plugins/`, where a user drops providers.
    pub fn plugins_dir(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// `runtime/`: what a running session leaves while it runs, and proofs that are still owed.
    pub fn runtime_dir(&self) -> PathBuf {
        self.root.join("runtime")
    }

    /// `runtime/mining.json`, the sidecar.
    pub fn sidecar_file(&self) -> PathBuf {
        self.runtime_dir().join("mining.json")
    }

    /// `runtime/mining.lock`: whoever holds it may run a session.
    pub fn lock_file(&self) -> PathBuf {
        self.runtime_dir().join("mining.lock")
    }

    /// `runtime/mining.sock`, the control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir().join("mining.sock")
    }

    /// Where programs that mine already find the miner port. In a folder of its own, which a container can mount.
    pub fn miner_socket(&self) -> PathBuf {
        self.runtime_dir().join("miner/gateway.sock")
    }

    /// `runtime/proofs/`: found proofs until the work source took or refused them.
    pub fn proofs_dir(&self) -> PathBuf {
        self.runtime_dir().join("proofs")
    }

    /// `runtime/refused/`: the newest proofs that the host's verifier refused, with the reason.
    pub fn refused_dir(&self) -> PathBuf {
        self.runtime_dir().join("refused")
    }

    /// `runtime/devnet/`: the chain of the embedded network.
    pub fn devnet_dir(&self) -> PathBuf {
        self.runtime_dir().join("devnet")
    }

    /// `logs/`: the session log and its rotated predecessors.
    pub fn logs_dir(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// `logs/mining.log`, the session log.
    pub fn log_file(&self) -> PathBuf {
        self.logs_dir().join("mining.log")
    }
}

/// `path` with the user's folder in the place of a leading `~`, and that of the user `name` in the place of `~name`; nothing
/// where there is no such user.
pub fn without_tilde(path: &Path, env: &Env) -> Option<PathBuf> {
    let Some((name, rest)) = tilde(path) else { return Some(path.to_owned()) };
    let home = match (name.is_empty(), env.var_os("HOME")) {
        (true, Some(home)) => home.into(),
        (true, None) => folder_of(|_, id| id == rustix::process::getuid().as_raw().to_string())?,
        (false, _) => folder_of(|user, _| user == name)?,
    };
    Some(home.join(rest))
}

/// The name after a leading `~`, which may be empty, and the rest of the path.
fn tilde(path: &Path) -> Option<(&str, &Path)> {
    let first = path.iter().next()?;
    let name = first.to_str()?.strip_prefix('~')?;
    Some((name, path.strip_prefix(first).ok()?))
}

/// The home folder of the user whose name and number are wanted, by the list of users.
fn folder_of(wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, _, folder, ..] = fields[..] else { return None };
        (wanted(name, id) && !folder.is_empty()).then(|| folder.into())
    })
}

/// Where OpenJarvis keeps its files, and which configuration it reads, with the same environment: by its own rules, which
/// differ from ours in a relative `$XDG_DATA_HOME` and in a variable for the one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Openjarvis {
    /// Its home folder, without symbolic links.
    pub home: PathBuf,
    /// Its configuration, without symbolic links.
    pub config: PathBuf,
}

impl Openjarvis {
    /// Finds them.
    ///
    /// # Errors
    ///
    /// The variable that names a user who is not there, with its value: OpenJarvis fails then, too.
    pub fn find(env: &Env) -> Result<Self, (&'static str, PathBuf)> {
        let named = |name: &'static str| {
            let path = env.var_os(name).map(Path::new)?;
            Some(without_tilde(path, env).ok_or_else(|| (name, path.to_owned())))
        };
        let home = match (named("OPENJARVIS_HOME"), named("XDG_DATA_HOME")) {
            (Some(home), _) => home?,
            (None, Some(data)) => data?.join("openjarvis"),
            (None, None) => {
                without_tilde(Path::new("~/.openjarvis"), env).ok_or(("HOME", "~/.openjarvis".into()))?
            }
        };
        let home = resolved(&home);
        let config = match named("OPENJARVIS_CONFIG") {
            Some(file) => resolved(&file?),
            None => resolved(&home.join("config.toml")),
        };
        Ok(Self { home, config })
    }
}

/// `path` from the root on, without symbolic links and `..`, as far as it is there; the rest as it is written.
pub fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            resolved.pop();
            continue;
        }
        resolved.push(part);
        if let Ok(real) = resolved.canonicalize() {
            resolved = real;
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_the_home_where_a_shell_does_not_lead_to_it() {
        let command = |flag: Option<&str>, variables: &[(&str, &str)]| {
            let home = Home::find(flag.map(Path::new), &Env::of(variables.iter().copied())).unwrap();
            home.command("init")
        };
        assert_eq!(command(None, &[("HOME", "/h")]), "pearlbed init");
        assert_eq!(command(None, &[("PEARLBED_HOME", "/h/mine")]), "pearlbed init");
        let service = [("PEARLBED_HOME", "/var/lib/pearlbed")];
        assert_eq!(command(None, &service), "pearlbed --home /var/lib/pearlbed init");
        assert_eq!(command(Some("/a b's"), &[]), "pearlbed --home '/a b'\\''s' init");
        let text = "`pearlbed start` or `pearlbed --home /x init`, pearlbed and `jarvis mine stop`";
        let home = Home::find(Some(Path::new("/f")), &Env::default()).unwrap();
        let told = "`pearlbed --home /f start` or `pearlbed --home /x init`, pearlbed and `jarvis mine stop`";
        assert_eq!(home.addressed(text), told);
        let home = Home::find(None, &Env::of([("HOME", "/h")])).unwrap();
        assert_eq!(home.addressed(text), text);
    }

    fn found(flag: Option<&str>, variables: &[(&str, &str)]) -> (PathBuf, HomeOrigin) {
        let env = Env::of(variables.iter().copied());
        let home = Home::find(flag.map(Path::new), &env).unwrap();
        (home.root().to_owned(), home.origin())
    }

    #[test]
    fn the_first_that_is_named_wins() {
        let mut variables =
            vec![("HOME", "/h"), ("XDG_DATA_HOME", "/x"), ("OPENJARVIS_HOME", "/o"), ("PEARLBED_HOME", "/p")];
        assert_eq!(found(Some("/f"), &variables), ("/f".into(), HomeOrigin::Flag));
        assert_eq!(found(None, &variables), ("/p".into(), HomeOrigin::PearlbedHome));
        variables.pop();
        assert_eq!(found(None, &variables), ("/o".into(), HomeOrigin::OpenjarvisHome));
        variables.pop();
        assert_eq!(found(None, &variables), ("/x/openjarvis".into(), HomeOrigin::XdgDataHome));
        variables.pop();
        assert_eq!(found(None, &variables), ("/h/.openjarvis".into(), HomeOrigin::Default));
    }

    #[test]
    fn empty_variables_and_a_relative_data_home_name_nothing() {
        let variables = [("PEARLBED_HOME", ""), ("XDG_DATA_HOME", "relative"), ("HOME", "/h")];
        assert_eq!(found(None, &variables), ("/h/.openjarvis".into(), HomeOrigin::Default));
        assert!(Home::find(None, &Env::of([("HOME", "")])).is_err());
    }

    #[test]
    fn a_home_that_is_no_text_is_refused_and_a_tilde_is_the_users_folder() {
        use std::os::unix::ffi::OsStrExt;
        let env = Env::of([(OsStr::new("PEARLBED_HOME"), OsStr::from_bytes(b"/lat\xe9"))]);
        let err = Home::find(None, &env).unwrap_err();
        assert_eq!(err.to_string(), "the name of the home folder ($PEARLBED_HOME) is not UTF-8: `/lat\\xe9`");
        assert!(matches!(
            Home::find(Some(Path::new(OsStr::from_bytes(b"\xff"))), &env),
            Err(NoHome::NotText { origin: HomeOrigin::Flag, .. })
        ));
        assert_eq!(found(None, &[("PEARLBED_HOME", "~/p"), ("HOME", "/h")]).0, Path::new("/h/p"));
        assert_eq!(found(None, &[("OPENJARVIS_HOME", "~"), ("HOME", "/h")]).0, Path::new("/h"));
        assert_eq!(found(None, &[("XDG_DATA_HOME", "~/d"), ("HOME", "/h")]).0, Path::new("/h/d/openjarvis"));
    }

    #[test]
    fn a_tilde_with_a_name_is_that_users_folder_and_one_of_nobody_is_refused() {
        let me = crate::remedy::user_name(rustix::process::getuid().as_raw());
        // By the list of users, whatever this process was told.
        let mine = folder_of(|user, _| user == me);
        let named = Env::of([("OPENJARVIS_HOME", format!("~{me}/oj"))]);
        let bare = Env::of([("PEARLBED_HOME", "~/oj")]);
        match mine {
            Some(mine) => {
                for env in [named, bare] {
                    assert_eq!(Home::find(None, &env).unwrap().root(), mine.join("oj"));
                }
            }
            None => assert!(Home::find(None, &named).is_err() && Home::find(None, &bare).is_err()),
        }
        let nobody = Env::of([("OPENJARVIS_HOME", "~no.such.user/oj"), ("HOME", "/h")]);
        let err = Home::find(None, &nobody).unwrap_err();
        assert!(err.to_string().contains("there is no user of that name here"), "{err}");
        assert_eq!(Openjarvis::find(&nobody), Err(("OPENJARVIS_HOME", "~no.such.user/oj".into())));
        assert_eq!(
            found(Some("~x"), &[]).0,
            std::env::current_dir().unwrap().join("~x"),
            "a flag is taken as it is"
        );
    }

    #[test]
    fn openjarvis_is_found_by_its_own_rules() {
        let theirs =
            |variables: &[(&str, &str)]| Openjarvis::find(&Env::of(variables.iter().copied())).unwrap();
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        for (variables, home) in [
            (vec![("HOME", "/no/h")], PathBuf::from("/no/h/.openjarvis")),
            (vec![("HOME", "/no/h"), ("OPENJARVIS_HOME", "~/a/../b")], "/no/h/b".into()),
            (vec![("HOME", "/no/h"), ("XDG_DATA_HOME", "~/d")], "/no/h/d/openjarvis".into()),
            // Which its specification says is to be passed over.
            (vec![("HOME", "/no/h"), ("XDG_DATA_HOME", "rel")], here.join("rel/openjarvis")),
            // Which is ours alone.
            (vec![("HOME", "/no/h"), ("PEARLBED_HOME", "/p")], "/no/h/.openjarvis".into()),
            (vec![("HOME", "/no/h"), ("OPENJARVIS_HOME", "")], "/no/h/.openjarvis".into()),
        ] {
            assert_eq!(
                theirs(&variables),
                Openjarvis { config: home.join("config.toml"), home },
                "{variables:?}"
            );
        }
        let elsewhere = theirs(&[("HOME", "/no/h"), ("OPENJARVIS_CONFIG", "~/x.toml")]);
        assert_eq!(
            (elsewhere.home.as_path(), elsewhere.config.as_path()),
            (Path::new("/no/h/.openjarvis"), Path::new("/no/h/x.toml"))
        );
        // What a link leads to is the same folder.
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let link = real.join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(theirs(&[("OPENJARVIS_HOME", link.to_str().unwrap())]).home, real);
        assert_eq!(resolved(&link.join("new/../file")), real.join("file"));
    }

    #[test]
    fn a_relative_home_is_taken_from_the_working_directory() {
        let (root, _) = found(Some("here"), &[]);
        assert_eq!(root, std::env::current_dir().unwrap().join("here"));
    }
}
