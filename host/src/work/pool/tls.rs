//! TLS to a pool: roots, or one pinned certificate; never "accept everything" (pool protocol section 9).
//!
//! ```text
//! pin?  --yes--> the certificate or its key has this SHA-256, and signs the handshake: chain, name and dates do not matter
//!       --no---> the platform's roots; where there are none, Mozilla's set that is compiled in
//! ```
//!
//! A certificate that is refused is remembered by its fingerprint, so that the error can show the line that would pin it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::Pin;

/// A client's side of TLS for one connection, and what it saw.
#[derive(Debug)]
pub struct Client {
    /// The settings for the handshake.
    pub config: Arc<ClientConfig>,
    seen: Arc<Seen>,
    pinned: bool,
}

/// The fingerprint of the certificate that was shown.
#[derive(Debug, Default)]
struct Seen(Mutex<Option<[u8; 32]>>);

impl Seen {
    fn note(&self, certificate: &CertificateDer<'_>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sha256(certificate));
    }

    fn get(&self) -> Option<[u8; 32]> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[derive(Debug)]
struct Verifier {
    /// The usual checks; `None` where a pin takes their place.
    roots: Option<Arc<WebPkiServerVerifier>>,
    pin: Option<Pin>,
    seen: Arc<Seen>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.note(end_entity);
        match (&self.pin, &self.roots) {
            (Some(pin), _) => {
                let fits = match pin {
                    Pin::Certificate(digest) => sha256(end_entity) == *digest,
                    Pin::Key(digest) => {
                        let parsed = ParsedCertificate::try_from(end_entity)?;
                        sha256(&parsed.subject_public_key_info()) == *digest
                    }
                };
                if fits {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(CertificateError::ApplicationVerificationFailure.into())
                }
            }
            (None, Some(roots)) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            (None, None) => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Where trust comes from.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The platform's certificates; where it has none, Mozilla's set.
    #[default]
    Platform,
    /// These and no others: for tests.
    Only(Arc<RootCertStore>),
}

impl Roots {
    fn store(&self) -> Arc<RootCertStore> {
        match self {
            Self::Only(store) => Arc::clone(store),
            Self::Platform => {
                let mut store = RootCertStore::empty();
                // What cannot be read is as good as not there: Mozilla's set stands in.
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if store.is_empty() {
                    store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
                Arc::new(store)
            }
        }
    }
}

impl Client {
    /// The client's side for one connection.
    ///
    /// # Errors
    ///
    /// No roots at all, as a phrase.
    pub fn new(pin: Option<Pin>, roots: &Roots) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = Arc::new(Seen::default());
        let roots = match pin {
            Some(_) => None,
            None => Some(
                WebPkiServerVerifier::builder_with_provider(roots.store(), Arc::clone(&provider))
                    .build()
                    .map_err(|err| format!("there is no certificate authority to trust: {err}"))?,
            ),
        };
        let verifier = Verifier { roots, pin, seen: Arc::clone(&seen), provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|err| err.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), seen, pinned: pin.is_some() })
    }

    /// What a failed handshake means, and whether it is about trust: then no retry cures it.
    pub fn explain(&self, err: &std::io::Error, table: &str) -> (String, bool) {
        let Some(tls) = err.get_ref().and_then(|err| err.downcast_ref::<Error>()) else {
            let text = if err.kind() == std::io::ErrorKind::UnexpectedEof {
                "it closed the connection in the TLS handshake: does this port speak TLS?".to_owned()
            } else {
                format!("the TLS handshake failed: {err}")
            };
            return (text, false);
        };
        let shown = self.seen.get().map(|digest| Pin::Certificate(digest).to_string());
        match tls {
            Error::InvalidCertificate(reason) => (self.untrusted(reason, shown.as_deref(), table), true),
            Error::InvalidMessage(_) => {
                ("this port does not speak TLS: `stratum+tcp://` is plain TCP".to_owned(), true)
            }
            Error::PeerIncompatible(_) | Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
                ("it speaks no TLS version that is safe (1.2 or 1.3)".to_owned(), true)
            }
            other => (format!("the TLS handshake failed: {other}"), false),
        }
    }

    fn untrusted(&self, reason: &CertificateError, shown: Option<&str>, table: &str) -> String {
        let shown = shown.unwrap_or("sha256/?");
        if self.pinned {
            return match reason {
                CertificateError::ApplicationVerificationFailure => {
                    format!("shows another certificate than the one that is pinned: {shown}")
                }
                other => format!("does not own the certificate that it shows: {other}"),
            };
        }
        let what = match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                return "its certificate has expired: tell the pool, or see whether this machine's clock is right"
                    .to_owned();
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                return "its certificate is not valid yet: is this machine's clock right?".to_owned();
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                return "its certificate is for another name: is the address right?".to_owned();
            }
            // The wrong signature is that of somebody with the name of an authority that is trusted.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is signed by nobody that this machine trusts"
            }
            // A certificate that calls itself an authority, as self-made ones do.
            CertificateError::Other(_) => "its certificate is self-signed",
            other => return format!("its certificate is not trusted: {other}"),
        };
        format!(
            "{what}; to trust it, write pin = \"{shown}\" under {table}. Only the pool's own web page can confirm that this \
             is its fingerprint"
        )
    }
}
