//! `pearlbed init`: from nothing to a configured miner. It never starts mining.

use std::path::{Path, PathBuf};

use dialoguer::console::Term;
use pearlbed_plugin_api::HardwareInfo;

mod flags;

use self::flags::{flag_changes, provider_changes};
use super::{Context, Error, PluginDirs, render};
use crate::config::keys::{self, AUTO};
use crate::config::{Change, Config, MinerSection, Place, SubmitTarget};
use crate::exit::Exit;
use crate::init::diff::{self, Shown};
use crate::init::questions::{self, Ask, Known};
use crate::init::{Candidate, Plan, Proposal, sentences};
use crate::plugins::{Entry, Options, ProbeOptions, settings, survey};
use crate::session::look;
use crate::session::report::OtherWallet;
use crate::text::{printable, printable_path};

const EXAMPLES: &str = "\
Examples:
  pearlbed init                                       asks what it needs to know
  pearlbed init --provider auto --submit-target devnet --yes
  pearlbed init --provider auto --submit-target solo --wallet-address prl1p...
  pearlbed init --set mining.extra.gateway_port=18337 changes one value
  pearlbed init --set plugins.probe_timeout=5s --dry-run";

/// Set this machine up for mining, or change a setting; never starts mining
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The provider that mines; `auto` takes the best one for each device of this machine
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    /// Who is paid
    #[arg(long, visible_alias = "wallet", value_name = "ADDRESS")]
    wallet_address: Option<String>,

    /// Where work comes from: solo, devnet or pool:URL
    #[arg(long, value_name = "TARGET")]
    submit_target: Option<String>,

    /// Where pearl-gateway listens: HOST:PORT or unix:/PATH
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<String>,

    /// RPC address of your pearld
    #[arg(long, visible_aliases = ["pearld-url", "pearld-rpc-url"], value_name = "URL")]
    node_url: Option<String>,

    /// User name for the node's RPC
    #[arg(long, visible_aliases = ["pearld-user", "pearld-rpc-user"], value_name = "NAME")]
    node_user: Option<String>,

    /// Name of the environment variable that holds the node's RPC password
    #[arg(long, visible_aliases = ["pearld-password-env", "pearld-rpc-password-env"], value_name = "VARIABLE")]
    node_password_env: Option<String>,

    /// The node's TLS certificate, which it must present
    #[arg(long, value_name = "FILE")]
    node_certificate: Option<String>,

    /// The model that a provider with an inference engine serves
    #[arg(long, value_name = "ID")]
    model: Option<String>,

    /// A folder with the model, for a provider with an inference engine
    #[arg(long, value_name = "DIR")]
    local_model_path: Option<PathBuf>,

    /// The image, for a provider that is a container
    #[arg(long, value_name = "NAME")]
    image: Option<String>,

    /// The cards of such a provider, with commas; all that fit without it
    #[arg(long, value_name = "CARDS")]
    cuda_visible_devices: Option<String>,

    /// An argument for such a provider's inference engine (repeatable)
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    vllm_arg: Vec<String>,

    /// Host of pearl-gateway, where it is another machine
    #[arg(long, value_name = "HOST", conflicts_with = "gateway")]
    gateway_host: Option<String>,

    /// Port of pearl-gateway
    #[arg(long, value_name = "PORT", conflicts_with = "gateway")]
    gateway_port: Option<String>,

    /// Port on which a session serves metrics
    #[arg(long, visible_alias = "gateway-metrics-port", value_name = "PORT")]
    metrics_port: Option<String>,

    /// Grant the provider a permission that it asks for (repeatable)
    #[arg(long, value_name = "PERMISSION")]
    grant: Vec<String>,

    /// Set any key (repeatable); lists as in TOML
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Remove a key (repeatable)
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,

    /// Write without asking
    #[arg(long, short)]
    yes: bool,

    /// Show the change and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    plugins: PluginDirs,
}

/// Gathers what is wanted, shows what the file becomes, and writes it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let file = context.home()?.config_file();
    let mut changes = flag_changes(args)?;
    // The file may be wrong in a way that these very changes put right.
    let first = Plan::new(&file, &changes)?;
    let only_settings = args.asks_for_settings_only();
    let (candidates, proposal, hardware) =
        if only_settings { Default::default() } else { look_around(&args.plugins, context, &first.config) };
    // Nobody is overruled who has said already what mines.
    let is_open = |miner: &MinerSection| miner.line.is_none() && miner.provider.is_none();
    let wants_auto = args.provider.as_deref() == Some(AUTO);
    let has_list = first.config.mining.miners.iter().any(|miner| miner.line.is_some());
    let open = first.config.mining.miners.iter().all(is_open) || (wants_auto && !has_list);
    let proposal = proposal.filter(|_| open);
    if !only_settings {
        changes.extend(provider_changes(args, &first.config, &candidates, proposal.as_ref())?);
        // Whoever leaves the choice to the host hears which were no choice, and why: a slow machine may be all there is to it.
        for candidate in candidates.iter().filter(|candidate| wants_auto && !candidate.supported) {
            let reason = candidate.reason.as_deref().unwrap_or("it gives no reason");
            context.note(&printable(&format!("{} cannot mine here: {reason}", candidate.id)));
        }
        let so_far = Plan::new(&file, &changes)?;
        let missing = missing(&so_far.config, args);
        if context.can_ask() && !(args.yes && missing.is_empty()) {
            let proposal = proposal.as_ref();
            changes.extend(ask(&so_far.config, &changes, &candidates, proposal, &hardware, context)?);
        } else if !missing.is_empty() {
            return Err(Error::usage(format!("`pearlbed init` needs {}", missing.join(", ")))
                .with_hint("give them as flags, or run it on a terminal, where it asks"));
        }
    }
    let certificate = usual_certificate(&changes, &Plan::new(&file, &changes)?.config, context)?;
    let unknown = certificate.as_ref().is_some_and(Option::is_none);
    changes.extend(certificate.flatten());
    let plan = Plan::new(&file, &changes)?;
    if !plan.changes_anything() {
        context.print(&format!("{} already says so: nothing to change.\n", printable_path(&file)))?;
        return Ok(Exit::Ok);
    }
    context.print(&change_text(&plan))?;
    if unknown {
        context.note(
            "a node at an https address is known by its certificate, and none is named nor lies at ~/.pearld/rpc.cert: name it \
             with `pearlbed init --node-certificate FILE`",
        );
    }
    if args.dry_run {
        context.note("nothing was written (--dry-run)");
        return Ok(Exit::Ok);
    }
    if !args.yes && context.can_ask() && !Terminal.confirm("Write this?", true)? {
        context.note("nothing was written");
        return Ok(Exit::Ok);
    }
    let backup = plan.write()?;
    context.note(&match backup {
        Some(backup) => {
            format!("wrote {}; the old one is {}", printable_path(&file), printable_path(&backup))
        }
        None => format!("wrote {}", printable_path(&file)),
    });
    let (read, notes) = afterwards(&plan.config, &changes, &args.plugins, context);
    for note in notes {
        context.note(&printable(&note));
    }
    if let Some(other) = look::other_wallet(&context.home()?, context.env()) {
        context.note(&printable(&other.sentence()));
        context.note(OtherWallet::FIX);
    }
    let mut text = String::from("\n");
    let candidates = if only_settings { read } else { candidates };
    for sentence in sentences(&plan.config, &candidates) {
        render::hanging(&mut text, "", 0, &printable(&sentence), context.width());
    }
    if let Some(exposure) = crate::sandbox::support().exposure() {
        let though = format!("On this system, though, it is not fully confined: {exposure}.");
        render::hanging(&mut text, "", 0, &though, context.width());
    }
    context.print(&text)?;
    Ok(Exit::Ok)
}

/// The certificate of a node that `changes` give an https address, where nobody has named one: nothing where none is needed,
/// else the change to the one at its usual place, if it is there.
fn usual_certificate(
    changes: &[Change],
    config: &Config,
    context: &Context,
) -> Result<Option<Option<Change>>, Error> {
    let is_new = changes.iter().any(|change| change.key() == "mining.extra.pearld_rpc_url");
    let Some(node) = config.mining.node.as_ref().filter(|node| is_new && node.certificate.is_none()) else {
        return Ok(None);
    };
    if !node.url.starts_with("https://") {
        return Ok(None);
    }
    let usual = node_certificate(context);
    let change = usual.map(|path| {
        Change::set(
            "mining.node.certificate",
            &path.display().to_string(),
            &Place::Flag("--node-certificate".into()),
        )
    });
    Ok(Some(change.transpose()?))
}

/// The certificate of a node on this machine, if it is where pearld puts it.
fn node_certificate(context: &Context) -> Option<PathBuf> {
    let certificate = context.env().var_os("HOME").map(|home| Path::new(home).join(".pearld/rpc.cert"));
    certificate.filter(|path| path.exists())
}

/// What is known of the providers that are named in `config` without any code of theirs: they themselves, and what there is to
/// say of their settings. What a provider would not take `start` refuses, and so it is said at once; and so is what one of
/// `changes` sets that it passes over.
fn afterwards(
    config: &Config,
    changes: &[Change],
    dirs: &PluginDirs,
    context: &Context,
) -> (Vec<Candidate>, Vec<String>) {
    let miners = || config.mining.miners.iter().filter(|miner| miner.enabled && miner.provider.is_some());
    if miners().next().is_none() {
        return Default::default();
    }
    let options = Options { relaxed: dirs.relaxed(context), probe: None, trust: dirs.trust(context) };
    let survey = survey(&dirs.search_path(context), &options);
    let mut notes = Vec::new();
    for miner in miners() {
        let found = miner.provider.as_deref().and_then(|id| survey.find(id));
        let Some(manifest) = found.and_then(Entry::manifest) else { continue };
        let passed = |key: &str| keys::is_own_extra(key) || settings::passes_over(manifest, key);
        let wrong = settings::check(manifest, &miner.extra, passed).into_iter();
        notes.extend(wrong.map(|one| {
            format!("`{}` {}, and `pearlbed start` refuses that; {}", one.key, one.problem, one.fix)
        }));
        let set = changes.iter().filter(|change| matches!(change, Change::Set { .. }));
        let idle: Vec<&str> = set
            .filter_map(|change| change.key().strip_prefix("mining.extra."))
            .filter(|key| settings::passes_over(manifest, key))
            .collect();
        if !idle.is_empty() {
            let id = &manifest.id;
            notes.push(format!("`{id}` has no inference engine, and passes over {}", idle.join(", ")));
        }
    }
    (Candidate::of_survey(&survey), notes)
}

/// The providers of this machine, probed in their confined processes, and what they would mine on.
fn look_around(
    dirs: &PluginDirs,
    context: &Context,
    config: &Config,
) -> (Vec<Candidate>, Option<Proposal>, HardwareInfo) {
    let hardware = crate::hardware::inspect(&crate::hardware::Options::default()).info;
    let mut probe = ProbeOptions::new(hardware.clone());
    probe.timeout = config.plugins.probe_timeout;
    probe.model = config.mining.model.clone().unwrap_or_default();
    let options = Options { relaxed: dirs.relaxed(context), probe: Some(probe), trust: dirs.trust(context) };
    let survey = survey(&dirs.search_path(context), &options);
    let proposal = Proposal::of(&hardware, &survey);
    (Candidate::of_survey(&survey), proposal, hardware)
}

/// The flags for what is not known yet.
fn missing(config: &Config, args: &Args) -> Vec<&'static str> {
    let mining = &config.mining;
    let mut missing = Vec::new();
    if mining.provider.is_none() && mining.miners.iter().all(|miner| miner.line.is_none()) {
        missing.push("--provider ID (or auto)");
    }
    let chosen = config
        .setting("mining.submit_target")
        .is_some_and(|setting| setting.origin != crate::config::Origin::Default);
    if !chosen && args.submit_target.is_none() {
        missing.push("--submit-target solo|devnet|pool:URL");
    }
    if mining.submit_target != SubmitTarget::Devnet && mining.wallet_address.is_none() {
        missing.push("--wallet-address ADDRESS (not for devnet)");
    }
    missing
}

fn ask(
    config: &Config,
    given: &[Change],
    candidates: &[Candidate],
    proposal: Option<&Proposal>,
    hardware: &HardwareInfo,
    context: &Context,
) -> Result<Vec<Change>, Error> {
    let given: Vec<String> = given.iter().map(|change| change.key().to_owned()).collect();
    let socket = Path::new("/tmp/pearlgw.sock");
    let certificate = node_certificate(context);
    let known = Known {
        config,
        given: &given,
        candidates,
        proposal,
        hardware,
        gateway_socket: socket.exists().then_some(socket),
        node_certificate: certificate.as_deref(),
        is_set: &|name| context.env().var_os(name).is_some(),
        test_pool: &|url, wallet, worker| super::pool::ask_now(url, wallet, worker, context.width()),
    };
    questions::ask(&mut Terminal, &known)
}

fn change_text(plan: &Plan) -> String {
    let mut out = format!("{}\n", render::styled(render::BOLD, &printable_path(&plan.file)));
    for line in diff::shown(&plan.old, &plan.new) {
        let (style, text) = match line {
            Shown::Same(line) => (render::DIM, format!("  {line}")),
            Shown::Gone(line) => (render::BAD, format!("- {line}")),
            Shown::Added(line) => (render::GOOD, format!("+ {line}")),
            Shown::Gap => (render::DIM, "  ...".to_owned()),
        };
        out.push_str(&render::styled(style, printable(&text).trim_end()));
        out.push('\n');
    }
    out
}

/// Questions on the terminal of this process, on stderr.
struct Terminal;

impl Terminal {
    fn failed(err: dialoguer::Error) -> Error {
        let dialoguer::Error::IO(err) = err;
        if err.kind() == std::io::ErrorKind::Interrupted {
            return Error::new("left without an answer").with_hint("nothing was written");
        }
        Error::caused_by("failed to ask on the terminal", err)
    }
}

impl Ask for Terminal {
    type Error = Error;

    fn tell(&mut self, text: &str) {
        for line in crate::text::wrap(&printable(text), 80) {
            // Where the terminal is gone, the next question fails.
            let _ = Term::stderr().write_line(&line);
        }
    }

    fn choose(&mut self, prompt: &str, items: &[String], default: usize) -> Result<usize, Error> {
        let items: Vec<_> = items.iter().map(|item| printable(item)).collect();
        dialoguer::Select::new()
            .with_prompt(prompt)
            .items(&items)
            .default(default)
            .interact_on(&Term::stderr())
            .map_err(Self::failed)
    }

    fn text(
        &mut self,
        prompt: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Error> {
        let mut input = dialoguer::Input::<String>::new().with_prompt(prompt).allow_empty(true);
        if !default.is_empty() {
            input = input.default(default.to_owned());
        }
        let answer = input
            .validate_with(|text: &String| check(text.trim()))
            .interact_text_on(&Term::stderr())
            .map_err(Self::failed)?;
        Ok(answer.trim().to_owned())
    }

    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool, Error> {
        dialoguer::Confirm::new()
            .with_prompt(printable(prompt))
            .default(default)
            .interact_on(&Term::stderr())
            .map_err(Self::failed)
    }
}
