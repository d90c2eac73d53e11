//! Frames that a network device dropped, by reason.

use serde::{Deserialize, Serialize};

/// Frames that were dropped since power-on. Part of the device's state, and so equal on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDrops {
    /// For the guest, shorter than an Ethernet header or longer than the MTU allows.
    pub received_length: u64,
    /// For the guest, whose driver was not ready, or had broken the protocol.
    pub received_no_driver: u64,
    /// For the guest, which had offered no buffer.
    pub received_no_buffer: u64,
    /// For the guest, whose next buffer was too small.
    pub received_small_buffer: u64,
    /// From the guest, shorter than an Ethernet header or longer than the MTU allows.
    pub sent_length: u64,
}

/// Why a frame for the guest was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Length,
    NoDriver,
    NoBuffer,
    SmallBuffer,
}

impl NetDrops {
    /// All frames for the guest that were dropped.
    pub fn received(&self) -> u64 {
        let Self {
            received_length,
            received_no_driver,
            received_no_buffer,
            received_small_buffer,
            sent_length: _,
        } = self;
        [received_length, received_no_driver, received_no_buffer, received_small_buffer]
            .into_iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn drop_received(&mut self, reason: Dropped) {
        let count = match reason {
            Dropped::Length => &mut self.received_length,
            Dropped::NoDriver => &mut self.received_no_driver,
            Dropped::NoBuffer => &mut self.received_no_buffer,
            Dropped::SmallBuffer => &mut self.received_small_buffer,
        };
        *count = count.saturating_add(1);
    }

    pub(super) fn drop_sent(&mut self) {
        self.sent_length = self.sent_length.saturating_add(1);
    }
}
