//! The manifest's JSON text, made while a plugin compiles.
//!
//! What could not be read back by [`Manifest::parse`](super::Manifest::parse) stops the compilation.

use super::{MAX_BYTES, MAX_LIST, MAX_TEXT_BYTES, PLATFORM, is_id};
use crate::{permission, setting};

/// The manifest as [`export_provider!`](crate::export_provider) is given it: borrowed, so that the JSON text can be
/// made while the plugin compiles.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Spec {
    pub id: &'static str,
    pub version: &'static str,
    pub vendor: &'static str,
    pub license: &'static str,
    pub homepage: &'static str,
    pub summary: &'static str,
    pub certificate_versions: &'static [u32],
    pub engines: &'static [&'static str],
    pub permissions: &'static [&'static str],
    pub settings: &'static [SettingSpec],
}

/// One setting as [`export_provider!`](crate::export_provider) is given it.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct SettingSpec {
    pub key: &'static str,
    pub kind: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    pub per_device: bool,
}

impl Spec {
    /// Stops the compilation where the manifest could not be read back.
    pub const fn check(&self) {
        assert!(is_id(self.id), "id: 1 to 64 lower-case letters, digits and dashes, beginning with a letter");
        assert!(!self.certificate_versions.is_empty(), "certificate_versions: name at least one");
        assert!(self.certificate_versions.len() <= MAX_LIST, "certificate_versions: at most 64");
        assert!(self.engines.len() <= MAX_LIST, "engines: at most 64");
        assert!(self.permissions.len() <= MAX_LIST, "permissions: at most 64");
        check_texts(&[self.version, self.vendor, self.license, self.homepage, self.summary]);
        check_texts(self.engines);
        check_texts(self.permissions);
        assert!(!self.version.is_empty(), "version: the crate has none");
        let mut i = 0;
        while i < self.permissions.len() {
            let mistake = permission::mistake(self.permissions[i]);
            assert!(mistake.is_empty(), "{}", mistake);
            i += 1;
        }
        assert!(self.settings.len() <= MAX_LIST, "settings: at most 64");
        let mut i = 0;
        while i < self.settings.len() {
            let setting = self.settings[i];
            assert!(setting::is_key(setting.key), "settings: a key is lower-case letters, digits and _");
            assert!(!setting.kind.is_empty(), "settings: each needs a kind");
            check_texts(&[setting.kind, setting.default, setting.help]);
            i += 1;
        }
        assert!(self.json_len() <= MAX_BYTES, "the manifest is longer than 64 KiB");
    }

    /// How many bytes [`Self::json`] needs.
    pub const fn json_len(&self) -> usize {
        self.write::<0>().len
    }

    /// The JSON text; `N` is [`Self::json_len`].
    pub const fn json<const N: usize>(&self) -> [u8; N] {
        let json = self.write::<N>();
        assert!(json.len == N, "the length of another manifest");
        json.bytes
    }

    const fn write<const N: usize>(&self) -> Json<N> {
        let mut json = Json { bytes: [0; N], len: 0 };
        json.raw("{\"schema\":1,\"id\":");
        json.text(self.id);
        json.raw(",\"version\":");
        json.text(self.version);
        json.raw(",\"vendor\":");
        json.text(self.vendor);
        json.raw(",\"license\":");
        json.text(self.license);
        json.raw(",\"homepage\":");
        json.text(self.homepage);
        json.raw(",\"summary\":");
        json.text(self.summary);
        json.raw(",\"plugin_api\":");
        json.numbers(crate::abi::VERSIONS);
        json.raw(",\"certificate_versions\":");
        json.numbers(self.certificate_versions);
        json.raw(",\"platforms\":");
        json.texts(&[PLATFORM]);
        json.raw(",\"engines\":");
        json.texts(self.engines);
        json.raw(",\"permissions\":");
        json.texts(self.permissions);
        if !self.settings.is_empty() {
            json.raw(",\"settings\":");
            json.settings(self.settings);
        }
        json.raw("}");
        json
    }
}

/// Stops the compilation where a text is none that can be read back.
const fn check_texts(texts: &[&str]) {
    let mut i = 0;
    while i < texts.len() {
        assert!(texts[i].len() <= MAX_TEXT_BYTES, "a text of the manifest is longer than 512 bytes");
        let controls = permission::has_control_characters(texts[i].as_bytes());
        assert!(!controls, "a text of the manifest holds control characters");
        i += 1;
    }
}

/// A JSON text of at most `N` bytes in the making; `len` counts also what found no room, so that `N = 0` measures.
struct Json<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Json<N> {
    const fn byte(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    const fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.byte(b'"');
        let mut i = 0;
        while i < bytes.len() {
            // Control characters never get here: `Spec::check` refuses them.
            if bytes[i] == b'"' || bytes[i] == b'\\' {
                self.byte(b'\\');
            }
            self.byte(bytes[i]);
            i += 1;
        }
        self.byte(b'"');
    }

    const fn texts(&mut self, texts: &[&str]) {
        self.byte(b'[');
        let mut i = 0;
        while i < texts.len() {
            if i > 0 {
                self.byte(b',');
            }
            self.text(texts[i]);
            i += 1;
        }
        self.byte(b']');
    }

    const fn settings(&mut self, settings: &[SettingSpec]) {
        let mut i = 0;
        while i < settings.len() {
            self.raw(if i == 0 { "[{\"key\":" } else { ",{\"key\":" });
            self.text(settings[i].key);
            self.raw(",\"kind\":");
            self.text(settings[i].kind);
            self.raw(",\"default\":");
            self.text(settings[i].default);
            self.raw(",\"help\":");
            self.text(settings[i].help);
            self.raw(if settings[i].per_device { ",\"per_device\":true}" } else { "}" });
            i += 1;
        }
        self.raw("]");
    }

    const fn numbers(&mut self, numbers: &[u32]) {
        self.byte(b'[');
        let mut i = 0;
        while i < numbers.len() {
            if i > 0 {
                self.byte(b',');
            }
            self.number(numbers[i]);
            i += 1;
        }
        self.byte(b']');
    }

    const fn number(&mut self, number: u32) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.byte(b'0' + (number % 10) as u8);
    }
}
