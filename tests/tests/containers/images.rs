//! What doctor says of engine, image and room, and a name that leads to another image than it did.

use super::*;

fn row(answer: &Value, id: &str) -> Option<(String, String)> {
    let row = answer["checks"].as_array()?.iter().find(|row| row["id"] == id)?;
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Some((text("state"), format!("{} / {}", text("finding"), text("fix"))))
}

fn doctor(session: &Session) -> Value {
    let plugins = session.bed.plugins();
    let answer = session.run(&["doctor", "--json", "--probe-timeout", "60s", "--plugin-dir", plugins]);
    serde_json::from_str(&answer.stdout).unwrap_or_else(|err| panic!("{err}: {answer:?}"))
}

#[track_caller]
fn expect(answer: &Value, id: &str, state: &str, words: &str) {
    let found = row(answer, id).unwrap_or_else(|| panic!("no row {id}: {answer:#}"));
    assert!(found.0 == state && found.1.contains(words), "{id}: {found:?}");
}

#[test]
fn doctor_has_a_row_for_each_thing_that_a_container_needs() {
    let Some(engine) = have(Engine::docker()) else { return };
    let session = Session::new(&engine, "", "", "");
    let before = doctor(&session);
    expect(&before, "container/engine", "ok", "docker ");
    expect(&before, "container/image", "ok", "sha256:");
    expect(&before, "container/image", "ok", "certificate 1, 2, 3");
    assert!(row(&before, "container/engine-room").is_some() && row(&before, "container/room").is_some());
    assert!(row(&before, "container/gpu-runtime").is_none(), "it needs no cards: {before:#}");

    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    session.bed.wait_for(PATIENCE, |status| Session::container(status)["phase"] == "serving");
    expect(&doctor(&session), "container/running/stand-in", "ok", "is served");

    let elsewhere = Session::new(&engine, "", "docker_image_tag = \"nobody_has_this:1\"", "");
    expect(&doctor(&elsewhere), "container/image", "warn", "is not on this machine");
    let folder = Session::new(&engine, "", "local_model_path = \"/no/such/folder\"", "");
    expect(&doctor(&folder), "container/model", "fail", "there is no folder /no/such/folder");
    assert!(row(&doctor(&folder), "container/room").is_none(), "nothing is fetched then");
    let token = Session::new(&engine, "", "hf_token_env = \"NOT_SET_AT_ALL\"", "");
    expect(&doctor(&token), "container/token", "warn", "NOT_SET_AT_ALL is not set here");
    expect(&doctor(&Session::none("", "")), "container/engine", "fail", "is not on the path");
}

#[test]
fn a_name_that_leads_to_another_image_than_last_time_is_told() {
    let Some(engine) = have(Engine::docker()) else { return };
    let ok = |arguments: &[&str]| {
        let said = engine.run(arguments);
        assert!(said.status.success(), "{arguments:?}: {said:?}");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    };
    let image = pearlbed_tests::stand_in::IMAGE;
    let session = Session::new(&engine, "", "", "");
    let name = format!("localhost/pearlbed-moved:{}", session.port);
    ok(&["tag", image, &name]);
    let file = session.bed.home().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[mining.extra]", &format!("[mining.extra]\ndocker_image_tag = \"{name}\""));
    std::fs::write(&file, text).unwrap();
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    assert!(!session.bed.log().contains("is another image than last time"), "{}", session.bed.log());
    assert_eq!(session.run(&["stop"]).code, 0);

    let made = ok(&["create", image]);
    ok(&["commit", "--change", "LABEL moved=yes", &made, &name]);
    ok(&["rm", &made]);
    expect(&doctor(&session), "container/image", "warn", "the last session ran another one");
    let answer = session.start();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let told = format!("{name} is another image than last time: sha256:");
    assert!(session.bed.log().contains(&told), "{}", session.bed.log());
    assert_eq!(session.run(&["stop"]).code, 0);
    expect(&doctor(&session), "container/image", "ok", "sha256:");
    ok(&["rmi", &name]);
}
