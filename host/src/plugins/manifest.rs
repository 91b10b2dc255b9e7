//! The manifest of a file: from the bytes of its section to words, or to the reason why there is none.
#![forbid(unsafe_code)]

use pearlbed_plugin_api::abi::VERSIONS;
use pearlbed_plugin_api::manifest::{MAX_BYTES, Manifest, ManifestError};

use super::object::Section;
use super::reason::Reason;

const REBUILD: &str = "ask its author for a build made with `export_provider!`";

/// Reads the manifest in `section`.
pub fn read(section: Option<&Section>) -> Result<Manifest, Reason> {
    match section {
        None => Err(Reason::new("no-manifest", "it carries no manifest", REBUILD)),
        Some(Section::TooLong(claimed)) => Err(Reason::new(
            "manifest-too-long",
            format!("its manifest claims {claimed} bytes, more than the {MAX_BYTES} that are read"),
            REBUILD,
        )),
        Some(Section::Outside) => Err(Reason::new(
            "manifest-cut",
            "its manifest lies outside the file",
            "download or build it again",
        )),
        Some(Section::Bytes(bytes)) => Manifest::parse(bytes).map_err(|err| explain(&err)),
    }
}

/// The bytes in `section` without the padding at their end.
pub fn text(section: Option<&Section>) -> Option<&[u8]> {
    let Some(Section::Bytes(bytes)) = section else { return None };
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    Some(&bytes[..end])
}

fn explain(err: &ManifestError) -> Reason {
    match err {
        ManifestError::Empty => Reason::new("manifest-empty", "its manifest is empty", REBUILD),
        ManifestError::NotUtf8(at) => Reason::new(
            "manifest-not-utf8",
            format!("its manifest is not UTF-8: byte {at} is wrong"),
            REBUILD,
        ),
        ManifestError::Json(cause) => Reason::new(
            "manifest-not-json",
            format!("its manifest is not the JSON that is expected: {cause}"),
            REBUILD,
        ),
        err @ ManifestError::Member(..) => Reason::new("manifest-wrong", err.to_string(), REBUILD),
        err => Reason::new("manifest-too-long", err.to_string(), REBUILD),
    }
}

/// Checks that this program speaks a version of the plugin API that the plugin speaks.
pub fn check_api(manifest: &Manifest) -> Result<(), Reason> {
    if manifest.plugin_api.iter().any(|version| VERSIONS.contains(version)) {
        return Ok(());
    }
    let list = |versions: &[u32]| versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let newest = VERSIONS.last().copied().unwrap_or(0);
    let fix = if manifest.plugin_api.iter().all(|&version| version > newest) {
        "update pearlbed, or get a build for this version"
    } else {
        "get a newer build of the plugin"
    };
    let (theirs, ours) = (list(&manifest.plugin_api), list(VERSIONS));
    Err(Reason::new("other-api", format!("it speaks plugin API {theirs}, this host speaks {ours}"), fix))
}
