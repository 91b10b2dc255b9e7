//! `validate-model`: only a proof that passed the verifier validates a model.

use super::*;

fn validate(session: &Session, more: &[&str]) -> (pearlbed_tests::session::Answer, Value) {
    let file = session.bed.dir().join("report/artifact.json");
    let path = file.to_str().unwrap();
    let plugins = session.bed.plugins();
    let fixed = ["validate-model", "--plugin-dir", plugins, "--allow-planned", "--output", path];
    let answer = session.run(&[&fixed, more].concat());
    let artifact =
        std::fs::read(&file).unwrap_or_else(|err| panic!("{err}: {answer:?}\n{}", session.bed.log()));
    (answer, serde_json::from_slice(&artifact).unwrap())
}

#[test]
fn a_model_is_validated_by_a_proof_that_came_of_a_long_prompt() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "on-prompt", "", "");
    let (answer, artifact) = validate(&session, &[]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    assert!(answer.stdout.contains("validated: ") && !answer.stdout.contains("fail"), "{answer:?}");
    assert!(answer.stderr.contains("one is started on the built-in test network"), "{answer:?}");

    // As OpenJarvis writes it.
    assert_eq!(
        (&artifact["schema_version"], &artifact["status"]),
        (&1.into(), &"passed".into()),
        "{artifact:#}"
    );
    assert_eq!(artifact["model"], "somebody/a-model-pearl");
    let endpoint = format!("http://127.0.0.1:{}/v1", session.port);
    assert_eq!((&artifact["vllm_endpoint"], &artifact["prompt_ran"]), (&endpoint.into(), &true.into()));
    let sidecar = session.bed.home().join("runtime/mining.json");
    assert_eq!(artifact["sidecar_path"], sidecar.to_str().unwrap());
    assert!(artifact["gateway_metrics_url"].as_str().unwrap().ends_with("/metrics"), "{artifact:#}");
    assert_eq!(artifact["allow_planned"], true);
    let checks = artifact["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in
        ["Model registry", "Sidecar", "Sidecar model", "vLLM /models", "Chat completion", "Gateway metrics"]
    {
        assert!(names.contains(&name), "{name}: {artifact:#}");
    }
    assert!(checks.iter().all(|check| check["ok"] == true && check["info"].is_string()), "{artifact:#}");
    // And what it was found by.
    let evidence = &artifact["evidence"];
    assert_eq!(artifact["validated"], true, "{artifact:#}");
    assert!(evidence["proofs_verified"].as_u64() >= Some(1), "{artifact:#}");
    assert!(evidence["prompt_tokens"].as_u64() >= Some(1024), "{artifact:#}");
    assert!(evidence["digest"].as_str().unwrap().starts_with("sha256:"), "{artifact:#}");

    // What was started for it has ended.
    assert_eq!(session.bed.status()["state"], "STOPPED");
    assert_eq!(session.ours(), Vec::<String>::new());

    // Without the word for it, a model that nobody has validated passes for none.
    let answer = session.run(&["validate-model", "--plugin-dir", session.bed.plugins(), "--json"]);
    let artifact: Value =
        serde_json::from_str(&answer.stdout).unwrap_or_else(|err| panic!("{err}: {answer:?}"));
    assert_eq!((answer.code, &artifact["status"]), (1, &"failed".into()), "{artifact:#}");
    assert_eq!(artifact["validated"], true, "{artifact:#}");
}

#[test]
fn a_model_without_layers_that_mine_is_not_validated_however_well_it_answers() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "no-layers", "", "");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let (answer, artifact) = validate(&session, &["--prompts", "1"]);
    assert_eq!((answer.code, &artifact["status"]), (1, &"failed".into()), "{answer:?}");
    let why = "not validated: 1 long prompt was answered, and no proof came";
    assert!(answer.stdout.split_whitespace().collect::<Vec<_>>().join(" ").contains(why), "{answer:?}");
    assert_eq!(artifact["validated"], false, "{artifact:#}");
    assert!(session.bed.status()["supervisor_pid"].is_u64(), "what ran before runs on");
    // Of another model than the one that is served.
    let (answer, artifact) = validate(&session, &["somebody/other-pearl", "--prompts", "1"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let failed = |name: &str| {
        let checks = artifact["checks"].as_array().unwrap();
        checks.iter().any(|check| check["name"] == name && check["ok"] == false)
    };
    assert!(failed("Sidecar model") && failed("vLLM /models"), "{artifact:#}");
}

#[test]
fn proofs_that_do_not_pass_validate_nothing_and_nor_do_steps_that_are_too_small() {
    let Some(engine) = have(Engine::docker()) else { return };
    for (odd, why) in [
        ("on-prompt,rubbish", "came, and none passed the verifier"),
        ("no-layers,small", "no step was large enough to mine"),
    ] {
        let session = Session::new(&engine, odd, "", "");
        let (answer, artifact) = validate(&session, &["--prompts", "1"]);
        assert_eq!(answer.code, 1, "{odd}: {answer:?}");
        let reason = artifact["reason"].as_str().unwrap();
        assert!(reason.starts_with("not validated: ") && reason.contains(why), "{odd}: {artifact:#}");
    }
}

#[test]
fn without_a_container_there_is_nothing_to_validate() {
    let session = Session::none("", "");
    let answer = session.run(&["validate-model", "--plugin-dir", session.bed.plugins()]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("is not on the path"), "{answer:?}");
    let plugins = session.bed.plugins();
    let answer = session.run(&["validate-model", "--provider", "odd-miner", "--plugin-dir", plugins]);
    assert!(answer.code != 0 && answer.stderr.contains("no provider that is a container"), "{answer:?}");
    assert_eq!(session.bed.status()["state"], "STOPPED", "what was started for it has ended");
}
