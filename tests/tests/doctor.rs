//! `pearlbed doctor` as a person and as a script meet it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pearlbed_tests::{build, misbehave};
use serde_json::Value;
use tempfile::TempDir;

/// An empty home, removed in the end.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder for plugins, made when it is asked for.
    fn plugins(&self) -> PathBuf {
        let folder = self.path().join("plugins");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// `pearlbed` with these arguments and nothing in its environment but this home.
    fn pearlbed(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(build::pearlbed());
        command.args(arguments).env_clear().env("PEARLBED_HOME", self.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.pearlbed(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"))
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn check<'a>(answer: &'a Value, id: &str) -> &'a Value {
    let mut checks = answer["checks"].as_array().unwrap().iter();
    checks.find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id} in {answer:#}"))
}

/// Whether the check came to a verdict, which one that is being the machine's affair.
fn answered(answer: &Value, id: &str) -> bool {
    !check(answer, id)["finding"].as_str().unwrap().starts_with("no answer within")
}

#[test]
fn json_has_exactly_the_documented_keys() {
    let answer = Home::new().json(&["doctor", "--json"]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(answer["schema"], 1);
    assert!(answer["ok"].is_boolean());
    let mut top = keys(&answer);
    top.sort();
    assert_eq!(top, ["checks", "hardware", "ok", "plugins", "schema"]);
    for check in answer["checks"].as_array().unwrap() {
        let mut row = keys(check);
        row.sort();
        assert_eq!(row, ["finding", "fix", "id", "section", "state"]);
        let state = check["state"].as_str().unwrap();
        assert!(["ok", "warn", "fail", "skip"].contains(&state), "{check}");
        assert!(!check["finding"].as_str().unwrap().is_empty(), "{check}");
        assert_eq!(check["fix"].is_null(), state == "ok", "{check}");
    }
    let failed = answer["checks"].as_array().unwrap().iter().any(|check| check["state"] == "fail");
    assert_eq!(answer["ok"], !failed);
    assert!(answer["hardware"]["cpu"]["logical_cores"].as_u64().unwrap() > 0);
    assert!(answer["plugins"].is_array());
}

#[test]
fn an_empty_home_is_left_empty_and_gets_a_next_step() {
    let home = Home::new();
    let output = home.run(&["doctor"]);
    assert_eq!(text(&output.stderr), "");
    assert!(text(&output.stdout).contains("pearlbed init"), "{output:?}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn text_fits_80_columns_and_has_no_colour_in_a_pipe() {
    let home = Home::new();
    for arguments in
        [&["doctor"][..], &["doctor", "--verbose"], &["doctor", "--list-checks"], &["doctor", "--help"]]
    {
        let mut command = home.pearlbed(arguments);
        command.env("COLUMNS", "500");
        let output = command.output().unwrap();
        let shown = text(&output.stdout);
        assert!(!shown.contains('\u{1b}'), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn colour_can_be_forced_and_no_color_wins() {
    let home = Home::new();
    let shown = |variables: &[(&str, &str)]| {
        let mut command = home.pearlbed(&["doctor", "--only", "memory"]);
        command.envs(variables.iter().copied());
        text(&command.output().unwrap().stdout).contains('\u{1b}')
    };
    assert!(shown(&[("CLICOLOR_FORCE", "1")]));
    assert!(!shown(&[("NO_COLOR", "1")]));
    assert!(!shown(&[]));
}

#[test]
fn only_runs_what_was_asked_for() {
    let home = Home::new();
    let answer = home.json(&["doctor", "--json", "--only", "memory,disk"]);
    let mut ids: Vec<_> =
        answer["checks"].as_array().unwrap().iter().map(|check| check["section"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids, ["Hardware", "Disk"]);
    let output = home.run(&["doctor", "--only", "moon"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("error: there is no check `moon`") && stderr.contains("hint: known checks: cpu"),
        "{stderr}"
    );
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn every_check_that_is_listed_can_be_asked_for() {
    let home = Home::new();
    let listed = home.json(&["doctor", "--list-checks", "--json"]);
    for check in listed["checks"].as_array().unwrap() {
        let id = check["id"].as_str().unwrap();
        let answer = home.json(&["doctor", "--json", "--only", id]);
        for row in answer["checks"].as_array().unwrap() {
            let row = row["id"].as_str().unwrap();
            assert!(row == id || row.starts_with(&format!("{id}/")), "{id} gave {row}");
        }
    }
}

#[test]
fn a_wrong_configuration_fails_and_says_how_to_put_it_right() {
    let home = Home::new();
    std::fs::write(home.path().join("config.toml"), "[mining]\nprovidr = \"x\"\n").unwrap();
    let answer = home.json(&["doctor", "--json", "--only", "configuration"]);
    assert_eq!(answer["ok"], false);
    let config = check(&answer, "config");
    assert_eq!(config["state"], "fail");
    assert!(config["fix"].as_str().unwrap().contains("provider"), "{config}");
    assert_eq!(home.run(&["doctor"]).status.code(), Some(1));
}

#[test]
fn a_home_that_is_a_file_fails() {
    let home = Home::new();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = home.pearlbed(&["doctor", "--only", "home-folder", "--home"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("is not a folder"), "{output:?}");
}

#[test]
fn a_configuration_that_is_a_pipe_holds_nobody_up_for_long() {
    let home = Home::new();
    let fifo = Command::new("mkfifo").arg(home.path().join("config.toml")).status().unwrap();
    assert!(fifo.success());
    let answer = home.json(&["doctor", "--json", "--only", "config,memory"]);
    assert_eq!(check(&answer, "config")["state"], "fail");
    assert!(answered(&answer, "memory"));
}

#[test]
fn a_secret_that_is_not_set_is_named_and_one_that_is_set_is_never_shown() {
    let home = Home::new();
    let config = "[mining]\nsubmit_target = \"solo\"\n[mining.extra]\npearld_rpc_url = \"http://127.0.0.1:44107\"\n\
                  pearld_rpc_user = \"rpcuser\"\npearld_rpc_password_env = \"TEST_NODE_PASSWORD\"\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let arguments = ["doctor", "--json", "--only", "configuration"];
    let answer = home.json(&arguments);
    let secret = check(&answer, "secrets/TEST_NODE_PASSWORD");
    assert_eq!(secret["state"], "fail");
    let output = home.pearlbed(&arguments).env("TEST_NODE_PASSWORD", "hunter2-hunter2").output().unwrap();
    let shown = text(&output.stdout);
    assert!(!shown.contains("hunter2"), "{shown}");
    let answer: Value = serde_json::from_str(shown).unwrap();
    assert_eq!(check(&answer, "secrets/TEST_NODE_PASSWORD")["state"], "ok");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let home = Home::new();
    let mut command = home.pearlbed(&["doctor", "--verbose"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn the_name_alone_says_what_the_program_is_and_how_to_start() {
    let output = Home::new().run(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    for command in ["pearlbed doctor", "pearlbed init", "pearlbed start --devnet"] {
        assert!(text(&output.stdout).contains(command), "{output:?}");
    }
}

#[test]
fn a_wrong_command_line_is_told_on_stderr_with_status_2() {
    for arguments in [&["docter"][..], &["doctor", "--jsn"], &["doctor", "--probe-timeout", "2"], &["--home"]]
    {
        let output = Home::new().run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).starts_with("error: "), "{output:?}");
    }
    // What a value must be is folded, and no parser's own words.
    for (arguments, wanted) in [
        (&["doctor", "--probe-timeout", "banana"][..], "500ms"),
        (&["plugins", "inspect", "x", "--probe-timeout", "-5"], "500ms"),
        (&["bench", "--seconds", "-1"], "write a whole number"),
    ] {
        let output = Home::new().run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(wanted), "{output:?}");
        assert!(text(&output.stderr).lines().all(|line| line.chars().count() <= 80), "{output:?}");
    }
}

#[test]
fn a_healthy_plugin_is_asked_and_can_be_mined_with() {
    let home = Home::new();
    misbehave::put(&home.plugins(), "healthy", "");
    let output = home.run(&["doctor", "--json"]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = misbehave::padded_id("healthy");
    assert_eq!(check(&answer, "plugin/healthy.so")["state"], "ok");
    assert_eq!(check(&answer, &format!("provider/{id}"))["state"], "ok");
    assert_eq!(check(&answer, "choice")["state"], "ok");
    assert_eq!(check(&answer, "probes")["state"], "ok");
    let [plugin] = &answer["plugins"].as_array().unwrap()[..] else { panic!("{answer:#}") };
    assert_eq!(plugin["state"], "usable");
    assert_eq!(plugin["probe"]["supported"], true);
}

#[test]
fn a_broken_plugin_is_a_row_and_takes_nothing_from_a_healthy_one() {
    let home = Home::new();
    let plugins = home.plugins();
    misbehave::put(&plugins, "healthy", "");
    misbehave::put_bytes(&plugins, "text.so", b"not a library");
    misbehave::put_library(&plugins, "crashes", &misbehave::library("crashes", "ctor:segv"));
    misbehave::put_library(&plugins, "panics", &misbehave::library("panics", "detect:panic"));
    let output = home.run(&["doctor", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    for broken in ["text", "crashes", "panics"] {
        let row = check(&answer, &format!("plugin/{broken}.so"));
        assert_eq!(row["state"], "warn", "{row}");
        assert!(row["finding"].as_str().unwrap().starts_with("skipped: "), "{row}");
    }
    assert_eq!(check(&answer, "plugin/healthy.so")["state"], "ok");
    assert_eq!(answer["plugins"].as_array().unwrap().len(), 4);
    assert_eq!((output.status.code(), &answer["ok"]), (Some(0), &Value::Bool(true)));
}

#[test]
fn a_broken_plugin_makes_way_for_a_healthy_one_with_its_id() {
    let home = Home::new();
    let plugins = home.plugins();
    for (file, order) in [("a", "ctor:segv"), ("b", "detect:panic"), ("c", ""), ("d", "")] {
        misbehave::put_library(&plugins, file, &misbehave::library("twice", order));
    }
    let answer = home.json(&["doctor", "--json"]);
    let codes: Vec<_> = answer["plugins"].as_array().unwrap().iter().map(|plugin| &plugin["code"]).collect();
    assert_eq!(
        codes,
        [&Value::from("crashed"), &"panicked".into(), &Value::Null, &"same-id".into()],
        "{answer:#}"
    );
    let last = answer["plugins"][3]["reason"].as_str().unwrap();
    assert!(last.contains("c.so"), "it is the one in use that stands in its way: {last}");
    assert_eq!((&answer["ok"], &check(&answer, "choice")["state"]), (&true.into(), &"ok".into()));
}

#[test]
fn healthy_plugins_have_their_turn_whatever_number_hangs() {
    let home = Home::new();
    let plugins = home.plugins();
    for index in 0..80 {
        let name = format!("hangs-{index:02}");
        misbehave::put_library(&plugins, &name, &misbehave::library(&name, "detect:sleep"));
    }
    // The last in the order of the search.
    misbehave::put(&plugins, "zealous", "");
    let plugins = plugins.to_str().unwrap().to_owned();
    // Enough time for a machine that has much else to do to start a hundred processes.
    let answer = home.json(&["doctor", "--json", "--plugin-dir", &plugins, "--probe-timeout", "10s"]);
    let of = |name: &str| {
        let mut found = answer["plugins"].as_array().unwrap().iter();
        found.find(|plugin| plugin["path"].as_str().unwrap().ends_with(name)).unwrap()
    };
    assert_eq!(of("zealous.so")["state"], "usable", "{:#}", of("zealous.so"));
    // Each that hangs is named for it, or for the want of time: never for what it did not do.
    for index in 0..80 {
        let plugin = of(&format!("hangs-{index:02}.so"));
        let code = plugin["code"].as_str().unwrap();
        assert!(["timed-out", "not-probed"].contains(&code), "{plugin:#}");
    }
}

#[test]
fn plugins_that_hang_cost_their_time_out_together() {
    let home = Home::new();
    let plugins = home.plugins();
    misbehave::put(&plugins, "healthy", "");
    for index in 0..5 {
        let name = format!("hangs-{index}");
        misbehave::put_library(&plugins, &name, &misbehave::library(&name, "detect:sleep"));
    }
    let begin = Instant::now();
    let answer = home.json(&["doctor", "--json"]);
    // They would sleep for ever; how close to 2 s a busy machine comes is for the benchmark to say.
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    for index in 0..5 {
        assert_eq!(check(&answer, &format!("plugin/hangs-{index}.so"))["state"], "warn");
    }
    assert_eq!(check(&answer, "plugin/healthy.so")["state"], "ok");
    assert_eq!(answer["ok"], true);
}

#[test]
fn the_configured_provider_is_held_to_account() {
    let home = Home::new();
    let plugins = home.plugins();
    misbehave::put_library(&plugins, "other", &misbehave::library("other", ""));
    misbehave::put_library(&plugins, "mine", &misbehave::library("mine", "detect:abort"));
    let (mine, other) = (misbehave::padded_id("mine"), misbehave::padded_id("other"));
    let choose = |provider: &str| {
        let config = format!("[mining]\nprovider = \"{provider}\"\nsubmit_target = \"devnet\"\n");
        std::fs::write(home.path().join("config.toml"), config).unwrap();
        home.json(&["doctor", "--json"])
    };
    let answer = choose(&mine);
    assert_eq!(answer["ok"], false);
    assert_eq!(check(&answer, "plugin/mine.so")["state"], "fail");
    let choice = check(&answer, "choice");
    assert_eq!(choice["state"], "fail");
    assert!(choice["fix"].as_str().unwrap().contains(&other), "{choice}");

    let answer = choose(&other);
    assert_eq!(answer["ok"], true, "{answer:#}");
    assert_eq!(check(&answer, "plugin/mine.so")["state"], "warn");
    assert_eq!(check(&answer, "choice")["state"], "ok");
    assert_eq!(check(&answer, "grants")["state"], "ok");

    let answer = choose(&other.replace("other", "othr"));
    assert_eq!(check(&answer, "choice")["state"], "fail");
    assert!(check(&answer, "choice")["fix"].as_str().unwrap().contains("did you mean"), "{answer:#}");
}

#[test]
fn what_start_would_refuse_of_a_shape_that_earns_nothing_doctor_says_with_the_rule() {
    let home = Home::new();
    let library = build::plugin("cpu-pearl");
    std::fs::copy(&library, home.plugins().join(library.file_name().unwrap())).unwrap();
    let configured = |rank: u32| {
        let config = format!(
            "[mining]\nprovider = \"cpu-pearl\"\nsubmit_target = \"devnet\"\n[mining.extra]\nrank = {rank}\n"
        );
        std::fs::write(home.path().join("config.toml"), config).unwrap();
        check(&home.json(&["doctor", "--json"]), "settings/cpu-pearl").clone()
    };
    // What OpenJarvis writes of itself, and what is no rank at all.
    for rank in [32, 64, 100] {
        let row = configured(rank);
        let said = format!("{} {}", row["finding"], row["fix"]);
        assert_eq!(row["state"], "fail", "{row}");
        assert!(said.contains(&format!("`rank` is {rank}")) && said.contains("rank-penalty rule"), "{row}");
        let refused = home.run(&["start"]);
        assert!(!refused.status.success());
        let told = text(&refused.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("rank-penalty rule"), "{told}");
    }
    // One that no key breaks by itself, in the provider's section, in a miner's own, and where the host chooses.
    let shape = |text: &str| {
        std::fs::write(home.path().join("config.toml"), text).unwrap();
        let rows = home.json(&["doctor", "--json"]);
        let rows = rows["checks"].as_array().unwrap().iter();
        let row =
            rows.clone().find(|row| row["id"].as_str().unwrap().starts_with("settings/")).unwrap().clone();
        let refused = home.run(&["start", "--devnet"]);
        let told = text_of(&refused.stderr);
        assert!(!refused.status.success() && told.contains("of the protocol (section 7)"), "{told}");
        assert_eq!(row["state"], "fail", "{row}");
        row["finding"].as_str().unwrap().to_owned()
    };
    for (text, rule) in [
        ("[mining]\nprovider = \"cpu-pearl\"\n[mining.extra]\nk = 1024\n", "`k` breaks rule 14"),
        ("[mining]\nprovider = \"cpu-pearl\"\n[mining.extra]\nrank = 256\n", "`rank` breaks rule 14"),
        ("[mining.extra]\ntile = \"4x4\"\n", "`tile` breaks rule 17"),
        (
            "[[mining.miners]]\nname = \"a\"\nprovider = \"cpu-pearl\"\n[mining.miners.extra]\nk = 1024\n",
            "`k` breaks rule 14",
        ),
    ] {
        let said = shape(text);
        assert!(said.contains(rule), "{said}");
    }
    // Who sets it hears it at once.
    std::fs::write(home.path().join("config.toml"), "[mining]\nprovider = \"cpu-pearl\"\n").unwrap();
    let init = home.run(&["init", "--yes", "--set", "mining.extra.k=1024"]);
    let told = text_of(&init.stderr);
    assert!(init.status.success() && told.contains("`k` breaks rule 14"), "{told}");
    assert_eq!(configured(128)["state"], "ok");
}

fn text_of(bytes: &[u8]) -> String {
    text(bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_configured_for_plugins_holds_for_every_command_that_asks_them() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    let slow = misbehave::put(&home.plugins(), "slow", "detect:sleep");
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o775)).unwrap();
    let refused = home.json(&["plugins", "inspect", slow.to_str().unwrap(), "--json"]);
    assert_eq!(refused["plugin"]["code"], "writable-by-others", "{refused:#}");

    let config = "[plugins]\nprobe_timeout = \"300ms\"\nrelax_trust = true\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    for command in [&["doctor"][..], &["plugins", "inspect", slow.to_str().unwrap()]] {
        let answer = home.json(&[command, &["--json"]].concat());
        let plugin = answer.get("plugin").unwrap_or(&answer["plugins"][0]);
        assert_eq!((&plugin["code"], &plugin["relaxed"]), (&"timed-out".into(), &true.into()), "{answer:#}");
        assert!(plugin["reason"].as_str().unwrap().contains("within 300 ms"), "{plugin:#}");
    }
    let listed = home.run(&["plugins", "list"]);
    assert!(text(&listed.stdout).contains("as you asked"), "{listed:?}");
}

#[test]
fn plugin_dir_replaces_the_search_path() {
    let home = Home::new();
    misbehave::put(&home.plugins(), "at-home", "");
    let elsewhere = tempfile::tempdir().unwrap();
    misbehave::put(elsewhere.path(), "elsewhere", "");
    let answer = home.json(&["doctor", "--json", "--plugin-dir", elsewhere.path().to_str().unwrap()]);
    let [plugin] = &answer["plugins"].as_array().unwrap()[..] else { panic!("{answer:#}") };
    assert!(plugin["path"].as_str().unwrap().ends_with("elsewhere.so"));
}

#[test]
fn a_gateway_that_listens_is_told_from_one_that_does_not() {
    let home = Home::new();
    let socket = home.path().join("gateway.sock");
    let config =
        format!("[mining]\nsubmit_target = \"solo\"\n[mining.gateway]\nsocket = \"{}\"\n", socket.display());
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let arguments = ["doctor", "--json", "--only", "node"];
    let answer = home.json(&arguments);
    assert_eq!(check(&answer, "gateway")["state"], "fail");
    assert_eq!(check(&answer, "node-access")["state"], "warn");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(check(&home.json(&arguments), "gateway")["state"], "ok");
}

#[test]
fn a_node_that_never_answers_holds_nobody_up_for_long() {
    let home = Home::new();
    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "[mining]\nsubmit_target = \"solo\"\n[mining.extra]\npearld_rpc_url = \"http://{}\"\n\
         pearld_rpc_user = \"rpcuser\"\npearld_rpc_password_env = \"TEST_NODE_PASSWORD\"\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let mut command = home.pearlbed(&["doctor", "--json", "--only", "node-access,memory"]);
    let output = command.env("TEST_NODE_PASSWORD", "hunter2-hunter2").output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(check(&answer, "node-access")["state"], "fail");
    assert!(answered(&answer, "memory"));
    assert!(!text(&output.stdout).contains("hunter2"));
}

#[test]
fn a_torn_session_record_is_told() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("runtime")).unwrap();
    std::fs::write(home.path().join("runtime/mining.json"), "{\"provider\": \"x").unwrap();
    let answer = home.json(&["doctor", "--json", "--only", "session"]);
    assert_eq!(check(&answer, "session-state")["state"], "warn");
}

#[cfg(target_os = "linux")]
#[test]
fn a_plugin_folder_that_never_answers_holds_nobody_up_for_long() {
    let home = Home::new();
    let hung = home.path().join("hung");
    std::fs::create_dir(&hung).unwrap();
    let shim = home.path().join("shim.so");
    let source = build::workspace().join("tests/fixtures/hung/hung.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl").status();
    assert!(built.expect("a C compiler is installed").success());
    let begin = Instant::now();
    let mut command = home.pearlbed(&["doctor", "--json", "--plugin-dir"]);
    let output = command.arg(&hung).env("LD_PRELOAD", &shim).output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folders = check(&answer, "plugin-folders");
    assert_eq!(folders["state"], "fail");
    assert!(folders["finding"].as_str().unwrap().starts_with("no answer within"), "{folders}");
    for healthy in ["cpu", "memory", "home-folder", "disk-space", "mechanisms", "session-state"] {
        assert!(answered(&answer, healthy), "{healthy}");
    }
    assert_eq!(output.status.code(), Some(1));
}
