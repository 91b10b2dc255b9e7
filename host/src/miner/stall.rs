//! When a provider that lives is called stalled: it takes no jobs, or finds nothing for far too long.
//!
//! A plain function of counts and times. What follows (a line, a restart) is the supervisor's to do.

use std::time::Duration;

/// Proofs that must have been due by a provider's own claim before it is blamed for finding none.
const BARREN_DUE: f64 = 30.0;
/// Proofs from which on what it found says more about its speed than its claim does.
const PROOFS_MIN: u64 = 3;
/// The chance that a provider of the speed that its proofs have borne out is merely unlucky, below which it is blamed.
const INNOCENCE_MIN: f64 = 1e-4;
/// Times [`Facts::patience`] after which a provider that has never reported a hash and found nothing is stalled.
const MUTE_PATIENCE: u32 = 10;

/// Times [`Facts::patience`] that are excused at most.
const EXCUSED_MOST: u32 = 9;

/// What is known of a provider that has been given work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// How long a provider may keep a fitting job waiting, or say nothing after it has said something.
    pub patience: Duration,
    /// How much of the time below it had no processor, or the host had none to listen with.
    pub excused: Duration,
    /// How long the job on offer has waited to be taken; nothing if it was taken or none is on offer.
    pub job_waits: Option<Duration>,
    /// How long ago it reported hashes; nothing if it never has.
    pub progress: Option<Duration>,
    /// How long it has been mining without a break: nothing unless it has taken the job on offer.
    pub mining: Option<Duration>,
    /// Mining time since the last verified proof, or since it began.
    pub barren: Duration,
    /// Proofs that were due in that time by its claim.
    pub barren_due: f64,
    /// Verified proofs so far.
    pub proofs: u64,
    /// The part of what it had claimed by the last of them that they bear out: 1 for an honest provider, not a number or
    /// infinite where it claimed nothing before.
    pub borne_out: f64,
}

/// Whether more than half of a time is over after which it would be stalled.
pub fn is_near(facts: &Facts) -> bool {
    let half = facts.patience / 2;
    if facts.job_waits.is_some_and(|waits| waits >= half) {
        return true;
    }
    match (facts.mining, facts.progress) {
        (Some(mining), Some(quiet)) => quiet.min(mining) >= half,
        (Some(mining), None) => mining >= half * MUTE_PATIENCE,
        (None, _) => false,
    }
}

/// Why the provider is stalled, in a phrase; nothing if it is not.
pub fn judge(facts: &Facts) -> Option<String> {
    let patience = facts.patience + facts.excused.min(facts.patience * EXCUSED_MOST);
    let seconds = |duration: Duration| duration.as_secs();
    let waited = match seconds(facts.excused) {
        0 => String::new(),
        seconds => format!(", {seconds} s of which it waited for a processor"),
    };
    if let Some(waits) = facts.job_waits.filter(|&waits| waits >= patience) {
        return Some(format!("has not taken the job that is on offer for {} s{waited}", seconds(waits)));
    }
    let mining = facts.mining?;
    match facts.progress {
        Some(quiet) if quiet.min(mining) >= patience => {
            return Some(format!("has reported no work for {} s{waited}", seconds(quiet)));
        }
        None if mining >= patience + facts.patience * (MUTE_PATIENCE - 1) && facts.barren >= mining => {
            return Some(format!("has reported no work and found nothing in {} s{waited}", seconds(mining)));
        }
        _ => {}
    }
    if facts.barren >= facts.patience && facts.barren_due >= BARREN_DUE && innocence(facts) < INNOCENCE_MIN {
        return Some(format!(
            "has found nothing for {} s, in which {:.0} proofs were due by its claim",
            seconds(facts.barren),
            facts.barren_due
        ));
    }
    None
}

/// The chance that a provider finds nothing for so long and still works: a provider that always boasts is not barren.
///
/// With `n` proofs its speed is known to about one part in the root of `n`; the chance of no event where `e` are due by a
/// rate so measured is `(1 + e / n)^-n`.
fn innocence(facts: &Facts) -> f64 {
    if facts.proofs < PROOFS_MIN {
        return (-facts.barren_due).exp();
    }
    let due = facts.barren_due * if facts.borne_out < 1.0 { facts.borne_out } else { 1.0 };
    let n = facts.proofs as f64;
    (1.0 + due / n).powf(-n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn mining(seconds: u64) -> Facts {
        Facts {
            patience: PATIENCE,
            mining: Some(Duration::from_secs(seconds)),
            progress: Some(Duration::from_secs(1)),
            barren: Duration::from_secs(seconds),
            ..Facts::default()
        }
    }

    #[test]
    fn a_provider_that_works_and_is_merely_unlucky_is_left_alone() {
        assert_eq!(judge(&Facts { barren_due: 10.0, ..mining(86_400) }), None);
        assert_eq!(judge(&Facts { barren_due: 1e6, ..mining(59) }), None);
        assert_eq!(judge(&Facts { patience: PATIENCE, ..Facts::default() }), None);
    }

    #[test]
    fn each_way_to_stall_is_named() {
        let waits = Facts { job_waits: Some(PATIENCE), patience: PATIENCE, ..Facts::default() };
        assert!(judge(&waits).unwrap().contains("not taken"));
        let quiet = Facts { progress: Some(PATIENCE), ..mining(90) };
        assert!(judge(&quiet).unwrap().contains("no work for 60 s"));
        let mute = Facts { progress: None, ..mining(600) };
        assert!(judge(&mute).unwrap().contains("no work and found nothing"));
        let barren = Facts { barren_due: 31.0, ..mining(61) };
        assert!(judge(&barren).unwrap().contains("31 proofs were due"));
    }

    #[test]
    fn time_without_a_processor_is_excused_and_not_for_ever() {
        let seconds = Duration::from_secs;
        let waits = |waits, excused| Facts {
            job_waits: Some(seconds(waits)),
            excused: seconds(excused),
            patience: PATIENCE,
            ..Facts::default()
        };
        assert!(!is_near(&waits(29, 0)) && is_near(&waits(30, 0)));
        assert_eq!(judge(&waits(90, 31)), None);
        let why = judge(&waits(90, 30)).unwrap();
        assert_eq!(
            why,
            "has not taken the job that is on offer for 90 s, 30 s of which it waited for a processor"
        );
        assert_eq!(judge(&waits(599, 599)), None);
        assert!(judge(&waits(600, 600)).is_some(), "ten times as long, and no longer");

        let quiet = |quiet, excused| Facts {
            progress: Some(seconds(quiet)),
            excused: seconds(excused),
            ..mining(900)
        };
        assert!(!is_near(&quiet(29, 0)) && is_near(&quiet(30, 0)));
        assert_eq!(judge(&quiet(100, 50)), None);
        assert!(judge(&quiet(110, 50)).unwrap().contains("no work for 110 s, 50 s of which"));
        let mute =
            |mining, excused| Facts { progress: None, excused: seconds(excused), ..self::mining(mining) };
        assert!(!is_near(&mute(299, 0)) && is_near(&mute(300, 0)));
        assert!(judge(&mute(600, 1)).is_none() && judge(&mute(601, 1)).is_some());
    }

    #[test]
    fn a_provider_that_boasts_is_judged_by_what_its_proofs_bear_out() {
        let boasts = Facts { barren_due: 1e6, proofs: 100, borne_out: 1e-6, ..mining(90) };
        assert_eq!(judge(&boasts), None, "one proof was due");
        assert!(judge(&Facts { barren_due: 3e7, ..boasts }).is_some());
        // Three proofs say little about its speed, but not nothing.
        let young = Facts { proofs: 3, borne_out: f64::INFINITY, ..boasts };
        assert_eq!(judge(&Facts { barren_due: 31.0, ..young }), None);
        assert!(judge(&Facts { barren_due: 70.0, ..young }).is_some());
        assert!(judge(&Facts { barren_due: 70.0, borne_out: f64::NAN, ..young }).is_some());
    }

    #[test]
    fn silence_counts_from_the_moment_there_was_work() {
        assert_eq!(judge(&Facts { progress: Some(Duration::from_secs(900)), ..mining(5) }), None);
    }
}
