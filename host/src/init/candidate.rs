//! A provider that could be chosen.

use std::path::PathBuf;

use pearlbed_plugin_api::Permission;

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
}

impl Candidate {
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
