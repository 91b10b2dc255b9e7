//! The TLS matrix: certificates made here, pools that show them, and what the client makes of each.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use pearlbed::config::{Pin, PoolUrl};
use pearlbed::work::Pool;
use pearlbed::work::pool::resolver::Resolver;
use pearlbed::work::pool::tls::{Roots, sha256};
use pearlbed::work::pool::trial::{Findings, Stage, ask};
use pearlbed_tests::pool::TestPool;
use pearlbed_tests::session::Bed;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use rustls::{RootCertStore, ServerConfig};

const NAME: &str = "pool.test";
const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

/// A certificate with its key.
struct Made {
    der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Made {
    fn fingerprint(&self) -> Pin {
        Pin::Certificate(sha256(&self.der))
    }

    fn key_pin(&self) -> Pin {
        Pin::Key(sha256(&ParsedCertificate::try_from(&self.der).unwrap().subject_public_key_info()))
    }
}

/// A certificate authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: Roots,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.clone().self_signed(&key).unwrap();
        let mut store = RootCertStore::empty();
        store.add(certificate.der().clone()).unwrap();
        let pem = certificate.pem();
        Self { issuer: Issuer::new(params, key), roots: Roots::Only(Arc::new(store)), pem }
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Made { der: certificate.der().clone(), key: key.serialize_der() }
    }
}

fn self_signed(name: &str, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.self_signed(key).unwrap();
    Made { der: certificate.der().clone(), key: key.serialize_der() }
}

fn serve(made: &Made, versions: &[&'static rustls::SupportedProtocolVersion]) -> TestPool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key.clone()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der.clone()], key)
        .unwrap();
    TestPool::with(Vec::new(), Some(tokio_rustls::TlsAcceptor::from(Arc::new(config))))
}

/// Asks the pool at `port` on loopback, under the name that certificates are made for.
fn test(scheme: &str, address: std::net::SocketAddr, pin: Option<Pin>, roots: &Roots) -> Findings {
    let url = PoolUrl::parse(&format!("{scheme}://{NAME}:{}", address.port())).unwrap();
    let mut pool = Pool::new(url, WALLET, "rig1");
    pool.pin = pin;
    let table = BTreeMap::from([(NAME.to_owned(), vec![address])]);
    let resolver = Resolver::Table(Arc::new(Mutex::new(table)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&pool, &resolver, roots))
}

/// A port that answers what is no handshake as TLS servers do, with a fatal alert, and lets the other side read it.
fn alerting(code: u8) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // One connection for each form of login.
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut heard = [0; 4096];
            assert!(stream.read(&mut heard).unwrap() > 0);
            stream.write_all(&[0x15, 3, 3, 0, 2, 2, code]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Closing with unread bytes would be a reset, which takes the alert with it.
            while matches!(stream.read(&mut heard), Ok(1..)) {}
        }
    });
    address
}

fn works(row: &str, findings: &Findings, security: &str) {
    assert_eq!(findings.failure, None, "{row}");
    assert_eq!(findings.stage, Stage::Done, "{row}");
    assert_eq!(findings.times.as_ref().unwrap().security, security, "{row}");
}

fn refused(row: &str, findings: &Findings, words: &[&str]) {
    assert_eq!(findings.stage, Stage::Trust, "{row}: {findings:?}");
    let failure = findings.failure.as_deref().unwrap_or_default();
    for word in words {
        assert!(failure.contains(word), "{row}: {failure}");
    }
    assert_eq!(findings.login, None, "{row}: nothing is said to a pool that is not trusted");
}

#[test]
fn eighteen_rows_of_certificates_and_settings() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let roots = &authority.roots;
    let all = rustls::ALL_VERSIONS;
    let key = KeyPair::generate().unwrap();
    let own = self_signed(NAME, &key, |_| {});
    let good = authority.sign(NAME, |_| {});
    let at = |made: &Made, pin: Option<Pin>, roots: &Roots| {
        let pool = serve(made, all);
        test("stratum+ssl", pool.address, pin, roots)
    };

    works("1 signed by an authority that is trusted", &at(&good, None, roots), "TLS 1.3");
    let shown = good.fingerprint().to_string();
    let line = format!("pin = \"{shown}\" under [mining.pool]");
    refused("2 signed by a stranger", &at(&good, None, &stranger.roots), &["nobody", &line, "web page"]);
    let shown = own.fingerprint().to_string();
    let line = format!("pin = \"{shown}\"");
    refused("3 self-signed", &at(&own, None, roots), &[&line]);
    let maker = self_signed(NAME, &key, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let line = format!("pin = \"{}\"", maker.fingerprint());
    refused("4 self-signed as an authority", &at(&maker, None, roots), &["self-signed", &line]);
    works(
        "5 self-signed and pinned",
        &at(&own, Some(own.fingerprint()), roots),
        "TLS 1.3, pinned certificate",
    );
    works("6 pinned by its key", &at(&own, Some(own.key_pin()), roots), "TLS 1.3, pinned certificate");
    let wrong = Some(good.fingerprint());
    refused("7 another certificate is pinned", &at(&own, wrong, roots), &["another certificate", &shown]);
    refused("8 another key is pinned", &at(&own, Some(good.key_pin()), roots), &["another certificate"]);
    let expired = authority.sign(NAME, |params| params.not_after = date_time_ymd(2020, 1, 1));
    refused("9 expired", &at(&expired, None, roots), &["expired"]);
    let pin = Some(expired.fingerprint());
    works("10 expired and pinned", &at(&expired, pin, roots), "TLS 1.3, pinned certificate");
    let young = authority.sign(NAME, |params| params.not_before = date_time_ymd(4000, 1, 1));
    refused("11 not valid yet", &at(&young, None, roots), &["not valid yet"]);
    let other = authority.sign("other.test", |_| {});
    refused("12 for another name", &at(&other, None, roots), &["another name"]);
    let pin = Some(other.key_pin());
    works("13 for another name and pinned", &at(&other, pin, roots), "TLS 1.3, pinned certificate");
    let renewed = self_signed(NAME, &key, |params| params.not_before = date_time_ymd(2021, 1, 1));
    let pin = Some(own.key_pin());
    works(
        "14 renewed with the same key, the key pinned",
        &at(&renewed, pin, roots),
        "TLS 1.3, pinned certificate",
    );
    refused(
        "15 changed, the certificate pinned",
        &at(&renewed, Some(own.fingerprint()), roots),
        &["another"],
    );
    let old = serve(&good, &[&rustls::version::TLS12]);
    works("16 TLS 1.2", &test("stratum+tls", old.address, None, roots), "TLS 1.2");
    let plain = TestPool::honest();
    refused(
        "17 plain on a TLS port",
        &test("stratum+ssl", plain.address, None, roots),
        &["does not speak TLS"],
    );
    // Unexpected message (which is a newline, too), decode error, protocol version.
    for alert in [10, 50, 70] {
        let findings = test("stratum+tcp", alerting(alert), None, roots);
        assert_eq!(findings.stage, Stage::Login, "18 TLS on a plain port: {findings:?}");
        let failure = findings.failure.as_deref().unwrap_or_default();
        assert!(failure.contains("this port speaks TLS"), "18: {findings:?}");
        assert_eq!(findings.login, None);
    }
    // A server whose own close overtakes its alert says less, and is never taken for more.
    let tls = serve(&good, all);
    let findings = test("stratum+tcp", tls.address, None, roots);
    assert!(findings.stage < Stage::Job && findings.failure.is_some(), "18: {findings:?}");
    assert_eq!(findings.login, None);
}

/// The real binary and the platform's roots, which are looked for where OpenSSL looks: a company's own authority is trusted
/// where it is among them, by `pool test` and by a session, and nowhere else.
#[test]
fn an_authority_is_trusted_where_it_is_among_the_platforms_and_else_its_fingerprint_is_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.sign("localhost", |_| {});
    let pool = serve(&good, rustls::ALL_VERSIONS);
    let address = format!("stratum+ssl://localhost:{}", pool.address.port());
    let bed = Bed::with(
        "",
        &format!("[mining]\nwallet_address = \"{WALLET}\"\nsubmit_target = \"pool:{address}\""),
    );
    let file = |name: &str, authority: &Authority| {
        let path = bed.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &authority.pem).unwrap();
        path
    };
    let ours = file("ours.pem", &authority);
    let theirs = file("theirs.pem", &stranger);
    let folder = file("folder/company.pem", &authority);
    let folder = folder.parent().unwrap();
    let ask = |variable: Option<(&str, &std::path::Path)>| {
        let mut command = bed.command(&["pool", "test"]);
        command.envs(variable);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for variable in [("SSL_CERT_FILE", &*ours), ("SSL_CERT_DIR", folder)] {
        let (code, text) = ask(Some(variable));
        assert_eq!(code, Some(0), "{variable:?}: {text}");
        assert!(text.contains("TLS 1.3") && !text.contains("pinned"), "{text}");
    }
    // The platform's own list, whatever it is, knows nothing of an authority that was made a moment ago.
    for variable in [None, Some(("SSL_CERT_FILE", &*theirs))] {
        let (code, text) = ask(variable);
        assert_eq!(code, Some(11), "{variable:?}: {text}");
        // Folded sentences are compared unfolded.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in ["signed by nobody that this machine trusts", "Only the pool's own web page"] {
            assert!(flat.contains(words), "{words}: {text}");
        }
    }
    // The lines that are shown at the end, copied as they are, make it trusted.
    let (_, text) = ask(None);
    let (_, lines) = text.split_once("\n\n").unwrap_or_else(|| panic!("{text}"));
    assert_eq!(lines, format!("[mining.pool]\npin = \"{}\"\n", good.fingerprint()));
    let config = bed.home().join("config.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{before}\n{lines}")).unwrap();
    let (code, text) = ask(None);
    assert!(code == Some(0) && text.contains("TLS 1.3, pinned certificate"), "{code:?} {text}");
    std::fs::write(&config, before).unwrap();
    // A session, which is another process than the command that starts it.
    let start =
        bed.command(&["start", "--plugin-dir", bed.plugins()]).env("SSL_CERT_FILE", &ours).output().unwrap();
    assert!(start.status.success(), "{start:?}\n{}", bed.log());
    let status = bed.wait_for(std::time::Duration::from_secs(90), |status| {
        status["pool"]["shares"]["outcomes"]["accepted"].as_u64().unwrap_or(0) > 0
    });
    assert_eq!(status["pool"]["pools"][0]["security"], "TLS 1.3", "{status:#}");
    assert_eq!(bed.run(&["stop"]).code, 0);
}

#[test]
fn a_port_that_speaks_only_old_versions_of_tls_is_refused_and_never_spoken_to_in_plain() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 4096];
        let count = stream.read(&mut hello).unwrap();
        // Fatal alert: protocol_version.
        stream.write_all(&[0x15, 3, 1, 0, 2, 2, 70]).unwrap();
        hello.truncate(count);
        hello
    });
    let findings = test("stratum+ssl", address, None, &Authority::new().roots);
    refused("old versions only", &findings, &["1.2 or 1.3"]);
    let hello = heard.join().unwrap();
    assert_eq!(hello[0], 0x16, "a handshake and nothing else");
    assert!(!String::from_utf8_lossy(&hello).contains(WALLET));
}

#[test]
fn a_handshake_that_stalls_is_given_up_and_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Reads all that comes and says nothing, until the other side leaves.
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    let findings = test("stratum+ssl", address, None, &Authority::new().roots);
    assert_eq!(findings.stage, Stage::Connect, "{findings:?}");
    assert!(findings.failure.as_deref().unwrap_or_default().contains("no TLS handshake within 10 s"));
    let heard = accepted.join().unwrap();
    assert!(!String::from_utf8_lossy(&heard).contains(WALLET));
}
