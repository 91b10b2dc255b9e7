//! How a proof travels inside a line: base64 of its bytes, or of their gzip (pool protocol section 3.4).

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// How a proof travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// base64 of the proof's bytes.
    Plain,
    /// base64 of the gzip (RFC 1952) of the proof's bytes; `type` `"v2"`, or `proof_encoding` `"gzip"`.
    Gzip,
}

/// Why a proof's text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum EncodingError {
    #[error("the proof is not base64 in its standard form with padding")]
    NotBase64,
    #[error("the proof is not gzip")]
    NotGzip,
    #[error("the proof unpacks to more than {max} bytes")]
    TooLarge { max: usize },
}

impl Encoding {
    /// The word that pools and the configuration use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "v2",
        }
    }

    /// Reads the word that an acknowledgement carries; `None` for one that is not spoken here.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "plain" => Some(Self::Plain),
            "v2" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// The text of a proof's bytes.
    pub fn encode(self, proof: &[u8]) -> String {
        match self {
            Self::Plain => BASE64.encode(proof),
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::with_capacity(proof.len()), Compression::new(6));
                packed.write_all(proof).expect("writing to memory never fails");
                BASE64.encode(packed.finish().expect("writing to memory never fails"))
            }
        }
    }

    /// The bytes of a proof's text. What unpacks to more than `max` bytes is refused before it is unpacked.
    ///
    /// # Errors
    ///
    /// [`EncodingError`]: what the text is not.
    pub fn decode(self, text: &str, max: usize) -> Result<Vec<u8>, EncodingError> {
        let bytes = BASE64.decode(text).map_err(|_| EncodingError::NotBase64)?;
        let bytes = match self {
            Self::Plain => bytes,
            Self::Gzip => {
                let mut unpacked = Vec::new();
                let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
                GzDecoder::new(&bytes[..])
                    .take(limit)
                    .read_to_end(&mut unpacked)
                    .map_err(|_| EncodingError::NotGzip)?;
                unpacked
            }
        };
        if bytes.len() > max { Err(EncodingError::TooLarge { max }) } else { Ok(bytes) }
    }
}
