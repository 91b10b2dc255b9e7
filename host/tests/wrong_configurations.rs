//! Wrong configurations, and what is said about each: one error that names the key, the place and the fix.
//!
//! The snapshots are the specification: read them as a user would. Besides, every case is held to the rules that do
//! not change with the wording.

use std::path::Path;

use pearlbed::cli::{Error, render};
use pearlbed::config::{Config, Override, Sources};
use pearlbed::explain::Explain;
use pearlbed::home::Env;

/// A Taproot address of mainnet with a right checksum; nobody has its key.
const GOOD: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// What was written where.
#[derive(Clone, Copy)]
enum Written<'a> {
    /// The file's text.
    File(&'a str),
    /// A variable and its value.
    Env(&'a str, &'a str),
    /// A key and its value, from a flag.
    Flag(&'a str, &'a str),
}
use Written::{Env as Variable, File, Flag};

#[rustfmt::skip]
const CASES: &[(&str, &str, Written<'_>)] = &[
    // name, what the message must name, what is wrong
    ("typo-in-key", "walet_address", File("[mining]\nwalet_address = \"x\"\n")),
    ("typo-in-extra", "pearld_rpc_ulr", File("[mining.extra]\nm = 256\npearld_rpc_ulr = \"http://localhost:44107\"\n")),
    ("typo-in-section", "minning", File("[engine]\ndefault = \"vllm\"\n\n[minning]\nprovider = \"x\"\n")),
    ("typo-in-sub-section", "sesion", File("[mining.sesion]\nstop_grace = \"3s\"\n")),
    ("dash-for-underscore", "wallet-address", File("[mining]\nwallet-address = \"x\"\n")),
    ("key-of-another-section", "gateway_port", File("[mining]\ngateway_port = 8337\n")),
    ("key-outside-its-section", "wallet_address", File("wallet_address = \"x\"\n\n[mining]\n")),
    ("unknown-key", "colour", File("[mining]\ncolour = \"red\"\n")),
    ("unknown-key-in-plugins", "timeout", File("[plugins]\ntimeout = \"2s\"\n")),
    ("section-is-a-value", "mining", File("mining = \"cpu-pearl\"\n")),
    ("sub-section-is-a-value", "mining.extra", File("[mining]\nextra = 3\n")),
    ("sections-twice", "line 3", File("[mining]\nfee_bps = 0\n[mining]\nfee_bps = 0\n")),
    ("provider-is-a-number", "provider", File("[mining]\nprovider = 3\n")),
    ("provider-is-a-list", "provider", File("[mining]\nprovider = [\"cpu-pearl\"]\n")),
    ("provider-with-capitals", "provider", File("[mining]\nprovider = \"CPU Pearl\"\n")),
    ("provider-is-a-path", "provider", File("[mining]\nprovider = \"../../evil.so\"\n")),
    ("text-without-quotes", "line 2", File("[mining]\nprovider = cpu-pearl\n")),
    ("quote-in-value", "line 2", File("[mining]\nwallet_address = \"prl1\"p\"\n")),
    ("text-not-closed", "line 2", File("[mining]\nprovider = \"cpu-pearl\n")),
    ("newline-in-value", "wallet_address", File("[mining]\nwallet_address = \"prl1p\\n[mining]\"\n")),
    ("escape-in-value", "pearld_rpc_user", File("[mining.extra]\npearld_rpc_user = \"me\\u001b[2J\"\n")),
    ("blank-at-the-end", "provider", File("[mining]\nprovider = \"cpu-pearl \"\n")),
    ("address-mistyped", "wallet_address", File("[mining]\nwallet_address = \"prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729j\"\n")),
    ("address-too-short", "wallet_address", File("[mining]\nwallet_address = \"prl1pqqqsyqcyq5rqwzqfpg9scrgw\"\n")),
    ("address-of-another-coin", "wallet_address", File("[mining]\nwallet_address = \"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4\"\n")),
    ("address-version-0", "wallet_address", File("[mining]\nwallet_address = \"prl1qexampleaddress\"\n")),
    ("address-with-worker", "wallet_address", File("[mining]\nwallet_address = \"prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k.rig1\"\n")),
    ("address-mixed-case", "wallet_address", File("[mining]\nwallet_address = \"prl1Pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k\"\n")),
    ("address-p2mr-for-solo", "wallet_address", File("[mining]\nsubmit_target = \"solo\"\nwallet_address = \"prl1zqu04ax80tw03rs0v90rel24a77z722yyrdum43fcdvdtfgug4svquahpxa\"\n")),
    ("backup-without-url", "mining.pool.backup", File("[mining.pool]\nworker = \"a\"\n\n[[mining.pool.backup]]\nworker = \"a\"\n")),
    ("backup-typo", "wrker", File("[[mining.pool.backup]]\nurl = \"stratum+ssl://a.example:1\"\nwrker = \"a\"\n")),
    ("backup-is-a-table", "mining.pool.backup", File("[mining.pool.backup]\nurl = \"stratum+ssl://a.example:1\"\n")),
    ("backup-bad-url", "mining.pool.backup.1.url", File("[[mining.pool.backup]]\nurl = \"a.example:3333\"\n")),
    ("pool-pin-is-no-fingerprint", "mining.pool.pin", File("[mining.pool]\npin = \"5CC5FE72\"\n")),
    ("pool-encoding-unknown", "mining.pool.encoding", File("[mining.pool]\nencoding = \"gzip\"\n")),
    ("pool-dialect-unknown", "mining.pool.dialect", File("[mining.pool]\ndialect = \"b\"\n")),
    ("pool-certificate-zero", "mining.pool.cert_version", File("[mining.pool]\ncert_version = 0\n")),
    ("fee-address-mistyped", "fee_payout_address", File("[mining]\nfee_payout_address = \"prl1p\"\n")),
    ("fee-not-zero", "fee_bps", File("[mining]\nfee_bps = 2000\n")),
    ("fee-is-text", "fee_bps", File("[mining]\nfee_bps = \"0\"\n")),
    ("target-unknown", "submit_target", File("[mining]\nsubmit_target = \"p2pool\"\n")),
    ("pool-without-url", "submit_target", File("[mining]\nsubmit_target = \"pool:\"\n")),
    ("pool-without-scheme", "submit_target", File("[mining]\nsubmit_target = \"pool:eu.pool.example:3360\"\n")),
    ("pool-without-port", "submit_target", File("[mining]\nsubmit_target = \"pool:stratum+tcp://eu.pool.example\"\n")),
    ("pool-with-password", "submit_target", File("[mining]\nsubmit_target = \"pool:stratum+tcp://me:hunter2@eu.pool.example:3360\"\n")),
    ("port-out-of-range", "gateway_port", File("[mining.extra]\ngateway_port = 83370\n")),
    ("port-zero", "metrics_port", File("[mining.extra]\nmetrics_port = 0\n")),
    ("port-is-text", "gateway_port", File("[mining.extra]\ngateway_port = \"8337\"\n")),
    ("host-with-port", "gateway_host", File("[mining.extra]\ngateway_host = \"127.0.0.1:8337\"\n")),
    ("node-url-without-scheme", "pearld_rpc_url", File("[mining.extra]\npearld_rpc_url = \"localhost:44107\"\n")),
    ("node-url-bad-port", "pearld_rpc_url", File("[mining.extra]\npearld_rpc_url = \"https://localhost:441070\"\n")),
    ("password-instead-of-name", "pearld_rpc_password_env", File("[mining.extra]\npearld_rpc_password_env = \"hunter2!\"\n")),
    ("password-key-of-ones-own", "pearld_rpc_password", File("[mining.extra]\npearld_rpc_password = \"hunter2\"\n")),
    ("miners-is-a-table", "mining.miners", File("[mining.miners]\nprovider = \"x\"\n")),
    ("miner-with-unknown-key", "device", File("[[mining.miners]]\nprovider = \"x\"\ndevice = \"0\"\n")),
    ("miner-on-no-device", "devices", File("[[mining.miners]]\nprovider = \"x\"\ndevices = [\"gpu0\"]\n")),
    ("miner-with-a-device-twice", "devices", File("[[mining.miners]]\ndevices = [\"01:00.0\", \"0000:01:00.0\"]\n")),
    ("miners-of-one-name", "name", File("[[mining.miners]]\nname = \"a\"\n\n[[mining.miners]]\nname = \"a\"\n")),
    ("miner-with-capitals", "name", File("[[mining.miners]]\nname = \"Left Card\"\n")),
    ("miner-too-hot", "temperature_limit", File("[mining]\ntemperature_limit = 20\n")),
    ("miner-too-nice", "nice", File("[[mining.miners]]\nnice = 20\n")),
    ("miner-with-settings-of-the-session", "gateway_port", File("[[mining.miners]]\nextra = { gateway_port = 8337 }\n")),
    ("miner-with-a-secret", "token", File("[[mining.miners]]\n[mining.miners.extra]\ntoken = \"hunter2\"\n")),
    ("miner-with-wrong-grant", "grants", File("[[mining.miners]]\ngrants = [\"camera:/dev/video0\"]\n")),
    ("miner-enabled-in-words", "enabled", File("[[mining.miners]]\nenabled = \"no\"\n")),
    ("duration-without-unit", "stop_grace", File("[mining.session]\nstop_grace = 10\n")),
    ("duration-unknown-unit", "probe_timeout", File("[plugins]\nprobe_timeout = \"2 blinks\"\n")),
    ("duration-zero", "probe_timeout", File("[plugins]\nprobe_timeout = \"0s\"\n")),
    ("size-too-small", "log_size", File("[mining.session]\nlog_size = \"10KiB\"\n")),
    ("metrics-for-everybody", "metrics_listen", File("[mining.session]\nmetrics_listen = \"0.0.0.0:9109\"\n")),
    ("flag-in-quotes", "relax_trust", File("[plugins]\nrelax_trust = \"yes\"\n")),
    ("folder-instead-of-list", "dirs", File("[plugins]\ndirs = \"/opt/miners\"\n")),
    ("command-is-text", "command", File("[mining.gateway]\ncommand = \"pearl-gateway start\"\n")),
    ("grant-unknown-kind", "cpu-pearl", File("[mining.grants]\ncpu-pearl = [\"everything\"]\n")),
    ("grant-not-a-list", "cpu-pearl", File("[mining.grants]\ncpu-pearl = \"network:*:*\"\n")),
    ("variable-typo", "PEARLBED_MINING_PROVIDR", Variable("PEARLBED_MINING_PROVIDR", "cpu-pearl")),
    ("variable-bad-value", "PEARLBED_MINING_EXTRA_GATEWAY_PORT", Variable("PEARLBED_MINING_EXTRA_GATEWAY_PORT", "http")),
    ("flag-bad-value", "--submit-target", Flag("mining.submit_target", "pool")),
];

fn load(from: Written<'_>) -> Result<Config, pearlbed::config::ConfigError> {
    let (text, env, flags) = match from {
        File(text) => (text, Env::default(), vec![]),
        Variable(name, value) => ("", Env::of([(name, value)]), vec![]),
        Flag(key, value) => ("", Env::default(), vec![Override::new(key, value, "--submit-target")]),
    };
    Config::load(&Sources { file: Path::new("config.toml"), text: Some(text), env: &env, flags: &flags })
}

#[test]
fn each_wrong_configuration_gets_one_error_that_names_the_key_and_the_fix() {
    assert!(CASES.len() >= 40);
    for (name, named, from) in CASES.iter().copied() {
        let err = load(from).expect_err(name);
        let hint = err.hint().unwrap_or_else(|| panic!("{name} has no hint"));
        let message = err.to_string();
        assert!(message.contains(named), "{name}: the message does not name {named}: {message}");
        assert!(!message.contains('\n') && !message.ends_with('.'), "{name}: {message}");
        assert!(!format!("{message}{hint}").contains("hunter2"), "{name} repeats a secret: {message}");
        if let File(_) = from {
            assert!(message.contains("line "), "{name} does not say where: {message}");
        }
        let err = Error::from(err);
        let shown = anstream::adapter::strip_str(&render::error(&err, err.hint(), 80)).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{name} is too wide:\n{shown}");
        let input = match from {
            File(text) => text.trim_end().to_owned(),
            Variable(name, value) => format!("{name}={value}"),
            Flag(_, value) => format!("--submit-target {value}"),
        };
        insta::with_settings!({ description => input, omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

#[test]
fn a_file_that_is_no_text_says_at_which_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, b"[mining]\nprovider = \"\xff\"\n").unwrap();
    let env = Env::default();
    let err = Config::load(&Sources { file: &file, text: None, env: &env, flags: &[] }).unwrap_err();
    assert!(err.to_string().ends_with("config.toml is not UTF-8 text (byte 21)"), "{err}");
    assert!(err.hint().is_some());
}

#[test]
fn a_folder_in_the_place_of_the_file_is_named_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::default();
    let err = Config::load(&Sources { file: folder.path(), text: None, env: &env, flags: &[] }).unwrap_err();
    assert!(std::error::Error::source(&err).is_some());
}

#[test]
fn the_address_in_these_tests_is_a_good_one() {
    let text = format!("[mining]\nwallet_address = \"{GOOD}\"\n");
    assert_eq!(load(File(&text)).unwrap().mining.wallet_address.as_deref(), Some(GOOD));
}
