//! What a provider process is allowed: exactly what its manifest wants *and* the user has granted.

use std::path::{Path, PathBuf};

use pearlbed_plugin_api::Permission;

use crate::config::keys;
use crate::sandbox::{HostPort, Policy, Reading};

/// More threads than any miner has, and fewer than the system has numbers for.
const THREADS_MAX: u32 = 8192;
/// More files in memory than any driver makes, and fewer than it takes to hide a machine's memory in.
const MEMORY_FILES_MAX: u32 = 256;

/// Wanted and granted, compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// In force.
    pub granted: Vec<Permission>,
    /// Wanted by the manifest and not granted by the user.
    pub withheld: Vec<Permission>,
}

impl Grants {
    /// Compares the manifest's wishes with the user's grants. Hints ask for nothing and are left out.
    pub fn new(wanted: &[Permission], user: &[Permission]) -> Self {
        let (granted, withheld) = wanted
            .iter()
            .filter(|permission| !permission.is_hint())
            .cloned()
            .partition(|permission| user.contains(permission));
        Self { granted, withheld }
    }

    /// The confinement for a plugin in the file `plugin`.
    pub fn policy(&self, plugin: &Path) -> Policy {
        let mut policy = Policy::default();
        let mut read = vec![plugin.to_owned()];
        for permission in &self.granted {
            match permission {
                Permission::Device(pattern) => {
                    let pattern = Path::new(pattern);
                    policy.devices.extend(matching(pattern));
                    policy.listings.extend(listed(pattern));
                }
                Permission::Network { host, port } => {
                    let host = Some(host.clone()).filter(|host| host != "*");
                    policy.network.push(HostPort { host, port: *port });
                }
                Permission::UnixSocket(path) => policy.unix_sockets.push(path.into()),
                Permission::Program(path) => policy.programs.push(path.into()),
                Permission::Read(path) => read.push(path.into()),
                Permission::Write(path) => policy.write.push(path.into()),
                _ => {}
            }
        }
        policy.reading = Reading::System(read);
        policy.limits.threads = Some(THREADS_MAX);
        policy.limits.memory_files = Some(MEMORY_FILES_MAX);
        // Where memory runs out, whoever mines goes before the session that holds found proofs, and before a stranger.
        policy.limits.dies_first = true;
        policy
    }

    /// Whether the provider runs machinery of its own, and so needs the wallet and the node's address.
    pub fn has_machinery(&self) -> bool {
        let reaches_out = |permission: &Permission| {
            matches!(
                permission,
                Permission::Network { .. } | Permission::UnixSocket(_) | Permission::Program(_)
            )
        };
        self.granted.iter().any(reaches_out)
    }

    /// Whether the provider is told the setting `key` of `[mining.extra]`. The node is nobody's business but the host's, and
    /// what else is the host's own is none of a provider's that only computes.
    pub fn shows(&self, key: &str) -> bool {
        !keys::is_own_extra(key) || (self.has_machinery() && !key.starts_with("pearld_"))
    }

    /// Whether it may open device nodes.
    pub fn has_devices(&self) -> bool {
        self.granted.iter().any(|permission| matches!(permission, Permission::Device(_)))
    }

    /// Those in force, in their text form.
    pub fn granted_text(&self) -> Vec<String> {
        self.granted.iter().map(ToString::to_string).collect()
    }

    /// Those withheld, in their text form; with the reason where it is another than that nobody granted them.
    pub fn withheld_text(&self) -> Vec<String> {
        let text = |permission: &Permission| match is_container_engine(permission) {
            false => permission.to_string(),
            true => format!(
                "{permission} (a container engine's, and as good as root: `container_engines = true` in [mining.session] \
                 allows the grant)"
            ),
        };
        self.withheld.iter().map(text).collect()
    }
}

/// Whether a permission is the socket of a container engine: who may speak there may start a container that does what root
/// may, whatever confines the asker.
pub fn is_container_engine(permission: &Permission) -> bool {
    match permission {
        Permission::UnixSocket(path) => {
            let path = Path::new(path);
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            // Under another name it is what it leads to, or the same node of the file system.
            is_engine_by_name(path) || is_engine_by_name(&real) || is_an_engines_node(&real)
        }
        // Where an engine listens for the network, as it does by tradition.
        Permission::Network { port, .. } => matches!(port, Some(2375 | 2376)),
        _ => false,
    }
}

fn is_engine_by_name(path: &Path) -> bool {
    const NAMES: [&str; 9] = [
        "docker.sock",
        "docker-raw.sock",
        "cri-dockerd.sock",
        "podman.sock",
        "containerd.sock",
        "crio.sock",
        "buildkitd.sock",
        "lxd.sock",
        "incus.socket",
    ];
    // LXD and Incus call theirs by the same plain name.
    const FOLDERS: [&str; 2] = ["lxd", "incus"];
    let name = path.file_name().unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    NAMES.iter().any(|engine| name == *engine)
        || (name == "unix.socket" && FOLDERS.iter().any(|engine| folder == *engine))
}

/// Whether `path` is the socket of an engine that lies at its usual place, bound or linked to another name.
fn is_an_engines_node(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    const USUAL: [&str; 4] = [
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
        "/run/crio/crio.sock",
    ];
    let node = |path: &Path| std::fs::metadata(path).ok().map(|node| (node.dev(), node.ino()));
    let of = node(path);
    of.is_some() && USUAL.iter().any(|usual| node(Path::new(usual)) == of)
}

/// The folder that a driver lists to find the nodes of `pattern`: none where they are named, and never all of `/dev`.
fn listed(pattern: &Path) -> Option<PathBuf> {
    let folder = pattern.parent()?;
    let is_pattern = pattern.file_name()?.to_str()?.contains('*');
    (is_pattern && folder != Path::new("/dev")).then(|| folder.to_owned())
}

/// The files whose name matches the last component of `pattern`, in which `*` stands for any run of characters.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|found| matches(name, found)))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    // The shortest match of each part leaves the most for the rest.
    text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(texts: &[&str]) -> Vec<Permission> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_is_wanted_and_granted_is_in_force() {
        let wanted = permissions(&["network:pool.example:3360", "program:/usr/bin/docker", "threads-hint:4"]);
        let user = permissions(&["program:/usr/bin/docker", "write:/var"]);
        let grants = Grants::new(&wanted, &user);
        assert_eq!(grants.granted_text(), ["program:/usr/bin/docker"]);
        assert_eq!(grants.withheld_text(), ["network:pool.example:3360"]);
        let policy = grants.policy(Path::new("/p/x.so"));
        assert_eq!(policy.programs, [Path::new("/usr/bin/docker")]);
        assert!(policy.network.is_empty() && policy.write.is_empty());
        assert_eq!(policy.reading, Reading::System(vec!["/p/x.so".into()]));
        assert!(policy.limits.dies_first && policy.limits.memory_files.is_some());
        assert!(grants.has_machinery() && !Grants::default().has_machinery());
        let shown = |grants: &Grants| ["pearld_rpc_url", "model", "threads"].map(|key| grants.shows(key));
        assert_eq!((shown(&grants), shown(&Grants::default())), ([false, true, true], [false, false, true]));
    }

    #[test]
    fn a_container_engines_socket_is_known_under_every_name_and_withheld_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, link) = (folder.path().join("podman.sock"), folder.path().join("harmless.sock"));
        std::fs::write(&engine, "").unwrap();
        std::os::unix::fs::symlink(&engine, &link).unwrap();
        let socket = |path: &Path| Permission::UnixSocket(path.to_str().unwrap().into());
        assert!(is_container_engine(&socket(Path::new("/nowhere/docker.sock"))));
        assert!(is_container_engine(&socket(&link)), "what it leads to counts");
        assert!(is_container_engine(&socket(Path::new("/var/lib/incus/unix.socket"))));
        assert!(!is_container_engine(&socket(Path::new("/run/mine/unix.socket"))));
        assert!(is_container_engine(&"network:127.0.0.1:2375".parse().unwrap()));
        assert!(!is_container_engine(&"network:pool.example:3360".parse().unwrap()));
        assert!(!is_container_engine(&socket(Path::new("/run/pearlbed/gateway.sock"))));
        let wanted = permissions(&["unix-socket:/run/docker.sock", "unix-socket:/run/other.sock"]);
        let said = Grants::new(&wanted, &[]).withheld_text();
        assert!(said[0].contains("as good as root") && said[1] == "unix-socket:/run/other.sock", "{said:?}");
    }

    #[test]
    fn a_device_pattern_names_the_nodes_that_are_there() {
        assert!(matches("nvidia*", "nvidia0") && matches("nvidia*", "nvidia") && matches("*", ""));
        assert!(matches("a*b*c", "axxbyyc") && !matches("a*b*c", "axxbyy") && !matches("nvidia*", "null"));
        assert_eq!(matching(Path::new("/dev/nul*")), [Path::new("/dev/null")]);
        assert_eq!(matching(Path::new("/dev/null")), [Path::new("/dev/null")]);
        assert!(matching(Path::new("/nowhere/x*")).is_empty());
        assert_eq!(listed(Path::new("/dev/dri/renderD*")), Some("/dev/dri".into()));
        assert_eq!(listed(Path::new("/dev/dri/renderD128")), None);
        assert_eq!(listed(Path::new("/dev/nvidia*")), None, "all of /dev is not listed");
    }
}
