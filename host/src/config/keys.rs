//! The table of settings: the one place where a key, its kind, its default and its meaning are written down.

/// What a value must look like. Each kind has one parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One line of text without control characters.
    Text,
    /// A provider id: lower-case letters, digits and `-`.
    ProviderId,
    /// Where a pool listens, as `stratum+ssl://host:port`.
    PoolUrl,
    /// The fingerprint of a certificate or of its key.
    Pin,
    /// How proofs travel to a pool.
    Encoding,
    /// A certificate version, from 1.
    CertificateVersion,
    /// How a pool is logged in to.
    Dialect,
    /// The name of a miner: lower-case letters, digits, `-` and `_`.
    MinerName,
    /// A list of devices, each by one of its names.
    Devices,
    /// A list of permissions.
    Permissions,
    /// A table of settings that are a provider's own.
    Settings,
    /// How far a process stands back for others, 0 to 19.
    Nice,
    /// A temperature in degrees Celsius, 30 to 120.
    Temperature,
    /// A Pearl address, bech32m with its full checksum.
    Address,
    /// `"solo"`, `"devnet"` or `"pool:<url>"`.
    SubmitTarget,
    /// The fee in basis points; only 0 is accepted.
    Fee,
    /// The name of an environment variable.
    EnvName,
    /// A host name or an IP address.
    Host,
    /// A TCP port, 1 to 65535.
    Port,
    /// An `http://` or `https://` address without user, password or path surprises.
    HttpUrl,
    /// A path of a file or folder.
    Path,
    /// A list of paths.
    Paths,
    /// A list of minisign public keys.
    PublicKeys,
    /// A program and its arguments.
    Command,
    /// A length of time such as `"10s"`.
    Duration,
    /// A number of bytes such as `"16MiB"`.
    Size,
    /// A loopback address and port.
    LoopbackAddress,
    /// An address and port of this machine.
    ListenAddress,
    /// `true`, `false` or a path.
    SwitchOrPath,
    /// A number of seconds, 1 to 600.
    Seconds,
    /// Who may connect: `loopback` or `network`.
    Reach,
    /// A container engine.
    Engine,
    /// A container's network.
    Network,
    /// `true` or `false`.
    Flag,
}

impl Kind {
    /// The kind in words, as `config show` and the reference say it.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::ProviderId => "provider id",
            Self::MinerName => "name",
            Self::Devices => "list of devices",
            Self::Permissions => "list of permissions",
            Self::Settings => "table",
            Self::Nice => "number, 0 to 19",
            Self::Temperature => "°C, 30 to 120",
            Self::Address => "Pearl address",
            Self::PoolUrl => "pool address",
            Self::Pin => "sha256/ and a fingerprint",
            Self::Encoding => "plain or v2",
            Self::CertificateVersion => "whole number from 1",
            Self::Dialect => "auto, object or array",
            Self::SubmitTarget => "solo, devnet or pool:<url>",
            Self::Fee => "0",
            Self::EnvName => "name of an environment variable",
            Self::Host => "host name or IP address",
            Self::Port => "port, 1 to 65535",
            Self::HttpUrl => "http or https URL",
            Self::Path => "path",
            Self::Paths => "list of paths",
            Self::PublicKeys => "list of minisign public keys",
            Self::Command => "list: program and arguments",
            Self::Duration => "duration",
            Self::Size => "size in bytes",
            Self::LoopbackAddress => "loopback address and port",
            Self::ListenAddress => "address and port",
            Self::SwitchOrPath => "true, false or a path",
            Self::Seconds => "seconds, 1 to 600",
            Self::Reach => "loopback or network",
            Self::Engine => "auto, docker or podman",
            Self::Network => "bridge or host",
            Self::Flag => "true or false",
        }
    }

    /// Whether the value is a list in TOML.
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Paths
                | Self::PublicKeys
                | Self::Command
                | Self::Devices
                | Self::Permissions
                | Self::Settings
        )
    }
}

/// One setting that the host reads.
#[derive(Debug)]
pub struct Key {
    /// Path in the file, for instance `mining.extra.gateway_port`.
    pub path: &'static str,
    /// What a value must look like.
    pub kind: Kind,
    /// The value where nothing sets it, in TOML; `None` where there is none.
    pub default: Option<&'static str>,
    /// A right value in TOML, shown in errors and in the reference.
    pub example: &'static str,
    /// What it is for, one or two sentences.
    pub help: &'static str,
}

impl Key {
    /// The table that the key lies in, for instance `mining.extra`.
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').expect("every key lies in a table").0
    }

    /// The last part of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').expect("every key lies in a table").1
    }

    /// The environment variable that overrides the file: `PEARLBED_` and the path in capitals.
    pub fn env(&self) -> String {
        format!("PEARLBED_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }
}

/// Tables whose keys are the user's own: passed on to the provider, or one per provider.
pub const OPEN_TABLES: &[&str] = &["mining.extra", "mining.grants"];

/// The list of pools that stand in for the first. Its keys are those of `[mining.pool]`, and these two.
pub(super) const BACKUP: &str = "mining.pool.backup";

/// The list of miners beside the first.
pub const MINERS: &str = "mining.miners";

/// The provider that leaves the choice to the host, for each device of the machine.
pub const AUTO: &str = "auto";

/// How far a miner stands back for other programs unless somebody says otherwise, as the systemd units have it.
pub const NICE: u8 = 10;

/// The settings of one `[[mining.miners]]`; each of their paths begins with [`MINERS`].
pub const MINER_KEYS: &[Key] = &[
    Key {
        path: "mining.miners.name",
        kind: Kind::MinerName,
        default: None,
        example: r#""left-card""#,
        help: "What the miner is called in `status`, and by `pause`, `resume` and `restart`. Without it, the \
               provider's id, with a number where that is taken.",
    },
    Key {
        path: "mining.miners.provider",
        kind: Kind::ProviderId,
        default: Some(r#""auto""#),
        example: r#""some-provider""#,
        help: "The provider that mines. `auto`: for each of the miner's devices the best one that supports it.",
    },
    Key {
        path: "mining.miners.devices",
        kind: Kind::Devices,
        default: Some("[]"),
        example: r#"["0000:01:00.0"]"#,
        help: "The devices that it mines on: `\"cpu\"`, a PCI address, a UUID, or a number as `pearlbed doctor` \
               counts cards from 0. An address and a UUID stay when cards are added; a number does not. Without it, \
               all that the provider takes.",
    },
    Key {
        path: "mining.miners.extra",
        kind: Kind::Settings,
        default: Some("{}"),
        example: "{ threads = 2 }",
        help: "The provider's own settings for this miner; `pearlbed config keys --provider ID` lists them. What \
               stands in `[mining.extra]` for the first miner is not repeated here.",
    },
    Key {
        path: "mining.miners.grants",
        kind: Kind::Permissions,
        default: Some("[]"),
        example: r#"["device:/dev/dri/renderD128"]"#,
        help: "What this miner may do, beyond what `[mining.grants]` grants its provider.",
    },
    Key {
        path: "mining.miners.nice",
        kind: Kind::Nice,
        default: Some("10"),
        example: "10",
        help: "How far it stands back for other programs: 0 is not at all, 19 the most.",
    },
    Key {
        path: "mining.miners.temperature_limit",
        kind: Kind::Temperature,
        default: None,
        example: "80",
        help: "At how many °C one of its cards has it rest, by the machine's sensors; it goes on when the hottest is 5 °C \
               cooler. Without `devices` every card of the machine counts.",
    },
    Key {
        path: "mining.miners.enabled",
        kind: Kind::Flag,
        default: Some("true"),
        example: "false",
        help: "Whether it mines. `false` keeps its settings for later.",
    },
];

/// Keys that OpenJarvis writes into `[mining.extra]` for a container of its own. A provider without an inference engine knows
/// none of them, and a file that was made for one is no reason to refuse another.
pub const OF_OTHERS: &[&str] = &[
    "docker_image_tag",
    "cuda_visible_devices",
    "vllm_port",
    "vllm_args",
    "gpu_memory_utilization",
    "max_model_len",
    "hf_token_env",
    "local_model_path",
];

/// Every setting, in the order in which `config show` and the reference list them.
pub const KEYS: &[Key] = &[
    Key {
        path: "mining.provider",
        kind: Kind::ProviderId,
        default: None,
        example: r#""some-provider""#,
        help: "The provider that mines. `auto`, or none where no `[[mining.miners]]` is asked for: for each device of \
               the machine the best one that supports it.",
    },
    Key {
        path: "mining.devices",
        kind: Kind::Devices,
        default: Some("[]"),
        example: r#"["cpu"]"#,
        help: "The devices that this first miner mines on, as in `[[mining.miners]]`. Without it, all that the \
               provider takes.",
    },
    Key {
        path: "mining.nice",
        kind: Kind::Nice,
        default: Some("10"),
        example: "10",
        help: "How far this first miner stands back for other programs: 0 is not at all, 19 the most.",
    },
    Key {
        path: "mining.temperature_limit",
        kind: Kind::Temperature,
        default: None,
        example: "80",
        help: "At how many °C a card has this first miner rest, as in `[[mining.miners]]`.",
    },
    Key {
        path: "mining.wallet_address",
        kind: Kind::Address,
        default: None,
        example: r#""prl1p…""#,
        help: "Who is paid. Needed for `solo` and for pools; the devnet pays nobody.",
    },
    Key {
        path: "mining.submit_target",
        kind: Kind::SubmitTarget,
        default: Some(r#""solo""#),
        example: r#""solo""#,
        help: "Where work comes from and proofs go: `solo` (your node, through pearl-gateway), `pool:<url>`, or \
               `devnet` (the built-in test network).",
    },
    Key {
        path: "mining.fee_bps",
        kind: Kind::Fee,
        default: Some("0"),
        example: "0",
        help: "The fee in basis points. Always 0: pearlbed takes no fee and refuses to take one for others.",
    },
    Key {
        path: "mining.fee_payout_address",
        kind: Kind::Address,
        default: None,
        example: r#""""#,
        help: "Kept because OpenJarvis writes it. Nothing is ever paid to it.",
    },
    Key {
        path: "mining.extra.model",
        kind: Kind::Text,
        default: None,
        example: r#""pearl-ai/Llama-3.3-70B-Instruct-pearl""#,
        help: "The model that a provider with an inference engine serves. Others ignore it.",
    },
    Key {
        path: "mining.extra.gateway_host",
        kind: Kind::Host,
        default: Some(r#""127.0.0.1""#),
        example: r#""127.0.0.1""#,
        help: "Host of pearl-gateway's miner RPC over TCP.",
    },
    Key {
        path: "mining.extra.gateway_port",
        kind: Kind::Port,
        default: Some("8337"),
        example: "8337",
        help: "Port of pearl-gateway's miner RPC over TCP.",
    },
    Key {
        path: "mining.extra.metrics_port",
        kind: Kind::Port,
        default: None,
        example: "8339",
        help: "Port that OpenJarvis reads metrics from. Where it is set, sessions serve theirs there, on loopback.",
    },
    Key {
        path: "mining.extra.gateway_metrics_port",
        kind: Kind::Port,
        default: None,
        example: "8339",
        help: "The same, as OpenJarvis writes it for its container.",
    },
    Key {
        path: "mining.extra.pearld_rpc_url",
        kind: Kind::HttpUrl,
        default: None,
        example: r#""https://localhost:44107""#,
        help: "RPC of your pearld. With it, a block counts as accepted only once the node has it.",
    },
    Key {
        path: "mining.extra.pearld_rpc_user",
        kind: Kind::Text,
        default: Some(r#""rpcuser""#),
        example: r#""rpcuser""#,
        help: "User name for the node's RPC.",
    },
    Key {
        path: "mining.extra.pearld_rpc_password_env",
        kind: Kind::EnvName,
        default: Some(r#""PEARLD_RPC_PASSWORD""#),
        example: r#""PEARLD_RPC_PASSWORD""#,
        help: "Name of the environment variable that holds the node's password; never the password itself.",
    },
    Key {
        path: "mining.gateway.socket",
        kind: Kind::Path,
        default: None,
        example: r#""/tmp/pearlgw.sock""#,
        help: "Unix socket of pearl-gateway's miner RPC. Wins over `gateway_host` and `gateway_port`.",
    },
    Key {
        path: "mining.gateway.command",
        kind: Kind::Command,
        default: None,
        example: r#"["pearl-gateway", "start"]"#,
        help: "Program and arguments that start pearl-gateway. With it, the session starts and stops the gateway.",
    },
    Key {
        path: "mining.gateway.rest_while_proving",
        kind: Kind::Flag,
        default: Some("true"),
        example: "false",
        help: "Whether miners on the processor of a gateway on this machine rest while it makes a block of a proof of theirs.",
    },
    Key {
        path: "mining.node.certificate",
        kind: Kind::Path,
        default: None,
        example: r#""/home/me/.pearld/rpc.cert""#,
        help: "The node's own TLS certificate (PEM), which an https `pearld_rpc_url` must present.",
    },
    Key {
        path: "mining.pool.worker",
        kind: Kind::Text,
        default: None,
        example: r#""rig1""#,
        help: "Name of this machine at the pool.",
    },
    Key {
        path: "mining.pool.password_env",
        kind: Kind::EnvName,
        default: None,
        example: r#""POOL_PASSWORD""#,
        help: "Name of the environment variable that holds the pool's password, where it wants one.",
    },
    Key {
        path: "mining.pool.account",
        kind: Kind::Text,
        default: None,
        example: r#""solo:prl1p…""#,
        help: "What the pool is told as wallet where it is not `wallet_address` as it stands: a prefix, a suffix, or an \
               account's name. It goes out exactly as it is written.",
    },
    Key {
        path: "mining.pool.wallet_unchecked",
        kind: Kind::Flag,
        default: Some("false"),
        example: "true",
        help: "Also take an `account` that holds no Pearl address. A slip in it is noticed by nobody but the pool.",
    },
    Key {
        path: "mining.pool.agent",
        kind: Kind::Text,
        default: None,
        example: r#""pearlbed/0.2.0""#,
        help: "Name of the program that the pool is told, where it admits certain names only.",
    },
    Key {
        path: "mining.pool.pin",
        kind: Kind::Pin,
        default: None,
        example: r#""sha256/5cc5fe726bdd0d639aeab3bc67c08d4b608e387ebed5b174a52cf42353fc41fe""#,
        help: "The one certificate that the pool may show, whoever signed it: SHA-256 of the certificate in hex, or of its \
               public key in base64.",
    },
    Key {
        path: "mining.pool.encoding",
        kind: Kind::Encoding,
        default: None,
        example: r#""v2""#,
        help: "How proofs are to travel: `plain`, or `v2` (gzip). The pool has the last word.",
    },
    Key {
        path: "mining.pool.cert_version",
        kind: Kind::CertificateVersion,
        default: None,
        example: "3",
        help: "The certificate version of the pool's jobs where it does not say it.",
    },
    Key {
        path: "mining.pool.dialect",
        kind: Kind::Dialect,
        default: Some(r#""auto""#),
        example: r#""auto""#,
        help: "How to log in: `object`, `array`, or `auto` to find out.",
    },
    Key {
        path: "mining.pool.ping",
        kind: Kind::Flag,
        default: None,
        example: "true",
        help: "Whether to keep the connection alive by pings. Without it, where the pool is known to need them.",
    },
    Key {
        path: "mining.session.stop_grace",
        kind: Kind::Duration,
        default: Some(r#""10s""#),
        example: r#""10s""#,
        help: "How long an orderly stop may take before the provider process is ended.",
    },
    Key {
        path: "mining.session.stall_after",
        kind: Kind::Duration,
        default: Some(r#""1m""#),
        example: r#""1m""#,
        help: "How long a provider may leave a job untaken or report nothing before it is restarted as stalled. Time in which it had no processor does not count.",
    },
    Key {
        path: "mining.session.restart_wait",
        kind: Kind::Duration,
        default: Some(r#""1s""#),
        example: r#""1s""#,
        help: "How long a provider that ended unasked waits before it is started again. Each further wait is twice as \
               long as the one before, up to sixty times the first.",
    },
    Key {
        path: "mining.session.metrics_listen",
        kind: Kind::LoopbackAddress,
        default: None,
        example: r#""127.0.0.1:9109""#,
        help: "Where to serve `/metrics` and `/healthz`. Without it, on `metrics_port` where that is set, else off.",
    },
    Key {
        path: "mining.session.metrics_socket",
        kind: Kind::Path,
        default: None,
        example: r#""/run/pearlbed/metrics.sock""#,
        help: "A Unix socket that serves the same pages besides, to its owner and group: for a container, whose \
               loopback nobody else reaches.",
    },
    Key {
        path: "mining.session.devnet",
        kind: Kind::Flag,
        default: Some("false"),
        example: "false",
        help: "Mine on the built-in test network, whatever `submit_target` says: OpenJarvis, which shares the file, \
               has no word for it.",
    },
    Key {
        path: "mining.session.log_size",
        kind: Kind::Size,
        default: Some(r#""16MiB""#),
        example: r#""16MiB""#,
        help: "Disk that the session log may use, rotated parts included.",
    },
    Key {
        path: "mining.session.container_engines",
        kind: Kind::Flag,
        default: Some("false"),
        example: "true",
        help: "Whether a container engine's socket may be granted. Who may speak there is as good as root.",
    },
    Key {
        path: "mining.port.unix",
        kind: Kind::SwitchOrPath,
        default: Some("false"),
        example: "true",
        help: "Serve programs that mine already on a Unix socket: `true` for `<home>/runtime/miner/gateway.sock`, or a path. \
               `pearlbed start --port` does it for one session.",
    },
    Key {
        path: "mining.port.listen",
        kind: Kind::ListenAddress,
        default: None,
        example: r#""127.0.0.1:3333""#,
        help: "Serve programs that mine already on this TCP address, in a gateway's language and in a pool's.",
    },
    Key {
        path: "mining.port.allow",
        kind: Kind::Reach,
        default: Some(r#""loopback""#),
        example: r#""loopback""#,
        help: "Who may connect to `listen`: `loopback`, this machine alone; or `network`, which needs `password_env`, and \
               everybody on the way can read along.",
    },
    Key {
        path: "mining.port.password_env",
        kind: Kind::EnvName,
        default: None,
        example: r#""PEARLBED_PORT_PASSWORD""#,
        help: "Name of the environment variable that holds the password that programs from elsewhere must give.",
    },
    Key {
        path: "mining.port.share_seconds",
        kind: Kind::Seconds,
        default: Some("10"),
        example: "10",
        help: "How many seconds apart the shares of one program are to be on average. More often says sooner how fast it is.",
    },
    Key {
        path: "mining.container.engine",
        kind: Kind::Engine,
        default: Some(r#""auto""#),
        example: r#""podman""#,
        help: "Who runs a provider that is a container: `docker`, `podman`, or `auto`, which takes Podman where it works \
               without root and can hand over the cards, else Docker.",
    },
    Key {
        path: "mining.container.network",
        kind: Kind::Network,
        default: Some(r#""bridge""#),
        example: r#""bridge""#,
        help: "How a container is on the network: `bridge`, on one of its own with its port on this machine's loopback; or \
               `host`, where it sees all that this machine sees.",
    },
    Key {
        path: "mining.container.ready_within",
        kind: Kind::Duration,
        default: Some(r#""30m""#),
        example: r#""1h""#,
        help: "How long a container may say nothing before it serves, until it is started again.",
    },
    Key {
        path: "mining.container.stop_grace",
        kind: Kind::Duration,
        default: Some(r#""1m""#),
        example: r#""1m""#,
        help: "How long a container's orderly stop may take before its engine ends it.",
    },
    Key {
        path: "mining.container.read_only",
        kind: Kind::Flag,
        default: None,
        example: "false",
        help: "Whether a container's root file system cannot be written. Without it, as its data file says.",
    },
    Key {
        path: "mining.container.gateway",
        kind: Kind::Flag,
        default: Some("true"),
        example: "false",
        help: "Whether a solo session runs the gateway that is in a container's image, in a container of its own, where none is \
               named and none listens.",
    },
    Key {
        path: "plugins.dirs",
        kind: Kind::Paths,
        default: Some("[]"),
        example: r#"["/opt/miners"]"#,
        help: "More folders to look for plugins in, before `<home>/plugins`.",
    },
    Key {
        path: "plugins.probe_timeout",
        kind: Kind::Duration,
        default: Some(r#""2s""#),
        example: r#""2s""#,
        help: "How long one plugin may take to answer a probe.",
    },
    Key {
        path: "plugins.relax_trust",
        kind: Kind::Flag,
        default: Some("false"),
        example: "false",
        help: "Also use plugin files that others own or may write to. Anyone who can change such a file can change \
               what mines for you.",
    },
    Key {
        path: "plugins.keys",
        kind: Kind::PublicKeys,
        default: Some("[]"),
        example: r#"["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]"#,
        help: "The minisign public keys of those whose plugins you trust. A plugin is signed by `FILE.minisig` beside it.",
    },
    Key {
        path: "plugins.require_signature",
        kind: Kind::Flag,
        default: Some("false"),
        example: "false",
        help: "Use only plugins that are signed by one of `keys`, or by the key that they were installed with.",
    },
    Key {
        path: "plugins.debug",
        kind: Kind::Flag,
        default: Some("false"),
        example: "true",
        help: "Have a panic in a plugin bring a backtrace, into the session log, `plugins inspect` and `plugins verify`. \
               For whoever writes one.",
    },
];

/// Whether `name` below `[mining.extra]` is a setting of the host's own, and no provider's.
pub fn is_own_extra(name: &str) -> bool {
    find(&format!("mining.extra.{name}")).is_some()
}

/// The row of `path`, if the host knows it.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}
