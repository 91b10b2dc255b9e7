//! A machine that runs PTX, instruction by instruction, by the rules of NVIDIA's manual: the subset that our kernels are
//! compiled to. No card has to be here for them to be compared with `pow`.
//!
//! Threads of a warp run together at the lowest place that any of them has reached, but for those that wait for the others
//! at a barrier or a matrix instruction. What the manual leaves open is made
//! to fail: a copy that nobody waited for has not happened, memory outside of what was allocated is not there, and a
//! matrix instruction that not all lanes reach ends the test.

mod machine;
mod text;

pub(crate) use machine::Memory;
pub(crate) use text::Module;
