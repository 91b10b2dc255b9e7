//! Beside the real OpenJarvis, in one home folder: its loader, its `mine` commands, its collector and its engine discovery
//! on what we leave there, and our commands on what it does.
//!
//! It is installed from the package index into a folder below `target`, with what its `mine` commands import and no more.
//! Where it cannot be had, the tests say why and are skipped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::session::{Answer, Bed, wait_until};
use pearlbed_tests::stand_in::Session;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// The release that the tests are written against.
const RELEASE: &str = "openjarvis==1.0.4";
/// What its `mine` commands, configuration and engines import.
const IMPORTED: [&str; 8] =
    ["click", "httpx", "openai", "nvidia-ml-py", "pyyaml", "requests", "rich", "tomlkit"];

/// A model that its registry calls validated.
const MODEL: &str = "pearl-ai/Llama-3.3-70B-Instruct-pearl";

const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// Its environment of programs, installed once; or why there is none.
static INSTALLED: LazyLock<Result<PathBuf, String>> = LazyLock::new(install);

fn install() -> Result<PathBuf, String> {
    let folder = build::target().join("openjarvis");
    std::fs::create_dir_all(&folder).map_err(|err| err.to_string())?;
    let lock = File::create(folder.join("lock")).map_err(|err| err.to_string())?;
    lock.lock().map_err(|err| err.to_string())?;
    let (venv, made_of) = (folder.join("venv"), folder.join("made-of"));
    let wanted = format!("{RELEASE} {}", IMPORTED.join(" "));
    if std::fs::read_to_string(&made_of).is_ok_and(|found| found == wanted) {
        return Ok(venv.join("bin"));
    }
    let _ = std::fs::remove_dir_all(&venv);
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|err| format!("{:?}: {err}", command.get_program()))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason").to_owned();
        if output.status.success() { Ok(()) } else { Err(last) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = || {
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    run(pip().args(["--no-deps", RELEASE]))?;
    run(pip().args(IMPORTED))?;
    std::fs::write(&made_of, wanted).map_err(|err| err.to_string())?;
    Ok(venv.join("bin"))
}

/// OpenJarvis with the home folder of a bed.
struct Jarvis<'a> {
    bin: PathBuf,
    bed: &'a Bed,
}

impl<'a> Jarvis<'a> {
    /// None where it cannot be had, which is said.
    #[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
    fn beside(bed: &'a Bed) -> Option<Self> {
        match &*INSTALLED {
            Ok(bin) => Some(Self { bin: bin.clone(), bed }),
            Err(why) => {
                println!("skipped: OpenJarvis cannot be installed here: {why}");
                None
            }
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        let path = format!("{}:/usr/bin:/bin", self.bed.dir().join("bin").display());
        command.env_clear().env("PATH", path).env("OPENJARVIS_HOME", self.bed.home());
        command.env("HOME", self.bed.dir()).current_dir(self.bed.dir());
        command
    }

    /// `jarvis mine <args>`.
    fn mine(&self, args: &[&str]) -> Output {
        self.command("jarvis").arg("mine").args(args).output().expect("it was installed a moment ago")
    }

    /// What the Python `text` prints, as JSON.
    #[track_caller]
    fn python(&self, text: &str) -> Value {
        let output = self.command("python").args(["-c", text]).output().expect("it was installed");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"))
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A bed with a session on the devnet that has found something, and serves its numbers.
fn mining() -> Bed {
    let port = pearlbed_tests::ports::free();
    let bed = Bed::with("", &format!("[mining.session]\nmetrics_listen = \"127.0.0.1:{port}\""));
    // Its loader wants both keys, whatever a session is started with.
    let file = bed.home().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("the bed wrote it");
    let text = format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{WALLET}\"\n{text}");
    std::fs::write(file, text).expect("the folder is the test's own");
    assert_eq!(bed.start().code, 0);
    bed.wait_for(PATIENCE, |status| status["proofs"]["accepted"].as_u64() >= Some(1));
    bed
}

const LOADER: &str = "
import json
from openjarvis.core.config import load_config
mining = load_config().mining
print(json.dumps(mining and {
    'provider': mining.provider,
    'wallet_address': mining.wallet_address,
    'target': type(mining.submit_target).__name__,
    'fee_bps': mining.fee_bps,
    'extra': mining.extra,
}))";

#[test]
fn its_loader_reads_what_init_writes() {
    let bed = Bed::new("");
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let init = |args: &[&str]| {
        let answer = bed.run(&[&["init", "--yes", "--plugin-dir", bed.plugins()][..], args].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
    };
    init(&["--provider", "odd-miner", "--submit-target", "solo", "--wallet-address", WALLET]);
    init(&["--set", "mining.session.stop_grace=20s", "--set", "mining.extra.gateway_port=18337"]);
    let seen = jarvis.python(LOADER);
    assert_eq!(seen["provider"], "odd-miner");
    assert_eq!(seen["wallet_address"], WALLET);
    assert_eq!((&seen["target"], &seen["fee_bps"]), (&json!("SoloTarget"), &json!(0)));
    assert_eq!(seen["extra"]["gateway_port"], 18337);
    // And its own commands get through with it.
    let doctor = jarvis.mine(&["doctor"]);
    assert!(doctor.status.success() && said(&doctor).contains("format ok"), "{}", said(&doctor));
    init(&["--submit-target", "pool:stratum+tcp://pool.example:3333"]);
    assert_eq!(jarvis.python(LOADER)["target"], "PoolTarget");
}

#[test]
fn its_status_shows_our_numbers_and_its_stop_ends_us_in_order() {
    let bed = mining();
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let pids = bed.pids();
    let status = said(&jarvis.mine(&["status"]));
    assert!(status.contains("provider:           odd-miner"), "{status}");
    assert_eq!(status.matches("(alive)").count(), 2, "{status}");
    let accepted = status.lines().find_map(|line| line.strip_prefix("Shares accepted:"));
    assert!(accepted.is_some_and(|count| count.trim().parse::<u64>().unwrap_or(0) >= 1), "{status}");

    let stopped = jarvis.mine(&["stop"]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    wait_until(PATIENCE, || bed.alive(&pids).is_empty(), || bed.log());
    assert!(bed.log().contains("session ends: told to end (SIGTERM)"), "{}", bed.log());
    assert_eq!(bed.sidecar(), None);
    assert_eq!(bed.status()["state"], "STOPPED");
}

#[test]
fn what_it_attaches_is_found_by_us_and_registered_as_its_engine() {
    let bed = Bed::new("");
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let attached = jarvis.mine(&[
        "attach",
        "--vllm-endpoint",
        "http://127.0.0.1:9/v1",
        "--gateway-url",
        "http://127.0.0.1:8337",
        "--gateway-metrics-url",
        "http://127.0.0.1:9",
    ]);
    assert!(attached.status.success(), "{}", said(&attached));
    let status = bed.status();
    assert_eq!(status["provider"], "vllm-pearl", "{status:#}");
    let engine = "
import json
from openjarvis.core.config import load_config
from openjarvis.core.registry import EngineRegistry
from openjarvis.engine._discovery import discover_engines
discover_engines(load_config())
print(json.dumps(EngineRegistry.contains('vllm-pearl-mining')))";
    assert_eq!(jarvis.python(engine), json!(true));
}

#[test]
fn our_record_registers_no_engine_that_is_not_there() {
    let bed = mining();
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let engine = "
import json
from openjarvis.core.config import load_config
from openjarvis.core.registry import EngineRegistry
from openjarvis.engine._discovery import discover_engines
discover_engines(load_config())
print(json.dumps(EngineRegistry.contains('vllm-pearl-mining')))";
    assert_eq!(jarvis.python(engine), json!(false));
}

/// A session whose container serves a model of its registry; nothing where no container can be run here, which is said.
#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn serving() -> Option<Session> {
    let engine = match pearlbed_tests::stand_in::Engine::docker() {
        Ok(engine) => engine,
        Err(why) => {
            println!("skipped: no container of the stand-in was run: {why}");
            return None;
        }
    };
    let extra = format!("model = \"{MODEL}\"\nvllm_args = \"--seed 7\"");
    let mining = format!("wallet_address = \"{WALLET}\"");
    let session = Session::working(&engine, "on-prompt", &extra, &mining, "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    session.bed.wait_for(PATIENCE, |status| Session::container(status)["phase"] == "serving");
    wait_until(
        PATIENCE,
        || session.bed.sidecar().is_some_and(|record| record["vllm_endpoint"].is_string()),
        || session.bed.log(),
    );
    Some(session)
}

#[test]
fn the_record_of_a_container_registers_its_engine_and_passes_its_validation() {
    let Some(session) = serving() else { return };
    let Some(jarvis) = Jarvis::beside(&session.bed) else { return };
    let seen = jarvis.python(LOADER);
    assert_eq!((&seen["provider"], &seen["extra"]["model"]), (&json!("stand-in"), &json!(MODEL)), "{seen:#}");
    let engine = "
import json
from openjarvis.core.config import load_config
from openjarvis.core.registry import EngineRegistry
from openjarvis.engine._discovery import discover_engines, discover_models
found = discover_engines(load_config())
mine = [engine for name, engine in found if name == 'vllm-pearl-mining']
print(json.dumps({'known': EngineRegistry.contains('vllm-pearl-mining'), 'healthy': len(mine),
                  'models': mine[0].list_models() if mine else []}))";
    let found = jarvis.python(engine);
    assert_eq!(
        found,
        json!({ "known": true, "healthy": 1, "models": [MODEL] }),
        "{:#?}",
        session.bed.sidecar()
    );

    let file = |name: &str| session.bed.dir().join(name);
    let theirs = file("theirs.json");
    let validated =
        jarvis.mine(&["validate-model", "--prompt", "hello", "--output", theirs.to_str().unwrap()]);
    assert!(validated.status.success(), "{}", said(&validated));
    let ours = file("ours.json");
    let plugins = session.bed.plugins();
    let answer =
        session.run(&["validate-model", "--plugin-dir", plugins, "--output", ours.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let (theirs, ours) = (read(&theirs), read(&ours));
    for (key, value) in theirs.as_object().unwrap() {
        let same = std::mem::discriminant(value) == std::mem::discriminant(&ours[key]);
        assert!(same, "{key}: {value} and {}", ours[key]);
    }
    for key in ["schema_version", "model", "status", "prompt_ran", "vllm_endpoint", "sidecar_path"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
    let names = |artifact: &Value| -> Vec<String> {
        let checks = artifact["checks"].as_array().unwrap();
        checks.iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(&theirs).iter().all(|name| names(&ours).contains(name)), "{theirs:#}\n{ours:#}");
}

#[test]
fn what_init_writes_for_a_container_is_read_with_its_kinds() {
    let session = Session::none("", "");
    let bed = &session.bed;
    let Some(jarvis) = Jarvis::beside(bed) else { return };
    let answer = bed.run(&[
        "init",
        "--yes",
        "--plugin-dir",
        bed.plugins(),
        "--submit-target",
        "solo",
        "--wallet-address",
        WALLET,
        "--model",
        MODEL,
        "--set",
        "mining.extra.vllm_port=8011",
        "--set",
        "mining.extra.vllm_args=--seed 7",
    ]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let seen = jarvis.python(LOADER);
    let extra = &seen["extra"];
    assert_eq!((&extra["model"], &extra["vllm_port"]), (&json!(MODEL), &json!(8011)), "{seen:#}");
    assert_eq!(extra["vllm_args"], "--seed 7", "{seen:#}");
}

#[test]
fn each_option_of_its_commands_is_taken_or_explained_by_ours() {
    let bed = Bed::new("");
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let commands = [
        "init",
        "start",
        "stop",
        "status",
        "attach",
        "doctor",
        "logs",
        "models",
        "validate-model",
        "inspect-model",
    ];
    let mut options = 0;
    for command in commands {
        let help = said(&jarvis.mine(&[command, "--help"]));
        let words = help.split(|c: char| c.is_whitespace() || ",[]|".contains(c));
        for option in words.filter(|word| word.starts_with("--") && word.len() > 2 && *word != "--help") {
            options += 1;
            // Read from left to right, so that nothing is done.
            let answer = bed.run(&[command, option, "--help"]);
            assert!(!answer.stderr.contains("unexpected argument"), "{command} {option}: {answer:?}");
        }
    }
    assert!(options > 30, "{options}");
}

#[test]
fn a_setup_that_is_typed_in_its_words_says_what_its_own_file_says() {
    let bed = Bed::new("");
    let file = "vllm-pearl.container.toml";
    std::fs::copy(build::workspace().join("containers").join(file), Path::new(bed.plugins()).join(file))
        .expect("it is in the repository");
    let model = bed.dir().join("a model");
    std::fs::create_dir(&model).expect("the folder is the test's own");
    let model = model.to_str().expect("temporary names are plain");
    let line = format!(
        "init|--provider|vllm-pearl|--wallet|{WALLET}|--pearld-url|http://localhost:44107|--pearld-user|rpcuser|\
         --pearld-password-env|PEARLD_RPC_PASSWORD|--model|{MODEL}|--local-model-path|{model}|--vllm-arg|--enforce-eager|\
         --vllm-arg|--max-num-seqs=16|--image|openjarvis/pearl-miner:master|--cuda-visible-devices|0|--gateway-host|127.0.0.1|\
         --gateway-port|8337|--gateway-metrics-port|8339|--submit-target|solo|--yes|--plugin-dir|{}",
        bed.plugins()
    );
    let answer = bed.run(&line.split('|').collect::<Vec<_>>());
    assert_eq!(answer.code, 0, "{answer:?}");
    let text = std::fs::read_to_string(bed.home().join("config.toml")).expect("it was written");
    for line in [
        &format!("wallet_address = \"{WALLET}\"")[..],
        "docker_image_tag = \"openjarvis/pearl-miner:master\"",
        &format!("model = \"{MODEL}\""),
        // By its number, which is a name.
        "cuda_visible_devices = \"0\"",
        "gateway_host = \"127.0.0.1\"",
        "gateway_port = 8337",
        "metrics_port = 8339",
        "pearld_rpc_url = \"http://localhost:44107\"",
        &format!("local_model_path = \"{model}\""),
        "vllm_args = [\"--enforce-eager\", \"--max-num-seqs=16\"]",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&answer.stdout).contains("A container is confined by your own engine"), "{answer:?}");

    // A provider without an engine takes none of these, which is said; and what is on TCP is on no socket.
    let socket = [
        "init",
        "--yes",
        "--set",
        "mining.gateway.socket=/run/gw.sock",
        "--set",
        "mining.provider=odd-miner",
    ];
    assert_eq!(bed.run(&socket).code, 0);
    let answer = bed.run(&[
        "init",
        "--yes",
        "--plugin-dir",
        bed.plugins(),
        "--image",
        "x",
        "--gateway-host",
        "10.0.0.7",
    ]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let note = "`odd-miner` has no inference engine, and passes over docker_image_tag";
    assert!(words(&answer.stderr).contains(note), "{answer:?}");
    let text = std::fs::read_to_string(bed.home().join("config.toml")).expect("it was written");
    assert!(text.contains("gateway_host = \"10.0.0.7\"") && !text.contains("/run/gw.sock"), "{text}");
    let missing = bed.run(&["init", "--yes", "--local-model-path", "/nowhere/at/all"]);
    assert!(
        missing.code == 2 && missing.stderr.contains("there is no folder /nowhere/at/all"),
        "{missing:?}"
    );
}

/// The wait of a session of its own: a gateway that does nothing, found by the name that it looks for.
fn stand_in_gateway(dir: &Path) {
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).expect("the folder is the test's own");
    std::fs::write(bin.join("pearl-gateway"), "#!/bin/sh\nexec sleep 600\n").expect("the same");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("pearl-gateway"), mode).expect("the same");
}

const COLLECTOR: &str = "
import asyncio, json
from openjarvis.mining._collector import MiningTelemetryCollector
from openjarvis.mining._constants import SIDECAR_PATH
stats = asyncio.run(MiningTelemetryCollector(SIDECAR_PATH, None).collect_once())
print(json.dumps({
    'provider': stats.provider_id,
    'submitted': stats.shares_submitted,
    'accepted': stats.shares_accepted,
    'blocks': stats.blocks_found,
    'uptime': stats.uptime_seconds,
    'error': stats.last_error,
}))";

#[test]
fn its_collector_reads_our_numbers_and_our_status_those_of_what_it_attached() {
    let bed = mining();
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let seen = jarvis.python(COLLECTOR);
    assert_eq!((&seen["provider"], &seen["error"]), (&json!("odd-miner"), &Value::Null), "{seen:#}");
    let [submitted, accepted, blocks] = ["submitted", "accepted", "blocks"].map(|key| seen[key].as_u64());
    assert!(accepted >= Some(1) && submitted >= accepted && blocks >= accepted, "{seen:#}");
    assert!(seen["uptime"].as_f64() > Some(0.0), "{seen:#}");

    // In another home, what it attaches by the same page of numbers.
    let metrics = bed.sidecar().unwrap()["gateway_metrics_url"].as_str().unwrap().to_owned();
    let other = Bed::new("");
    let jarvis = Jarvis::beside(&other).expect("it was there a moment ago");
    let attached = jarvis.mine(&[
        "attach",
        "--vllm-endpoint",
        "http://127.0.0.1:9/v1",
        "--gateway-url",
        "http://127.0.0.1:8337",
        "--gateway-metrics-url",
        &metrics,
    ]);
    assert!(attached.status.success(), "{}", said(&attached));
    let status = other.status();
    assert!(status["proofs"]["accepted"].as_u64() >= accepted, "{status:#}");
    assert!(status["reason"].to_string().contains("its metrics answer"), "{status:#}");

    // Its record is left to it; ours it shows, collects from and forgets as its own.
    assert_ne!(other.run(&["stop"]).code, 0);
    assert_eq!(other.run(&["stop", "--forget"]).code, 0);
    let address = metrics.strip_prefix("http://").unwrap();
    let gateway = format!("http://{address}");
    let answer = other.run(&["attach", "--gateway-url", &gateway, "--gateway-metrics-url", &metrics]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let seen = jarvis.python(COLLECTOR);
    assert!(seen["provider"] == "external" && seen["accepted"].as_u64() >= accepted, "{seen:#}");
    let shown = said(&jarvis.mine(&["status"]));
    assert!(shown.contains("provider:           external") && shown.contains("Shares accepted:"), "{shown}");
    let again = other.run(&["attach", "--gateway-url", &gateway]);
    assert!(again.code == 0 && again.stderr.contains("was replaced"), "{again:?}");
    let start = other.start();
    let words = start.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(start.code != 0 && words.contains("whether it runs cannot be told from here"), "{start:?}");
}

#[test]
fn a_file_that_it_wrote_for_its_container_mines_with_another_provider_and_what_is_passed_over_is_named_once()
{
    let bed = Bed::new("");
    let file = build::workspace().join("host/tests/fixtures/openjarvis/vllm-pearl.toml");
    let text = std::fs::read_to_string(file).expect("it is in the repository");
    let library = format!("cpu_pearl{}", std::env::consts::DLL_SUFFIX);
    std::fs::copy(build::plugin("cpu-pearl"), Path::new(bed.plugins()).join(library))
        .expect("it was just built");
    std::fs::create_dir_all(bed.home()).expect("the folder is the test's own");
    std::fs::write(bed.home().join("config.toml"), text.replace("vllm-pearl\"", "cpu-pearl\""))
        .expect("the same");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let doctor = words(&bed.run(&["doctor", "--plugin-dir", bed.plugins()]).stdout);
    assert!(
        doctor.contains("passed over, as other programs' own: cuda_visible_devices, docker_image_tag,"),
        "{doctor}"
    );
    let started = bed.start();
    assert_eq!(started.code, 0, "{started:?}");
    let (said, log) = (words(&started.stderr), bed.log());
    let named = "settings of other programs' are passed over: cuda_visible_devices, docker_image_tag, gpu_memory_utilization, \
                 hf_token_env, local_model_path, max_model_len, vllm_args, vllm_port";
    assert_eq!((said.matches(named).count(), log.matches(named).count()), (1, 1), "{said}\n{log}");
    // A word that nobody writes is a mistake all the same.
    assert_eq!(bed.run(&["stop"]).code, 0);
    let answer = bed.run(&["init", "--yes", "--set", "mining.extra.cuda_visible_device=0"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let refused = bed.start();
    assert!(refused.code == 6 && refused.stderr.contains("cuda_visible_device"), "{refused:?}");
}

/// A configuration that its `mine start` starts something for.
fn let_it_start(bed: &Bed) {
    stand_in_gateway(bed.dir());
    let file = bed.home().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("the bed wrote it");
    std::fs::write(file, text.replace("odd-miner", "cpu-pearl")).expect("the folder is the test's own");
}

fn pid(record: &Value, key: &str) -> u32 {
    record[key].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_else(|| panic!("{record:#}"))
}

#[test]
fn its_start_beside_our_session_is_told_while_it_lasts_and_ours_is_recorded_again_after_its_stop_or_its_end()
{
    let bed = mining();
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let_it_start(&bed);
    let ours = bed.pids();
    let recorded = |supervisor: u32| move |record: &Value| record["gateway_pid"] == supervisor;
    let is_ours = recorded(ours[0]);
    let in_the_place = |status: &Value| {
        let mut endpoints = status["endpoints"].as_array().unwrap().iter();
        endpoints
            .any(|one| one["purpose"] == "record" && one["trouble"]["text"].to_string().contains("cpu-pearl"))
    };
    for in_order in [true, false] {
        let started = jarvis.mine(&["start"]);
        assert!(started.status.success(), "{}", said(&started));
        let theirs = bed.sidecar().expect("it leaves a record");
        bed.wait_for(PATIENCE, in_the_place);
        assert_eq!(bed.sidecar(), Some(theirs.clone()), "theirs is left");
        let doctor = bed.run(&["doctor", "--plugin-dir", bed.plugins()]).stdout;
        assert!(doctor.contains("session-state/record"), "{doctor}");
        if in_order {
            let stopped = jarvis.mine(&["stop"]);
            assert!(stopped.status.success(), "{}", said(&stopped));
        } else {
            bed.signal(pid(&theirs, "gateway_pid"), rustix::process::Signal::KILL);
        }
        wait_until(PATIENCE, || bed.sidecar().as_ref().is_some_and(is_ours), || bed.sidecar());
        bed.wait_for(PATIENCE, |status| !in_the_place(status));
        assert_eq!(bed.alive(&ours), ours, "its stop meant its own");
    }
    // It shows ours again, and after ours was killed its start is its own; then it is our turn.
    let shown = said(&jarvis.mine(&["status"]));
    assert_eq!(shown.matches("(alive)").count(), 2, "{shown}");
    bed.signal(ours[0], rustix::process::Signal::KILL);
    wait_until(PATIENCE, || bed.alive(&ours).is_empty(), || bed.log());
    let shown = said(&jarvis.mine(&["status"]));
    assert_eq!(shown.matches("(dead)").count(), 2, "{shown}");
    assert!(jarvis.mine(&["start"]).status.success());
    let theirs = pid(&bed.sidecar().unwrap(), "gateway_pid");
    let refused = bed.start();
    assert!(refused.code != 0 && refused.stderr.contains(&theirs.to_string()), "{refused:?}");
    assert!(jarvis.mine(&["stop"]).status.success());
    wait_until(PATIENCE, || bed.alive(&[theirs]).is_empty(), || theirs);
    let ours = bed.run(&["start", "--devnet", "--provider", "odd-miner", "--plugin-dir", bed.plugins()]);
    assert_eq!(ours.code, 0, "{ours:?}");
}

#[test]
fn its_attach_beside_our_session_is_told_and_its_stop_after_it_leaves_our_session_alone() {
    let bed = mining();
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    let ours = bed.pids();
    let record = bed.sidecar().unwrap();
    // Without any process numbers: only who attached it can tell whether it runs.
    let attached = jarvis.mine(&[
        "attach",
        "--vllm-endpoint",
        "http://127.0.0.1:9/v1",
        "--gateway-url",
        "http://127.0.0.1:8337",
        "--gateway-metrics-url",
        "http://127.0.0.1:9",
    ]);
    assert!(attached.status.success(), "{}", said(&attached));
    let theirs = bed.sidecar().unwrap();
    let told = |status: &Value| status["endpoints"].to_string().contains("(vllm-pearl)");
    bed.wait_for(PATIENCE, told);
    assert_eq!(bed.sidecar(), Some(theirs.clone()));
    // Ours is stopped by us all the same, and theirs stays, which is said.
    let words = |answer: &Answer| answer.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let stopped = bed.run(&["stop"]);
    assert!(stopped.code == 0 && bed.alive(&ours).is_empty(), "{stopped:?}");
    assert!(words(&stopped).contains("another program (vllm-pearl) is left there"), "{stopped:?}");
    assert_eq!(bed.sidecar().unwrap()["provider"], "vllm-pearl");
    assert_ne!(bed.start().code, 0, "whether it mines cannot be told");
    let forgotten = bed.run(&["stop", "--forget"]);
    assert!(forgotten.code == 0 && !forgotten.stdout.contains("has ended"), "{forgotten:?}");
    assert_eq!(bed.start().code, 0);
    assert_eq!(bed.sidecar().unwrap()["provider"], record["provider"]);
    // What is to be forgotten besides is forgotten beside a session that runs, too.
    bed.put_record(&theirs.to_string());
    let stopped = bed.run(&["stop", "--forget"]);
    assert!(stopped.code == 0 && words(&stopped).contains("removed the record"), "{stopped:?}");
    assert_eq!(bed.sidecar(), None);
}

#[test]
fn its_session_is_told_and_neither_replaced_nor_ended_by_us() {
    let bed = Bed::new("");
    let Some(jarvis) = Jarvis::beside(&bed) else { return };
    stand_in_gateway(bed.dir());
    std::fs::create_dir_all(bed.home()).expect("the folder is the test's own");
    let config = format!("[mining]\nprovider = \"cpu-pearl\"\nwallet_address = \"{WALLET}\"\n");
    std::fs::write(bed.home().join("config.toml"), config).expect("the same");
    let started = jarvis.mine(&["start"]);
    assert!(started.status.success(), "{}", said(&started));
    let record = bed.sidecar().expect("it leaves a record");
    let gateway = record["gateway_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let gateway = gateway.unwrap_or_else(|| panic!("{record:#}"));
    assert_eq!(bed.alive(&[gateway]), [gateway], "{record:#}");

    let status = bed.status();
    assert_eq!(status["provider"], "cpu-pearl", "{status:#}");
    let start = bed.start();
    assert_ne!(start.code, 0, "{start:?}");
    assert!(
        start.stderr.contains(&gateway.to_string()) && start.stderr.contains("jarvis mine stop"),
        "{start:?}"
    );
    let stop = bed.run(&["stop"]);
    assert_ne!(stop.code, 0, "{stop:?}");
    assert!(stop.stderr.contains("jarvis mine stop"), "{stop:?}");
    assert_eq!(bed.alive(&[gateway]), [gateway]);
    assert_eq!(bed.sidecar(), Some(record));

    let stopped = jarvis.mine(&["stop"]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    wait_until(PATIENCE, || bed.alive(&[gateway]).is_empty(), || gateway);
    let ours = bed.run(&["start", "--devnet", "--provider", "odd-miner", "--plugin-dir", bed.plugins()]);
    assert_eq!(ours.code, 0, "and then it is our turn: {ours:?}");
}
