//! The shape of a product as settings ask for it, held against the rules of the protocol (section 7): proofs of a shape that
//! breaks one are refused by every node, so whoever computes it earns nothing.
//!
//! Which of a provider's settings are its depth, its rank and its tile is said by their kinds; what is not set has its default.
//! Whether the matrices have room for the tile, and the machine for the matrices, is the provider's to say.

use pearl_pow::{MiningConfiguration, PeriodicPattern, parameters};
use pearlbed_plugin_api::Manifest;
use pearlbed_plugin_api::setting::{Alternative, Setting};
use serde_json::Value;

use super::Mistake;
use crate::text::printable;

/// The ranks of which the network takes proofs: powers of two, and none below 128 since the rank-penalty rule.
pub(super) const RANKS: [u64; 4] = [128, 256, 512, 1024];
/// A depth, in words.
pub(super) const DEPTHS: &str = "a multiple of 64 from 1024 to 65536";
/// A tile, in words.
pub(super) const TILES: &str = "a tile such as \"16x16\", or a table of the lists `rows` and `columns`";

/// Whether k may be `depth`, whatever the rank is (rules 11 to 13).
pub(super) fn is_depth(depth: u64) -> bool {
    let (low, high) = (u64::from(parameters::COMMON_DIM_MIN), u64::from(parameters::COMMON_DIM_MAX));
    (low..=high).contains(&depth) && depth.is_multiple_of(64)
}

/// The patterns of a tile, rows of A and columns of B; nothing where a value is none.
pub(super) fn tile(value: &Value) -> Option<(PeriodicPattern, PeriodicPattern)> {
    /// More than a tile can have, in one direction.
    const SIDE_MAX: u64 = 256;
    let [rows, columns] = match value.as_str() {
        Some(text) => {
            let (height, width) = text.split_once(['x', '×'])?;
            let side = |text: &str| text.trim().parse().ok().filter(|&side| side <= SIDE_MAX);
            [(0..side(height)?).collect::<Vec<u64>>(), (0..side(width)?).collect()]
        }
        None => {
            let offsets = |name: &str| -> Option<Vec<u64>> {
                value.get(name)?.as_array()?.iter().map(Value::as_u64).collect()
            };
            [offsets("rows")?, offsets("columns")?]
        }
    };
    Some((PeriodicPattern::from_offsets(&rows).ok()?, PeriodicPattern::from_offsets(&columns).ok()?))
}

/// Whether a setting is a part of a shape.
pub(super) fn is_part(setting: &Setting) -> bool {
    use Alternative::{Depth, Rank, Tile};
    matches!(&setting.alternatives()[..], [Depth | Rank | Tile])
}

/// What the user has set, or the default; and the setting, where the user has set it.
fn value<'a>(
    manifest: &'a Manifest,
    part: &Alternative,
    told: &impl Fn(&str) -> Option<&'a Value>,
) -> (Option<Value>, Option<&'a Setting>) {
    let Some(setting) = manifest.settings.iter().find(|one| one.alternatives() == [part.clone()]) else {
        return (None, None);
    };
    match told(&setting.key) {
        Some(value) => (Some(value.clone()), Some(setting)),
        None => (serde_json::from_str(&setting.default).ok(), None),
    }
}

/// The rule that a shape breaks which was asked for in part at least; `told` says what each key was set to, and `prefix` stands
/// before the key in what is said.
pub(super) fn check<'a>(
    manifest: &'a Manifest,
    prefix: &str,
    told: impl Fn(&str) -> Option<&'a Value>,
) -> Option<Mistake> {
    let [(depth, set_depth), (rank, set_rank), (shape, set_tile)] =
        [Alternative::Depth, Alternative::Rank, Alternative::Tile].map(|part| value(manifest, &part, &told));
    set_depth.or(set_rank).or(set_tile)?;
    // Without a depth there is no product to judge; a provider without a setting for its rank has the lowest.
    let depth = u32::try_from(depth?.as_u64()?).ok()?;
    let rank = rank.map_or(Some(RANKS[0]), |rank| rank.as_u64()).and_then(|rank| u16::try_from(rank).ok())?;
    let usual = PeriodicPattern::contiguous(16).ok()?;
    let (rows, columns) = shape.as_ref().and_then(tile).unwrap_or((usual, usual));
    let broken =
        parameters::check_configuration(&MiningConfiguration::dense(depth, rank, rows, columns)).err()?;
    let of_tile = matches!(broken.rule(), 16 | 17 | 20);
    let at_fault = if of_tile { set_tile.or(set_depth) } else { set_depth.or(set_rank) };
    let setting = at_fault.or(set_rank).or(set_tile)?;
    let right = match (broken.rule(), &*setting.default) {
        // Neither alone is wrong, and the default of one may be as wrong beside the other.
        (14 | 15, _) => fitting(depth, rank),
        (_, "") => "without it, what the provider likes best".to_owned(),
        (_, default) => format!("the default is {}", printable(default)),
    };
    Some(Mistake {
        key: format!("{}{}", printable(prefix), setting.key),
        problem: format!("breaks rule {} of the protocol (section 7): {broken}", broken.rule()),
        fix: format!("no node takes a proof of such a shape; {right}"),
    })
}

/// Which depths go with `rank`, and which ranks with `depth` (rules 14 and 15), in words.
fn fitting(depth: u32, rank: u16) -> String {
    let depths = |rank: u64| {
        let low = (16 * rank).max(parameters::COMMON_DIM_MIN.into());
        low..=(4 * rank * rank).min(parameters::COMMON_DIM_MAX.into())
    };
    let with_rank = depths(rank.into());
    let ranks = RANKS.iter().filter(|rank| depths(**rank).contains(&depth.into()));
    let ranks: Vec<String> = ranks.map(u64::to_string).collect();
    let with_depth = match ranks.is_empty() {
        true => "no rank".to_owned(),
        false => format!("rank {}", ranks.join(" or ")),
    };
    format!(
        "rank {rank} goes with a depth from {} to {}, and a depth of {depth} with {with_depth}",
        with_rank.start(),
        with_rank.end()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn said(extra: Value) -> Vec<String> {
        let manifest = json!({"id":"a-provider","version":"1.0.0","plugin_api":[1],"certificate_versions":[3],"settings":[
            {"key":"k","kind":"depth","default":"2048","per_device":true},
            {"key":"rank","kind":"rank","default":"128"},
            {"key":"tile","kind":"tile"}]});
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        let extra: Map<String, Value> = serde_json::from_value(extra).unwrap();
        let mistakes = super::super::check(&manifest, &extra, |_| false);
        mistakes.into_iter().map(|one| format!("`{}` {}; {}", one.key, one.problem, one.fix)).collect()
    }

    #[test]
    fn a_shape_whose_proofs_no_node_takes_is_named_with_its_rule_and_the_setting_at_fault() {
        for (extra, words) in [
            // What OpenJarvis' own loop computes.
            (
                json!({"k": 1024}),
                "`k` breaks rule 14 of the protocol (section 7): k = 1024 is less than 16 times the rank 128; no node",
            ),
            (json!({"rank": 256}), "`rank` breaks rule 14"),
            (json!({"rank": 32}), "`rank` is 32, but must be 128, or 256, or 512, or 1024"),
            (json!({"k": 1024, "rank": 32}), "`rank` is 32"),
            (json!({"k": 2080}), "`k` is 2080, but must be a multiple of 64 from 1024 to 65536"),
            (json!({"k": 65600}), "`k` is 65600"),
            (json!({"tile": "4x4"}), "`tile` breaks rule 17"),
            (json!({"tile": "16x15"}), "`tile` breaks rule 16"),
            (json!({"tile": "64x64"}), "`tile` breaks rule 17"),
            (json!({"tile": {"rows": [0, 1, 5], "columns": [0, 1]}}), "`tile` is {\"columns\":[0,1],"),
            (json!({"tile": "wide"}), "`tile` is \"wide\", but must be a tile such as"),
            (json!({"0000:01:00.0": {"k": 1024}}), "`0000:01:00.0.k` breaks rule 14"),
        ] {
            let said = said(extra.clone());
            assert!(said.len() == 1 && said[0].starts_with(words), "{extra}: {said:?}");
        }
        for extra in [
            json!({}),
            json!({"k": 4096, "rank": 256}),
            json!({"tile": "8x32"}),
            json!({"tile": {"rows": [0, 8, 64, 72], "columns": [0, 1, 8, 9, 32, 33, 40, 41]}}),
            json!({"rank": 256, "k": 1024, "0000:01:00.0": {}}),
        ] {
            let right = extra.get("k") != Some(&json!(1024));
            assert_eq!(said(extra.clone()).is_empty(), right, "{extra}");
        }
    }

    #[test]
    fn what_is_advised_against_a_rank_and_a_depth_that_do_not_go_together_puts_it_right() {
        for (extra, advice, right) in [
            (
                json!({"rank": 1024}),
                "rank 1024 goes with a depth from 16384 to 65536",
                json!({"rank": 1024, "k": 16384}),
            ),
            // The default of either would be as wrong.
            (
                json!({"rank": 1024, "k": 1024}),
                "and a depth of 1024 with no rank",
                json!({"rank": 1024, "k": 65536}),
            ),
            (
                json!({"rank": 512, "k": 4096}),
                "and a depth of 4096 with rank 128 or 256",
                json!({"rank": 256, "k": 4096}),
            ),
        ] {
            let wrong = said(extra.clone());
            assert!(wrong.len() == 1 && wrong[0].contains(advice), "{extra}: {wrong:?}");
            assert_eq!(said(right), Vec::<String>::new(), "{extra}");
        }
    }

    #[test]
    fn a_provider_that_says_nothing_of_its_shape_is_not_judged() {
        let manifest = json!({"id":"a","version":"1.0.0","plugin_api":[1],"certificate_versions":[3],
            "settings":[{"key":"k","kind":"integer"},{"key":"rank","kind":"rank","default":"128"}]});
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        let extra: Map<String, Value> = serde_json::from_value(json!({"k": 64, "rank": 1024})).unwrap();
        assert_eq!(super::super::check(&manifest, &extra, |_| false), []);
    }
}
