//! The miner port: programs that mine already, as miners of a session.
//!
//! ```text
//!  programs                port process (confined)                     supervisor
//!  gateway RPC ----\   serve: sockets --bytes--> desk             --FromPort--> process --> session --> Miner
//!  pool dialect ---/                   <--bytes-- (pure)          <---ToPort---  seat (a Link) <------/
//! ```
//!
//! What programs send is hostile text, so it is parsed in a confined process of ours, which has the listeners that it was
//! given, one pipe of frames, and nothing else: no network of its own, no files, no wallet, no secret. It knows no truth,
//! either: the supervisor verifies, counts and answers.
//!
//! [`lines`] finds lines in bytes, [`rpc`] and [`pool`] are the two dialects, [`desk`] is what the process does, a plain
//! function of bytes, frames and `now`; [`serve`] gives it sockets and a clock. [`wire`] is what the pipe carries. On the
//! supervisor's side, [`listen`] opens the addresses, [`process`] holds the process, and [`seat`] is the link to one program.
//!
//! A *seat* is what the process takes for one program: a connection, or all connections of one process where the kernel
//! tells whose they are. It becomes a row in `status`, with its own share target, ledger and rate.

pub mod desk;
pub mod lines;
pub mod listen;
pub mod pool;
pub mod process;
pub mod rpc;
pub mod seat;
pub mod serve;
pub mod wire;
