//! What is asked on a terminal, in which order, with which defaults, and how answers are checked at once.
//!
//! How a question is put is [`Ask`]'s: a terminal in the program, a script in the tests. What a container is asked for is
//! the module `container`'s.

use std::path::Path;

use pearlbed_plugin_api::HardwareInfo;

pub use super::asking::Ask;
use super::{Candidate, Proposal, container};
use crate::config::{Change, Config, ConfigError, GatewayEndpoint, Place, PoolUrl, SubmitTarget};
use crate::explain::Explain;
use crate::work::pool::wallet;

/// What is known before the first question.
pub struct Known<'a> {
    /// The configuration so far: its values are the defaults of the questions.
    pub config: &'a Config,
    /// Keys that were given by flags: these are not asked.
    pub given: &'a [String],
    /// The providers of this machine, best first.
    pub candidates: &'a [Candidate],
    /// A miner for each device, where there are several that providers here support and nobody has said yet what mines.
    pub proposal: Option<&'a Proposal>,
    /// This machine.
    pub hardware: &'a HardwareInfo,
    /// Where pearl-gateway listens by default, if a socket is there now.
    pub gateway_socket: Option<&'a Path>,
    /// The certificate of a node on this machine, if it is where pearld puts it.
    pub node_certificate: Option<&'a Path>,
    /// Whether a variable of the environment is set; its value is nobody's business here.
    pub is_set: &'a dyn Fn(&str) -> bool,
    /// Asks the pool at an address, for a wallet and a worker, what it wants; what it answered, as lines of text.
    pub test_pool: &'a dyn Fn(&str, &str, &str) -> String,
}

/// Asks everything that is not known, and returns the changes that the answers mean.
///
/// # Errors
///
/// What [`Ask`] met.
pub fn ask<A: Ask>(ask: &mut A, known: &Known<'_>) -> Result<Vec<Change>, A::Error> {
    let mut asked = Asked { ask, known, changes: Vec::new() };
    let chosen = match asked.proposal()? {
        Some(each) => each,
        None => asked.provider()?.into_iter().collect(),
    };
    for provider in chosen {
        asked.grants(provider)?;
        asked.container(provider)?;
    }
    let target = asked.target()?;
    if target != SubmitTarget::Devnet {
        asked.wallet()?;
    }
    if let SubmitTarget::Pool(url) = &target {
        asked.pool(url)?;
    }
    if target == SubmitTarget::Solo {
        asked.gateway()?;
        asked.node()?;
    }
    Ok(asked.changes)
}

struct Asked<'a, A: Ask> {
    ask: &'a mut A,
    known: &'a Known<'a>,
    changes: Vec<Change>,
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Answers come from the keyboard, which no error names.
fn place() -> Place {
    Place::Flag("your answer".to_owned())
}

/// What is wrong with `text` as a value of `key`, in one line.
fn check(key: &str, text: &str) -> Result<(), String> {
    let problem = |err: ConfigError| match &err {
        ConfigError::Invalid { problem, fix, .. } => format!("this {problem}; {fix}"),
        other => format!("{other}; {}", other.hint().unwrap_or_default()),
    };
    Change::set(key, text, &place()).map(|_| ()).map_err(problem)
}

impl<'a, A: Ask> Asked<'a, A> {
    fn is_given(&self, key: &str) -> bool {
        self.known.given.iter().any(|given| given == key)
    }

    fn set(&mut self, key: &str, text: &str) {
        // Answers were checked as they were given.
        if let Ok(change) = Change::set(key, text, &place()) {
            self.changes.push(change);
        }
    }

    /// Asks for the text of `key`, with what is set now or else `default` offered.
    fn text(&mut self, key: &str, prompt: &str, default: &str) -> Result<String, A::Error> {
        let now =
            self.known.config.setting(key).filter(|setting| setting.origin != crate::config::Origin::Default);
        let now = now.and_then(|setting| setting.value.to_json().as_str().map(str::to_owned));
        let answer = self.ask.text(prompt, now.as_deref().unwrap_or(default), &|text| check(key, text))?;
        self.set(key, &answer);
        Ok(answer)
    }

    /// Whether each device gets a miner of its own; if so, their providers.
    fn proposal(&mut self) -> Result<Option<Vec<&'a Candidate>>, A::Error> {
        let Some(proposal) = self.known.proposal.filter(|_| !self.is_given("mining.provider")) else {
            return Ok(None);
        };
        for line in proposal.lines() {
            self.ask.tell(&line);
        }
        if !self.ask.confirm("Mine on each of them?", true)? {
            return Ok(None);
        }
        self.changes.extend(proposal.changes());
        let known = |id: &&str| self.known.candidates.iter().find(|candidate| candidate.id == **id);
        Ok(Some(proposal.providers().iter().filter_map(known).collect()))
    }

    fn provider(&mut self) -> Result<Option<&'a Candidate>, A::Error> {
        let candidates = self.known.candidates;
        let by_id = |id: Option<&String>| candidates.iter().find(|candidate| Some(&candidate.id) == id);
        let now = by_id(self.known.config.mining.provider.as_ref());
        if self.is_given("mining.provider") {
            return Ok(now);
        }
        let works: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.supported).collect();
        for candidate in candidates.iter().filter(|candidate| !candidate.supported) {
            let reason = candidate.reason.as_deref().unwrap_or("it gives no reason");
            self.ask.tell(&format!("{} cannot mine here: {reason}", candidate.id));
        }
        let Some(best) = works.first() else {
            self.ask.tell(
                "No provider here can mine on this machine. The rest can be set up all the same; `pearlbed doctor` says \
                 what is missing.",
            );
            return Ok(now);
        };
        let items: Vec<String> = works
            .iter()
            .map(|candidate| {
                let rate = candidate
                    .estimated_hashrate
                    .map_or(String::new(), |rate| format!(", about {}", crate::text::hashrate(rate)));
                let remark = candidate.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
                format!("{} {}{rate}{remark}", candidate.id, candidate.version)
            })
            .collect();
        let default = works.iter().position(|candidate| now == Some(*candidate)).unwrap_or(0);
        let chosen = match works.len() {
            1 if default == 0 => {
                self.ask.tell(&format!("Provider: {}", items[0]));
                best
            }
            _ => works[self.ask.choose("Provider", &items, default)?.min(works.len() - 1)],
        };
        self.set("mining.provider", &chosen.id);
        Ok(Some(chosen))
    }

    /// What the provider asks for beyond computing, one by one.
    fn grants(&mut self, chosen: &Candidate) -> Result<(), A::Error> {
        if chosen.permissions.is_empty() {
            return Ok(());
        }
        let key = format!("mining.grants.{}", chosen.id);
        if self.is_given(&key) {
            return Ok(());
        }
        let before = self.known.config.mining.grants.get(&chosen.id).map(Vec::as_slice).unwrap_or_default();
        self.ask.tell(&format!("{} asks for more than the processor. It gets what you grant:", chosen.id));
        let mut granted = Vec::new();
        for permission in &chosen.permissions {
            if self.ask.confirm(&format!("Grant `{permission}`?"), before.contains(permission))? {
                granted.push(permission.to_string());
            }
        }
        let list: toml_edit::Array = granted.iter().map(String::as_str).collect();
        self.changes.push(Change::Set { key, value: list.into() });
        Ok(())
    }

    /// What a provider that is a container is to serve, and how.
    fn container(&mut self, chosen: &Candidate) -> Result<(), A::Error> {
        let Some(file) = &chosen.container else { return Ok(()) };
        let Known { config, given, hardware, is_set, .. } = *self.known;
        let known = container::Known { extra: &config.mining.extra, given, hardware, is_set };
        self.changes.extend(container::ask(self.ask, file, &known)?);
        Ok(())
    }

    fn target(&mut self) -> Result<SubmitTarget, A::Error> {
        let now = &self.known.config.mining.submit_target;
        if self.is_given("mining.submit_target") {
            return Ok(now.clone());
        }
        let items = [
            "solo: your own node, through pearl-gateway".to_owned(),
            "devnet: the test network inside pearlbed, to try things out".to_owned(),
            "pool: shares to a pool's address".to_owned(),
        ];
        let default = match now {
            SubmitTarget::Solo => 0,
            SubmitTarget::Devnet => 1,
            SubmitTarget::Pool(_) => 2,
        };
        match self.ask.choose("Where work comes from", &items, default)? {
            1 => {
                self.set("mining.submit_target", "devnet");
                Ok(SubmitTarget::Devnet)
            }
            2 => {
                let shown = match now {
                    SubmitTarget::Pool(url) => url.as_str(),
                    _ => "",
                };
                let url = self.ask.text("Pool URL (stratum+ssl://host:port)", shown, &|text| {
                    // A web address is read from OpenJarvis' files, and is no pool to mine for.
                    PoolUrl::parse(text)
                        .map(|_| ())
                        .map_err(|(problem, right)| format!("this {problem}; write it like this: {right}"))
                })?;
                self.set("mining.submit_target", &format!("pool:{url}"));
                Ok(SubmitTarget::Pool(url))
            }
            _ => {
                self.set("mining.submit_target", "solo");
                Ok(SubmitTarget::Solo)
            }
        }
    }

    fn wallet(&mut self) -> Result<(), A::Error> {
        let key = "mining.wallet_address";
        if self.is_given(key) {
            return Ok(());
        }
        let now = self.known.config.mining.wallet_address.clone().unwrap_or_default();
        let answer = self.ask.text("Wallet address (prl1p...)", &now, &|text| {
            if text.is_empty() {
                return Err("an address is needed; your wallet's receive page shows it".to_owned());
            }
            check(key, text)
        })?;
        self.set(key, &answer);
        Ok(())
    }

    /// The name of this machine at the pool, and whether the pool takes us.
    fn pool(&mut self, url: &str) -> Result<(), A::Error> {
        let key = "mining.pool.worker";
        let now = self.known.config.mining.pool.manner.worker.clone().unwrap_or_default();
        let worker = if self.is_given(key) {
            now
        } else {
            let answer =
                self.ask.text("Name of this machine at the pool (- for none)", or_dash(&now), &|text| {
                    check(key, text)?;
                    wallet::check_worker(text).map_err(|(problem, hint)| format!("this {problem}; {hint}"))
                })?;
            match answer.as_str() {
                "-" => self.changes.push(Change::Unset { key: key.to_owned() }),
                name => self.set(key, name),
            }
            if answer == "-" { String::new() } else { answer }
        };
        if self.ask.confirm("Ask the pool now whether it takes you?", true)? {
            let wallet = self.answer("mining.wallet_address");
            let answer = (self.known.test_pool)(url, &wallet, &worker);
            for line in answer.lines() {
                self.ask.tell(line);
            }
        }
        Ok(())
    }

    /// What a key is by now: what was answered, else what is configured.
    fn answer(&self, key: &str) -> String {
        let answered = self.changes.iter().rev().find(|change| change.key() == key);
        match answered {
            Some(Change::Set { value, .. }) => value.as_str().unwrap_or_default().to_owned(),
            _ => self.known.config.mining.wallet_address.clone().unwrap_or_default(),
        }
    }

    fn gateway(&mut self) -> Result<(), A::Error> {
        let keys = ["mining.gateway.socket", "mining.extra.gateway_host", "mining.extra.gateway_port"];
        if keys.iter().any(|key| self.is_given(key)) {
            return Ok(());
        }
        let now = &self.known.config.mining.gateway.endpoint;
        let default = match (now, self.known.gateway_socket) {
            (GatewayEndpoint::Tcp { .. }, Some(socket)) => format!("unix:{}", socket.display()),
            _ => now.to_string(),
        };
        let answer = self.ask.text("pearl-gateway (host:port or unix:/path)", &default, &|text| {
            gateway_changes(text, &place())
                .map(|_| ())
                .map_err(|err| format!("{err}; {}", err.hint().unwrap_or_default()))
        })?;
        self.changes.extend(gateway_changes(&answer, &place()).unwrap_or_default());
        Ok(())
    }

    fn node(&mut self) -> Result<(), A::Error> {
        let url_key = "mining.extra.pearld_rpc_url";
        if !self.is_given(url_key) {
            self.ask.tell("With your node's RPC, a block counts as accepted only once the node has it.");
            let now = self.known.config.mining.node.as_ref().map(|node| node.url.as_str());
            let url =
                self.ask.text("pearld RPC URL (- for none)", now.unwrap_or("-"), &|text| match text {
                    "-" => Ok(()),
                    _ => check(url_key, text),
                })?;
            if url == "-" {
                self.changes.push(Change::Unset { key: url_key.to_owned() });
                return Ok(());
            }
            self.set(url_key, &url);
            if url.starts_with("https:") {
                self.certificate()?;
            }
        }
        let user_key = "mining.extra.pearld_rpc_user";
        if !self.is_given(user_key) {
            self.text(user_key, "RPC user", "rpcuser")?;
        }
        let name_key = "mining.extra.pearld_rpc_password_env";
        if !self.is_given(name_key) {
            let prompt = "Name of the environment variable with the RPC password";
            let name = self.text(name_key, prompt, "PEARLD_RPC_PASSWORD")?;
            if !(self.known.is_set)(&name) {
                self.ask.tell(&format!("{name} is not set now; set it where `pearlbed start` runs."));
            }
        }
        Ok(())
    }
}

impl<A: Ask> Asked<'_, A> {
    /// An https node is known by its certificate, which pearld makes for itself.
    fn certificate(&mut self) -> Result<(), A::Error> {
        let key = "mining.node.certificate";
        let now = self.known.config.mining.node.as_ref().and_then(|node| node.certificate.as_ref());
        if self.is_given(key) || now.is_some() {
            return Ok(());
        }
        let usual = self.known.node_certificate.map(|path| path.display().to_string()).unwrap_or_default();
        let answer = self.ask.text("The node's certificate (rpc.cert)", &usual, &|text| match text {
            "" => Err("pearld makes one: `rpc.cert` in its folder, by default ~/.pearld".to_owned()),
            _ => check(key, text),
        })?;
        self.set(key, &answer);
        Ok(())
    }
}

/// The changes that `host:port` or `unix:/path` means.
///
/// # Errors
///
/// Where it is neither.
pub fn gateway_changes(text: &str, place: &Place) -> Result<Vec<Change>, ConfigError> {
    let host_key = "mining.extra.gateway_host";
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err(ConfigError::Invalid {
                key: "mining.gateway.socket".to_owned(),
                problem: "is not an absolute path".to_owned(),
                fix: "write it like this: unix:/tmp/pearlgw.sock".to_owned(),
                place: place.clone(),
            });
        }
        return Ok(vec![Change::set("mining.gateway.socket", path, place)?]);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(ConfigError::Invalid {
            key: host_key.to_owned(),
            problem: format!("begins with `{scheme}://`, and a gateway is no web address"),
            fix: "write it like this: 127.0.0.1:8337, or unix:/tmp/pearlgw.sock".to_owned(),
            place: place.clone(),
        });
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(ConfigError::Invalid {
            key: host_key.to_owned(),
            problem: "needs a port".to_owned(),
            fix: "write it like this: 127.0.0.1:8337, or unix:/tmp/pearlgw.sock".to_owned(),
            place: place.clone(),
        });
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(vec![
        Change::unset("mining.gateway.socket", place)?,
        Change::set(host_key, host, place)?,
        Change::set("mining.extra.gateway_port", port, place)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::asking::testing::Script;
    use super::*;
    use crate::init::edit;

    const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

    fn candidate(id: &str, rate: Option<f64>, reason: Option<&str>) -> Candidate {
        Candidate {
            id: id.into(),
            version: "1.0.0".into(),
            path: "/p".into(),
            supported: rate.is_some(),
            reason: reason.map(str::to_owned),
            estimated_hashrate: rate,
            permissions: vec![],
            container: None,
        }
    }

    /// Asks with this script and returns the file that comes out of an empty one.
    fn run(script: &mut Script, candidates: &[Candidate], given: &[String]) -> Result<String, String> {
        run_with(script, candidates, None, given)
    }

    fn run_with(
        script: &mut Script,
        candidates: &[Candidate],
        proposal: Option<&Proposal>,
        given: &[String],
    ) -> Result<String, String> {
        let config = Config::defaults(Path::new("config.toml"));
        let known = Known {
            config: &config,
            given,
            candidates,
            proposal,
            hardware: &HardwareInfo::default(),
            gateway_socket: None,
            node_certificate: Some(Path::new("/home/me/.pearld/rpc.cert")),
            is_set: &|name| name == "SET_ALREADY",
            test_pool: &|url, wallet, worker| format!("asked {url}\n  for {wallet} as {worker}"),
        };
        let changes = ask(script, &known)?;
        Ok(edit::apply("", &changes).unwrap())
    }

    #[test]
    fn a_pool_is_asked_for_checked_and_tested_on_the_spot() {
        let wallet = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";
        let mut script = Script::new(&[
            ("Where work", "pool"),
            ("Pool URL", "https://pool.example"),
            ("Pool URL", "stratum+ssl://pool.example:3333"),
            ("Wallet", wallet),
            ("Name of this machine", wallet),
            ("Name of this machine", "rig1"),
            ("Ask the pool", "y"),
        ]);
        let text = run(&mut script, &[], &[]).unwrap();
        assert!(text.contains("submit_target = \"pool:stratum+ssl://pool.example:3333\""), "{text}");
        assert!(text.contains("worker = \"rig1\""), "{text}");
        let told = script.told.join("\n");
        assert!(told.contains("write it like this: stratum+ssl://pool.example:3333"), "{told}");
        assert!(told.contains("this is an address"), "{told}");
        let asked = format!("asked stratum+ssl://pool.example:3333\n  for {wallet} as rig1");
        assert!(told.contains(&asked), "{told}");
        assert!(script.told.iter().all(|told| !told.contains('\n')), "a line at a time: {told}");
    }

    #[test]
    fn the_devnet_needs_no_wallet_and_no_node() {
        let mut script = Script::new(&[("Where work", "devnet")]);
        let text = run(&mut script, &[candidate("fast", Some(2.0), None)], &[]).unwrap();
        assert!(
            text.contains("provider = \"fast\"") && text.contains("submit_target = \"devnet\""),
            "{text}"
        );
        assert_eq!(script.asked, ["Where work comes from"]);
    }

    #[test]
    fn a_wrong_address_is_refused_at_once_and_asked_again() {
        let mut script = Script::new(&[("Wallet", "prl1pwrong"), ("Wallet", WALLET), ("RPC URL", "-")]);
        let text = run(&mut script, &[candidate("fast", Some(2.0), None)], &[]).unwrap();
        assert!(text.contains(WALLET));
        assert!(script.told.iter().any(|told| told.contains("is no Pearl address")), "{:?}", script.told);
    }

    #[test]
    fn solo_asks_for_gateway_node_and_the_name_of_the_password() {
        let answers = [
            ("Wallet", WALLET),
            ("gateway", "unix:/tmp/pearlgw.sock"),
            ("RPC URL", "https://node:44107"),
            ("RPC user", "me"),
            ("password", "SET_ALREADY"),
        ];
        let mut script = Script::new(&answers);
        let text = run(&mut script, &[candidate("fast", Some(2.0), None)], &[]).unwrap();
        for line in [
            "socket = \"/tmp/pearlgw.sock\"",
            "pearld_rpc_url = \"https://node:44107\"",
            "certificate = \"/home/me/.pearld/rpc.cert\"",
            "pearld_rpc_user = \"me\"",
            "pearld_rpc_password_env = \"SET_ALREADY\"",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        assert!(!script.told.iter().any(|told| told.contains("is not set now")));
    }

    #[test]
    fn providers_are_offered_best_first_and_the_others_with_their_reason() {
        let mut candidates = vec![
            candidate("none", None, Some("no GPU")),
            candidate("slow", Some(1.0), None),
            candidate("fast", Some(9e9), None),
        ];
        Candidate::sort(&mut candidates);
        let mut script = Script::new(&[("Where work", "devnet")]);
        let text = run(&mut script, &candidates, &[]).unwrap();
        assert!(text.contains("provider = \"fast\""), "{text}");
        assert_eq!(script.told, ["none cannot mine here: no GPU"]);
    }

    #[test]
    fn permissions_are_granted_one_by_one_and_not_by_default() {
        let mut wants = candidate("wants", Some(1.0), None);
        wants.permissions = vec!["network:*:*".parse().unwrap(), "read:/opt".parse().unwrap()];
        let mut script = Script::new(&[("Where work", "devnet"), ("read:/opt", "y")]);
        let text = run(&mut script, &[wants], &[]).unwrap();
        assert!(text.contains("[mining.grants]\nwants = [\"read:/opt\"]\n"), "{text}");
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn a_miner_for_each_device_is_proposed_and_each_provider_gets_what_it_is_granted() {
        let machine = crate::hardware::fake::rig();
        let proposal = Proposal::of(&machine, &crate::plugins::matrix::testing::survey(&machine));
        let mut green = candidate("green", Some(2.0), None);
        green.permissions = vec!["device:/dev/nvidia*".parse().unwrap()];
        let mut any = candidate("any-card", Some(1.0), None);
        any.permissions = vec!["device:/dev/dri/renderD*".parse().unwrap()];
        let candidates = [candidate("cores", Some(3.0), None), green, any];
        let mut script = Script::new(&[("Where work", "devnet"), ("device:/dev/nvidia*", "y")]);
        let text = run_with(&mut script, &candidates, proposal.as_ref(), &[]).unwrap();
        assert!(script.told[1].starts_with("cores: cores on cpu (Imaginary 16-Core)"), "{:?}", script.told);
        assert_eq!(text.matches("\n[[mining.miners]]").count(), 7, "{text}");
        assert!(
            text.contains("green = [\"device:/dev/nvidia*\"]\n") && text.contains("any-card = []\n"),
            "{text}"
        );

        // Whoever wants one alone is asked which.
        let answers = [("Mine on each", "n"), ("Provider", "green"), ("Where work", "devnet")];
        let mut script = Script::new(&answers);
        let text = run_with(&mut script, &candidates, proposal.as_ref(), &[]).unwrap();
        assert!(text.contains("provider = \"green\"") && !text.contains("\n[[mining.miners]]"), "{text}");
    }

    #[test]
    fn what_flags_gave_is_not_asked() {
        let given =
            ["mining.submit_target", "mining.wallet_address", "mining.extra.gateway_port"].map(str::to_owned);
        let mut script = Script::new(&[("RPC URL", "-")]);
        run(&mut script, &[candidate("fast", Some(2.0), None)], &given).unwrap();
        assert_eq!(script.asked, ["pearld RPC URL (- for none)"]);
    }

    #[test]
    fn a_gateway_is_host_and_port_or_a_socket() {
        let place = place();
        assert_eq!(gateway_changes("[::1]:8337", &place).unwrap()[1].key(), "mining.extra.gateway_host");
        for wrong in ["localhost", "localhost:99999", "unix:pearlgw.sock", "http://x:1"] {
            assert!(gateway_changes(wrong, &place).is_err(), "{wrong}");
        }
    }
}
