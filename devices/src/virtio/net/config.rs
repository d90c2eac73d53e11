//! What a network device is, and how large its frames are.

use serde::{Deserialize, Serialize};

/// Smallest MTU that virtio allows (virtio 1.2, section 5.1.4.1).
pub const MIN_MTU: u16 = 68;
/// Largest MTU: the frame with both tags is the payload of one event of the log.
pub const MAX_MTU: u16 = u16::MAX - FRAME_EXTRA;
/// Ethernet's header and the tags of two nested VLANs (IEEE 802.1Q, 802.1ad), none of which the MTU counts.
const FRAME_EXTRA: u16 = 14 + 2 * 4;

/// A network device, for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetConfig {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The most that a frame carries behind its header, bytes; from [`MIN_MTU`] to [`MAX_MTU`].
    pub mtu: u16,
}

impl NetConfig {
    /// Most bytes of a frame (no FCS).
    pub(super) fn max_frame(&self) -> usize {
        usize::from(self.mtu) + usize::from(FRAME_EXTRA)
    }

    /// The configuration space (section 5.1.4): between address and MTU are fields of features that are not offered.
    pub(super) fn space(&self) -> Vec<u8> {
        [&self.mac[..], &[0; 4], &self.mtu.to_le_bytes()].concat()
    }

    /// A network device can be like that.
    pub(super) fn is_bounded(&self) -> bool {
        (MIN_MTU..=MAX_MTU).contains(&self.mtu)
    }
}
