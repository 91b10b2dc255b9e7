//! What data file, settings and machine come to, as snapshots for each engine.

use serde_json::json;

use super::arguments::split;
use super::*;
use crate::config::{ContainerEngine, NodeSection};
use crate::container::command::{self, Kind, User};

const FILE: &str = r#"
schema = 1
id = "some-engine"
version = "1.0.0"
certificate_versions = [3]
engines = ["some"]
settings = [
    { key = "docker_image_tag", kind = "text" },
    { key = "vllm_port", kind = "integer:1..65535", default = "8000" },
    { key = "length", kind = "integer", default = "8192" },
    { key = "tokens", kind = "integer" },
    { key = "folder", kind = "text" },
    { key = "hf_token_env", kind = "text" },
    { key = "args", kind = "text|list:text" },
    { key = "cuda_visible_devices", kind = "text" },
]
image = { name = "some_image:1", how = "build it", stands_for = ["nowhere/x:1"] }
serving = { port = "vllm_port", health = "/health", api = "/v1" }
requires = { vendor = "nvidia", compute_capability = ["9.0"] }
[run]
entrypoint = ["/bin/sh", "-c", "ln -sf {socket} /x && exec serve \"$@\"", "sh"]
arguments = [
    ["{model}"], ["--name", "{served}"], ["--host", "{listen}"], ["--port", "{port}"], ["--length", "{length}"],
    ["--tokens", "{tokens}"], ["--cards", "{gpus}"], ["--eager"],
]
more = "args"
cache = "/cache"
read_only = true
shared_memory_bytes = 1024
passed = ["HF_ENDPOINT"]
model_folder = { setting = "folder", target = "/model" }
token = { setting = "hf_token_env", variable = "TOKEN_PATH" }
refused = { "--key" = "it would be seen" }
at_least = { "--tokens" = 1024 }
environment = { SOCKET = "{socket}", KEPT = "{Not} ${HOME} {" }
[gateway]
entrypoint = ["/bin/sh", "-c", "PASSWORD=$(cat {password}) exec gateway"]
environment = { LISTEN = "{socket}", NODE = "{node}", USER = "{user}", CERTIFICATE = "{certificate}", PAID = "{wallet}" }
"#;

fn machine() -> HardwareInfo {
    let card = |name: &str, vendor: &str, capability: Option<&str>, address: &str, uuid: Option<&str>| json!({ "name": name, "vendor": vendor, "compute_capability": capability, "pci_address": address, "uuid": uuid });
    serde_json::from_value(json!({ "platform": "linux-x86_64", "gpus": [
        card("Radeon", "amd", None, "0000:01:00.0", None),
        card("H100", "nvidia", Some("9.0"), "0000:02:00.0", None),
        card("RTX", "nvidia", Some("8.9"), "0000:03:00.0", None),
        card("H200", "nvidia", Some("9.0"), "0000:04:00.0", Some("GPU-0b0c0d0e")),
    ] }))
    .unwrap()
}

fn resolved(extra: Value, devices: &[&str], network: ContainerNetwork) -> Result<Recipe, Unfit> {
    let file = DataFile::parse("some-engine.container.toml", FILE.as_bytes()).unwrap();
    let home = Home::at("/home/me/.openjarvis");
    let env = Env::of([("HOME", "/home/me"), ("TOKEN", "hf_secret")]);
    let section = ContainerSection {
        engine: ContainerEngine::Auto,
        network,
        ready_within: std::time::Duration::from_secs(1800),
        stop_grace: std::time::Duration::from_secs(60),
        read_only: None,
        gateway: true,
    };
    let around = Surroundings { home: &home, env: &env, hardware: &machine(), section: &section };
    let devices: Vec<Device> = devices.iter().map(|device| device.parse().unwrap()).collect();
    let Value::Object(extra) = extra else { panic!("settings are an object") };
    resolve(&file, "some-engine", &extra, &devices, &around)
}

fn bridged(extra: Value) -> Result<Recipe, Unfit> {
    resolved(extra, &[], ContainerNetwork::Bridge)
}

#[test]
fn the_vectors_of_both_engines_are_whole() {
    let user = User { uid: 1000, gid: 100 };
    let full = bridged(json!({
        "model": "a/b-pearl", "hf_token_env": "TOKEN", "tokens": 2048, "args": "--seed '1 2' --length=4096",
    }))
    .unwrap();
    let plain = resolved(
        json!({ "folder": "~/models/mine", "vllm_port": 9000, "cuda_visible_devices": "0" }),
        &[],
        ContainerNetwork::Host,
    )
    .unwrap();
    let lines = |kind, recipe: &Recipe| command::create(kind, recipe, &recipe.image, user).join("\n");
    insta::assert_snapshot!("docker", lines(Kind::Docker, &full));
    insta::assert_snapshot!("podman", lines(Kind::Podman, &plain));
    assert!(!format!("{full:?}").contains("hf_secret"), "a token is in a file alone");
}

#[test]
fn cards_are_chosen_by_number_address_or_identifier_and_only_those_that_fit() {
    let cards = |extra: Value, devices: &[&str]| {
        let mut extra = extra;
        extra["model"] = "a/b-pearl".into();
        resolved(extra, devices, ContainerNetwork::Bridge)
            .map(|recipe| recipe.cards)
            .map_err(|err| err.problem)
    };
    let all = vec!["0".to_owned(), "GPU-0b0c0d0e".to_owned()];
    assert_eq!(cards(json!({}), &[]), Ok(all.clone()));
    assert_eq!(cards(json!({ "cuda_visible_devices": "all" }), &[]), Ok(all.clone()));
    assert_eq!(cards(json!({ "cuda_visible_devices": "0, 2" }), &[]), Ok(all));
    assert_eq!(
        cards(json!({ "cuda_visible_devices": "0000:04:00.0" }), &[]),
        Ok(vec!["GPU-0b0c0d0e".into()])
    );
    assert_eq!(cards(json!({}), &["0000:02:00.0"]), Ok(vec!["0".into()]));
    assert_eq!(cards(json!({ "cuda_visible_devices": "1" }), &[]), Err("cannot mine on 1 (RTX)".into()));
    assert!(
        cards(json!({ "cuda_visible_devices": "7" }), &[]).unwrap_err().contains("there is no such card")
    );
}

#[test]
fn what_could_never_mine_or_would_leak_is_refused_with_what_to_do() {
    for (extra, problem, fix) in [
        (json!({}), "has no model to serve", "set `model`"),
        (
            json!({ "model": "m", "args": ["--key", "x"] }),
            "is not given `--key`",
            "take `--key` out of `args`",
        ),
        (json!({ "model": "m", "args": ["--key=x"] }), "it would be seen", "take `--key`"),
        (
            json!({ "model": "m", "tokens": 512 }),
            "could never mine with `--tokens 512`",
            "give at least 1024",
        ),
        (
            json!({ "model": "m", "args": "--tokens=1" }),
            "could never mine with `--tokens 1`",
            "give at least",
        ),
        (json!({ "model": "m", "args": "'open" }), "ends within quotation marks", "close"),
        (json!({ "folder": "/a,b" }), "with a comma", "another name"),
    ] {
        let err = bridged(extra.clone()).unwrap_err();
        assert!(err.problem.contains(problem) && err.fix.contains(fix), "{extra}: {err:?}");
    }
}

#[test]
fn a_name_that_exists_nowhere_stands_for_the_images_own() {
    let image = |tag: &str| bridged(json!({ "model": "m", "docker_image_tag": tag })).unwrap();
    let nowhere = image("nowhere/x:1");
    assert_eq!((&*nowhere.image, nowhere.image_instead.as_deref()), ("nowhere/x:1", Some("some_image:1")));
    let own = image("registry.example/mine:2");
    assert_eq!((&*own.image, own.image_instead), ("registry.example/mine:2", None));
    assert_eq!(bridged(json!({ "model": "m" })).unwrap().image, "some_image:1");
}

#[test]
fn a_text_of_arguments_is_split_as_a_shell_would() {
    for (text, words) in [
        ("", &[][..]),
        ("  a  b ", &["a", "b"]),
        ("--x='1 2' \"a \\\" b\" c\\ d ''", &["--x=1 2", "a \" b", "c d", ""]),
        ("'$HOME' \"'\"", &["$HOME", "'"]),
    ] {
        assert_eq!(split(text).unwrap(), words, "{text}");
    }
}

fn gateway_of(certificate: Option<&str>, variable: &str) -> Result<Option<Recipe>, Unfit> {
    let file = DataFile::parse("some-engine.container.toml", FILE.as_bytes()).unwrap();
    let home = Home::at("/home/me/.openjarvis");
    let env = Env::of([("PASSWORD", "of the node")]);
    let miner = bridged(json!({ "model": "a/b-pearl" })).unwrap();
    let section = ContainerSection {
        engine: ContainerEngine::Auto,
        network: ContainerNetwork::Bridge,
        ready_within: std::time::Duration::from_secs(1800),
        stop_grace: std::time::Duration::from_secs(60),
        read_only: None,
        gateway: true,
    };
    let around = Surroundings { home: &home, env: &env, hardware: &machine(), section: &section };
    let node = NodeSection {
        url: "http://localhost:44107".into(),
        user: "me".into(),
        password_env: variable.into(),
        certificate: certificate.map(Into::into),
    };
    gateway(&file, "gateway", &miner, &Map::new(), Payee { node: &node, wallet: "prl1p" }, &around)
}

#[test]
fn a_gateway_is_told_the_node_and_the_wallet_and_its_password_by_a_file_alone() {
    let recipe = gateway_of(Some("/etc/rpc.cert"), "PASSWORD").unwrap().unwrap();
    assert!(recipe.is_gateway() && recipe.role() == "gateway" && recipe.cards.is_empty());
    let lines =
        command::create(Kind::Docker, &recipe, &recipe.image, User { uid: 1000, gid: 100 }).join("\n");
    insta::assert_snapshot!("gateway", lines);
    assert!(!format!("{recipe:?}").contains("of the node"), "a password is in a file alone");

    let plain = gateway_of(None, "PASSWORD").unwrap().unwrap();
    assert!(!plain.environment.contains_key("CERTIFICATE"), "{plain:?}");
    let err = gateway_of(None, "NOT_SET").unwrap_err();
    assert!(err.problem.contains("NOT_SET is not set"), "{err:?}");
}
