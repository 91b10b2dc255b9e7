//! What a pool can be told to do wrong. The groups are those of the pool protocol's section 11.

use std::time::Duration;

/// What a pool does wrong on one connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// connect: accepts and says nothing.
    Silent,
    /// connect: closes at once.
    CloseAtOnce,
    /// connect: is so slow to say anything at all.
    SlowAccept(Duration),
    /// connect: resets at once.
    Reset,
    /// connect: says this before anything else, and closes.
    Says(Vec<u8>),
    /// authorize: answers with this `error` member.
    RefuseLogin(&'static str),
    /// authorize: never answers.
    NoAck,
    /// authorize: answers so much later.
    AckLate(Duration),
    /// authorize: understands arrays only, and says nothing to an object.
    HangsOnObject,
    /// authorize: answers after the first job.
    AckAfterJob,
    /// authorize: answers yes and closes.
    AckThenDrop,
    /// authorize: understands arrays only.
    ArrayOnly,
    /// authorize: understands objects only.
    ObjectOnly,
    /// authorize: says this encoding.
    AckType(&'static str),
    /// jobs: none.
    NoJobs,
    /// jobs: so many, as fast as they are taken.
    Flood(usize),
    /// jobs: this member is that in every job.
    JobMember(&'static str, &'static str),
    /// jobs: their headers are a test network's, where blocks are as easy as the main network's never were; shares are
    /// verified against them.
    TestNetwork,
    /// jobs: each comes after another of the same name with another header.
    RepeatId,
    /// jobs: this text instead of that in every job.
    InJob(&'static str, &'static str),
    /// replies: none to shares.
    NoReplies,
    /// replies: so much later.
    LateReplies(Duration),
    /// replies: twice.
    Twice,
    /// replies: under an id that nobody asked with, and then under the right one.
    WrongId,
    /// replies: the id as text.
    TextId,
    /// replies: of two, the later first.
    Reversed,
    /// replies: yes to everything, without looking.
    YesOnly,
    /// replies: yes first, and then the verdict.
    YesFirst,
    /// replies: this `error` member for every share.
    RefuseShares(&'static str),
    /// framing: one byte at a time.
    OneByte,
    /// framing: nothing until the first job, and then all in one piece.
    Merged,
    /// framing: CRLF and blank lines.
    Crlf,
    /// framing: a line of this many bytes after the first job.
    LongLine(usize),
    /// framing: a line without end after the first job.
    Endless,
    /// framing: this line after the first job.
    Line(Vec<u8>),
    /// link: reads nothing after the login.
    ReadNothing,
    /// link: closes in the middle of the first share.
    EofInShare,
    /// link: resets in the middle of the first share.
    ResetInShare,
    /// hostile: asks for the version so many times.
    AsksVersion(usize),
    /// policy: so many shares are judged; the next one is answered with this `error` member, and the connection closed.
    BansAfter(usize, &'static str),
    /// policy: bans for an hour whoever's shares are stale to more than 30 %, once so many were judged.
    BansStale(u64),
    /// policy: closes the connection of whoever says nothing for so long.
    DropsIdle(Duration),
    /// policy: every second job is 64 times harder.
    Jumps,
}
