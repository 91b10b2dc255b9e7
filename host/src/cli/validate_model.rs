//! `pearlbed validate-model`: whether a model that is served mines, shown by a proof of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, Error, PluginDirs, render};
use crate::container::report::ContainerReport;
use crate::container::serving;
use crate::container::validation::{Evidence, WORDS, WORDS_MIN, prompt};
use crate::exit::Exit;
use crate::miner::Options;
use crate::models::{self, Status};
use crate::progress::Progress;
use crate::session::announce::Announcement;
use crate::session::launch::{self, Launched};
use crate::session::report::Report;
use crate::session::supervise::SuperviseError;
use crate::session::{end, look};
use crate::sidecar::Sidecar;
use crate::text::{columns, foreign, printable, printable_path};

/// Between two looks at the session.
const LOOK: Duration = Duration::from_millis(300);
/// How long one prompt may take.
const PROMPT_TIME: Duration = Duration::from_secs(300);
/// How long a proof may come after its prompt was answered: the server's numbers are looked at every ten seconds.
const PROOF_TIME: Duration = Duration::from_secs(13);

/// Show by a proof that a served model mines
///
/// Sends long prompts to the model of the session's container, and waits for a proof. Where no session runs, it starts one on
/// the built-in test network and ends it again. A model is validated only when a proof of it has passed this host's verifier.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  pearlbed validate-model                       what the session serves
  pearlbed validate-model --provider my-engine  a session for this alone
  pearlbed validate-model --output report.json  and keep what was found")]
pub struct Args {
    /// The model that is expected to be served [default: the one that is]
    #[arg(value_name = "MODEL")]
    model: Option<String>,

    /// The same, as OpenJarvis' command has it
    #[arg(long = "model", id = "named", value_name = "MODEL", conflicts_with = "model")]
    named: Option<String>,

    /// The provider that is a container, where no session runs [default: the configured one]
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    /// Pass also a model that the registry does not list as validated
    #[arg(long)]
    allow_planned: bool,

    /// Give up after so many prompts without a proof
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    prompts: u64,

    /// Wait at most so long until the model is served
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=86400))]
    wait: u64,

    /// Also write the answer as JSON to FILE
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    plugins: PluginDirs,
}

/// One row of the answer.
struct Check {
    name: &'static str,
    ok: bool,
    info: String,
}

/// What was found.
#[derive(Default)]
struct Found {
    checks: Vec<Check>,
    model: String,
    endpoint: Option<String>,
    container: Option<ContainerReport>,
    evidence: Evidence,
}

impl Found {
    fn check(&mut self, name: &'static str, ok: bool, info: impl Into<String>) {
        self.checks.push(Check { name, ok, info: info.into() });
    }
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let failed = |err| Error::caused_by("failed to wait for the session", err);
    let home = context.home()?;
    let theirs = look::live_holder(&home).is_some();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let found = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            found = validate(args, context, theirs) => found,
            () = either(&mut interrupt, &mut terminate) => {
                Err(Error::new("it was ended before there was an answer"))
            }
        }
    });
    drop(runtime);
    if !theirs {
        let mut tell = |line: &str| context.note(&printable(line));
        end::end(&home, context.env(), false, &mut tell)?;
    }
    let found = found?;
    let document = document(args, &found, &home.sidecar_file());
    if let Some(file) = &args.output {
        let failed =
            |err| Error::of_other_file(format!("failed to write {}", printable_path(file)), err, file);
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(file, format!("{document:#}\n")).map_err(failed)?;
        context.note(&format!("wrote {}", printable_path(file)));
    }
    match args.json {
        true => context.print_json(&document)?,
        false => context.print(&text(&found, context.width()))?,
    }
    Ok(if document["status"] == "passed" { Exit::Ok } else { Exit::Failed })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn validate(args: &Args, context: &Context, theirs: bool) -> Result<Found, Error> {
    let home = context.home()?;
    let progress = Progress::waiting(context.wants_progress(), "waiting for the model to be served");
    let mut launched = match theirs {
        true => None,
        false => Some(launch(args, context)?),
    };
    let look = || look::look(&home, context.env());
    let mut found = Found::default();
    let container = wait_until_served(args, launched.as_mut(), &progress, &look).await?;
    if let Some(model) = args.model.clone().or_else(|| args.named.clone()).or_else(|| container.model.clone())
    {
        found.model = model;
    }
    registry(&mut found, args.allow_planned);
    sidecar(&mut found, &home.sidecar_file());
    found.endpoint.clone_from(&container.endpoint);
    let address = container.endpoint.as_deref().and_then(address);
    match address {
        None => {
            found.check("vLLM endpoint", false, "missing");
            found.evidence.trouble = Some(format!("the model is not served: {}", container.sentence));
        }
        Some((port, api)) => {
            listed(&mut found, port, api).await;
            provoke(args, &mut found, (port, api), &container, &progress, &look).await;
        }
    }
    found.container = Some(container);
    let Evidence { verified, refused, .. } = found.evidence;
    let ok = found.evidence.is_validated();
    found.check("Verified proof", ok, format!("verified={verified} refused={refused}"));
    progress.end();
    Ok(found)
}

/// Starts a session on the built-in test network for this alone.
fn launch(args: &Args, context: &Context) -> Result<Launched, Error> {
    let options = Options {
        home: context.home()?,
        env: context.env().clone(),
        devnet: true,
        port: false,
        provider: args.provider.clone(),
        plugin_dirs: args.plugins.dirs.clone(),
        relax_file_checks: args.plugins.relax_file_checks,
        anyway: false,
    };
    options.config().map_err(SuperviseError::config)?;
    context.note("no session runs: one is started on the built-in test network, and ended afterwards");
    Ok(launch::launch(&options)?)
}

/// The container of the session, once its model is served or cannot be.
async fn wait_until_served(
    args: &Args,
    mut launched: Option<&mut Launched>,
    progress: &Progress,
    look: &impl Fn() -> Report,
) -> Result<ContainerReport, Error> {
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let none = || {
        Error::new("the session has no provider that is a container")
            .with_hint("`pearlbed stop`, then name one with --provider")
    };
    loop {
        if let Some(session) = launched.as_mut() {
            match tokio::time::timeout(LOOK, session.next()).await {
                Ok(Some(Announcement::Failed { chain, hint, exit })) => {
                    return Err(super::start::relayed(chain, hint, exit));
                }
                Ok(Some(Announcement::Starting { miners, .. }))
                    if miners.iter().all(|miner| miner.container.is_none()) =>
                {
                    return Err(
                        none().with_hint("name one with --provider, or set it up: docs/containers.md")
                    );
                }
                Ok(Some(_)) => continue,
                // Once it has told that it mines, it says nothing more.
                Ok(None) => launched = None,
                Err(_) => {}
            }
        } else {
            tokio::time::sleep(LOOK).await;
        }
        let report = look();
        let mut mine = report.containers.iter().filter(|one| one.role != "gateway");
        let Some(one) = mine.next() else {
            match report.supervisor_pid {
                Some(_) if launched.is_some() => continue,
                Some(_) => return Err(none()),
                None => return Err(Error::new("the session has ended").with_hint("`pearlbed logs` says why")),
            }
        };
        progress.say(&printable(&one.sentence));
        let over = matches!(&*one.phase, "failed" | "paused") || Instant::now() >= deadline;
        // Before a worker has asked for work, there is nothing that could mine.
        if over || (one.endpoint.is_some() && one.last_poll_seconds.is_some()) {
            return Ok(one.clone());
        }
    }
}

fn registry(found: &mut Found, allow_planned: bool) {
    let (ok, info) = match models::find(&found.model) {
        Some(model) if model.id.eq_ignore_ascii_case(&found.model) => {
            let validated = model.status == Status::Validated;
            (validated || allow_planned, format!("{}: {}", model.status.word(), model.id))
        }
        Some(model) => (false, format!("raw model; planned Pearl variant {}", model.id)),
        None => (allow_planned, "unknown".to_owned()),
    };
    found.check("Model registry", ok, info);
}

fn sidecar(found: &mut Found, path: &Path) {
    let record = Sidecar::read(path).ok().flatten();
    let Some(record) = record else {
        return found.check("Sidecar", false, "absent: the session mines nothing yet");
    };
    found.check("Sidecar", true, format!("present ({})", printable_path(path)));
    let model = record.model.unwrap_or_else(|| "missing".into());
    let same = model == found.model;
    found.check("Sidecar model", same, foreign(&model));
}

/// The port and the path of an endpoint on this machine.
fn address(endpoint: &str) -> Option<(u16, &str)> {
    let rest = endpoint.strip_prefix("http://127.0.0.1:")?;
    let (port, api) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((port.parse().ok()?, api))
}

async fn listed(found: &mut Found, port: u16, api: &str) {
    let answer = serving::get(port, &format!("{api}/models")).await;
    let (ok, info) = match answer {
        Ok((200, body)) => {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let ids = body["data"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str());
            let ids: Vec<&str> = ids.collect();
            match ids.contains(&&*found.model) {
                true => (true, found.model.clone()),
                false => (false, format!("{} ids, and not {}", ids.len(), foreign(&found.model))),
            }
        }
        Ok((status, _)) => (false, format!("status {status}")),
        Err(err) => (false, err.to_string()),
    };
    found.check("vLLM /models", ok, info);
}

/// Sends prompts until a proof has come or there were enough.
async fn provoke(
    args: &Args,
    found: &mut Found,
    (port, api): (u16, &str),
    container: &ContainerReport,
    progress: &Progress,
    look: &impl Fn() -> Report,
) {
    let counts = |report: &Report| {
        let address = format!("container:{}", container.miner);
        let of_it = report
            .miners
            .iter()
            .filter(|row| row.program.as_ref().is_some_and(|program| program.address == address));
        of_it.fold((0, 0), |(verified, refused), row| {
            (verified + row.proofs.verified, refused + row.proofs.refused)
        })
    };
    let steps = |report: &Report| {
        let one = report.containers.iter().find(|one| one.miner == container.miner)?;
        one.steps_large
    };
    let before = look();
    let (verified, refused) = counts(&before);
    let steps_before = container.steps_large;
    let mut words = WORDS;
    // Prompts of an earlier run are remembered by the server as well.
    let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut mark = begun.as_secs() << 12;
    while found.evidence.prompts < args.prompts && !found.evidence.is_validated() {
        mark += 1;
        let asked = found.evidence.prompts + 1;
        progress.say(&format!("prompt {asked} of {words} words"));
        let body = json!({
            "model": found.model, "prompt": prompt(mark, words), "max_tokens": 1, "stream": false,
        });
        match serving::post(port, &format!("{api}/completions"), &body, PROMPT_TIME).await {
            Ok((200, body)) => {
                let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
                if answer["choices"].as_array().is_none_or(Vec::is_empty) {
                    found.evidence.trouble = Some("a prompt was answered without any text".into());
                    break;
                }
                found.evidence.prompts += 1;
                found.evidence.prompt_tokens += answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0);
            }
            // Too long for what it was started with.
            Ok((400, _)) if words > WORDS_MIN => {
                words = (words * 2 / 3).max(WORDS_MIN);
                continue;
            }
            Ok((status, body)) => {
                let said: Value = serde_json::from_slice(&body).unwrap_or_default();
                let said = [&said["message"], &said["error"]["message"]];
                let said =
                    said.into_iter().find_map(Value::as_str).map(|said| format!(": {}", foreign(said)));
                let trouble =
                    format!("a prompt was refused with status {status}{}", said.unwrap_or_default());
                found.evidence.trouble = Some(trouble);
                break;
            }
            Err(err) => {
                found.evidence.trouble = Some(format!("a prompt was not answered: {err}"));
                break;
            }
        }
        let until = Instant::now() + PROOF_TIME;
        loop {
            let report = look();
            let (now_verified, now_refused) = counts(&report);
            found.evidence.verified = now_verified.saturating_sub(verified);
            found.evidence.refused = now_refused.saturating_sub(refused);
            found.evidence.last_refusal = report.last_error.as_deref().map(foreign);
            found.evidence.polled = report
                .containers
                .iter()
                .any(|one| one.miner == container.miner && one.workers > 0 && one.phase != "silent");
            found.evidence.steps_large = match (steps_before, steps(&report)) {
                (Some(before), Some(now)) => Some(now.saturating_sub(before)),
                _ => None,
            };
            if found.evidence.is_validated() || Instant::now() >= until {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    let Evidence { prompts, prompt_tokens, steps_large, .. } = found.evidence;
    let info = match &found.evidence.trouble {
        Some(trouble) => trouble.clone(),
        None => format!("{prompts} long prompts, {prompt_tokens} tokens"),
    };
    found.check("Chat completion", found.evidence.trouble.is_none(), info);
    let info = steps_large.map(|steps| format!("vLLM steps large enough to mine: about {steps}"));
    let ok = info.is_some();
    found.check("Gateway metrics", ok, info.unwrap_or_else(|| "the server does not count its steps".into()));
}

/// The answer, in the shape of OpenJarvis' artifact, and beyond it.
fn document(args: &Args, found: &Found, sidecar: &Path) -> Value {
    let Evidence { prompts, prompt_tokens, steps_large, verified, refused, .. } = found.evidence;
    let passed = found.checks.iter().all(|check| check.ok) && found.evidence.is_validated();
    let metrics = found.endpoint.as_deref().and_then(address);
    let container = found.container.as_ref();
    let checks: Vec<Value> = found
        .checks
        .iter()
        .map(|check| json!({ "name": check.name, "ok": check.ok, "info": check.info }))
        .collect();
    json!({
        "schema": 1,
        "schema_version": 1,
        "model": found.model,
        "status": if passed { "passed" } else { "failed" },
        "allow_planned": args.allow_planned,
        "prompt_ran": prompts > 0,
        "vllm_endpoint": found.endpoint,
        "gateway_metrics_url": metrics.map(|(port, _)| format!("http://127.0.0.1:{port}/metrics")),
        "sidecar_path": sidecar,
        "checks": checks,
        "validated": found.evidence.is_validated(),
        "reason": found.evidence.sentence(),
        "evidence": {
            "prompts": prompts,
            "prompt_tokens": prompt_tokens,
            "steps_large": steps_large,
            "proofs_verified": verified,
            "proofs_refused": refused,
            "engine": container.and_then(|one| one.engine.clone()),
            "image": container.map(|one| one.image.clone()),
            "digest": container.and_then(|one| one.digest.clone()),
        },
    })
}

fn text(found: &Found, width: usize) -> String {
    let mut out = format!("{}\n", render::styled(render::BOLD, &foreign(&found.model)));
    let names = found.checks.iter().map(|check| columns(check.name)).max().unwrap_or(0);
    for check in &found.checks {
        let (style, word) = if check.ok { (render::GOOD, "ok") } else { (render::BAD, "fail") };
        let first = format!("{}{:names$}  ", render::padded(style, word, 6), check.name);
        render::hanging(&mut out, &first, 6 + names + 2, &printable(&check.info), width);
    }
    render::hanging(&mut out, "", 0, &found.evidence.sentence(), width);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_taken_apart_only_where_it_is_on_this_machine() {
        assert_eq!(address("http://127.0.0.1:8000/v1"), Some((8000, "/v1")));
        assert_eq!(address("http://127.0.0.1:8000"), Some((8000, "")));
        for other in ["http://example.com:8000/v1", "https://127.0.0.1:8000", "http://127.0.0.1:x/v1", ""] {
            assert_eq!(address(other), None, "{other}");
        }
    }
}
