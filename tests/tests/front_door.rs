//! What a newcomer meets: every command before anything is set up, help, init, config, models, completions.

use std::path::Path;
use std::process::{Command, Output};

use pearlbed_tests::build;
use pearlbed_tests::pearlbed::{Playground, SECRET};

const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// What a command said, on both streams.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The same without line breaks, for what may be wrapped.
fn flat(output: &Output) -> String {
    said(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The bundled provider in the playground's folder for plugins.
fn with_provider(ground: &Playground) -> String {
    let to = ground.plugins().join("libcpu_pearl.so");
    std::fs::copy(build::plugin("cpu-pearl"), &to).expect("the plugin was just built");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&to, mode).expect("the file is our own");
    ground.plugins().to_str().expect("temporary folders are UTF-8").to_owned()
}

#[test]
fn every_command_says_what_to_do_next_before_anything_is_set_up() {
    let ground = Playground::new();
    let with_step: &[(&[&str], i32, &str)] = &[
        (&[], 0, "pearlbed start --devnet"),
        (&["doctor"], 1, "put a plugin into"),
        (&["plugins", "list"], 0, "pearlbed"),
        (&["plugins", "inspect", "nobody"], 6, "pearlbed plugins list"),
        (&["start"], 6, "pearlbed init"),
        (&["status"], 3, "pearlbed start"),
        (&["logs"], 0, "pearlbed start"),
        (&["stop"], 0, "nothing was running"),
        (&["init"], 2, "--provider"),
        (&["config", "show"], 0, "pearlbed init"),
        (&["config"], 2, "pearlbed config show"),
        (&["models"], 0, "pearl-ai/"),
        (&["inspect-model", "nothing"], 6, "pearlbed models"),
        (&["attach"], 2, "--gateway-url"),
        (&["verify"], 1, "name a file"),
        (&["completions"], 2, "bash"),
        (&["strat"], 2, "start"),
    ];
    for (args, code, step) in with_step {
        let output = ground.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(*code), "pearlbed {args:?}: {said}");
        assert!(flat(&output).contains(step), "pearlbed {args:?} does not lead to `{step}`:\n{said}");
        assert!(!said.contains("panicked"), "pearlbed {args:?}:\n{said}");
        assert!(!said.contains(SECRET.1), "pearlbed {args:?} tells a secret");
        for line in said.lines() {
            assert!(line.chars().count() <= 80, "pearlbed {args:?} is wider than 80 columns: {line}");
        }
    }
    ground.assert_nothing_left();
}

#[test]
fn help_of_every_command_fits_80_columns_and_has_an_example() {
    let ground = Playground::new();
    for command in pearlbed::cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let output = ground.run(&[command.get_name(), "--help"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("Example"), "{}:\n{text}", command.get_name());
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
        }
    }
}

#[test]
fn init_without_a_terminal_writes_what_flags_say_and_starts_nothing() {
    let ground = Playground::new();
    let plugins = with_provider(&ground);
    let file = ground.home().join("config.toml");
    let init = |more: &[&str]| {
        let mut args = vec!["init", "--plugin-dir", &plugins];
        args.extend(more);
        ground.run(&args)
    };
    let output =
        init(&["--provider", "auto", "--submit-target", "solo", "--wallet-address", WALLET, "--dry-run"]);
    assert!(output.status.success() && !file.exists(), "--dry-run writes nothing: {output:?}");

    let output = init(&["--provider", "auto", "--submit-target", "solo", "--wallet-address", WALLET]);
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("provider = \"cpu-pearl\"") && text.contains(WALLET), "{text}");
    assert!(flat(&output).contains("no file, network or program"), "{}", said(&output));
    assert!(!ground.home().join("runtime").exists(), "init starts nothing");

    let output = init(&["--provider", "cpu-pearl", "--submit-target", "solo", "--wallet-address", WALLET]);
    assert!(flat(&output).contains("nothing to change"), "{}", said(&output));
    assert!(!ground.home().join("config.toml.bak-1").exists());

    let output = init(&["--set", "mining.extra.gateway_port=18337"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(std::fs::read_to_string(ground.home().join("config.toml.bak-1")).unwrap(), text);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        format!(
            "{text}\n[mining.extra]\n# Port of pearl-gateway's miner RPC over TCP.\ngateway_port = 18337\n"
        )
    );
}

#[test]
fn init_names_wrong_flags_and_writes_nothing() {
    let ground = Playground::new();
    let plugins = with_provider(&ground);
    for (args, what) in [
        (["--provider", "cpu-perl"], "did you mean `cpu-pearl`?"),
        (["--wallet-address", "prl1p"], "is no Pearl address"),
        (["--submit-target", "pool:"], "without a URL"),
        (["--gateway", "localhost"], "needs a port"),
        (["--set", "provider"], "has no `=`"),
        (["--set", "provider=x"], "did you mean `mining.provider`?"),
        (["--set", "mining.fee_bps=100"], "pearlbed takes no fee"),
        (["--set", "mining.gateway.command=pearl-gateway"], "write a TOML list"),
        (["--unset", "mining.nothing"], "unknown key"),
        (["--node-password-env", "hunter2!"], "is not the name of an environment variable"),
        (["--grant", "everything"], "needs a provider"),
    ] {
        let output =
            ground.run(&["init", "--plugin-dir", &plugins, "--submit-target", "devnet", args[0], args[1]]);
        let output = if args[0] == "--submit-target" {
            ground.run(&["init", "--plugin-dir", &plugins, args[0], args[1]])
        } else {
            output
        };
        let said = flat(&output);
        assert!(!output.status.success() && said.contains(what), "{args:?} should say `{what}`:\n{said}");
        assert!(!said.contains("hunter2!"), "{said}");
    }
    assert!(!ground.home().join("config.toml").exists());
}

#[test]
fn init_leaves_openjarvis_sections_alone_and_the_devnet_lies_where_it_does_not_look() {
    let ground = Playground::new();
    let plugins = with_provider(&ground);
    let fixture = build::workspace().join("host/tests/fixtures/openjarvis/cpu-pearl.toml");
    let old = std::fs::read_to_string(fixture).unwrap();
    let file = ground.home().join("config.toml");
    std::fs::write(&file, &old).unwrap();
    let output = ground.run(&["init", "--plugin-dir", &plugins, "--submit-target", "devnet"]);
    assert!(output.status.success(), "{}", said(&output));
    let new = std::fs::read_to_string(&file).unwrap();
    let ours = new.strip_prefix(&old).unwrap_or_else(|| panic!("a shared line was changed:\n{new}"));
    assert!(ours.starts_with("\n[mining.session]\n") && ours.ends_with("\ndevnet = true\n"), "{ours}");
}

#[test]
fn config_show_says_where_each_value_came_from_and_no_secret() {
    let ground = Playground::new();
    std::fs::write(
        ground.home().join("config.toml"),
        "[mining.extra]\npearld_rpc_password_env = \"PEARLBED_TESTS_SECRET\"\n",
    )
    .unwrap();
    let show = |args: &[&str]| {
        let mut command = ground.command(&["config", "show"]);
        command.args(args).env("PEARLBED_MINING_EXTRA_GATEWAY_PORT", "18337").output().unwrap()
    };
    let text = said(&show(&["--origin"]));
    assert!(text.contains("gateway_port = 18337"), "{text}");
    assert!(text.contains("# environment PEARLBED_MINING_EXTRA_GATEWAY_PORT"), "{text}");
    assert!(text.contains("pearld_rpc_password_env = \"PEARLBED_TESTS_SECRET\""), "{text}");
    assert!(text.contains("# file line 2"), "{text}");
    assert!(!text.contains(SECRET.1));
    let answer: serde_json::Value = serde_json::from_slice(&show(&["--json"]).stdout).unwrap();
    assert_eq!(answer["schema"], 1);
    let port = answer["settings"].as_array().unwrap().iter();
    let port = port.clone().find(|setting| setting["key"] == "mining.extra.gateway_port").unwrap();
    assert_eq!((&port["value"], &port["origin"]), (&18337.into(), &"environment".into()));
}

#[test]
fn a_wrong_configuration_stops_start_and_is_told_by_doctor() {
    let ground = Playground::new();
    std::fs::write(ground.home().join("config.toml"), "[mining]\nwalet_address = \"x\"\n").unwrap();
    for (args, code) in
        [(&["start"][..], 6), (&["start", "--foreground"], 6), (&["config", "show"], 6), (&["doctor"], 1)]
    {
        let output = ground.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains("walet_address") && said.contains("wallet_address"), "{args:?}: {said}");
    }
}

#[test]
fn a_checkpoint_is_inspected_and_the_report_written() {
    let ground = Playground::new();
    let model = ground.root().join("victim-model");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("config.json"), "{\"quantization_config\":{\"quant_method\":\"pearl\"}}")
        .unwrap();
    let report = ground.root().join("report.json");
    let output =
        ground.run(&["inspect-model", model.to_str().unwrap(), "--output", report.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["status"], "failed");
    let state = |id: &str| {
        report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap()["state"].clone()
    };
    assert_eq!((state("quantization"), state("weights")), ("ok".into(), "fail".into()));
}

#[test]
fn completions_are_scripts_that_their_shells_accept() {
    let ground = Playground::new();
    for (shell, program) in
        [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish"), ("elvish", "elvish"), ("powershell", "pwsh")]
    {
        let output = ground.run(&["completions", shell]);
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
        let script = ground.root().join(format!("completions.{shell}"));
        std::fs::write(&script, &output.stdout).unwrap();
        if matches!(shell, "bash" | "zsh" | "fish") && on_path(program) {
            let checked = Command::new(program).arg("-n").arg(&script).output().unwrap();
            assert!(checked.status.success(), "{shell}: {checked:?}");
        } else {
            println!("skipped: no check of the {shell} completions ({program} is not here, or has none)");
        }
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
}

#[test]
fn a_report_holds_what_is_asked_for_and_no_secret() {
    let ground = Playground::new();
    let wallet = WALLET;
    let config = format!(
        "[mining]\nwallet_address = \"{wallet}\"\n[mining.extra]\n\
         endpoint = \"https://me:hunter2-in-an-address@example/?x=hunter2-in-a-query\"\nthreads = 2\n"
    );
    std::fs::write(ground.home().join("config.toml"), config).unwrap();
    std::fs::create_dir(ground.home().join("logs")).unwrap();
    let log = format!(
        "2026-01-01T00:00:00Z info  provider    sees {} and pays {wallet}\n\
         2026-01-01T00:00:00Z info  provider    asks me:hunter2/with-a-slash@localhost:44107\n\
         2026-01-01T00:00:00Z info  provider    curl -u me:hunter2 and the password is hunter2x\n\
         2026-01-01T00:00:00Z info  provider    {{\"method\":\"mining.authorize\",\"params\":[\"w\",\"hunter2\"]}}\n\
         2026-01-01T00:00:00Z info  provider    mnemonic: hunter2 hunter2 hunter2\n",
        SECRET.1
    );
    std::fs::write(ground.home().join("logs/mining.log"), log).unwrap();
    let file = ground.root().join("victim-report.txt");
    let file_name = file.to_str().unwrap();
    let report = |args: &[&str]| {
        ground.command(args).env("PEARLD_RPC_PASSWORD", "hunter2-in-a-variable").output().unwrap()
    };
    let output = report(&["doctor", "--report", file_name]);
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hunter2") && !text.contains(wallet), "{text}");
    for there in [
        concat!("pearlbed     ", env!("CARGO_PKG_VERSION")),
        "\nkernel ",
        "PEARLBED_HOME=",
        "\n## Checks\n\nHardware\n",
        "wallet_address = \"prl1pqqq…8729k\"",
        "threads = 2",
        "config.toml",
        "\"state\": ",
        "sees [hidden] and pays prl1pqqq…8729k",
        "\"cpu\": {",
    ] {
        assert!(text.contains(there), "no {there:?} in\n{text}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // What is there stays, and a dash prints.
    let second = report(&["doctor", "--report", file_name]);
    assert_eq!(second.status.code(), Some(6), "{}", said(&second));
    let printed = report(&["doctor", "--report", "-"]);
    assert!(printed.stdout.starts_with(b"# pearlbed report\n"), "{}", said(&printed));
    // Also where the configuration cannot be used.
    std::fs::write(ground.home().join("config.toml"), "[mining]\npassword = \"hunter2\"\n").unwrap();
    let printed = report(&["doctor", "--report", "-"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("cannot be used: ") && !text.contains("hunter2"), "{text}");
}

#[test]
fn json_and_keys_are_as_their_pages_say_a_watched_status_an_object_a_line_and_a_grant_a_known_setting() {
    let ground = Playground::new();
    let grants =
        "[mining]\nprovider = \"cpu-pearl\"\n[mining.grants]\ncpu-pearl = [\"network:127.0.0.1:8337\"]\n";
    std::fs::write(ground.home().join("config.toml"), grants).unwrap();
    let shown = ground.run(&["config", "show", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let settings = shown["settings"].as_array().unwrap();
    let grant = settings.iter().find(|setting| setting["key"] == "mining.grants.cpu-pearl").unwrap();
    assert_eq!(grant["known"], true);
    let keys = flat(&ground.run(&["config", "keys"]));
    for variable in ["PEARLBED_MINING_FEE_BPS", "PEARLBED_MINING_PROVIDER"] {
        assert!(keys.contains(variable), "{variable}");
    }
    let mut watch = ground.command(&["status", "--watch", "--json"]);
    let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    for line in lines.take(2) {
        let object: serde_json::Value = serde_json::from_str(&line.unwrap()).expect("an object a line");
        assert_eq!(object["state"], "CONFIGURED");
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}
