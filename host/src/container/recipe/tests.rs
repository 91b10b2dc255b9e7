//! What data file, settings and machine come to, as snapshots for each engine.

use serde_json::json;

use super::*;
use crate::config::ContainerEngine;
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
passed = ["PASSED"]
model_folder = { setting = "folder", target = "/model" }
token = { setting = "hf_token_env", variable = "TOKEN_PATH" }
refused = { "--key" = "it would be seen" }
at_least = { "--tokens" = 1024 }
environment = { SOCKET = "{socket}", KEPT = "{Not} ${HOME} {" }
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
