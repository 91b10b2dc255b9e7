//! How a container stands, in a sentence, and what to do about it.

use std::time::Instant;

use super::life::{Life, Phase, SMALL_STEPS};
use super::recipe::Recipe;

/// The sentence, and the advice where there is any. `newest` is the last line that the container printed.
pub fn sentence(
    life: &Life,
    recipe: &Recipe,
    newest: Option<String>,
    now: Instant,
) -> (String, Option<String>) {
    let last = || match &newest {
        Some(line) => format!("; it said last: {}", crate::text::foreign(line)),
        None => String::new(),
    };
    let model = recipe.model.as_deref().map(crate::text::foreign).unwrap_or_else(|| "its model".into());
    let trouble = life.trouble();
    let why = || trouble.map(|trouble| trouble.what.clone()).unwrap_or_default();
    let sentence = match life.phase() {
        Phase::Waiting => "it waits for the first job".to_owned(),
        Phase::Paused => "it rests, and its cards are free".to_owned(),
        Phase::Looking => "its engine and its image are being looked for".to_owned(),
        Phase::Pulling => format!("its image {} is being fetched{}", recipe.image, last()),
        Phase::Unfit(version) => format!(
            "the network wants proofs for certificate {version}, and what is in its image makes those for {}",
            recipe.certificates.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
        ),
        Phase::Starting => "its container is being made".to_owned(),
        Phase::Loading if recipe.is_gateway() => format!("the gateway begins{}", last()),
        Phase::Loading => format!("{model} is being loaded{}", last()),
        _ if recipe.is_gateway() && life.phase().serves() => "the gateway answers".to_owned(),
        Phase::Serving => format!("{model} is served, and long prompts mine"),
        Phase::Silent => "it serves and does not mine: nobody in it asks for work".to_owned(),
        Phase::SmallSteps => format!(
            "it serves and does not mine: no step was large enough for {} minutes",
            SMALL_STEPS.as_secs() / 60
        ),
        Phase::Restarting(at) => {
            format!("{}; it starts again in {} s", why(), at.saturating_duration_since(now).as_secs())
        }
        Phase::Failed => format!("it is given up: {}", why()),
        Phase::Stopping => "its container is being ended".to_owned(),
        Phase::Stopped => "its container has ended".to_owned(),
    };
    let hint = match life.phase() {
        Phase::Unfit(_) => Some("get a newer image, and the data file that goes with it".to_owned()),
        Phase::Paused => Some("`pearlbed resume` starts it again".to_owned()),
        Phase::Silent => {
            Some("look whether the model has mining layers: `pearlbed logs --provider`".to_owned())
        }
        Phase::SmallSteps => Some(
            "only prompts of a thousand tokens and more mine; answers and short prompts never do".to_owned(),
        ),
        Phase::Restarting(_) | Phase::Failed => trouble.map(|trouble| trouble.fix.clone()),
        _ => None,
    };
    (sentence, hint)
}
