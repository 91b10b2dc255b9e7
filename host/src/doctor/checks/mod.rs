//! The table of checks, and a file for each section.

mod configuration;
mod confinement;
mod container;
mod devices;
mod disk;
mod hardware;
mod limits;
mod node;
mod plugins;
mod session;

use super::Section::*;
use super::{Check, Verdict};

/// Every check, in the order in which its rows are shown.
pub const CHECKS: &[Check] = &[
    Check {
        id: "cpu",
        section: Hardware,
        question: "the processor, its cores and caches, and its instructions for int8 products",
        if_silent: "see what `dmesg` says: /proc and /sys do not answer",
        run: hardware::cpu,
    },
    Check {
        id: "memory",
        section: Hardware,
        question: "physical memory, and what a container may use of it",
        if_silent: "see what `dmesg` says: /proc and /sys do not answer",
        run: hardware::memory,
    },
    Check {
        id: "gpu",
        section: Hardware,
        question: "every graphics processor, with its memory and driver",
        if_silent: "see what `dmesg` says about the graphics driver; a reboot often helps",
        run: hardware::gpu,
    },
    Check {
        id: "gpu-driver",
        section: Hardware,
        question: "whether the drivers of the graphics processors answer",
        if_silent: "see what `dmesg` says about the graphics driver; a reboot often helps",
        run: hardware::gpu_driver,
    },
    Check {
        id: "plugin-folders",
        section: Plugins,
        question: "the folders that are searched for plugins",
        if_silent: FOLDER_SILENT,
        run: plugins::folders,
    },
    Check {
        id: "plugin",
        section: Plugins,
        question: "every file that might be a plugin: usable, or skipped and why",
        if_silent: FOLDER_SILENT,
        run: plugins::files,
    },
    Check {
        id: "provider",
        section: Providers,
        question: "what each provider says about this machine",
        if_silent: FOLDER_SILENT,
        run: plugins::providers,
    },
    Check {
        id: "device",
        section: Providers,
        question: "which provider would mine on each device, and why the others would not",
        if_silent: FOLDER_SILENT,
        run: devices::devices,
    },
    Check {
        id: "choice",
        section: Providers,
        question: "whether there is a provider to mine with: the configured one, or any",
        if_silent: FOLDER_SILENT,
        run: plugins::choice,
    },
    Check {
        id: "container",
        section: Providers,
        question: "engine, image, model and room of the configured provider, where it is a container",
        if_silent: "the container engine does not answer: `docker info` or `podman info` shows why",
        run: container::container,
    },
    Check {
        id: "mechanisms",
        section: Confinement,
        question: "what this kernel can keep a plugin from",
        if_silent: "the kernel does not answer: see what `dmesg` says",
        run: confinement::mechanisms,
    },
    Check {
        id: "probes",
        section: Confinement,
        question: "whether the plugins were confined while they were asked",
        if_silent: FOLDER_SILENT,
        run: confinement::probes,
    },
    Check {
        id: "home-folder",
        section: Disk,
        question: "whether the home folder exists or can be made, and is writable",
        if_silent: "the file system of the home folder does not answer: see `mount`, or set PEARLBED_HOME elsewhere",
        run: disk::home_folder,
    },
    Check {
        id: "disk-space",
        section: Disk,
        question: "whether there is room for logs, found proofs and the devnet's chain",
        if_silent: "the file system of the home folder does not answer: see `mount`, or set PEARLBED_HOME elsewhere",
        run: disk::space,
    },
    Check {
        id: "config",
        section: Configuration,
        question: "whether config.toml can be read and makes sense",
        if_silent: "config.toml cannot be read to its end: is it a regular file on a file system that answers?",
        run: configuration::file,
    },
    Check {
        id: "work-source",
        section: Configuration,
        question: "whether this version can work for the configured target",
        if_silent: "config.toml cannot be read to its end",
        run: configuration::work_source,
    },
    Check {
        id: "wallet",
        section: Configuration,
        question: "whether there is an address to be paid to, where the work pays",
        if_silent: "config.toml cannot be read to its end",
        run: configuration::wallet,
    },
    Check {
        id: "openjarvis",
        section: Configuration,
        question: "whether OpenJarvis would read the same file and folder",
        if_silent: "config.toml cannot be read to its end",
        run: configuration::shared,
    },
    Check {
        id: "secrets",
        section: Configuration,
        question: "whether the environment variables that hold passwords are set",
        if_silent: "config.toml cannot be read to its end",
        run: configuration::secrets,
    },
    Check {
        id: "settings",
        section: Configuration,
        question: "whether each miner's settings are such as its provider takes",
        if_silent: FOLDER_SILENT,
        run: devices::settings_of_miners,
    },
    Check {
        id: "grants",
        section: Configuration,
        question: "whether the configured provider was granted what it wants",
        if_silent: FOLDER_SILENT,
        run: plugins::grants,
    },
    Check {
        id: "limits",
        section: Session,
        question: "what is too little for a session of what this shell, unit or container allows",
        if_silent: "config.toml cannot be read to its end",
        run: limits::limits,
    },
    Check {
        id: "session-state",
        section: Session,
        question: "whether a session runs and earns, or what the last one left behind",
        if_silent: "the session's supervisor does not answer: `pearlbed stop` ends it",
        run: session::session,
    },
    Check {
        id: "gateway",
        section: Node,
        question: "whether pearl-gateway listens where it is configured",
        if_silent: GATEWAY_SILENT,
        run: node::gateway,
    },
    Check {
        id: "node-access",
        section: Node,
        question: "whether the configured pearld can be reached and lets us in",
        if_silent: NODE_SILENT,
        run: node::reachable,
    },
    Check {
        id: "node-sync",
        section: Node,
        question: "whether the node has every block of the headers that it knows, and its newest are young",
        if_silent: NODE_SILENT,
        run: node::synced,
    },
    Check {
        id: "node-template",
        section: Node,
        question: "whether the node gives out fresh block templates",
        if_silent: NODE_SILENT,
        run: node::template,
    },
    Check {
        id: "node-certificate",
        section: Node,
        question: "whether the provider speaks the certificate version that the network wants",
        if_silent: NODE_SILENT,
        run: node::certificate,
    },
];

const GATEWAY_SILENT: &str = "is pearl-gateway running, and its address right?";
const NODE_SILENT: &str = "is pearld running, and its address right?";

/// The plugins' own time-out is shorter than the doctor's, so silence means that a folder is silent.
const FOLDER_SILENT: &str =
    "a folder with plugins does not answer: see `mount`, or leave it out with --plugin-dir OTHER";

/// What checks say that need a configuration when it cannot be read.
fn unreadable_configuration() -> Vec<Verdict> {
    vec![Verdict::skip("the configuration cannot be read", "put right what the check `config` says").quiet()]
}
