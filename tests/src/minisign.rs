//! Keys and signatures as minisign makes them, in both of its formats.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A secret key.
#[derive(Debug)]
pub struct Key {
    id: [u8; 8],
    pair: Ed25519KeyPair,
}

/// What is signed of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The file itself: what old versions of minisign did.
    Legacy,
    /// Its BLAKE2b hash.
    Prehashed,
}

impl Key {
    /// The key that comes from this number.
    pub fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("any 32 bytes are a seed");
        Self { id: [number; 8], pair }
    }

    /// As it is written in `[plugins] keys`.
    pub fn public(&self) -> String {
        let mut bytes = b"Ed".to_vec();
        bytes.extend(self.id);
        bytes.extend(self.pair.public_key().as_ref());
        STANDARD.encode(bytes)
    }

    /// The text of a signature's file for a library of these bytes.
    pub fn sign(&self, bytes: &[u8], format: Format, comment: &str) -> String {
        let (mark, signed) = match format {
            Format::Legacy => (b"Ed", bytes.to_vec()),
            Format::Prehashed => (b"ED", blake2b(bytes)),
        };
        let signature = self.pair.sign(&signed);
        let mut line = mark.to_vec();
        line.extend(self.id);
        line.extend(signature.as_ref());
        let mut global = signature.as_ref().to_vec();
        global.extend(comment.as_bytes());
        let global = self.pair.sign(&global);
        format!(
            "untrusted comment: signature of a test\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode(line),
            STANDARD.encode(global.as_ref())
        )
    }
}

/// BLAKE2b with 64 bytes, by the system's own program.
fn blake2b(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut program = Command::new("b2sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils have b2sum");
    program.stdin.take().expect("it was piped").write_all(bytes).expect("it reads");
    let said = program.wait_with_output().expect("it ends").stdout;
    let text = String::from_utf8(said).expect("it prints hexadecimal");
    let digits = text.split(' ').next().expect("the first word is the hash");
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("it prints hexadecimal"))
        .collect()
}
