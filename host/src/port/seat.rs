//! The link between a miner and a program at the port: one seat of the port process.

use tokio::sync::mpsc;

use super::wire::{SeatId, ToPort};
use crate::miner::frame::ToProvider;
use crate::miner::link::Link;

/// One seat, from the supervisor's side. Dropping it closes the program's connections.
#[derive(Debug)]
pub struct Seat {
    id: SeatId,
    frames: mpsc::Sender<ToPort>,
}

impl Seat {
    /// The seat `id` of the port process that `frames` leads to.
    pub fn new(id: SeatId, frames: mpsc::Sender<ToPort>) -> Self {
        Self { id, frames }
    }
}

impl Link for Seat {
    fn send(&mut self, frame: ToProvider) -> bool {
        self.frames.try_send(ToPort::Tell(self.id, frame)).is_ok()
    }

    fn end(&mut self) -> String {
        // A port process that does not read any more is ended by whoever holds it.
        let _ = self.frames.try_send(ToPort::Close(self.id));
        "its connection was closed".into()
    }

    fn try_ended(&mut self) -> Option<String> {
        Some("it has disconnected".into())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.frames.try_send(ToPort::Close(self.id));
    }
}
