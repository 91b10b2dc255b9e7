//! What a plugin says of itself, readable from its file without running it.
//!
//! The manifest is one JSON object in a link section of its own. [`export_provider!`](crate::export_provider) writes it
//! while the plugin compiles; a host reads the section's bytes with an object-file parser and hands them to
//! [`Manifest::parse`]. Reading is bounded and trusts nothing: the file may come from anywhere.
//!
//! ```json
//! {"schema":1,"id":"my-provider","version":"0.1.0","vendor":"Me","license":"MIT","homepage":"","summary":"",
//!  "plugin_api":[1],"certificate_versions":[1,2,3],"platforms":["linux-x86_64"],"engines":[],"permissions":[],
//!  "settings":[{"key":"threads","kind":"integer:0..1024","default":"0","help":"Worker threads; 0 for one per core"}]}
//! ```
//!
//! `settings` came later than the rest: a manifest without it says nothing of its settings, and none is checked.
//!
//! Members that this version does not know are ignored, so that the object can grow.

use serde::{Deserialize, Serialize};

use crate::permission::Permission;
use crate::setting::{self, Setting};

mod spec;

#[doc(hidden)]
pub use spec::{SettingSpec, Spec};

/// The ELF section that holds the manifest. Since 1.0.0.
pub const ELF_SECTION: &str = ".pearlbed.manifest";
/// The Mach-O segment and section that hold the manifest. Since 1.0.0.
pub const MACHO_SECTION: (&str, &str) = ("__DATA", "__pearlbed");
/// A manifest is at most so long, in bytes. Since 1.0.0.
pub const MAX_BYTES: usize = 64 * 1024;
/// An id is at most so long, in bytes. Since 1.0.0.
pub const MAX_ID_BYTES: usize = 64;
/// Any other text is at most so long, in bytes. Since 1.0.0.
pub const MAX_TEXT_BYTES: usize = 512;
/// A list has at most so many entries. Since 1.0.0.
pub const MAX_LIST: usize = 64;
/// The operating system and architecture this crate was compiled for, such as `linux-x86_64`. Since 1.0.0.
pub const PLATFORM: &str = platform();

/// What a plugin says of itself. Since 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The provider's id: lower-case letters, digits and dashes, beginning with a letter, at most 64 bytes.
    pub id: String,
    /// The provider's own version (semantic versioning).
    pub version: String,
    /// Who made it.
    #[serde(default)]
    pub vendor: String,
    /// Its licence, as an SPDX expression.
    #[serde(default)]
    pub license: String,
    /// Where to read about it.
    #[serde(default)]
    pub homepage: String,
    /// What it is, in one sentence.
    #[serde(default)]
    pub summary: String,
    /// The versions of the provider table it exports.
    pub plugin_api: Vec<u32>,
    /// The certificate versions it can mine.
    pub certificate_versions: Vec<u32>,
    /// The platforms it was built for, such as `linux-x86_64`.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// The inference engines it works with; empty if it needs none.
    #[serde(default)]
    pub engines: Vec<String>,
    /// What it wants to be allowed.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Its settings; empty where it says nothing of them.
    #[serde(default)]
    pub settings: Vec<Setting>,
}

/// Why bytes are not a manifest. Since 1.0.0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum ManifestError {
    #[error("the manifest is empty")]
    Empty,
    #[error("the manifest has {0} bytes, more than the {MAX_BYTES} that are read")]
    TooLarge(u64),
    #[error("the manifest is not UTF-8: byte {0} is wrong")]
    NotUtf8(usize),
    #[error("the manifest is not a JSON object of the expected shape")]
    Json(#[source] serde_json::Error),
    #[error("the manifest's `{0}` {1}")]
    Member(&'static str, &'static str),
}

impl Manifest {
    /// Reads a manifest from the bytes of its link section; NUL bytes at the end are padding.
    ///
    /// # Errors
    ///
    /// Everything that [`ManifestError`] names. Takes time and memory in proportion to the input, and never panics.
    pub fn parse(section: &[u8]) -> Result<Self, ManifestError> {
        if section.len() > MAX_BYTES {
            return Err(ManifestError::TooLarge(section.len() as u64));
        }
        let end = section.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let text =
            std::str::from_utf8(&section[..end]).map_err(|err| ManifestError::NotUtf8(err.valid_up_to()))?;
        if text.is_empty() {
            return Err(ManifestError::Empty);
        }
        let manifest: Self = serde_json::from_str(text).map_err(ManifestError::Json)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |member, what| Err(ManifestError::Member(member, what));
        if !is_id(&self.id) {
            return wrong("id", ID_RULE);
        }
        let texts = [
            ("version", &self.version),
            ("vendor", &self.vendor),
            ("license", &self.license),
            ("homepage", &self.homepage),
            ("summary", &self.summary),
        ];
        let lists = [("platforms", &self.platforms), ("engines", &self.engines)];
        let in_lists = lists.iter().flat_map(|(name, list)| list.iter().map(move |text| (*name, text)));
        for (member, text) in texts.into_iter().chain(in_lists) {
            if text.len() > MAX_TEXT_BYTES {
                return wrong(member, "is longer than 512 bytes");
            }
            if text.chars().any(char::is_control) {
                return wrong(member, "holds control characters");
            }
        }
        if self.version.is_empty() {
            return wrong("version", "is empty");
        }
        for (member, entries) in [
            ("plugin_api", self.plugin_api.len()),
            ("certificate_versions", self.certificate_versions.len()),
            ("platforms", self.platforms.len()),
            ("engines", self.engines.len()),
            ("permissions", self.permissions.len()),
            ("settings", self.settings.len()),
        ] {
            if entries > MAX_LIST {
                return wrong(member, "has more than 64 entries");
            }
        }
        if self.plugin_api.is_empty() {
            return wrong("plugin_api", "is empty");
        }
        for (index, setting) in self.settings.iter().enumerate() {
            if !setting::is_key(&setting.key) {
                return wrong(
                    "settings",
                    "has a key that is none: lower-case letters, digits and _, at most 64",
                );
            }
            for text in [&setting.kind, &setting.default, &setting.help] {
                if text.len() > MAX_TEXT_BYTES {
                    return wrong("settings", "holds a text longer than 512 bytes");
                }
                if text.chars().any(char::is_control) {
                    return wrong("settings", "holds control characters");
                }
            }
            if setting.kind.is_empty() {
                return wrong("settings", "has a setting without a kind");
            }
            if self.settings[..index].iter().any(|other| other.key == setting.key) {
                return wrong("settings", "has the same key twice");
            }
        }
        Ok(())
    }
}

const ID_RULE: &str = "is no id: 1 to 64 lower-case letters, digits and dashes, beginning with a letter";

/// Whether `id` is a provider id: 1 to 64 lower-case letters, digits and dashes, beginning with a letter. Since 1.0.0.
pub const fn is_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_ID_BYTES || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'-') {
            return false;
        }
        i += 1;
    }
    true
}

const fn platform() -> &'static str {
    macro_rules! of {
        ($($os:literal),*) => {$(
            if cfg!(all(target_os = $os, target_arch = "x86_64")) { return concat!($os, "-x86_64"); }
            if cfg!(all(target_os = $os, target_arch = "aarch64")) { return concat!($os, "-aarch64"); }
        )*};
    }
    of!("linux", "macos", "windows", "freebsd");
    "unknown"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec {
        id: "a-provider",
        version: "1.2.3",
        vendor: "Quote \" and \\ backslash, naïve",
        license: "MIT",
        homepage: "https://example.org",
        summary: "What it is.",
        certificate_versions: &[1, 2, 3, 4_294_967_295],
        engines: &["vllm", "sglang"],
        permissions: &["device:/dev/nvidia*", "threads-hint:4"],
        settings: &[
            SettingSpec {
                key: "threads",
                kind: "integer:0..8",
                default: "0",
                help: "Say \"0\".",
                per_device: false,
            },
            SettingSpec { key: "kernel", kind: "choice:a,b", default: "", help: "", per_device: true },
        ],
    };

    #[test]
    fn what_the_compiler_writes_the_reader_reads() {
        const JSON: [u8; SPEC.json_len()] = SPEC.json();
        SPEC.check();
        let manifest = Manifest::parse(&JSON).unwrap();
        assert_eq!(manifest.id, SPEC.id);
        assert_eq!(manifest.vendor, SPEC.vendor);
        assert_eq!(manifest.certificate_versions, SPEC.certificate_versions);
        assert_eq!(manifest.engines, SPEC.engines);
        assert_eq!(manifest.permissions[0].to_string(), SPEC.permissions[0]);
        let keys: Vec<_> = manifest.settings.iter().map(|one| (one.key.as_str(), one.per_device)).collect();
        assert_eq!(keys, [("threads", false), ("kernel", true)]);
        assert_eq!(manifest.settings[0].help, SPEC.settings[0].help);
        assert_eq!(manifest.plugin_api, crate::abi::VERSIONS);
        assert_eq!(manifest.platforms, [PLATFORM]);
        let mut padded = JSON.to_vec();
        padded.extend([0; 13]);
        assert_eq!(Manifest::parse(&padded).unwrap(), manifest);
    }

    fn with(change: impl FnOnce(&mut serde_json::Value)) -> Result<Manifest, ManifestError> {
        const JSON: [u8; SPEC.json_len()] = SPEC.json();
        let mut value: serde_json::Value = serde_json::from_slice(&JSON).unwrap();
        change(&mut value);
        Manifest::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_manifest_that_lies_about_its_shape_is_refused() {
        assert!(with(|_| ()).is_ok());
        assert!(with(|json| json["a_member_of_the_future"] = true.into()).is_ok());
        for id in ["", "Upper", "-x", "9x", "a b", "a\nb", "é", &"x".repeat(65)] {
            assert!(with(|json| json["id"] = id.into()).is_err(), "{id:?}");
        }
        assert!(with(|json| json["vendor"] = "\u{1b}[2J".into()).is_err());
        assert!(with(|json| json["summary"] = "x".repeat(513).into()).is_err());
        assert!(with(|json| json["plugin_api"] = serde_json::json!([])).is_err());
        assert!(with(|json| json["plugin_api"] = serde_json::json!([-1])).is_err());
        assert!(with(|json| json["permissions"] = serde_json::json!(["camera:/dev/video0"])).is_err());
        assert!(with(|json| json["engines"] = vec!["x"; 65].into()).is_err());
        let setting = |key: &str, kind: &str| serde_json::json!({"key": key, "kind": kind});
        for settings in [
            vec![setting("A", "flag")],
            vec![setting("a", "")],
            vec![setting("a", "flag\u{7}")],
            vec![setting("a", "flag"), setting("a", "text")],
            vec![setting("a", "flag"); 65],
            vec![serde_json::json!({"key": "a"})],
        ] {
            assert!(with(|json| json["settings"] = settings.clone().into()).is_err(), "{settings:?}");
        }
        // One that says nothing of its settings is as good as before there were any.
        let older = with(|json| drop(json.as_object_mut().unwrap().remove("settings"))).unwrap();
        assert_eq!(older.settings, []);
        // A kind of the future is no mistake.
        assert!(with(|json| json["settings"] = vec![setting("a", "colour:rgb")].into()).is_ok());
        assert!(with(|json| drop(json.as_object_mut().unwrap().remove("version"))).is_err());
    }

    #[test]
    fn bytes_that_are_no_manifest_are_refused() {
        for bytes in [&b""[..], &[0; 100], b"\xff\xfe", b"{", b"[]", b"null", "[".repeat(10_000).as_bytes()] {
            assert!(Manifest::parse(bytes).is_err(), "{:?}", &bytes[..bytes.len().min(20)]);
        }
        assert!(matches!(Manifest::parse(&vec![b' '; MAX_BYTES + 1]), Err(ManifestError::TooLarge(_))));
    }
}
