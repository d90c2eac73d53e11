//! How often the guest exited and for what, and what it was told: the figures behind every "where does the log come
//! from".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::{NetDrops, Platform, Violation};
use ftlog::Event;
use serde::{Deserialize, Serialize};

use crate::{kvm::Exit, memory::ENTRY_CLOCK_PORT};

/// Sync points by what the guest wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitCounts {
    /// The kernel-entry clock.
    pub entry_clock: u64,
    /// Timer programmed.
    pub timer: u64,
    /// Clock read by port.
    pub clock: u64,
    /// Console.
    pub uart: u64,
    /// Interrupt controller.
    pub interrupts: u64,
    /// Buffers offered to the network card.
    pub net_notify: u64,
    /// Buffers offered to the entropy device.
    pub rng_notify: u64,
    /// Requests to a disk; one exit may announce many.
    pub disk_notify: u64,
    /// A virtio device's interrupt looked up or acknowledged.
    pub virtio_interrupt: u64,
    /// Any other virtio register: drivers that start.
    pub virtio_other: u64,
    /// Nothing to do.
    pub halt: u64,
    /// An MSR that is not there.
    pub msr: u64,
    /// None: stopped where it was, since something had waited for too long.
    pub forced: u64,
    /// Other ports and addresses.
    pub other: u64,
}

/// How much of one kind of event there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// How many.
    pub count: u64,
    /// Bytes of their payloads, all of which the log holds.
    pub bytes: u64,
}

/// What the guest was told, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Frames from the network.
    pub net: EventCount,
    /// Console input.
    pub console: EventCount,
    /// Disk requests done; their bytes are what was read.
    pub disk: EventCount,
    /// Random bytes.
    pub entropy: EventCount,
}

/// Both, since this process has had the machine, and how its devices do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sync points.
    pub exits: ExitCounts,
    /// Events at them.
    pub events: EventCounts,
    /// Frames that the network card dropped since power-on.
    pub drops: NetDrops,
    /// Devices that wait for their reset, by virtio slot, and why.
    pub violations: Vec<(u8, Violation)>,
    /// Resets of the machine.
    pub resets: u64,
}

/// Counts for the vCPU thread; clones read the same counts from other threads. No part of the machine's state.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

/// The window of the virtio devices: slots of a page each.
const VIRTIO: std::ops::Range<u64> = 0xd000_0000..0xd000_8000;
/// Registers of a slot.
const QUEUE_NOTIFY: u64 = 0x50;
const INTERRUPT_STATUS: u64 = 0x60;
const INTERRUPT_ACK: u64 = 0x64;

impl Tally {
    /// The counts now.
    pub fn now(&self) -> Counts {
        self.counts().clone()
    }

    /// Counts a complete sync point.
    pub(super) fn add(&self, exit: Exit, events: &[Event]) {
        let mut counts = self.counts();
        if let Some(count) = counts.exits.of(exit) {
            *count += 1;
        }
        for event in events {
            let of_kind = match event {
                Event::NetFrame { .. } => &mut counts.events.net,
                Event::ConsoleInput(_) => &mut counts.events.console,
                Event::DiskDone { .. } => &mut counts.events.disk,
                Event::Entropy { .. } => &mut counts.events.entropy,
            };
            of_kind.count += 1;
            of_kind.bytes += event.payload().len() as u64;
        }
    }

    /// Takes down how the devices do after a sync point.
    pub(super) fn look_at(&self, devices: &Platform) {
        let mut counts = self.counts();
        counts.drops = devices.counters().net_drops;
        counts.violations.clear();
        counts.violations.extend(devices.violations().map(|(slot, violation)| (slot, violation.clone())));
    }

    /// Counts a reset.
    pub(super) fn add_reset(&self) {
        self.counts().resets += 1;
    }

    /// Hardly ever contended: others look a hundred times a second at most.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExitCounts {
    /// All sync points.
    pub fn total(&self) -> u64 {
        let Self { entry_clock, timer, clock, uart, interrupts, net_notify, rng_notify, .. } = self;
        let Self { disk_notify, virtio_interrupt, virtio_other, halt, msr, forced, other, .. } = self;
        entry_clock
            + timer
            + clock
            + uart
            + interrupts
            + net_notify
            + rng_notify
            + disk_notify
            + virtio_interrupt
            + virtio_other
            + halt
            + msr
            + forced
            + other
    }

    fn of(&mut self, exit: Exit) -> Option<&mut u64> {
        Some(match exit {
            Exit::PioRead { port, .. } | Exit::PioWrite { port, .. } => match port {
                ENTRY_CLOCK_PORT => &mut self.entry_clock,
                0x520..=0x52b => &mut self.timer,
                0x530..=0x53b => &mut self.clock,
                0x3f8..=0x3ff => &mut self.uart,
                0x510..=0x517 => &mut self.interrupts,
                _ => &mut self.other,
            },
            Exit::MmioRead { gpa } | Exit::MmioWrite { gpa } if VIRTIO.contains(&gpa) => {
                match (gpa & 0xfff, (gpa >> 12) & 0xf) {
                    (QUEUE_NOTIFY, 0) => &mut self.net_notify,
                    (QUEUE_NOTIFY, 1) => &mut self.rng_notify,
                    (QUEUE_NOTIFY, _) => &mut self.disk_notify,
                    (INTERRUPT_STATUS | INTERRUPT_ACK, _) => &mut self.virtio_interrupt,
                    _ => &mut self.virtio_other,
                }
            }
            Exit::MmioRead { .. } | Exit::MmioWrite { .. } => &mut self.other,
            Exit::MsrRead { .. } | Exit::MsrWrite { .. } => &mut self.msr,
            Exit::Halt => &mut self.halt,
            Exit::Forced { .. } => &mut self.forced,
            Exit::Interrupted => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sync_point_is_counted_once_and_in_its_place() {
        let tally = Tally::default();
        let exits = [
            Exit::PioWrite { port: 0x550, size: 1 },
            Exit::PioWrite { port: 0x520, size: 4 },
            Exit::PioRead { port: 0x530, size: 4 },
            Exit::PioWrite { port: 0x3f8, size: 1 },
            Exit::PioWrite { port: 0x540, size: 4 },
            Exit::MmioWrite { gpa: 0xd000_0050 },
            Exit::MmioWrite { gpa: 0xd000_3050 },
            Exit::MmioRead { gpa: 0xd000_0060 },
            Exit::MmioRead { gpa: 0xd000_8050 },
            Exit::Halt,
            Exit::Forced { delta: 5 },
        ];
        for exit in exits {
            tally.add(exit, &[]);
        }
        tally.add(Exit::Interrupted, &[]);
        let counts = tally.now().exits;
        let expected = ExitCounts {
            entry_clock: 1,
            timer: 1,
            clock: 1,
            uart: 1,
            net_notify: 1,
            disk_notify: 1,
            virtio_interrupt: 1,
            halt: 1,
            forced: 1,
            other: 2,
            ..ExitCounts::default()
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.total(), exits.len() as u64);
    }

    #[test]
    fn what_the_guest_was_told_is_counted_in_bytes() {
        let tally = Tally::default();
        let read = Event::DiskDone { slot: 2, id: 7, status: 0, data: vec![0; 512] };
        tally.add(Exit::Halt, &[Event::ConsoleInput(vec![1, 2]), read]);
        let events = tally.now().events;
        assert_eq!(events.console, EventCount { count: 1, bytes: 2 });
        assert_eq!(events.disk, EventCount { count: 1, bytes: 512 });
        assert_eq!(events.net, EventCount::default());
    }
}
