//! The connections of a pool, with what each of them does wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pearlbed::work::devnet::pool::core::{Checked, check};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Acceptor;
use super::bend::{Outgoing, of_test_network};
use super::fault::Fault;
use super::state::State;

/// Serves everybody who comes, for ever.
pub(super) async fn serve(
    listener: TcpListener,
    script: Vec<Vec<Fault>>,
    tls: Acceptor,
    state: Arc<Mutex<State>>,
) {
    let mut script = script.into_iter();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let faults = script.next().unwrap_or_default();
        let session = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.connections += 1;
            let number = state.connections;
            state.events.push(format!("connection {number} with {faults:?}"));
            number
        };
        if faults.contains(&Fault::Reset) {
            reset(&stream);
            continue;
        }
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(session, stream, faults, state).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => converse(session, stream, faults, state).await,
                    Err(err) => {
                        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                        state.events.push(format!("handshake: {err}"));
                    }
                },
            }
        });
    }
}

/// The next close is a reset.
fn reset(stream: &tokio::net::TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

async fn converse<S: AsyncRead + AsyncWrite + Send + 'static>(
    session: u64,
    stream: S,
    faults: Vec<Fault>,
    state: Arc<Mutex<State>>,
) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let has = |fault: &Fault| faults.contains(fault);
    let (mut read, mut write) = tokio::io::split(stream);
    for fault in &faults {
        if let Fault::SlowAccept(time) = fault {
            tokio::time::sleep(*time).await;
        }
    }
    if has(&Fault::CloseAtOnce) {
        return;
    }
    if let Some(Fault::Says(bytes)) = faults.iter().find(|fault| matches!(fault, Fault::Says(_))) {
        let _ = write.write_all(bytes).await;
        let _ = write.flush().await;
        // Closed with what was said in it read by the other side.
        let mut rest = [0; 4096];
        let _ = tokio::time::timeout(Duration::from_secs(5), read.read(&mut rest)).await;
        return;
    }
    if has(&Fault::Silent) {
        let mut rest = [0; 4096];
        while matches!(read.read(&mut rest).await, Ok(1..)) {}
        return;
    }
    let (lines, mut queue) = mpsc::unbounded_channel();
    {
        let mut state = lock();
        state.core.open(session, Instant::now());
        state.sessions.insert(session, lines);
    }
    let mut out = Outgoing::new(faults.clone());
    let idle =
        faults.iter().find_map(|fault| if let Fault::DropsIdle(time) = fault { Some(*time) } else { None });
    let late =
        faults.iter().find_map(|fault| if let Fault::LateReplies(time) = fault { Some(*time) } else { None });
    let shares = AtomicUsize::new(0);
    let writing = async {
        while let Some(line) = queue.recv().await {
            if let Some(time) = late.filter(|_| is_reply(&line)) {
                tokio::time::sleep(time).await;
            }
            for bytes in out.bend(line) {
                let sent = if has(&Fault::OneByte) {
                    let mut all = Ok(());
                    for byte in bytes {
                        all = write.write_all(&[byte]).await;
                        let _ = write.flush().await;
                    }
                    all
                } else {
                    write.write_all(&bytes).await
                };
                if sent.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
            if has(&Fault::AckThenDrop) {
                return;
            }
            if has(&Fault::Endless) && out.jobs > 0 {
                let chunk = vec![b'x'; 64 * 1024];
                while write.write_all(&chunk).await.is_ok() {}
                return;
            }
        }
    };
    let reading = async {
        let mut buffer = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let logged_in = lock().core.is_in(session);
            if logged_in && has(&Fault::ReadNothing) {
                std::future::pending::<()>().await;
            }
            let next = read.read(&mut chunk);
            let next = match idle.filter(|_| logged_in) {
                Some(time) => match tokio::time::timeout(time, next).await {
                    Ok(next) => next,
                    Err(_) => return lock().events.push("dropped for saying nothing".to_owned()),
                },
                None => next.await,
            };
            let Ok(count @ 1..) = next else { return };
            buffer.extend_from_slice(&chunk[..count]);
            if logged_in && (has(&Fault::EofInShare) || has(&Fault::ResetInShare)) && buffer.len() > 100 {
                lock().events.push("closed in the middle of a share".to_owned());
                return;
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                heed(session, &line, &faults, &shares, &state).await;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    let mut state = lock();
    state.core.close(session);
    state.sessions.remove(&session);
}

async fn heed(session: u64, line: &str, faults: &[Fault], shares: &AtomicUsize, state: &Arc<Mutex<State>>) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let id = value["id"].clone();
    let method = value["method"].as_str().unwrap_or_default().to_owned();
    let say = |line: String| lock().say(session, line);
    for fault in faults {
        match (fault, method.as_str()) {
            (Fault::NoAck, "mining.authorize") => return,
            (Fault::AckLate(time), "mining.authorize") => tokio::time::sleep(*time).await,
            (Fault::HangsOnObject, "mining.authorize") if value["params"].is_object() => return,
            (Fault::YesOnly, "mining.submit") => {
                return say(format!(r#"{{"id":{id},"result":true,"error":null}}"#));
            }
            (Fault::BansStale(least), "mining.submit") => {
                let mut state = lock();
                if let Some(percent @ 31..) = state.stale_percent(session, *least) {
                    let text = format!("banned for 3600 seconds: {percent} % stale shares");
                    state.say(session, format!(r#"{{"id":{id},"result":null,"error":[24,"{text}",null]}}"#));
                    state.sessions.remove(&session);
                    return;
                }
            }
            (Fault::BansAfter(free, error), "mining.submit")
                if shares.fetch_add(1, Ordering::Relaxed) >= *free =>
            {
                say(format!(r#"{{"id":{id},"result":null,"error":{error}}}"#));
                // What was said is written; then the connection is closed.
                lock().sessions.remove(&session);
                return;
            }
            (Fault::RefuseLogin(error), "mining.authorize") => {
                return say(format!(r#"{{"id":{id},"result":null,"error":{error}}}"#));
            }
            (Fault::ArrayOnly, "mining.authorize") if value["params"].is_object() => {
                return say(format!(
                    r#"{{"id":{id},"result":null,"error":[20,"params must be an array",null]}}"#
                ));
            }
            (Fault::ObjectOnly, "mining.authorize") if value["params"].is_array() => {
                return say(format!(
                    r#"{{"id":{id},"result":null,"error":[20,"params must be an object",null]}}"#
                ));
            }
            (Fault::RefuseShares(error), "mining.submit") => {
                return say(format!(r#"{{"id":{id},"result":null,"error":{error}}}"#));
            }
            (Fault::YesFirst, "mining.submit") => {
                say(format!(r#"{{"id":{id},"result":true,"error":null}}"#));
            }
            _ => {}
        }
    }
    let candidates = {
        let mut state = lock();
        state.core.line(session, line, Instant::now());
        state.flush()
    };
    for mut candidate in candidates {
        if faults.contains(&Fault::TestNetwork) {
            candidate.job.task.header = of_test_network(&candidate.job.task.header);
        }
        let checked = {
            let candidate = candidate.clone();
            tokio::task::spawn_blocking(move || check(&candidate.job, &candidate.proof)).await
        };
        let checked = checked.unwrap_or(Checked::Invalid);
        let mut state = lock();
        let worker = state.core.worker(session).unwrap_or_else(|| "gone".to_owned());
        state.core.verified(&candidate, &worker, checked, Instant::now());
        state.flush();
    }
}

/// Whether this is the answer to a share.
fn is_reply(line: &str) -> bool {
    line.starts_with(r#"{"id":"#) && line.contains("result") && !line.contains(r#""type""#)
}
