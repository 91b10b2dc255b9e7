//! The provider as a host sees it, without loading it.

use std::time::Duration;

use mining_provider::PEARLBED_PROVIDER;

use pearl_pow::{CertificateVersion, Header, Target, U256, verify};
use pearlbed_plugin_api::host_side::Provider;
use pearlbed_plugin_api::testing::FakeHost;
use pearlbed_plugin_api::{HardwareInfo, MiningConfig};

const PATIENCE: Duration = Duration::from_secs(120);

fn config(extra: &str) -> MiningConfig {
    let extra = pearlbed_plugin_api::serde_json::from_str(extra).expect("it is JSON");
    MiningConfig::compute_only("mining-provider", extra)
}

#[test]
fn it_finds_proofs_that_verify_and_can_be_started_again() {
    let provider = Provider::of_static(PEARLBED_PROVIDER).expect("it can be made");
    assert!(provider.detect(&HardwareInfo::default(), "", "").expect("it answers").supported);
    for certificate in CertificateVersion::ALL {
        let host = FakeHost::new();
        let (header, target) = ([certificate.number() as u8; 76], Target(U256::MAX / U256::from(1_000_000)));
        let id = host.offer(header, target.to_le_bytes(), certificate.number());
        provider.start(&config(r#"{"threads": 2}"#), host.clone()).expect("it starts");
        assert!(provider.is_running());
        let proof = host.next_proof(PATIENCE).expect("it finds one");
        assert_eq!(proof.job, id);
        let header = Header::from_bytes(header);
        let job = verify::Job { header, target: Some(target), certificate, rank_penalty: true };
        verify::verify_canonical(&job, &proof.bytes).expect("its proofs hold");
        provider.stop().expect("it stops");
        assert!(!provider.is_running() && host.hashes() > 0);
    }
}

#[test]
fn a_wrong_setting_is_refused_in_a_sentence() {
    let provider = Provider::of_static(PEARLBED_PROVIDER).expect("it can be made");
    for wrong in [r#"{"threads": 0}"#, r#"{"threads": "many"}"#] {
        let refused = provider.start(&config(wrong), FakeHost::new()).expect_err("it refuses");
        assert!(refused.to_string().contains("`threads` is a number from 1 to 1024"), "{refused}");
    }
}
