//! Bodies of the fuzz targets, run on random input by the tests too.
//!
//! A body reads its input as a list of operations a hostile guest, and the world outside, might do. It does
//! them on two machines, one of which is saved and restored whenever the input says so, and panics where they
//! differ, or where a disk asks its backing file for what it must not.

mod disk_input;
mod driver;
mod input;
mod machine;
mod requests;

use std::ops::Add;

use crate::Output;
use input::{Input, Operation};
use machine::{Lane, Machine};

const RAM_SIZE: usize = 0x1_0000;
/// Wide enough for anything a test input needs, and the bound on the work of one input.
const MAX_OPERATIONS: usize = 2000;
const SLOTS_BASE: u64 = 0xd000_0000;
const DISK_SECTORS: u64 = 64;

/// Receive and transmit queue of the network device.
const NET_LANES: [Lane; 2] = [Lane { slot: 0, queue: 0 }, Lane { slot: 0, queue: 1 }];
/// The queues of a disk and of the source of random bytes.
const DISK_LANES: [Lane; 2] = [Lane { slot: 2, queue: 0 }, Lane { slot: 1, queue: 0 }];

/// What came about while an input ran; shows a test that its inputs reach the parts they are meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Frames the guest sent.
    pub sent: u64,
    /// Frames the guest received.
    pub received: u64,
    /// Requests of disks to their backing files.
    pub disk_requests: u64,
    /// Those that were answered.
    pub disk_answers: u64,
    /// Answers that came for no request in flight.
    pub disk_answers_ignored: u64,
    /// Random bytes the guest was given, or could have been.
    pub entropy: u64,
    /// Violations of the virtio protocol.
    pub violations: u64,
    /// Saves and restores.
    pub restores: u64,
}

impl Add for Coverage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Coverage {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            disk_requests: self.disk_requests + other.disk_requests,
            disk_answers: self.disk_answers + other.disk_answers,
            disk_answers_ignored: self.disk_answers_ignored + other.disk_answers_ignored,
            entropy: self.entropy + other.entropy,
            violations: self.violations + other.violations,
            restores: self.restores + other.restores,
        }
    }
}

/// Arbitrary accesses, memory contents and input, for the whole platform but most of all its network device.
///
/// # Panics
/// When two machines that were given the same differ, or a saved state is refused.
pub fn virtio_net(data: &[u8]) -> Coverage {
    run(data, NET_LANES, Operation::read)
}

/// The same, but most of all for the disks, the answers of their backing files, and the source of random bytes.
///
/// # Panics
/// As [`virtio_net`], and when a disk asks for anything that is not wholly on it, or for more than it may.
pub fn virtio_blk(data: &[u8]) -> Coverage {
    run(data, DISK_LANES, Operation::read_for_disk)
}

fn run(data: &[u8], lanes: [Lane; 2], read: impl Fn(&mut Input) -> Operation) -> Coverage {
    let mut input = Input::new(data);
    let (mut plain, mut restored) = (Machine::new(lanes), Machine::new(lanes));
    let mut coverage = Coverage::default();
    for _ in 0..MAX_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = read(&mut input);
        let violations = plain.violations();
        let seen = plain.apply(&operation, &mut coverage);
        assert_eq!(seen, restored.apply(&operation, &mut Coverage::default()), "{operation:?}");
        assert_eq!(plain.outputs, restored.outputs, "{operation:?}");
        coverage.violations += plain.violations().saturating_sub(violations);
        coverage.sent +=
            plain.outputs.iter().filter(|output| matches!(output, Output::Net { .. })).count() as u64;
        coverage.disk_requests += plain.take_outputs();
        restored.take_outputs();
        if input.byte().is_multiple_of(8) {
            restored.save_and_restore();
            coverage.restores += 1;
        }
    }
    assert_eq!(plain.platform.save(), restored.platform.save());
    assert!(plain.ram() == restored.ram(), "guest memory differs");
    coverage
}
