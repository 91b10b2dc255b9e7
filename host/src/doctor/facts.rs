//! What several checks need to know, found out once, by whoever asks first.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::LIMIT;
use crate::config::{Config, ConfigError, Sources, SubmitTarget};
use crate::hardware::{self, Inventory};
use crate::home::{Env, Home};
use crate::plugins::trust::Trust;
use crate::plugins::{self, ProbeOptions, SearchPath, Survey, Watch, survey_watched};
use crate::sandbox::{self, Support};
use crate::work::node::{self, Examination, NodeError};

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The user's home folder.
    pub home: Home,
    /// The environment.
    pub env: Env,
    /// Folders that replace the search path for plugins; empty for the search path.
    pub plugin_dirs: Vec<PathBuf>,
    /// How long one plugin may take to answer; `None` for what is configured.
    pub probe_timeout: Option<Duration>,
    /// Use plugins whatever user owns them or may write to them.
    pub relaxed: bool,
    /// The `pearlbed` that is run as the plugins' child instead of this program, for tests.
    pub program: Option<PathBuf>,
    /// How the hardware is looked at.
    pub hardware: hardware::Options,
}

impl Scope {
    /// This machine, with the search path and the configured times.
    pub fn new(home: Home, env: Env) -> Self {
        Self {
            home,
            env,
            plugin_dirs: vec![],
            probe_timeout: None,
            relaxed: false,
            program: None,
            hardware: hardware::Options::default(),
        }
    }
}

/// The facts, and the moment until which they may be waited for.
///
/// Asking for one that another check is finding out waits for it.
#[derive(Debug)]
pub struct Facts {
    scope: Scope,
    begin: Instant,
    limit: Duration,
    config: OnceLock<Result<Config, ConfigError>>,
    hardware: OnceLock<Inventory>,
    survey: OnceLock<Survey>,
    surveying: OnceLock<Arc<Watch>>,
    confinement: OnceLock<Support>,
    node: OnceLock<Option<Result<Examination, NodeError>>>,
}

/// What is left of the time once the survey is no longer waited for.
const AFTER_SURVEY: Duration = Duration::from_millis(60);
/// What is left of the time once plugins and nodes have had theirs.
const AFTER_QUESTIONS: Duration = Duration::from_millis(200);

impl Facts {
    /// Facts about `scope`; time runs from now.
    pub fn new(scope: Scope) -> Self {
        // Whoever gives plugins more time than a doctor takes means it.
        let limit = scope.probe_timeout.map_or(LIMIT, |given| LIMIT.max(given + Duration::from_millis(500)));
        Self {
            scope,
            begin: Instant::now(),
            limit,
            config: OnceLock::new(),
            hardware: OnceLock::new(),
            survey: OnceLock::new(),
            surveying: OnceLock::new(),
            confinement: OnceLock::new(),
            node: OnceLock::new(),
        }
    }

    /// Replaces the time that everything may take.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// When nobody waits any longer.
    pub fn deadline(&self) -> Instant {
        self.begin + self.limit
    }

    /// What is looked at.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The home folder.
    pub fn home(&self) -> &Home {
        &self.scope.home
    }

    /// The configuration, or what is wrong with it.
    pub fn config(&self) -> Result<&Config, &ConfigError> {
        let read = || {
            let file = self.home().config_file();
            Config::load(&Sources { file: &file, text: None, env: &self.scope.env, flags: &[] })
        };
        self.config.get_or_init(read).as_ref()
    }

    /// The id of the provider that the user has chosen, as far as the configuration can be read.
    pub fn chosen_provider(&self) -> Option<&str> {
        self.config().ok()?.mining.provider.as_deref()
    }

    /// The machine.
    pub fn hardware(&self) -> &Inventory {
        self.hardware.get_or_init(|| hardware::inspect(&self.scope.hardware))
    }

    /// The machine, if a check has asked for it and the answer came.
    pub fn hardware_if_known(&self) -> Option<&Inventory> {
        self.hardware.get()
    }

    /// Every plugin, probed on the machine as [`Self::hardware`] found it.
    ///
    /// Where the hardware took its time, plugins have less: all must be done before nobody listens any more.
    pub fn survey(&self) -> &Survey {
        self.survey.get_or_init(|| {
            let config = self.config().ok();
            let settings = config.map(|config| &config.plugins);
            let dirs = settings.map(|settings| settings.dirs.as_slice()).unwrap_or_default();
            let path = SearchPath::new(&self.scope.plugin_dirs, &self.scope.env, Some(self.home()))
                .with_configured(dirs);
            let mut probe = ProbeOptions::new(self.hardware().info.clone());
            probe.model = config.and_then(|config| config.mining.model.clone()).unwrap_or_default();
            probe.timeout =
                self.scope.probe_timeout.or(settings.map(|s| s.probe_timeout)).unwrap_or(probe.timeout);
            probe.deadline = Some(self.deadline() - AFTER_QUESTIONS);
            probe.program.clone_from(&self.scope.program);
            let relaxed = self.scope.relaxed || settings.is_some_and(|settings| settings.relax_trust);
            let trust = settings.map(|settings| Trust::of(settings, Some(self.home()))).unwrap_or_default();
            self.survey_until(path, plugins::Options { relaxed, probe: Some(probe), trust })
        })
    }

    /// Surveys on a thread of its own, and waits for it as long as there is time: what was found by then is known, whatever
    /// a plugin does to hold up the rest.
    fn survey_until(&self, path: SearchPath, options: plugins::Options) -> Survey {
        let watch = Arc::clone(self.surveying.get_or_init(Arc::default));
        let (done, finished) = mpsc::channel();
        let its_watch = Arc::clone(&watch);
        let run =
            move |path: &SearchPath, options: &plugins::Options| survey_watched(path, options, &its_watch);
        let (its_path, its_options) = (path.clone(), options.clone());
        let work = {
            let run = run.clone();
            move || {
                // Past the deadline nobody listens any more.
                let _ = done.send(run(&its_path, &its_options));
            }
        };
        if thread::Builder::new().name("survey".into()).spawn(work).is_err() {
            return run(&path, &options);
        }
        let left = (self.deadline() - AFTER_SURVEY).saturating_duration_since(Instant::now());
        finished.recv_timeout(left).unwrap_or_else(|_| {
            let so_far = watch.so_far();
            // Where not even the folders could be listed nothing is known, and "none found" would be untrue.
            if so_far.folders.is_empty() { finished.recv().unwrap_or(so_far) } else { so_far }
        })
    }

    /// Every plugin, if a check has asked for them and the answer came.
    pub fn survey_if_known(&self) -> Option<Cow<'_, Survey>> {
        let so_far = || self.surveying.get().map(|watch| Cow::Owned(watch.so_far()));
        self.survey.get().map(Cow::Borrowed).or_else(so_far)
    }

    /// What this kernel can keep a plugin from.
    pub fn confinement(&self) -> &Support {
        self.confinement.get_or_init(sandbox::support)
    }

    /// What the user's node says, where one is configured and would be mined with.
    pub fn node(&self) -> Option<&Result<Examination, NodeError>> {
        let ask = || {
            let mining = &self.config().ok()?.mining;
            let section = mining.node.as_ref().filter(|_| mining.submit_target == SubmitTarget::Solo)?;
            let limit =
                self.deadline().saturating_duration_since(Instant::now()).saturating_sub(AFTER_QUESTIONS);
            Some(node::examine(section, limit))
        };
        self.node.get_or_init(ask).as_ref()
    }

    /// The folder nearest to `path` that exists, `path` itself first.
    pub(super) fn nearest_folder(path: &Path) -> Option<&Path> {
        path.ancestors().find(|folder| folder.is_dir())
    }
}
