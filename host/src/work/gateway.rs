//! The client of a pearl-gateway (protocol section 10), for solo mining.
//!
//! One task owns the state ([`desk`]) and does what the desk says; connections ([`link`]), questions to the node and the
//! gateway's own process ([`command`]) run beside it and report.
//!
//! ```text
//! link: poll --------Signal--\
//! link: submit ------Signal---> run -- desk --> WorkEvents, next hand-over, questions
//! node: tip, fates --Answers-/
//! ```
//!
//! A gateway tells a miner nothing of what became of a proof, so the node is asked. Without a node the client still
//! mines and hands over, and says that it cannot know the rest.
//!
//! # Limitations
//!
//! Jobs of certificate 4 and later carry more than a header; what they need beyond it is not passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::endpoint::Found;
use super::node::{Fate, Node, NodeError};
use super::{Condition, Context, Endpoint, GatewayConfig, Proving, Stopped, Trouble, block_hash};
use crate::config::GatewayEndpoint;
use crate::explain::Explain as _;

pub mod backoff;
pub mod command;
pub mod desk;
pub mod keeper;
pub mod link;
pub mod protocol;

use backoff::Backoff;
use command::Told;
use desk::Desk;
use link::Signal;

/// Reports that wait to be looked at.
const SIGNALS_MAX: usize = 64;

/// What to do about a node that answers and does not follow the network.
const STALE_HINT: &str = "see the node's log: it may be without peers, or still loading the chain";

/// The gateway as a work source. Ends when the handle is gone.
pub(super) async fn run(config: GatewayConfig, context: Context) {
    let (stop, stopped) = watch::channel(false);
    let (notes_in, notes) = mpsc::channel(SIGNALS_MAX);
    let process = config
        .command
        .clone()
        .filter(|argv| !argv.is_empty())
        .map(|argv| tokio::spawn(command::supervise(config.clone(), argv, stopped, notes_in.clone())));
    // Stopped is the only way out.
    let _ = Client::new(config, context, notes_in, notes).run().await;
    let _ = stop.send(true);
    if let Some(process) = process {
        let _ = process.await;
    }
}

/// What the node said in one round of questions.
struct Answers {
    tip: Result<String, NodeError>,
    /// The certificate version that the next block needs, or why there is no template; only where that was asked.
    certificate: Option<Result<Option<u32>, NodeError>>,
    fates: Vec<([u8; 76], Fate)>,
}

struct Client {
    config: GatewayConfig,
    context: Context,
    desk: Desk,
    node: Option<Node>,
    gateway_trouble: Option<Trouble>,
    node_trouble: Option<Trouble>,
    gateway_reachable: Option<bool>,
    node_reachable: Option<bool>,
    submit_backoff: Backoff,
    /// Wakes the poll.
    nudge: Arc<Notify>,
    signals_in: mpsc::Sender<Signal>,
    signals: mpsc::Receiver<Signal>,
    /// Kept so that the channel never closes.
    _notes_in: mpsc::Sender<Told>,
    notes: mpsc::Receiver<Told>,
    /// What keeps the gateway that the session starts from running.
    command_trouble: Option<Found>,
    /// Everything that runs beside; ends with the client.
    tasks: JoinSet<()>,
    asking: JoinSet<Answers>,
}

impl Client {
    fn new(
        config: GatewayConfig,
        context: Context,
        notes_in: mpsc::Sender<Told>,
        notes: mpsc::Receiver<Told>,
    ) -> Self {
        let (signals_in, signals) = mpsc::channel(SIGNALS_MAX);
        let (node, trouble) = match config.node.as_ref().map(Node::new) {
            None => (None, None),
            Some(Ok(node)) => (Some(node), None),
            Some(Err(err)) => (None, Some(found(&err))),
        };
        let mut desk = Desk::new(config.timing.clone(), node.is_some());
        if let Some(trouble) = &trouble {
            desk.note(format!("the node will not be asked: {}", line(trouble)));
        }
        Self {
            submit_backoff: Backoff::new(config.timing.retry),
            nudge: Arc::new(Notify::new()),
            config,
            context,
            desk,
            node,
            gateway_trouble: None,
            node_trouble: Trouble::follow(None, trouble, Instant::now()),
            gateway_reachable: None,
            node_reachable: None,
            signals_in,
            signals,
            _notes_in: notes_in,
            notes,
            command_trouble: None,
            tasks: JoinSet::new(),
            asking: JoinSet::new(),
        }
    }

    async fn run(mut self) -> Result<(), Stopped> {
        let endpoint = self.config.endpoint.clone();
        let timing = self.config.timing.clone();
        let nudge = Arc::clone(&self.nudge);
        self.tasks.spawn(link::poll_forever(endpoint, timing, nudge, self.signals_in.clone()));
        let earlier = std::mem::take(&mut self.context.earlier);
        for note in earlier.notes {
            self.desk.note(note);
        }
        for kept in earlier.proofs {
            self.desk.found(kept, Instant::now());
        }
        let mut ticks = tokio::time::interval(self.config.timing.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = tokio::time::interval(self.config.timing.node);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.act().await?;
            tokio::select! {
                () = self.context.events.closed() => return Err(Stopped),
                kept = self.context.proofs.recv() => self.desk.found(kept.ok_or(Stopped)?, Instant::now()),
                Some(signal) = self.signals.recv() => self.heed(signal),
                Some(told) = self.notes.recv() => match told {
                    Told::Note(note) => self.desk.note(note),
                    Told::Trouble(trouble) => self.command_trouble = trouble,
                },
                Some(answers) = self.asking.join_next() => {
                    // A round that panicked has said nothing.
                    if let Ok(answers) = answers {
                        self.heed_node(answers);
                    }
                }
                Some(_) = self.tasks.join_next() => {}
                _ = ticks.tick() => {}
                _ = rounds.tick() => self.ask_node(),
            }
        }
    }

    /// Does what the desk says, and tells what there is to tell.
    async fn act(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        self.desk.tick(now);
        if let Some((id, info, proof)) = self.desk.next_submission(now) {
            let (endpoint, timing) = (self.config.endpoint.clone(), self.config.timing.clone());
            self.tasks.spawn(link::submit(endpoint, timing, id, info, proof, self.signals_in.clone()));
            self.count(1, 0);
        }
        let condition = self.desk.condition(now);
        self.follow_gateway(&condition, now);
        let endpoints = self.endpoints();
        let proving = self.desk.proving().map(|(since, computes)| Proving {
            since,
            computes,
            here: is_here(&self.config.endpoint),
            ours: self.config.command.is_some(),
        });
        // Before the events: whoever hears one looks here.
        self.context.status.send_if_modified(|status| {
            let news =
                status.condition != condition || status.endpoints != endpoints || status.proving != proving;
            status.condition = condition;
            status.endpoints = endpoints;
            status.proving = proving;
            news
        });
        for event in self.desk.take_events() {
            self.context.emit(event).await?;
        }
        if self.desk.is_curious() {
            self.ask_node();
        }
        Ok(())
    }

    fn count(&self, requests: u64, reconnects: u64) {
        // Counters alone wake nobody.
        self.context.status.send_if_modified(|status| {
            status.requests += requests;
            status.reconnects += reconnects;
            false
        });
    }

    fn follow_gateway(&mut self, condition: &Condition, now: Instant) {
        // Who starts it need not be told how.
        let starts_it = self.config.command.as_ref().is_some_and(|command| !command.is_empty());
        let hint = match condition {
            Condition::Connecting { .. } if starts_it => Some(command::NOT_YET),
            condition => condition.hint(),
        };
        let found = condition.trouble().map(|text| (text, hint.map(str::to_owned)));
        // Why nothing listens says more than that nothing does.
        let found = match (condition, self.command_trouble.clone()) {
            (Condition::Connecting { .. }, Some(trouble)) => Some(trouble),
            _ => found,
        };
        let began = match condition {
            Condition::Silent { since } => *since,
            _ => now,
        };
        self.gateway_trouble = Trouble::follow(self.gateway_trouble.take(), found, began);
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = vec![Endpoint {
            purpose: "gateway",
            address: match &self.config.endpoint {
                unix @ GatewayEndpoint::Unix(_) => unix.to_string(),
                tcp @ GatewayEndpoint::Tcp { .. } => format!("tcp:{tcp}"),
            },
            reachable: self.gateway_reachable,
            trouble: self.gateway_trouble.clone(),
        }];
        if let Some(node) = &self.config.node {
            endpoints.push(Endpoint {
                purpose: "node",
                address: node.url.clone(),
                reachable: self.node_reachable,
                trouble: self.node_trouble.clone(),
            });
        }
        endpoints
    }

    fn heed(&mut self, signal: Signal) {
        let now = Instant::now();
        match signal {
            Signal::Connecting(attempt) => {
                self.count(0, u64::from(self.gateway_reachable.is_some()));
                // What the last try failed with stays on show while the next is under way.
                self.desk.connecting(attempt);
            }
            Signal::Connected => {
                self.gateway_reachable = Some(true);
                self.desk.connected();
            }
            Signal::Asked(asked) => {
                self.count(1, 0);
                self.desk.asked(asked);
            }
            Signal::Answered { outcome, asked } => self.desk.answered(outcome, asked, now),
            Signal::Lost { attempt, next_try, error, garbled } => {
                self.gateway_reachable = Some(garbled);
                if garbled {
                    self.desk.garbled(error.clone());
                }
                self.desk.disconnected(attempt, Some(next_try), Some(error));
            }
            Signal::Submitted { id, outcome } => {
                let retry = match &outcome {
                    desk::Submitted::Taken => {
                        self.submit_backoff.worked();
                        self.nudge.notify_one();
                        Duration::ZERO
                    }
                    _ => self.submit_backoff.failed(),
                };
                self.desk.submitted(&id, outcome, retry, now);
            }
        }
    }

    fn ask_node(&mut self) {
        let Some(node) = &self.node else { return };
        // One round at a time: a slow node is not asked faster.
        if !self.asking.is_empty() {
            return;
        }
        let node = node.clone();
        self.desk.node_asked();
        let mut headers = self.desk.questions();
        // A network that wants something else is known before it has a block that says so, and at each block anew.
        let wants_template = self.desk.wants_template(Instant::now());
        let known_at = self.desk.template_known_at();
        let job = self.desk.job().map(|job| job.header);
        self.count(1, 0);
        self.asking.spawn(async move {
            let tip = node.best_block_hash().await;
            let mut answers = Answers { tip, certificate: None, fates: Vec::new() };
            if answers.tip.is_err() {
                return answers;
            }
            let tip = answers.tip.as_ref().ok().and_then(|tip| block_hash(tip));
            // With another newest block than the job builds on, it matters what came in its place.
            let left = job.filter(|header| tip.is_some_and(|tip| header[4..36] != tip));
            if let Some(header) = left.filter(|header| !headers.contains(header)) {
                headers.push(header);
            }
            if wants_template || tip.is_some_and(|tip| known_at != Some(tip)) {
                let template = node.template().await;
                answers.certificate = Some(template.map(|template| template.required_certificate));
            }
            for header in headers {
                match node.fate(&header).await {
                    Ok(fate) => answers.fates.push((header, fate)),
                    Err(err) => {
                        answers.tip = Err(err);
                        break;
                    }
                }
            }
            answers
        });
    }

    fn heed_node(&mut self, answers: Answers) {
        let now = Instant::now();
        // The answers that came before a failure count. Blocks first: what lost to one of ours is told so.
        let is_block = |(_, fate): &&([u8; 76], Fate)| matches!(fate, Fate::InBlock { .. });
        let (blocks, others): (Vec<_>, Vec<_>) = answers.fates.iter().partition(is_block);
        for (header, fate) in blocks.into_iter().chain(others) {
            self.desk.fate(header, fate, now);
        }
        let reachable = answers.tip.is_ok();
        let trouble = match (answers.tip, answers.certificate) {
            (Err(err), _) => {
                self.desk.node_tip(None, now);
                Some(found(&err))
            }
            (Ok(tip), certificate) => {
                self.desk.node_tip(block_hash(&tip), now);
                if let Some(Ok(version)) = &certificate {
                    self.desk.node_certificate(*version, now);
                }
                match certificate {
                    Some(Err(err)) => {
                        let (text, hint) = found(&err);
                        Some((text, hint.or_else(|| Some(STALE_HINT.to_owned()))))
                    }
                    _ if self.desk.is_node_stale(now) => {
                        let minutes = self.config.timing.frozen.as_secs() / 60;
                        let text = format!("the node has not seen a new block for more than {minutes} min");
                        Some((text, Some(STALE_HINT.to_owned())))
                    }
                    _ => None,
                }
            }
        };
        self.node_reachable = Some(reachable);
        let said = self.node_trouble.as_ref().map(|trouble| &trouble.text);
        if said != trouble.as_ref().map(|(text, _)| text) {
            match &trouble {
                Some(trouble) if reachable => {
                    self.desk.note(format!("the node is in trouble: {}", line(trouble)));
                }
                Some(trouble) => self.desk.note(format!("the node does not answer: {}", line(trouble))),
                None => self.desk.note("the node answers again"),
            }
        }
        self.node_trouble = Trouble::follow(self.node_trouble.take(), trouble, now);
    }
}

/// An error of the node as trouble: with its causes, and what to do.
fn found(err: &NodeError) -> Found {
    let mut text = err.to_string();
    let mut cause = std::error::Error::source(err);
    while let Some(err) = cause {
        text.push_str(&format!(": {err}"));
        cause = err.source();
    }
    (text, err.hint())
}

/// The same on one line, for the log.
fn line((text, hint): &Found) -> String {
    match hint {
        Some(hint) => format!("{text} ({hint})"),
        None => text.clone(),
    }
}

/// Whether the gateway shares this machine, as far as its address tells.
fn is_here(endpoint: &GatewayEndpoint) -> bool {
    match endpoint {
        GatewayEndpoint::Unix(_) => true,
        GatewayEndpoint::Tcp { host, .. } => super::node::is_loopback(host),
    }
}
