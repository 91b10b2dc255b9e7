//! The client of a pearl-gateway.

pub mod backoff;
pub mod desk;
pub mod protocol;

pub(super) async fn run(config: super::GatewayConfig, context: super::Context) {
    // The desk is not wired to a connection yet: the source ends at once.
    drop((config, context));
}
