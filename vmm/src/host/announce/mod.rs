//! Telling the network where the guest is now, so that switches send its frames to this host.

mod addresses;
mod frames;

use std::{sync::Arc, thread, time::Duration};

pub use addresses::Addresses;

use crate::host::{reserve, tap::Tap};

/// A lost announcement costs a client seconds, so it is made several times, further and further apart.
const REPEATS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(350),
    Duration::from_secs(1),
];

/// Announces now, and a few times more from a thread of its own.
pub fn announce(tap: &Arc<Tap>, addresses: &Addresses) {
    let frames = frames::of(addresses);
    let send = |tap: &Tap, frames: &[Vec<u8>]| frames.iter().for_each(|frame| tap.send(frame));
    send(tap, &frames);
    let tap = tap.clone();
    let again = reserve::spawn("announce", move || {
        for pause in REPEATS {
            thread::sleep(pause);
            send(&tap, &frames);
        }
    });
    if let Err(error) = again {
        tracing::warn!(%error, "the guest's new place is announced once only");
    }
}

#[cfg(test)]
mod tests;
