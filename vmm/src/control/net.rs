//! What `status` tells of the network card, and of devices that do nothing more.

use devices::{FIRST_DISK_SLOT, NET_SLOT, NetDrops, RNG_SLOT, Violation};
use machine::Counts;

use super::{Board, NetReport};
use crate::host::tap::Tap;

/// What does not work when a device waits for its reset.
const DEVICES: &str = "devices";

impl Board {
    /// Writes how the machine's devices do, whose frames go to `tap`. What begins to go wrong is told as an event too.
    pub fn tell_devices(&self, tap: Option<&Tap>, counts: &Counts) {
        let mut before = NetDrops::default();
        self.update(|status| {
            before = status.net.take().map_or(before, |net| net.drops);
            status.net = tap.map(|tap| NetReport {
                tap: tap.name().to_owned(),
                attached: tap.is_attached(),
                drops: counts.drops,
                untaken: tap.untaken(),
            });
        });
        for reason in begun(&before, &counts.drops) {
            self.notice(format!("net: the guest's card drops frames {reason}; status counts them"));
        }
        let broken: Vec<_> = counts.violations.iter().map(describe_broken).collect();
        match broken.is_empty() {
            true => self.well(DEVICES),
            false => self.trouble(DEVICES, broken.join("; ")),
        }
    }
}

fn describe_broken((slot, violation): &(u8, Violation)) -> String {
    let device = match *slot {
        NET_SLOT => "the network card".to_owned(),
        RNG_SLOT => "the source of random bytes".to_owned(),
        disk => format!("disk {}", disk - FIRST_DISK_SLOT),
    };
    format!(
        "{device} does nothing until the guest resets it, because its driver broke virtio's rules: {violation}"
    )
}

/// The reasons for which frames were not dropped before, and are now.
fn begun(before: &NetDrops, now: &NetDrops) -> Vec<&'static str> {
    [
        (
            before.received_length,
            now.received_length,
            "for the guest that are longer than its MTU, or cut off",
        ),
        (before.received_no_driver, now.received_no_driver, "for the guest, whose driver is not at work"),
        (before.received_no_buffer, now.received_no_buffer, "for the guest, which has no buffers for them"),
        (
            before.received_small_buffer,
            now.received_small_buffer,
            "for the guest, whose buffers are too small",
        ),
        (before.sent_length, now.sent_length, "from the guest that are longer than its MTU, or cut off"),
    ]
    .into_iter()
    .filter(|(before, now, _)| *before == 0 && *now > 0)
    .map(|(.., reason)| reason)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_waits_for_its_reset_and_a_first_drop_are_seen() {
        let board = Board::default();
        let violation = Violation::NotifiedQueue { queue: 7 };
        let mut counts =
            Counts { violations: vec![(0, violation.clone()), (3, violation)], ..Counts::default() };
        counts.drops.received_small_buffer = 1;
        board.tell_devices(None, &counts);
        let status = board.snapshot();
        let text = &status.troubles[0].text;
        assert!(
            text.contains("network card") && text.contains("disk 1") && text.contains("queue 7"),
            "{text}"
        );
        assert!(status.events.iter().any(|event| event.text.contains("buffers are too small")), "{status:?}");

        board.tell_devices(None, &Counts::default());
        let status = board.snapshot();
        assert!(status.troubles.is_empty() && status.events.last().unwrap().text.contains("works again"));
    }

    #[test]
    fn a_reason_is_told_once() {
        let some = NetDrops { sent_length: 3, ..NetDrops::default() };
        assert_eq!(begun(&NetDrops::default(), &some).len(), 1);
        assert!(begun(&some, &NetDrops { sent_length: 4, ..some }).is_empty());
    }
}
