//! Bodies of the fuzz targets, run on random input by the tests too.
//!
//! A body reads its input as a list of operations a hostile guest, and the world outside, might do. It does
//! them on two machines, one of which is saved and restored whenever the input says so, and panics where they
//! differ, or where a disk asks its backing file for what it must not.

mod coverage;
mod disk_input;
mod driver;
mod input;
mod layout;
mod machine;
mod requests;

use crate::Output;
pub use coverage::Coverage;
use input::{Input, Operation};
use machine::{Lane, Machine};

/// Wide enough for anything a test input needs, and the bound on the work of one input.
const MAX_OPERATIONS: usize = 2000;

/// Receive and transmit queue of the network device.
const NET_LANES: [Lane; 2] = [Lane { slot: 0, queue: 0 }, Lane { slot: 0, queue: 1 }];
/// The queues of a disk and of the source of random bytes.
const DISK_LANES: [Lane; 2] = [Lane { slot: 2, queue: 0 }, Lane { slot: 1, queue: 0 }];

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
