//! What a pearld node is asked.

mod fate;

pub use fate::{BlockInfo, Fate, fate, parent};
