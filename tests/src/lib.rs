//! What the tests of the real binary share: building it, and the plugins they throw at it.

pub mod build;
pub mod gateway;
pub mod misbehave;
pub mod network;
pub mod node;
<<<<<<< HEAD
pub mod session;
=======
pub mod pearlbed;
>>>>>>> 459c9bc (sandbox: prove in real children that grants work and nothing else does; bench: scan)
pub mod surgery;
