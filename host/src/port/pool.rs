//! The pool dialect at the port: what a program is told (pool protocol sections 3.3 to 3.8).
//!
//! The lines are read and written by [`crate::work::stratum`]. Here is what the port makes of a job and of a verdict.

use pearl_pow::{Header, Target};

use crate::miner::frame::{Receipt, WireJob};
use crate::work::stratum::target::shown_difficulty;
use crate::work::stratum::to_miner;

/// The code for what is malformed or wrong.
pub const WRONG: i64 = 20;
/// The code for a job that is over.
pub const STALE: i64 = 21;
/// The code for a share that came before.
pub const DUPLICATE: i64 = 22;
/// The code for a share above its target.
pub const LOW: i64 = 23;
/// The code for somebody who has not logged in.
pub const STRANGER: i64 = 24;
/// The code for an unknown method.
pub const UNKNOWN: i64 = 25;

/// The lines that give a job out: the difficulty where it is another than before, and the job.
pub fn job(job: &WireJob, difficulty_is_news: bool) -> Vec<String> {
    let target = Target::from_le_bytes(job.target);
    let difficulty = shown_difficulty(target);
    let notify = to_miner::notify(&to_miner::Job {
        id: &job.id.to_string(),
        header: &Header::from_bytes(job.header),
        target,
        height: None,
        certificate_version: job.certificate_version,
        label: difficulty,
    });
    difficulty_is_news.then(|| to_miner::set_difficulty(difficulty)).into_iter().chain([notify]).collect()
}

/// The job that a share names, by its number; 0 where it is none that the port gives out. Some programs send the name as a
/// number.
pub fn job_number(job_id: &str) -> u64 {
    let name = job_id.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(job_id);
    name.parse().unwrap_or(0)
}

/// The answer to a share that was judged. A refusal's `reason` begins with the stage that failed.
pub fn verdict(id: &str, receipt: Receipt, reason: &str) -> String {
    let stage = reason.split(':').next().unwrap_or_default();
    match (receipt, stage) {
        (Receipt::Kept, _) => to_miner::accept(id),
        (Receipt::Stale, _) => to_miner::refuse(id, STALE, &format!("Stale share: {reason}")),
        (Receipt::Refused, "duplicate") => to_miner::refuse(id, DUPLICATE, "Duplicate share"),
        (Receipt::Refused, "difficulty") => {
            to_miner::refuse(id, LOW, &format!("Low difficulty share: {reason}"))
        }
        (Receipt::Refused, "job") => to_miner::refuse(id, STALE, "Job not found"),
        (Receipt::Refused, _) => to_miner::refuse(id, WRONG, &format!("Invalid proof: {reason}")),
        (Receipt::Busy, _) => {
            to_miner::refuse(id, WRONG, &format!("The share was not judged, send it again: {reason}"))
        }
    }
}

/// A line for the person who looks at the program's screen.
pub fn message(text: &str) -> String {
    serde_json::json!({ "id": null, "method": "client.show_message", "params": [text] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::stratum::{Class, FromPool, from_pool};

    #[test]
    fn our_own_client_understands_every_verdict() {
        let class = |receipt, reason: &str| {
            let line = verdict("7", receipt, reason);
            match from_pool::read(&line).unwrap() {
                FromPool::Reply(reply) => reply.verdict.class,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(class(Receipt::Kept, ""), Class::Accepted);
        assert_eq!(class(Receipt::Stale, "the job is over"), Class::Stale);
        assert_eq!(class(Receipt::Refused, "duplicate: it was handed in before"), Class::Duplicate);
        assert_eq!(class(Receipt::Refused, "difficulty: above the bound"), Class::LowDifficulty);
        assert_eq!(class(Receipt::Refused, "job: it is for job 7"), Class::Stale);
        assert_eq!(class(Receipt::Refused, "commitment: the root is another"), Class::Invalid);
    }

    #[test]
    fn our_own_client_reads_the_job_and_names_it_back() {
        let wire =
            WireJob { id: 12, header: [3; 76], target: [5; 32], certificate_version: 3, rank_penalty: true };
        let lines = job(&wire, true);
        let [difficulty, notify] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(difficulty.contains("mining.set_difficulty"));
        let FromPool::Job(line) = from_pool::read(notify).unwrap() else { panic!("{notify}") };
        let read = line.unwrap();
        assert_eq!(read.header.as_bytes(), &[3; 76]);
        assert_eq!(read.target.to_le_bytes(), [5; 32]);
        assert_eq!(job_number(&read.id), 12);
        assert_eq!(job(&wire, false).len(), 1);
    }

    #[test]
    fn a_name_that_is_none_of_ours_is_number_nought() {
        assert_eq!(
            ["\"12\"", "12", "\"x\"", "\"\"", "-1", "1e3", "[12]"].map(job_number),
            [12, 12, 0, 0, 0, 0, 0]
        );
    }
}
