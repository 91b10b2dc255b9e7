//! What a container answers by HTTP, on loopback: whether it serves, and its numbers.
//!
//! The container is not trusted: answers are bounded in time and bytes, nothing is followed, and nothing is decided by a
//! number but what is shown.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::net::TcpStream;

use crate::http::{Request, exchange, header};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Bytes of one answer.
const BYTES_MAX: usize = 4 << 20;

/// The body of `GET path` on `port` of this machine, and its status.
///
/// # Errors
///
/// Nobody answers in time, or what is answered is no HTTP.
pub async fn get(port: u16, path: &str) -> io::Result<(u16, Vec<u8>)> {
    ask(port, path, None, LIMIT).await
}

/// What `POST path` of `json` is answered with within `limit`: a status and a body.
///
/// # Errors
///
/// As for [`get`].
pub async fn post(
    port: u16,
    path: &str,
    json: &serde_json::Value,
    limit: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    ask(port, path, Some(json.to_string()), limit).await
}

async fn ask(port: u16, path: &str, json: Option<String>, limit: Duration) -> io::Result<(u16, Vec<u8>)> {
    let answer = async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).await?;
        let request = if json.is_some() { Request::post(path) } else { Request::get(path) };
        let mut request = request.header(header::HOST, address.to_string());
        if json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(json.unwrap_or_default()));
        let request = request.body(body).map_err(io::Error::other)?;
        exchange(stream, request, BYTES_MAX).await
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(response) => response.map(|response| (response.status, response.body)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The numbers of a page in Prometheus' text, without their labels; those of one name are summed.
#[derive(Debug, Default, PartialEq)]
pub struct Numbers {
    sums: BTreeMap<String, f64>,
    /// The counts of histograms' buckets: by name, then by upper bound.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Numbers {
    /// Reads a page. What makes no sense is passed over.
    pub fn read(page: &str) -> Self {
        let mut numbers = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.trim().rsplit_once([' ', '\t']) else { continue };
            let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let name = name.trim();
            match (name.strip_suffix("_bucket"), bound(labels)) {
                (Some(histogram), Some(bound)) => {
                    let buckets = numbers.buckets.entry(histogram.to_owned()).or_default();
                    match buckets.iter_mut().find(|(known, _)| *known == bound) {
                        Some((_, count)) => *count += value,
                        None => buckets.push((bound, value)),
                    }
                }
                _ => *numbers.sums.entry(name.to_owned()).or_default() += value,
            }
        }
        numbers
    }

    /// The sum of `name` over everything that bears it.
    pub fn sum(&self, name: &str) -> Option<u64> {
        self.sums.get(name).filter(|value| **value >= 0.0).map(|value| *value as u64)
    }

    /// How many steps there were of more than `tokens`, about, and in all: buckets are coarse.
    pub fn steps(&self, histogram: &str, tokens: u32) -> Option<(u64, u64)> {
        let all = self.sum(&format!("{histogram}_count"))?;
        let below = self.buckets.get(histogram)?.iter().find(|(bound, _)| *bound == f64::from(tokens))?.1;
        Some((all.saturating_sub(below as u64), all))
    }
}

/// The upper bound of a bucket.
fn bound(labels: &str) -> Option<f64> {
    let (_, rest) = labels.split_once("le=\"")?;
    rest.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"
# HELP vllm:num_requests_running Requests.
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:prompt_tokens_total{engine="0",model_name="a b"} 1.2e+06
vllm:iteration_tokens_total_bucket{engine="0",le="512.0",model_name="m"} 10.0
vllm:iteration_tokens_total_bucket{engine="0",le="1024.0",model_name="m"} 12.0
vllm:iteration_tokens_total_bucket{engine="1",le="1024.0",model_name="m"} 5.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="m"} 20.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 20.0
vllm:iteration_tokens_total_count{engine="1",model_name="m"} 7.0
vllm:iteration_tokens_total_created{engine="0"} 1.7e+09
strange
negative -3
nothing NaN
"#;

    #[test]
    fn numbers_are_summed_over_engines_and_steps_are_counted_by_their_buckets() {
        let numbers = Numbers::read(PAGE);
        assert_eq!(numbers.sum("vllm:num_requests_running"), Some(3));
        assert_eq!(numbers.sum("vllm:prompt_tokens_total"), Some(1_200_000));
        assert_eq!(numbers.steps("vllm:iteration_tokens_total", 1024), Some((10, 27)));
        assert_eq!(numbers.steps("vllm:iteration_tokens_total", 1000), None);
        assert_eq!(numbers.steps("other", 1024), None);
        assert_eq!([numbers.sum("negative"), numbers.sum("nothing"), numbers.sum("strange")], [None; 3]);
        assert_eq!(Numbers::read(""), Numbers::default());
    }

    #[test]
    fn whoever_does_not_answer_by_http_does_not_serve() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "rubbish\r\n\r\n"] {
                use std::io::{Read as _, Write as _};
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(runtime.block_on(get(port, "/health")).unwrap(), (200, b"ok".to_vec()));
        assert!(runtime.block_on(get(port, "/health")).is_err());
        server.join().unwrap();
        assert!(runtime.block_on(get(port, "/health")).is_err(), "nobody listens any more");
    }
}
