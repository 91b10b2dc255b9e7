//! Holds a user's settings against the list in a plugin's manifest, before anything is started.
#![forbid(unsafe_code)]

use pearlbed_plugin_api::Manifest;
use pearlbed_plugin_api::setting::{Alternative, Setting};
use serde_json::{Map, Value};

use crate::config::nearest;
use crate::text::{self, printable};

mod shape;

/// The most characters that are quoted of what its author says of a setting.
const HELP_CHARS_MAX: usize = 160;

/// One setting that the provider would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, as it was written.
    pub key: String,
    /// What is wrong with it, as the end of the sentence "`key` …".
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

/// Whether the setting `key` is passed over for the provider of `manifest`: what other programs write for their own
/// machinery is no reason to refuse a provider that has none.
pub fn passes_over(manifest: &Manifest, key: &str) -> bool {
    let is_listed = || manifest.settings.iter().any(|setting| setting.key == key);
    manifest.engines.is_empty() && crate::config::keys::OF_OTHERS.contains(&key) && !is_listed()
}

/// What in `extra` the provider of `manifest` would not take, in the order of the keys.
///
/// A manifest that lists no settings says nothing of them, and nothing is checked. `is_ours` says which keys are the
/// host's own and of no concern here.
pub fn check(
    manifest: &Manifest,
    extra: &Map<String, Value>,
    is_ours: impl Fn(&str) -> bool,
) -> Vec<Mistake> {
    if manifest.settings.is_empty() {
        return Vec::new();
    }
    let mut mistakes = Vec::new();
    let per_device = manifest.settings.iter().any(|setting| setting.per_device);
    let whole = |key: &str| extra.get(key);
    for (key, value) in extra.iter().filter(|(key, _)| !is_ours(key)) {
        if let Some(setting) = manifest.settings.iter().find(|setting| setting.key == *key) {
            mistakes.extend(judge(setting, key, value));
        } else if let (true, true, Value::Object(own)) = (per_device, names_a_device(key), value) {
            for (inner, value) in own {
                let full = format!("{key}.{inner}");
                match manifest.settings.iter().find(|setting| setting.key == *inner) {
                    Some(setting) if setting.per_device => mistakes.extend(judge(setting, &full, value)),
                    Some(_) => mistakes.push(Mistake {
                        key: full,
                        problem: "cannot be set for one device alone".into(),
                        fix: format!("set `{inner}` for the whole miner"),
                    }),
                    None => mistakes.push(unknown(manifest, &full, inner)),
                }
            }
            // What a device is not told for itself it is told with the others.
            let told = |key: &str| own.get(key).or_else(|| whole(key));
            if mistakes.is_empty() && own.keys().any(|key| is_of_a_shape(manifest, key)) {
                mistakes.extend(shape::check(manifest, &format!("{key}."), told));
            }
        } else {
            mistakes.push(unknown(manifest, key, key));
        }
    }
    // Each by itself first: of a rank that there is not, no rule says more.
    if mistakes.is_empty() {
        mistakes.extend(shape::check(manifest, "", whole));
    }
    mistakes
}

fn is_of_a_shape(manifest: &Manifest, key: &str) -> bool {
    manifest.settings.iter().any(|setting| setting.key == key && shape::is_part(setting))
}

/// What a value must be, in words.
pub fn describe(setting: &Setting) -> String {
    let alternatives = setting.alternatives();
    if alternatives.contains(&Alternative::Unknown) {
        return text::value(&setting.kind);
    }
    alternatives.iter().map(words).collect::<Vec<_>>().join(", or ")
}

fn judge(setting: &Setting, key: &str, value: &Value) -> Option<Mistake> {
    if setting.alternatives().iter().any(|alternative| takes(alternative, value)) {
        return None;
    }
    // Its author's words, and not our advice.
    let help = match setting.help.trim_end_matches('.') {
        "" => String::new(),
        help => format!("; it is described as {}", text::quotation(help, HELP_CHARS_MAX)),
    };
    let fix = match &*setting.default {
        "" => format!("remove it, or see `pearlbed config keys --provider`{help}"),
        default => format!("the default is {}{help}", text::value(default)),
    };
    let found = printable(&value.to_string()).chars().take(60).collect::<String>();
    Some(Mistake {
        key: key.to_owned(),
        problem: format!("is {found}, but must be {}", describe(setting)),
        fix,
    })
}

fn unknown(manifest: &Manifest, key: &str, name: &str) -> Mistake {
    let known = || manifest.settings.iter().map(|setting| setting.key.as_str());
    let fix = match nearest(name, known()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it has {}", known().collect::<Vec<_>>().join(", ")),
    };
    let problem = format!("is no setting of `{}`", printable(&manifest.id));
    Mistake { key: printable(key).into_owned(), problem, fix }
}

fn takes(alternative: &Alternative, value: &Value) -> bool {
    let within = |low: &Option<f64>, high: &Option<f64>, number: f64| {
        low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high)
    };
    match alternative {
        Alternative::Flag => value.is_boolean(),
        Alternative::Text => value.as_str().is_some_and(|text| !text.chars().any(char::is_control)),
        Alternative::Table => value.is_object(),
        Alternative::Integer(low, high) => value.as_i64().is_some_and(|number| {
            low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high)
        }),
        Alternative::Number(low, high) => value.as_f64().is_some_and(|number| within(low, high, number)),
        Alternative::Choice(texts) => value.as_str().is_some_and(|text| texts.iter().any(|one| one == text)),
        Alternative::Integers => value.as_array().is_some_and(|items| items.iter().all(Value::is_i64)),
        Alternative::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        Alternative::Depth => value.as_u64().is_some_and(shape::is_depth),
        Alternative::Rank => value.as_u64().is_some_and(|rank| shape::RANKS.contains(&rank)),
        Alternative::Tile => shape::tile(value).is_some(),
        // One of the future, and of kinds that this host does not know.
        _ => true,
    }
}

fn words(alternative: &Alternative) -> String {
    fn range<T: std::fmt::Display + PartialEq>(what: &str, low: &Option<T>, high: &Option<T>) -> String {
        match (low, high) {
            (Some(low), Some(high)) if low == high => low.to_string(),
            (Some(low), Some(high)) => format!("{what} from {low} to {high}"),
            (Some(low), None) => format!("{what} of at least {low}"),
            (None, Some(high)) => format!("{what} of at most {high}"),
            (None, None) => what.to_owned(),
        }
    }
    match alternative {
        Alternative::Flag => "true or false".into(),
        Alternative::Text => "text".into(),
        Alternative::Table => "a table".into(),
        Alternative::Integer(low, high) => range("a whole number", low, high),
        Alternative::Number(low, high) => range("a number", low, high),
        Alternative::Choice(texts) => {
            let texts: Vec<_> = texts.iter().map(|text| format!("\"{}\"", printable(text))).collect();
            texts.join(" or ")
        }
        Alternative::Integers => "a list of whole numbers".into(),
        Alternative::Texts => "a list of texts".into(),
        Alternative::Depth => shape::DEPTHS.into(),
        Alternative::Rank => shape::RANKS.map(|rank| rank.to_string()).join(", or "),
        Alternative::Tile => shape::TILES.into(),
        _ => "whatever the provider takes".into(),
    }
}

/// Whether a key names a device, so that what stands under it is for that device alone.
fn names_a_device(key: &str) -> bool {
    key.parse::<crate::config::Device>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let text = r#"{"id":"a-provider","version":"1.0.0","plugin_api":[1],"certificate_versions":[3],"settings":[
            {"key":"threads","kind":"integer:0..1024","default":"0","help":"Worker threads."},
            {"key":"pin","kind":"flag|list:integer"},
            {"key":"kernel","kind":"choice:fast,safe","per_device":true},
            {"key":"heat","kind":"number:..95","per_device":true},
            {"key":"tile","kind":"text|table"},
            {"key":"names","kind":"list:text"},
            {"key":"shine","kind":"colour:rgb"}]}"#;
        Manifest::parse(text.as_bytes()).unwrap()
    }

    fn check_text(json: &str) -> Vec<String> {
        let extra: Map<String, Value> = serde_json::from_str(json).unwrap();
        check(&manifest(), &extra, |key| key == "gateway_port")
            .iter()
            .map(|Mistake { key, problem, fix }| format!("`{key}` {problem}; {fix}"))
            .collect()
    }

    #[test]
    fn what_the_manifest_allows_passes() {
        for json in [
            "{}",
            r#"{"threads": 0, "pin": true, "kernel": "fast", "heat": 80.5, "tile": "16x16", "gateway_port": "x"}"#,
            r#"{"threads": 1024, "pin": [0, 2], "heat": -3, "tile": {"rows": [0]}, "names": ["a"]}"#,
            r#"{"shine": [1, {"of": "the future"}]}"#,
            r#"{"0000:01:00.0": {"kernel": "safe", "heat": 70}, "GPU-1234abcd": {}}"#,
        ] {
            assert_eq!(check_text(json), Vec::<String>::new(), "{json}");
        }
    }

    #[test]
    fn what_it_does_not_allow_is_named_with_the_way_out() {
        for (json, said) in [
            (
                r#"{"threads": "two"}"#,
                "`threads` is \"two\", but must be a whole number from 0 to 1024; the default is 0; it is described as \"Worker threads\"",
            ),
            (r#"{"threads": 1025}"#, "`threads` is 1025, but must be a whole number from 0 to 1024"),
            (r#"{"threads": 1.5}"#, "`threads` is 1.5, but must be"),
            (r#"{"pin": "yes"}"#, "`pin` is \"yes\", but must be true or false, or a list of whole numbers"),
            (r#"{"kernel": "slow"}"#, "`kernel` is \"slow\", but must be \"fast\" or \"safe\""),
            (r#"{"thread": 2}"#, "`thread` is no setting of `a-provider`; did you mean `threads`?"),
            (r#"{"colour": 2}"#, "`colour` is no setting of `a-provider`; it has threads, pin,"),
            (
                r#"{"0000:01:00.0": {"threads": 2}}"#,
                "`0000:01:00.0.threads` cannot be set for one device alone",
            ),
            (
                r#"{"0000:01:00.0": {"heat": 99}}"#,
                "`0000:01:00.0.heat` is 99, but must be a number of at most 95",
            ),
            (r#"{"0000:01:00.0": 3}"#, "`0000:01:00.0` is no setting of"),
        ] {
            let mistakes = check_text(json);
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(said), "{json}: {mistakes:?}");
        }
    }

    #[test]
    fn what_is_written_for_another_program_s_container_is_passed_over_by_who_serves_nothing() {
        let mut manifest = manifest();
        assert!(passes_over(&manifest, "cuda_visible_devices"));
        assert!(!passes_over(&manifest, "cuda_visible_device"), "a word that nobody knows is a mistake");
        manifest.settings[0].key = "cuda_visible_devices".into();
        assert!(!passes_over(&manifest, "cuda_visible_devices"), "it is a setting of its own");
        manifest.settings[0].key = "threads".into();
        manifest.engines = vec!["vllm".into()];
        assert!(!passes_over(&manifest, "cuda_visible_devices"), "it serves, and may well mean it");
    }

    #[test]
    fn a_manifest_that_lists_nothing_lets_everything_pass() {
        let mut silent = manifest();
        silent.settings.clear();
        let extra = serde_json::from_str(r#"{"anything": 1}"#).unwrap();
        assert_eq!(check(&silent, &extra, |_| false), []);
    }
}
