//! Bodies of the fuzz targets, run on random input by the tests too.
//!
//! A body reads its input as a list of operations a hostile guest, and the world outside, might do. It does
//! them on two machines, one of which is saved and restored whenever the input says so, and panics where they
//! differ.

mod input;
mod machine;

use crate::Output;
use input::{Input, Operation};
use machine::Machine;

const RAM_SIZE: usize = 0x1_0000;
/// Wide enough for anything a test input needs, and the bound on the work of one input.
const MAX_OPERATIONS: usize = 2000;
const NET_BASE: u64 = 0xd000_0000;

/// What came about while an input ran; shows a test that its inputs reach the parts they are meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Frames the guest sent.
    pub sent: u64,
    /// Frames the guest received.
    pub received: u64,
    /// Violations of the virtio protocol.
    pub violations: u64,
    /// Saves and restores.
    pub restores: u64,
}

/// Arbitrary accesses, memory contents and input, for the whole platform but most of all its network device.
///
/// # Panics
/// When two machines that were given the same differ, or a saved state is refused.
pub fn virtio_net(data: &[u8]) -> Coverage {
    let mut input = Input::new(data);
    let (mut plain, mut restored) = (Machine::new(), Machine::new());
    let mut coverage = Coverage::default();
    for _ in 0..MAX_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = Operation::read(&mut input);
        let was_violated = plain.platform.net_violation().is_some();
        let answer = plain.apply(&operation, &mut coverage);
        assert_eq!(answer, restored.apply(&operation, &mut Coverage::default()), "{operation:?}");
        assert_eq!(plain.outputs, restored.outputs, "{operation:?}");
        coverage.sent +=
            plain.outputs.iter().filter(|output| matches!(output, Output::Net { .. })).count() as u64;
        coverage.violations += u64::from(!was_violated && plain.platform.net_violation().is_some());
        plain.outputs.clear();
        restored.outputs.clear();
        if input.byte().is_multiple_of(8) {
            restored.save_and_restore();
            coverage.restores += 1;
        }
    }
    assert_eq!(plain.platform.save(), restored.platform.save());
    assert!(plain.ram() == restored.ram(), "guest memory differs");
    coverage
}
