//! The configuration that is shared with OpenJarvis: its files are understood by us, and ours by its rules.
//!
//! `fixtures/openjarvis/README.md` says where the files and the rules come from.

use std::path::{Path, PathBuf};

use pearlbed::config::{Change, Config, GatewayEndpoint, Place, Sources, SubmitTarget};
use pearlbed::home::Env;
use pearlbed::init::{Plan, edit};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openjarvis")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixtures().join(name)).expect("the fixture is there")
}

fn load(text: &str) -> Config {
    let env = Env::default();
    Config::load(&Sources { file: Path::new("config.toml"), text: Some(text), env: &env, flags: &[] })
        .expect("the file is right")
}

/// What OpenJarvis' parser asks of a file, in our words.
fn openjarvis_can_read(text: &str) -> Result<(), String> {
    let file: toml::Table = text.parse().map_err(|err| format!("not TOML: {err}"))?;
    let Some(mining) = file.get("mining") else { return Ok(()) };
    for key in ["provider", "wallet_address"] {
        if !mining.get(key).is_some_and(toml::Value::is_str) {
            return Err(format!("`{key}` is missing"));
        }
    }
    let target = mining.get("submit_target").map_or(Some("solo"), toml::Value::as_str);
    match target {
        Some(target) if target == "solo" || target.starts_with("pool:") => Ok(()),
        other => Err(format!("submit_target is {other:?}")),
    }
}

#[test]
fn a_file_of_each_of_its_providers_is_understood() {
    for name in ["vllm-pearl", "cpu-pearl", "apple-mps-pearl"] {
        let text = read(&format!("{name}.toml"));
        openjarvis_can_read(&text).unwrap();
        let config = load(&text);
        assert!(config.configured, "{name}");
        let mining = &config.mining;
        assert_eq!(mining.provider.as_deref(), Some(name));
        assert_eq!(mining.submit_target, SubmitTarget::Solo);
        assert_eq!(mining.fee_bps, 0);
        assert_eq!(mining.fee_payout_address, None);
        assert_eq!(mining.gateway.endpoint, GatewayEndpoint::Tcp { host: "127.0.0.1".into(), port: 8337 });
        let node = mining.node.as_ref().unwrap();
        assert_eq!((node.url.as_str(), node.user.as_str()), ("http://localhost:44107", "rpcuser"));
        assert_eq!(node.password_env, "PEARLD_RPC_PASSWORD");
        assert_eq!(mining.session.metrics_listen.unwrap().to_string(), "127.0.0.1:8339");
    }
}

#[test]
fn what_is_a_providers_own_reaches_it_unchanged() {
    let mining = load(&read("vllm-pearl.toml")).mining;
    assert_eq!(mining.model.as_deref(), Some("pearl-ai/Llama-3.3-70B-Instruct-pearl"));
    assert_eq!(mining.extra["gpu_memory_utilization"], 0.96);
    assert_eq!(mining.extra["vllm_args"], serde_json::json!(["--enforce-eager", "--max-num-seqs=16"]));
    assert_eq!(mining.extra["hf_token_env"], "HF_TOKEN");
}

#[test]
fn more_miners_in_its_file_are_ours_and_it_still_reads_the_rest() {
    for name in ["vllm-pearl", "cpu-pearl", "apple-mps-pearl"] {
        let table = [("name", "card"), ("provider", "another")]
            .map(|(key, value)| (key.to_owned(), value.into()))
            .to_vec();
        let card = Change::Append { key: "mining.miners".into(), table };
        let text = edit::apply(&read(&format!("{name}.toml")), &[card]).unwrap();
        openjarvis_can_read(&text).unwrap();
        let mining = load(&text).mining;
        let miners: Vec<_> =
            mining.miners.iter().map(|miner| (miner.name.as_str(), miner.provider.as_deref())).collect();
        assert_eq!(miners, [(name, Some(name)), ("card", Some("another"))], "{text}");
        assert!(!mining.miners[1].extra.contains_key("vllm_args"), "what is another's own is not inherited");
    }
}

#[test]
fn its_pool_form_is_understood() {
    let target = load(&read("pool.toml")).mining.submit_target;
    assert_eq!(target, SubmitTarget::Pool("https://pool.openjarvis.ai/submit".into()));
}

#[test]
fn a_file_that_we_changed_is_still_one_for_openjarvis_and_the_rest_is_untouched() {
    let place = Place::Flag("--set".into());
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let old = std::fs::read_to_string(&path).unwrap();
        let changes = [
            Change::set("mining.extra.gateway_port", "18337", &place).unwrap(),
            Change::set("mining.session.stop_grace", "20s", &place).unwrap(),
            Change::set("plugins.probe_timeout", "3s", &place).unwrap(),
        ];
        let new = edit::apply(&old, &changes).unwrap();
        openjarvis_can_read(&new).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let others = |text: &str| text.split_once("[mining]").unwrap().0.to_owned();
        assert_eq!(others(&new), others(&old));
        let config = load(&new);
        assert_eq!(config.mining.extra["gateway_port"], 18337);
        assert_eq!(config.plugins.probe_timeout.as_secs(), 3);
    }
}

/// Whatever `init` is told, OpenJarvis can read what it writes, and we read what we meant.
#[test]
fn no_file_of_ours_ever_breaks_openjarvis() {
    let place = Place::Flag("--set".into());
    let set = |key: &str, value: &str| Change::set(key, value, &place).unwrap();
    let devnet = set("mining.submit_target", "devnet");
    let solo = set("mining.submit_target", "solo");
    let grace = set("mining.session.stop_grace", "20s");
    let timeout = set("plugins.probe_timeout", "3s");
    let without = Change::unset("mining.provider", &place).unwrap();
    let old_form = read("cpu-pearl.toml").replace("\"solo\"", "\"devnet\"");
    assert!(openjarvis_can_read(&old_form).is_err(), "what earlier versions wrote");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    for (before, changes, target) in [
        (String::new(), vec![&devnet], SubmitTarget::Devnet),
        (String::new(), vec![&grace], SubmitTarget::Solo),
        (String::new(), vec![&timeout], SubmitTarget::Solo),
        ("[mining.extra]\nm = 256\n".into(), vec![&grace], SubmitTarget::Solo),
        (read("cpu-pearl.toml"), vec![&devnet], SubmitTarget::Devnet),
        (read("vllm-pearl.toml"), vec![&without], SubmitTarget::Solo),
        (read("pool.toml"), vec![&devnet], SubmitTarget::Devnet),
        (old_form.clone(), vec![&grace], SubmitTarget::Devnet),
        (old_form, vec![&solo], SubmitTarget::Solo),
    ] {
        std::fs::write(&file, &before).unwrap();
        let changes: Vec<Change> = changes.into_iter().cloned().collect();
        let plan = Plan::new(&file, &changes).unwrap();
        openjarvis_can_read(&plan.new).unwrap_or_else(|err| panic!("{err}:\n{}", plan.new));
        assert_eq!(plan.config.mining.submit_target, target, "{}", plan.new);
        // And back again.
        std::fs::write(&file, &plan.new).unwrap();
        let back = Plan::new(&file, std::slice::from_ref(&solo)).unwrap();
        openjarvis_can_read(&back.new).unwrap();
        assert_eq!(back.config.mining.submit_target, SubmitTarget::Solo, "{}", back.new);
    }
}

#[test]
fn empty_texts_are_how_it_says_that_nothing_is_chosen() {
    let config = load("[mining]\nprovider = \"\"\nwallet_address = \"\"\n");
    assert!(config.configured && config.mining.provider.is_none() && config.mining.wallet_address.is_none());
}

#[test]
fn a_file_with_several_miners_is_still_one_for_openjarvis() {
    let more = "\n[[mining.miners]]\nname = \"card\"\nprovider = \"other-pearl\"\ndevices = [\"01:00.0\", \"cpu\"]\nnice = 0\n\
                grants = [\"device:/dev/dri/renderD128\"]\n[mining.miners.extra]\nk = 4096\n\n\
                [[mining.miners]]\nprovider = \"cpu-pearl\"\nenabled = false\n";
    let text = read("cpu-pearl.toml") + more;
    openjarvis_can_read(&text).unwrap();
    let mining = load(&text).mining;
    let names: Vec<_> = mining.miners.iter().map(|miner| miner.name.as_str()).collect();
    assert_eq!(names, ["cpu-pearl", "card", "cpu-pearl-2"]);
    let [first, card, last] = &mining.miners[..] else { panic!("{names:?}") };
    assert_eq!((first.provider.as_deref(), first.nice, first.line), (Some("cpu-pearl"), 10, None));
    let devices: Vec<_> = card.devices.iter().map(ToString::to_string).collect();
    assert_eq!(devices, ["0000:01:00.0", "cpu"]);
    assert_eq!((card.nice, card.enabled, card.extra["k"].clone()), (0, true, 4096.into()));
    // What the host itself reads reaches each; what is the first provider's own does not.
    assert_eq!(card.extra["gateway_port"], mining.extra["gateway_port"]);
    assert_eq!(card.grants[0].to_string(), "device:/dev/dri/renderD128");
    assert!(!last.enabled);
    // Without a provider in `[mining]` the list is all there is, and `auto` adds the rest.
    let only = load(more);
    assert_eq!(only.mining.miners.len(), 2);
    assert_eq!(load("[mining]\nprovider = \"auto\"\n").mining.miners[0].provider, None);
    let with_auto = load(&format!("[mining]\nprovider = \"auto\"\n{more}"));
    assert_eq!(with_auto.mining.miners[0].name, "auto");
    assert_eq!(with_auto.mining.miners.len(), 3);
}
