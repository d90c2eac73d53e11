//! The interrupt controller: 32 lines, pulses, a mask, no end-of-interrupt.

use serde::{Deserialize, Serialize};

/// Vector of line 0; line n has vector `VECTOR_BASE + n`.
pub const VECTOR_BASE: u8 = 0x20;
/// Port of the mask register (in and out, 32 bits): bit n = 1 keeps line n off.
pub(crate) const MASK_PORT: u16 = 0x510;
/// Port of the pending register (in, 32 bits).
pub(crate) const PENDING_PORT: u16 = 0x514;

const LINES: u8 = 32;

/// Collects pulses of the lines until the vCPU takes them.
#[derive(Debug)]
pub(crate) struct InterruptController {
    mask: u32,
    pending: u32,
}

/// Saved state of the interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptState {
    /// Bit n = 1 keeps line n off.
    pub mask: u32,
    /// Lines that fired and were not taken yet.
    pub pending: u32,
}

impl InterruptController {
    pub(crate) fn new() -> Self {
        InterruptController { mask: u32::MAX, pending: 0 }
    }

    /// A pulse on `line`; pulses that were not taken yet merge.
    pub(crate) fn raise(&mut self, line: u8) {
        debug_assert!(line < LINES);
        self.pending |= 1 << line;
    }

    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    pub(crate) fn set_mask(&mut self, mask: u32) {
        self.mask = mask;
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending
    }

    /// The vector of the lowest pending line that is not masked.
    pub(crate) fn next_vector(&self) -> Option<u8> {
        let deliverable = self.pending & !self.mask;
        // At most 31 when a bit is set, so it fits a u8.
        (deliverable != 0).then(|| VECTOR_BASE + deliverable.trailing_zeros() as u8)
    }

    /// The vCPU took `vector`: its line is no longer pending. A vector of no line changes nothing.
    pub(crate) fn acknowledge(&mut self, vector: u8) {
        let line = vector.wrapping_sub(VECTOR_BASE);
        if line < LINES {
            self.pending &= !(1 << line);
        }
    }

    pub(crate) fn save(&self) -> InterruptState {
        let Self { mask, pending } = self;
        InterruptState { mask: *mask, pending: *pending }
    }

    pub(crate) fn restore(state: &InterruptState) -> Self {
        let InterruptState { mask, pending } = state;
        InterruptController { mask: *mask, pending: *pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_masked_at_reset() {
        let mut interrupts = InterruptController::new();
        (0..LINES).for_each(|line| interrupts.raise(line));
        assert_eq!(interrupts.pending(), u32::MAX);
        assert_eq!(interrupts.next_vector(), None);
    }

    #[test]
    fn lowest_unmasked_line_comes_first_and_is_taken_once() {
        let mut interrupts = InterruptController::new();
        interrupts.set_mask(!((1 << 4) | (1 << 31)));
        for line in [31, 4, 0, 4] {
            interrupts.raise(line);
        }
        assert_eq!(interrupts.next_vector(), Some(0x24));
        interrupts.acknowledge(0x24);
        assert_eq!(interrupts.next_vector(), Some(0x3f));
        interrupts.acknowledge(0x3f);
        assert_eq!(interrupts.next_vector(), None);
        assert_eq!(interrupts.pending(), 1, "a masked line stays pending");
    }

    #[test]
    fn acknowledging_a_vector_of_no_line_changes_nothing() {
        let mut interrupts = InterruptController::new();
        (0..LINES).for_each(|line| interrupts.raise(line));
        for vector in [0, 0x1f, 0x40, 0xff] {
            interrupts.acknowledge(vector);
        }
        assert_eq!(interrupts.pending(), u32::MAX);
    }
}
