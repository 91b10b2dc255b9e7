//! Which layer wins, what is not judged, and what is never repeated.

use super::*;
use crate::config::SubmitTarget;
use crate::explain::Explain;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources {
        file: Path::new("config.toml"),
        text: Some(text),
        env: &Env::default(),
        flags: &[],
    })
}

#[test]
fn an_empty_file_gives_the_defaults_and_is_not_configured() {
    let config = load("").unwrap();
    assert!(!config.configured);
    assert_eq!(config.mining.submit_target, SubmitTarget::Solo);
    assert_eq!(config.mining.gateway.endpoint.to_string(), "127.0.0.1:8337");
    assert_eq!(config.mining.node, None);
    assert_eq!(config.mining.session.log_bytes_max, 16 << 20);
    assert_eq!(config, Config::defaults(Path::new("config.toml")));
}

#[test]
fn every_default_passes_its_own_check_and_reads_back_as_written() {
    for key in KEYS {
        let Some(text) = key.default else { continue };
        let value = value::check(key.kind, &raw_value(&text.parse().unwrap())).unwrap().unwrap();
        assert_eq!(value.to_toml(), text, "{}", key.path);
    }
}

#[test]
fn every_setting_can_be_set_by_its_variable_with_the_example_that_is_shown_for_it() {
    for key in KEYS {
        let example: toml_edit::Value = key.example.parse().expect(key.path);
        let text = example.as_str().map_or_else(|| key.example.to_owned(), str::to_owned);
        // Addresses are shown shortened.
        if text.is_empty() || text.contains('…') {
            continue;
        }
        let variable = key.env();
        let env = Env::of([(variable.as_str(), text.as_str())]);
        let sources = Sources { file: Path::new("/nowhere/config.toml"), text: None, env: &env, flags: &[] };
        match Config::load(&sources) {
            Ok(config) => {
                let origin = config.setting(key.path).map(|setting| setting.origin.clone());
                assert_eq!(origin, Some(Origin::Environment(variable)), "{text}");
            }
            Err(err) => panic!("{variable}={text}: {err}"),
        }
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "[mining]\nprovider = \"from-file\"\n";
    let (none, env) = (Env::default(), Env::of([("PEARLBED_MINING_PROVIDER", "from-env")]));
    let flags = [Override::new("mining.provider", "from-flag", "--provider")];
    let path = Path::new("config.toml");
    let with = |env: &Env, flags: &[_]| {
        let config = Config::load(&Sources { file: path, text: Some(file), env, flags }).unwrap();
        let origin = config.setting("mining.provider").unwrap().origin.clone();
        (config.mining.provider.unwrap(), origin)
    };
    assert_eq!(with(&none, &[]), ("from-file".to_owned(), Origin::File { line: 2 }));
    assert_eq!(
        with(&env, &[]),
        ("from-env".to_owned(), Origin::Environment("PEARLBED_MINING_PROVIDER".to_owned()))
    );
    assert_eq!(with(&env, &flags), ("from-flag".to_owned(), Origin::Flag("--provider".to_owned())));
}

#[test]
fn other_programs_sections_are_not_judged() {
    let config = load("[engine]\ndefault = 3\n[server]\nport = \"x\"\n[memory]\nbackend = 1\n").unwrap();
    assert!(!config.configured);
}

#[test]
fn a_slip_in_a_section_name_is_not_taken_for_another_program() {
    let err = load("[minning]\nprovider = \"x\"\n").unwrap_err();
    assert_eq!(err.to_string(), "unknown section [minning] (config.toml line 1)");
    assert_eq!(err.hint().as_deref(), Some("did you mean [mining]?"));
}

#[test]
fn a_providers_own_keys_reach_it_and_a_slip_in_ours_does_not() {
    let config = load("[mining.extra]\nm = 256\nvllm_args = [\"--x\"]\n").unwrap();
    assert_eq!(config.mining.extra["m"], 256);
    assert_eq!(config.mining.extra["vllm_args"][0], "--x");
    assert_eq!(config.mining.extra["gateway_port"], 8337);
    let err = load("[mining.extra]\npearld_rpc_ulr = \"http://x\"\n").unwrap_err();
    assert_eq!(err.hint().as_deref(), Some("did you mean `pearld_rpc_url`?"));
}

#[test]
fn a_secret_in_the_place_of_a_name_is_never_repeated() {
    let err = load("[mining.extra]\npearld_rpc_password_env = \"hunter2!\"\n").unwrap_err();
    let said = format!("{err} {}", err.hint().unwrap());
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn whoever_is_paid_is_named_once_also_where_a_pool_has_an_account_of_its_own() {
    let wallets = [
        "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k",
        "prl1pquyqjzstpsxsurcszyfpx9q4zct3sxg6rvwp68slyqsjygeyy5nq54mnzx",
    ];
    let paid = |rest: &str| {
        let text = format!("[mining]\nwallet_address = \"{}\"\n{rest}", wallets[0]);
        load(&text).unwrap().mining.paid()
    };
    assert_eq!(paid("submit_target = \"devnet\"\n"), Vec::<String>::new());
    assert_eq!(paid(""), [wallets[0]]);
    let pool = "submit_target = \"pool:stratum+tcp://pool.example:3333\"\n";
    assert_eq!(paid(pool), [wallets[0]]);
    // Solo pays the wallet, whatever account a pool would be told.
    let account = format!("[mining.pool]\naccount = \"{}\"\n", wallets[1]);
    assert_eq!(paid(&account), [wallets[0]]);
    assert_eq!(paid(&format!("{pool}{account}")), [wallets[1]]);
    let backup = "[[mining.pool.backup]]\nurl = \"stratum+tcp://other.example:3333\"\n";
    assert_eq!(paid(&format!("{pool}{account}{backup}")), [wallets[1], wallets[0]]);
    assert_eq!(paid(&format!("{pool}{backup}")), [wallets[0]]);
}

#[test]
fn what_is_no_file_or_more_than_one_would_write_is_no_configuration_and_a_link_to_nowhere_is_no_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    assert_eq!(read_file(&path).unwrap(), "");
    std::os::unix::fs::symlink("gone/config.toml", &path).unwrap();
    let err = read_file(&path).unwrap_err();
    assert!(err.hint().unwrap().contains("leads nowhere"), "{:?}", err.hint());
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let err = read_file(&path).unwrap_err();
    assert!(err.hint().unwrap().contains("move it away"), "{:?}", err.hint());
    assert_eq!(err.exit(), crate::exit::Exit::Futile);
}

#[test]
fn a_value_of_the_wrong_kind_is_told_in_the_form_in_which_it_was_given() {
    let variable = |name: &str, value: &str| {
        let env = Env::of([(name, value)]);
        let sources = Sources { file: Path::new("/nowhere/config.toml"), text: None, env: &env, flags: &[] };
        Config::load(&sources).unwrap_err()
    };
    let hint = variable("PEARLBED_MINING_NICE", "x").hint().unwrap();
    assert_eq!(hint, "write it like this: PEARLBED_MINING_NICE=10");
    let hint = load("[mining]\nnice = \"x\"\n").unwrap_err().hint().unwrap();
    assert_eq!(hint, "write it like this: nice = 10");
    // A slip in the name of what is no setting leads to another home, or to other plugins.
    for (name, meant) in
        [("PEARLBED_HOM", "PEARLBED_HOME"), ("PEARLBED_PLUGIN_PATHS", "PEARLBED_PLUGIN_PATH")]
    {
        let hint = variable(name, "/x").hint().unwrap();
        assert_eq!(hint, format!("did you mean {meant}?"));
    }
    for name in ["PEARLBED_HOME", "PEARLBED_PLUGIN_PATH"] {
        let env = Env::of([(name, "/x")]);
        let sources = Sources { file: Path::new("/nowhere/config.toml"), text: None, env: &env, flags: &[] };
        assert!(Config::load(&sources).is_ok(), "{name}");
    }
}

#[test]
fn a_path_of_the_configuration_leads_to_the_same_place_from_wherever_it_is_read() {
    let text = "[mining.gateway]\nsocket = \"gw.sock\"\n[mining.session]\nmetrics_socket = \"m.sock\"\n\
                [plugins]\ndirs = [\"mine\", \"/opt/others\"]\n";
    let file = Path::new("/home/me/.openjarvis/config.toml");
    let sources = Sources { file, text: Some(text), env: &Env::default(), flags: &[] };
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.mining.gateway.endpoint.to_string(), "unix:/home/me/.openjarvis/gw.sock");
    let socket = config.mining.session.metrics_socket.unwrap();
    assert_eq!(socket, Path::new("/home/me/.openjarvis/m.sock"));
    assert_eq!(config.plugins.dirs, [Path::new("/home/me/.openjarvis/mine"), Path::new("/opt/others")]);
}
