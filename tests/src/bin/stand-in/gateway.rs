//! The gateway that is in the image: it asks the node at `$PEARLD_RPC_URL` for its newest block, with the password in the file
//! that `$PASSWORD_FILE` names, and gives out a header on it at the socket `$MINER_RPC_SOCKET_PATH`.
//!
//! It takes every proof and makes a block of none. It says at INFO what it was started with, the password included, as the real
//! one does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::say;

/// The easiest target that a header can hold.
const NBITS: u32 = 0x207f_ffff;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Serves until it is told to end.
pub fn serve() -> ! {
    let password = std::fs::read_to_string(variable("PASSWORD_FILE")).unwrap_or_default();
    let user = variable("PEARLD_RPC_USER");
    say(&format!("INFO config user={user} password={password} pays={}", variable("PEARLD_MINING_ADDRESS")));
    say(&format!("rror: it begins with the password {password}"));
    let path = variable("MINER_RPC_SOCKET_PATH");
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(err) => {
            say(&format!("cannot listen on {path}: {err}"));
            std::process::exit(1);
        }
    };
    for stream in listener.incoming().flatten() {
        let (user, password) = (user.clone(), password.clone());
        std::thread::spawn(move || converse(&stream, &user, &password));
    }
    std::process::exit(1)
}

fn converse(mut stream: &UnixStream, user: &str, password: &str) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        let id = &request["id"];
        let answer = match request["method"].as_str() {
            Some("getMiningInfo") => match header(user, password) {
                Some(header) => {
                    let header = BASE64.encode(header);
                    // The mantissa and 29 bytes of zeros: a number of many digits, as the real one writes it.
                    let target = (pearl_pow::U256::from(NBITS & 0x00ff_ffff) << 232_usize).to_string();
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"incomplete_header_bytes":"{header}","target":{target},"cert_version":3}}}}"#
                    )
                }
                None => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32001, "message": "no template" } }).to_string(),
            },
            Some("submitPlainProof") => json!({ "jsonrpc": "2.0", "id": id, "result": "submitted" }).to_string(),
            _ => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "no such method" } }).to_string(),
        };
        if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// A header on the node's newest block, the same for as long as that is the newest.
fn header(user: &str, password: &str) -> Option<[u8; 76]> {
    let newest = newest(user, password)?;
    let mut header = [0x5a; 76];
    header[..4].copy_from_slice(&0x2000_0000_u32.to_le_bytes());
    header[4..36].copy_from_slice(&newest);
    header[68..72].copy_from_slice(&1_790_000_000_u32.to_le_bytes());
    header[72..].copy_from_slice(&NBITS.to_le_bytes());
    Some(header)
}

/// The hash of the node's newest block, as it stands in a header.
fn newest(user: &str, password: &str) -> Option<[u8; 32]> {
    let url = variable("PEARLD_RPC_URL");
    let address = url.strip_prefix("http://")?.trim_end_matches('/');
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let body = json!({ "jsonrpc": "1.0", "id": 1, "method": "getbestblockhash", "params": [] }).to_string();
    let secret = BASE64.encode(format!("{user}:{password}"));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {secret}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let answer: Value = serde_json::from_str(body).ok()?;
    let text = answer["result"].as_str()?;
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().rev().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}
