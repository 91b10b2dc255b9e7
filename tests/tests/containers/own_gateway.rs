//! The gateway from the same image, in a container of its own.

use pearlbed_tests::network::Network;
use pearlbed_tests::node::Node;

use super::*;

const PASSWORD: &str = "the-nodes-password-that-nobody-sees";

#[test]
fn solo_without_a_gateway_the_one_in_the_image_is_run_and_only_it_hears_of_the_node() {
    let Some(engine) = have(Engine::docker()) else { return };
    if std::net::TcpStream::connect(("127.0.0.1", 8337)).is_ok() {
        return println!("skipped: a gateway listens on this machine, and is used");
    }
    let network = Network::new(0x207f_ffff, 3);
    let node = Node::http(&network, "me", PASSWORD);
    let extra = format!(
        "pearld_rpc_url = \"{}\"\npearld_rpc_user = \"me\"\npearld_rpc_password_env = \"NODE_PASSWORD\"",
        node.url()
    );
    let mining = format!("wallet_address = \"{WALLET}\"\nsubmit_target = \"solo\"");
    let mut session = Session::working(&engine, "", &extra, &mining, "");
    let doctor =
        session.run(&["doctor", "--json", "--probe-timeout", "60s", "--plugin-dir", session.bed.plugins()]);
    let doctor: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let rows = doctor["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["id"] == "gateway").unwrap();
    assert_eq!(row["state"], "ok", "{row:#}");
    assert!(row["finding"].as_str().unwrap().contains("in a container of its own"), "{row:#}");

    // Its password is asked for before anything is started.
    let answer = session.start_as_configured();
    assert_eq!(answer.code, 6, "{answer:?}");
    let said = answer.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("NODE_PASSWORD is not set"), "{answer:?}");

    session.variables.push(("NODE_PASSWORD", PASSWORD.into()));
    let answer = session.start_as_configured();
    assert_eq!(answer.code, 0, "{answer:?}\n{}", session.bed.log());
    let said = answer.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("no gateway is named and none listens") && said.contains(WALLET), "{answer:?}");
    let status = session.bed.wait_for(PATIENCE, |status| {
        let all = status["containers"].as_array().unwrap();
        all.len() == 2
            && all.iter().all(|one| one["phase"] == "serving")
            && status["proofs"]["submitted"].as_u64() > Some(0)
    });
    assert_eq!(status["work"]["source"], "gateway", "{status:#}");
    let of = |role: &str| {
        let all = status["containers"].as_array().unwrap();
        all.iter().find(|one| one["role"] == role).unwrap().clone()
    };
    let (gateway, miner) = (of("gateway"), of("miner"));
    assert_eq!(gateway["sentence"], "the gateway answers", "{gateway:#}");
    assert!(node.requests().iter().any(|method| method == "getbestblockhash"), "{:?}", node.requests());

    let inspect = |one: &Value| {
        let said = engine.run(&["inspect", one["container_id"].as_str().unwrap()]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    let (shown, of_miner) = (inspect(&gateway), inspect(&miner));
    assert!(shown.contains(WALLET) && shown.contains(&node.url()) && !shown.contains(PASSWORD), "{shown}");
    assert!(!of_miner.contains(WALLET) && !of_miner.contains(&node.url()), "{of_miner}");
    assert!(shown.contains("\"NetworkMode\": \"host\"") && !shown.contains("nvidia"), "{shown}");
    // It says its password, and nobody repeats it.
    let log = session.bed.log();
    assert!(log.contains("it begins with the password [hidden]") && !log.contains(PASSWORD), "{log}");
    assert!(!status.to_string().contains(PASSWORD), "{status:#}");
    let text = session.run(&["status"]).stdout;
    assert!(text.contains("the gateway answers"), "{text}");
    let token = session.bed.home().join("runtime/container/gateway.token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&token).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o400);

    // It is the session's own: a stop waits for the block that it works on, and another one does not.
    std::thread::scope(|scope| {
        let first = scope.spawn(|| session.run(&["stop"]));
        let log = || session.bed.log();
        let waits =
            || log().contains("which would be lost: waiting for it") || log().contains("session ends");
        wait_until(PATIENCE, waits, log);
        assert_eq!(session.run(&["stop"]).code, 0, "{}", log());
        assert_eq!(first.join().unwrap().code, 0, "{}", log());
    });
    assert_eq!(session.ours(), Vec::<String>::new(), "{}", session.bed.log());
    assert!(!token.exists());
}

#[test]
fn where_a_gateway_is_named_or_it_is_not_wanted_none_is_run() {
    let Some(engine) = have(Engine::docker()) else { return };
    let port = pearlbed_tests::ports::free();
    let node = "pearld_rpc_url = \"http://127.0.0.1:1\"\npearld_rpc_password_env = \"NODE_PASSWORD\"";
    let mining = format!("wallet_address = \"{WALLET}\"\nsubmit_target = \"solo\"");
    for (extra, sections) in [
        (format!("{node}\ngateway_port = {port}"), ""),
        (node.to_owned(), "gateway = false"),
        // Nobody to be told of a node.
        (String::new(), ""),
    ] {
        let mut session = Session::working(&engine, "", &extra, &mining, sections);
        session.variables.push(("NODE_PASSWORD", PASSWORD.into()));
        let plugins = session.bed.plugins();
        let answer = session.run(&["start", "--plugin-dir", plugins, "--wait", "1"]);
        assert_eq!(answer.code, 4, "{answer:?}");
        assert_eq!(session.bed.status()["containers"].as_array().unwrap().len(), 1, "{answer:?}");
        assert_eq!(session.run(&["stop"]).code, 0);
    }
}
