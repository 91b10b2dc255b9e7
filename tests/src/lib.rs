//! What the tests of the real binary share: building it, and the plugins they throw at it.

pub mod build;
pub mod corpus;
pub mod dockerd;
pub mod documents;
pub mod engine;
pub mod gateway;
pub mod group;
pub mod lacking;
pub mod machine;
pub mod minisign;
pub mod misbehave;
pub mod neighbours;
pub mod network;
pub mod node;
pub mod pearlbed;
pub mod pool;
pub mod pool_world;
pub mod port;
pub mod ports;
pub mod reference_pool;
pub mod session;
pub mod stand_in;
pub mod surgery;
pub mod terminal;
