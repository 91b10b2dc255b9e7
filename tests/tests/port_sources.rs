//! The miner port of the real binary in front of every source of work: a second session mines through the port of the first,
//! in either language, and everybody's counts agree to the share: those of the second, of the first, and of the source.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands")]

use pearlbed_tests::build;
use pearlbed_tests::gateway::Gateway;
use pearlbed_tests::network::Network;
use pearlbed_tests::node::Node;
use pearlbed_tests::port::{Language, PATIENCE, PORT, WALLET, agree, count, row, second, served, start};
use pearlbed_tests::reference_pool::ReferencePool;
use pearlbed_tests::session::Bed;
use serde_json::Value;

const PASSWORD: &str = "correct-horse-battery-staple";

/// The exponent of the hashes that cpu-pearl estimates for a second of this machine, whatever its kernel.
fn second_of_this_machine() -> u32 {
    let plugin = build::plugin("cpu-pearl");
    let answer = Bed::new("").run(&["plugins", "inspect", plugin.to_str().unwrap(), "--json"]);
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    let estimate = answer["plugin"]["probe"]["estimated_hashrate"].as_f64();
    estimate.unwrap_or_else(|| panic!("{answer:#}")).log2().round() as u32
}

/// The compact form of a target that takes 2^`exponent` hashes on average.
fn nbits(exponent: u32) -> u32 {
    let (bytes, bit) = ((256 - exponent) / 8, (256 - exponent) % 8);
    // Bit 23 is a sign.
    if bit == 7 { (bytes + 2) << 24 | 0x8000 } else { (bytes + 1) << 24 | 0x1_0000 << bit }
}

/// Where the work of the first session comes from.
enum Source {
    Devnet,
    Gateway { network: Network, gateway: Gateway, _node: Node },
    Pool(ReferencePool),
}

impl Source {
    fn gateway() -> (Self, Bed) {
        let network = Network::new(nbits(second_of_this_machine()), 3);
        let gateway = Gateway::tcp(&network);
        let node = Node::http(&network, "rpcuser", PASSWORD);
        let extra = format!(
            "gateway_port = {}\npearld_rpc_url = \"{}\"\npearld_rpc_password_env = \"MY_NODE_PASSWORD\"",
            gateway.port(),
            node.url()
        );
        let bed = Bed::with(&extra, &format!("[mining]\nwallet_address = \"{WALLET}\"\n{PORT}"));
        let mut command = bed.command(&["start", "--port", "--plugin-dir", bed.plugins()]);
        let output = command.env("MY_NODE_PASSWORD", PASSWORD).output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", bed.log());
        (Self::Gateway { network, gateway, _node: node }, bed)
    }

    fn pool() -> (Self, Bed) {
        let nobody = Bed::new("");
        // Blocks that are found by themselves would only make shares late.
        // 2^32 hashes have difficulty 1 (pool protocol section 6.1); a little less than a second.
        let difficulty = 0.8 * 2f64.powi(second_of_this_machine() as i32 - 32);
        let pool = ReferencePool::with(&nobody, &["--difficulty", &difficulty.to_string()]);
        let target = format!("submit_target = \"pool:{}\"", pool.address);
        let bed = Bed::with("", &format!("[mining]\nwallet_address = \"{WALLET}\"\n{target}\n{PORT}"));
        let answer = bed.run(&["start", "--port", "--plugin-dir", bed.plugins()]);
        assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
        (Self::Pool(pool), bed)
    }

    /// What became of all that the first session handed over is what the source knows of it.
    fn agrees(&self, first: &Bed, programs: &[Value]) {
        let sum = |key: &str| programs.iter().map(|proofs| count(proofs, key)).sum::<u64>();
        for key in ["rejected", "untraced"] {
            assert_eq!(sum(key), 0, "{key}: {programs:#?}\n{}", first.log());
        }
        match self {
            Self::Devnet => {
                assert_eq!(sum("paying"), sum("accepted") + sum("stale") + sum("not_sent"), "{programs:#?}");
            }
            Self::Gateway { network, gateway, .. } => {
                let seen = gateway.seen();
                assert_eq!(seen.wrong, Vec::<String>::new());
                assert_eq!(seen.submissions.len() as u64, sum("submitted"), "{programs:#?}\n{}", first.log());
                assert_eq!(network.main_chain().len() as u64 - 1, sum("accepted"), "{programs:#?}");
            }
            Self::Pool(pool) => {
                let (shares, _) = pool.ledger();
                println!("the pool: {shares:?}");
                let of = |fate: &str| shares.get(fate).copied().unwrap_or(0);
                assert_eq!(of("accepted"), sum("accepted"), "{shares:?} {programs:#?}");
                assert_eq!(shares.values().sum::<u64>(), of("accepted") + of("stale"), "{shares:?}");
                let outcomes = first.status()["pool"]["shares"]["outcomes"].clone();
                assert_eq!(of("stale"), outcomes["stale"].as_u64().unwrap_or(0), "{shares:?} {outcomes}");
                assert_eq!(sum("submitted"), of("accepted") + of("stale"), "{shares:?} {programs:#?}");
            }
        }
    }
}

/// Programs of both languages at once at the port of a session whose work comes from `source`.
fn every_count_agrees((source, first): (Source, Bed)) {
    assert_eq!(first.status()["condition"], "waiting-for-program");
    let languages = [Language::Rpc, Language::Pool];
    let programs = languages.map(|language| (language, second(&first, language, "cpu-pearl")));
    for (_, program) in &programs {
        start(program, &first);
    }
    let status = first.wait_for(PATIENCE, |status| languages.iter().all(|one| row(status, *one).is_some()));
    let agent = row(&status, Language::Pool).unwrap()["program"]["agent"].as_str().unwrap();
    assert!(agent.starts_with("pearlbed/"), "{status:#}");
    let counts = programs.each_ref().map(|(language, program)| {
        println!("{language:?}");
        agree(&first, program, *language, 0)
    });
    source.agrees(&first, &counts);
}

#[test]
fn on_the_devnet_programs_of_both_languages_and_the_session_count_the_same() {
    every_count_agrees((Source::Devnet, served()));
}

#[test]
fn before_a_gateway_programs_of_both_languages_the_session_and_the_chain_count_the_same() {
    every_count_agrees(Source::gateway());
}

#[test]
fn before_a_pool_programs_of_both_languages_the_session_and_the_pools_ledger_count_the_same() {
    every_count_agrees(Source::pool());
}
