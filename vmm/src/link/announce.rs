//! Telling the network where the guest is now, so that switches send its frames to this host.

use std::{sync::Arc, thread, time::Duration};

use crate::host::{reserve, tap::Tap};

const BROADCAST: [u8; 6] = [0xff; 6];
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
/// Ethernet over which IPv4 addresses of 4 bytes are resolved: hardware type 1 (RFC 826).
const ARP_PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// A lost announcement costs a client seconds, so it is made several times, further and further apart.
const REPEATS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(350),
    Duration::from_secs(1),
];

/// The IPv4 address a frame of the guest was sent from, if it tells.
pub fn source_address(frame: &[u8]) -> Option<[u8; 4]> {
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let address: [u8; 4] = match kind {
        ARP => frame.get(28..32)?.try_into().ok()?,
        IPV4 => frame.get(26..30)?.try_into().ok()?,
        _ => return None,
    };
    (address != [0; 4]).then_some(address)
}

/// The frame to send: a gratuitous ARP (RFC 5227, section 2.3) when the guest's address is known, otherwise a
/// reverse ARP request (RFC 903), which teaches switches the same.
pub fn frame(mac: [u8; 6], address: Option<[u8; 4]>) -> Vec<u8> {
    let (kind, operation, ip) = match address {
        Some(address) => (ARP, 1u16, address),
        None => (RARP, 3, [0; 4]),
    };
    let target = if address.is_some() { [0; 6] } else { mac };
    let mut frame = Vec::with_capacity(60);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(kind.to_be_bytes());
    frame.extend(ARP_PREFIX);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac);
    frame.extend(ip);
    frame.extend(target);
    frame.extend(ip);
    frame.resize(60, 0);
    frame
}

/// Announces now, and a few times more from a thread of its own.
pub fn announce(tap: &Arc<Tap>, mac: [u8; 6], address: Option<[u8; 4]>) {
    let frame = frame(mac, address);
    tap.send(&frame);
    let tap = tap.clone();
    let again = reserve::spawn("announce", move || {
        for pause in REPEATS {
            thread::sleep(pause);
            tap.send(&frame);
        }
    });
    if let Err(error) = again {
        tracing::warn!(%error, "the guest's new place is announced once only");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn an_announcement_tells_its_own_source() {
        let frame = frame(MAC, Some([10, 77, 0, 2]));
        assert_eq!(source_address(&frame), Some([10, 77, 0, 2]));
        assert_eq!(&frame[6..12], &MAC);
        assert_eq!(frame[28..32], frame[38..42], "gratuitous: sender and target are the same");
    }

    #[test]
    fn without_an_address_the_station_is_announced() {
        let frame = frame(MAC, None);
        assert_eq!(frame[12..14], RARP.to_be_bytes());
        assert_eq!(source_address(&frame), None);
    }

    #[test]
    fn short_frames_tell_nothing() {
        for length in 0..60 {
            let _ = source_address(&frame(MAC, Some([1, 2, 3, 4]))[..length]);
        }
    }
}
