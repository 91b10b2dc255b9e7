//! What `pearlbed status` shows of a container that mines.

use std::time::Duration;

use crate::container::report::ContainerReport;
use crate::text::{duration, foreign};

/// A container's lines; the first says how far it is.
pub fn lines(report: &ContainerReport) -> Vec<String> {
    let seconds = |seconds: f64| duration(Duration::from_secs_f64(seconds.max(0.0).floor()));
    let mut lines = vec![format!(
        "{}: {} for {}; {}",
        report.miner,
        report.phase,
        seconds(report.since_seconds),
        report.sentence
    )];
    lines.extend(report.hint.clone());
    let engine = report.engine.as_deref().unwrap_or("engine not known yet");
    let digest = report.digest.as_deref().map(|digest| format!(" ({})", foreign(digest))).unwrap_or_default();
    lines.push(format!("{engine}; image {}{digest}", report.image));
    if let Some(model) = &report.model {
        let at = report.endpoint.as_deref().map_or(String::new(), |at| format!(" at {at}"));
        lines.push(format!("model {}{at}", foreign(model)));
    }
    let polled = match report.last_poll_seconds {
        Some(ago) => format!("asked for work {} ago", seconds(ago)),
        None => "nobody has asked for work yet".to_owned(),
    };
    let workers =
        if report.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", report.workers) };
    lines.push(format!("{workers}; {polled}"));
    if let (Some(large), Some(all)) = (report.steps_large, report.steps) {
        lines.push(format!("about {large} of {all} steps were large enough to mine"));
    }
    let number = |name: &str, value: Option<u64>| value.map(|value| format!("{value} {name}"));
    let served: Vec<String> = [
        number("requests in work", report.requests_running),
        number("requests waiting", report.requests_waiting),
        number("tokens of prompts", report.prompt_tokens),
        number("tokens generated", report.generation_tokens),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !served.is_empty() {
        lines.push(served.join(", "));
    }
    if report.restarts > 0 {
        let times =
            if report.restarts == 1 { "once".to_owned() } else { format!("{} times", report.restarts) };
        lines.push(format!("started again {times}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_shown_and_the_rest_is() {
        let starting = ContainerReport {
            miner: "some-engine".into(),
            phase: "looking".into(),
            sentence: "its engine and its image are being looked for".into(),
            image: "some_image".into(),
            ..ContainerReport::default()
        };
        let serving = ContainerReport {
            phase: "serving".into(),
            sentence: "a/model is served, and long prompts mine".into(),
            since_seconds: 3723.9,
            engine: Some("podman 4.3.1, rootless".into()),
            digest: Some("sha256:0123".into()),
            model: Some("a/model".into()),
            endpoint: Some("http://127.0.0.1:8000/v1".into()),
            workers: 2,
            last_poll_seconds: Some(1.0),
            steps_large: Some(3),
            steps: Some(999),
            requests_running: Some(1),
            prompt_tokens: Some(12345),
            restarts: 1,
            ..starting.clone()
        };
        let all = [lines(&starting), lines(&serving)].map(|lines| lines.join("\n")).join("\n\n");
        insta::assert_snapshot!("containers", all);
    }
}
