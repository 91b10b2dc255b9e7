//! A provider that could be chosen.

use std::path::PathBuf;
use std::sync::Arc;

use pearlbed_plugin_api::Permission;

use crate::plugins::Survey;
use crate::plugins::container::DataFile;

/// A provider found on this machine, and what it said of mining here.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The provider's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The plugin file.
    pub path: PathBuf,
    /// Whether it can mine here.
    pub supported: bool,
    /// Why not, or a remark, in the provider's or the host's words.
    pub reason: Option<String>,
    /// Hashes per second that it expects.
    pub estimated_hashrate: Option<f64>,
    /// What it asks for beyond computing. Hints are left out.
    pub permissions: Vec<Permission>,
    /// What it is, where it is a container.
    pub container: Option<Arc<DataFile>>,
}

impl Candidate {
    /// The providers of a survey that probed, best first. Files that say nothing of themselves are no candidates.
    pub fn of_survey(survey: &Survey) -> Vec<Self> {
        let mut candidates: Vec<Self> = Vec::new();
        for entry in &survey.entries {
            let Some(manifest) = entry.manifest() else { continue };
            // The later of two with one id is skipped by the survey, too.
            if candidates.iter().any(|other| other.id == manifest.id) {
                continue;
            }
            let answer = entry.capabilities();
            let skipped = entry.skipped().map(|reason| reason.reason.clone());
            candidates.push(Self {
                id: manifest.id.clone(),
                version: manifest.version.clone(),
                path: entry.path.clone(),
                supported: skipped.is_none() && answer.is_some_and(|answer| answer.supported),
                reason: skipped.or_else(|| answer.and_then(|answer| answer.reason.clone())),
                estimated_hashrate: answer.and_then(|answer| answer.estimated_hashrate),
                permissions: manifest
                    .permissions
                    .iter()
                    .filter(|wanted| !wanted.is_hint())
                    .cloned()
                    .collect(),
                container: entry.container().cloned(),
            });
        }
        Self::sort(&mut candidates);
        candidates
    }

    /// Best first: what works before what does not, faster before slower, then by id.
    pub fn sort(candidates: &mut [Self]) {
        candidates.sort_by(|a, b| {
            let rate = |candidate: &Self| candidate.estimated_hashrate.unwrap_or(0.0);
            b.supported
                .cmp(&a.supported)
                .then_with(|| rate(b).total_cmp(&rate(a)))
                .then_with(|| a.id.cmp(&b.id))
        });
    }
}
