//! What a provider owes its host, one by one, each with the number by which everybody names it.
//!
//! `docs/contract.md` shows the same table; a test compares the two. A number is never given to something else.

/// One thing that a provider owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obligation {
    /// Its name for ever, such as `P12`.
    pub id: &'static str,
    /// What is asked.
    pub asked: &'static str,
    /// What a session does where it is not kept.
    pub otherwise: &'static str,
    /// What an author can do about it.
    pub fix: &'static str,
}

macro_rules! obligations {
    ($($id:literal: $asked:literal, otherwise $otherwise:literal, fix $fix:literal;)*) => {
        /// Every obligation, in the order in which they come up.
        pub const OBLIGATIONS: &[Obligation] = &[
            $(Obligation { id: $id, asked: $asked, otherwise: $otherwise, fix: $fix }),*
        ];
    };
}

obligations! {
    "P1": "the file is a library for this machine, with an entry and a manifest",
        otherwise "it is skipped", fix "`pearlbed plugins inspect` shows every check of the file";
    "P2": "the code answers the manifest that its file shows",
        otherwise "another id is refused", fix "build both from one text, as the macros do";
    "P3": "the library loads, and its table can be called",
        otherwise "it is skipped", fix "`pearlbed plugins inspect` names what is wrong with the table or its libraries";
    "P4": "`detect` gives an answer: text in UTF-8 without control characters, a plausible rate, a reason for a no",
        otherwise "it is skipped", fix "answer OK with one printable line, or FAILED with a reason";
    "P5": "loading and `detect` do nothing but read and compute, and leave nothing behind",
        otherwise "what it tries is refused and shown", fix "move everything else to `start`";
    "P6": "loading and `detect` take less than two seconds",
        otherwise "it is cut off and skipped", fix "measure nothing in `detect`; estimate";
    "P7": "`detect` says the same when it is asked again",
        otherwise "`doctor` and `start` may disagree", fix "answer from the hardware that is described, not from the moment";
    "P8": "loading and `detect` do not end their process",
        otherwise "it is skipped", fix "run it under a debugger: docs/writing-a-provider.md says how";
    "P9": "`start` answers OK within ten seconds",
        otherwise "the session does not start, or restarts it", fix "start threads and return; prepare on them";
    "P10": "a job is taken within five seconds of its offer",
        otherwise "it is named as stalled and restarted", fix "wait in `next_job` whenever there is nothing to do";
    "P11": "on an easy job proofs are handed in",
        otherwise "it is named as stalled and restarted", fix "compare the jackpot of each tile with the bound of the job";
    "P12": "every proof that is handed in verifies, for the job that it is handed in for",
        otherwise "it is refused and counted against it", fix "`pearlbed verify` names the stage of a proof that was kept";
    "P13": "what `progress` tells is borne out by the proofs",
        otherwise "its claim is shown beside the true rate", fix "count multiply-accumulates once, of tiles that were compared with the bound";
    "P14": "a job that became stale is left within two seconds, and the next one taken",
        otherwise "its work is wasted, and its proofs are dropped", fix "ask `is_stale` at least ten times a second";
    "P15": "no proof is handed in twice",
        otherwise "the second is refused and counted against it", fix "draw new matrices, and hand in each hit once";
    "P16": "`stop` returns within five seconds",
        otherwise "its process is killed", fix "let threads end on `is_stale` and `next_job`, and join them";
    "P17": "after `stop` no thread of the provider's is left",
        otherwise "the next `start` has less of the machine", fix "join every thread in `stop`";
    "P18": "after `stop` it can be started again in the same process, and mines",
        otherwise "a session of a long-lived host cannot go on", fix "set back in `start` what `stop` set";
    "P19": "`stop` where nothing is started, and twice, is no error",
        otherwise "the instance is abandoned", fix "answer OK where there is nothing to stop";
    "P20": "`is_running` tells 1 from `start` to `stop`, and 0 before and after",
        otherwise "a provider that ended is not noticed, or one that mines is restarted", fix "tell whether the threads live";
    "P21": "`stats` answers at any time within a quarter of a second, with numbers that are some and details in JSON",
        otherwise "its numbers are not shown", fix "keep numbers in atomics; write an object or nothing";
    "P22": "a job of a certificate version that it does not declare is answered with no proof, and does not end its process",
        otherwise "hosts never offer one; this guards against one that errs", fix "look at `certificate_version` before the job is mined";
    "P23": "settings that it does not know are ignored, or refused with a reason in one line",
        otherwise "the user is shown a crash instead of a mistake", fix "check settings in `start` and answer FAILED with a sentence";
    "P24": "it mines within the memory of its `memory-hint`, or within 4 GiB where it has none",
        otherwise "users are told too little, and the system may end it", fix "raise the hint, or use less";
    "P25": "its process survives while it mines",
        otherwise "it is restarted with a back-off", fix "run it under a debugger: docs/writing-a-provider.md says how";
    "P26": "no thread of it panics",
        otherwise "its work may have stopped without a word", fix "the message says where; catch it, and let `is_running` answer 0";
    "P27": "it tries nothing that it was not granted",
        otherwise "each attempt is refused, and named in `status`", fix "ask for it in `permissions`, or leave it";
    "P28": "it prints nothing",
        otherwise "what it prints is kept apart, and cut", fix "`host.log` is there for that";
    "P29": "it logs less than 200 lines at once and 20 a second",
        otherwise "the rest is dropped and counted", fix "log what a user can act on";
    "P30": "after `stop` it lets go of its host",
        otherwise "memory grows with every start", fix "`release` once for each `retain`; in Rust, drop every `Host`";
    "P31": "it hands in proofs for jobs alone that it was given",
        otherwise "they are refused", fix "keep the job's id with its work";
    "P32": "it reports progress at least every two seconds and at most a thousand times a second",
        otherwise "its rate is not known, or its reports are slowed down", fix "report about ten times a second from one place";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_shows_this_table() {
        let document = include_str!("../../../docs/contract.md");
        let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| P")).collect();
        let table: Vec<_> = OBLIGATIONS
            .iter()
            .map(|Obligation { id, asked, otherwise, .. }| format!("| {id} | {asked} | {otherwise} |"))
            .collect();
        assert_eq!(rows, table);
    }

    #[test]
    fn ids_are_numbers_in_order() {
        for (at, obligation) in OBLIGATIONS.iter().enumerate() {
            assert_eq!(obligation.id, format!("P{}", at + 1));
        }
    }
}
