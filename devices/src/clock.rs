//! The virtual clock: two ports, and a page the guest reads without an exit.

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use crate::ram::Ram;
use crate::state::StateError;

/// Port (in, 32 bits): low half of virtual time in ns; latches the high half.
pub(crate) const LOW_PORT: u16 = 0x530;
/// Port (in, 32 bits): the latched high half.
pub(crate) const HIGH_PORT: u16 = 0x534;
/// Port (in and out, 32 bits): page frame number of the clock page, 0 for none.
pub(crate) const PAGE_PORT: u16 = 0x538;

const PAGE_SHIFT: u32 = 12;
const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// Tells the guest the virtual time and the wall-clock time at which it began.
#[derive(Debug)]
pub(crate) struct Clock {
    wall_base_ns: u64,
    latched_high: u32,
    page_frame: u32,
}

/// Saved state of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Unix time at power-on, in nanoseconds.
    pub wall_base_ns: u64,
    /// High half of the time last read through the low port.
    pub latched_high: u32,
    /// Page frame number of the clock page, 0 for none.
    pub page_frame: u32,
}

impl Clock {
    pub(crate) fn new(wall_base_ns: u64) -> Self {
        Clock { wall_base_ns, latched_high: 0, page_frame: 0 }
    }

    /// No page is the clock's any more; time goes on.
    pub(crate) fn reset(&mut self) {
        *self = Clock::new(self.wall_base_ns);
    }

    pub(crate) fn read_low(&mut self, now_ns: u64) -> u32 {
        self.latched_high = (now_ns >> 32) as u32;
        now_ns as u32
    }

    pub(crate) fn read_high(&self) -> u32 {
        self.latched_high
    }

    pub(crate) fn page_frame(&self) -> u32 {
        self.page_frame
    }

    /// Sets the clock page and writes it. A page that is not wholly RAM is none: the register then reads 0.
    pub(crate) fn set_page_frame(&mut self, page_frame: u32, memory: &Ram, now_ns: u64) {
        self.page_frame = if page_is_ram(page_frame, memory) { page_frame } else { 0 };
        self.update_page(memory, now_ns);
    }

    /// Writes `{ time_ns: u64, wall_base_ns: u64 }`, little-endian, to the start of the clock page.
    pub(crate) fn update_page(&self, memory: &Ram, now_ns: u64) {
        if self.page_frame == 0 {
            return;
        }
        let mut words = [0; 16];
        words[..8].copy_from_slice(&now_ns.to_le_bytes());
        words[8..].copy_from_slice(&self.wall_base_ns.to_le_bytes());
        let written = memory.write_slice(&words, page_address(self.page_frame));
        debug_assert!(written.is_ok(), "the page was checked to be RAM when it was set");
    }

    pub(crate) fn save(&self) -> ClockState {
        let Self { wall_base_ns, latched_high, page_frame } = self;
        ClockState { wall_base_ns: *wall_base_ns, latched_high: *latched_high, page_frame: *page_frame }
    }

    pub(crate) fn restore(state: &ClockState, memory: &Ram) -> Result<Self, StateError> {
        let ClockState { wall_base_ns, latched_high, page_frame } = *state;
        if page_frame != 0 && !page_is_ram(page_frame, memory) {
            return Err(StateError::ClockPage { page_frame });
        }
        Ok(Clock { wall_base_ns, latched_high, page_frame })
    }
}

fn page_address(page_frame: u32) -> GuestAddress {
    GuestAddress(u64::from(page_frame) << PAGE_SHIFT)
}

fn page_is_ram(page_frame: u32, memory: &Ram) -> bool {
    memory.check_range(page_address(page_frame), PAGE_SIZE, Permissions::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RAM of two and a half pages.
    fn memory() -> Ram {
        Ram::from_ranges(&[(GuestAddress(0), 0x2800)]).unwrap()
    }

    #[test]
    fn high_half_is_the_one_of_the_last_low_read() {
        let mut clock = Clock::new(0);
        assert_eq!(clock.read_low(0x1_ffff_ffff), 0xffff_ffff);
        assert_eq!(clock.read_high(), 1);
        assert_eq!(clock.read_low(0x2_0000_0000), 0);
        assert_eq!(clock.read_high(), 2);
    }

    #[test]
    fn page_holds_time_and_wall_base() {
        let (mut clock, memory) = (Clock::new(0x1122), memory());
        clock.set_page_frame(1, &memory, 5);
        assert_eq!(clock.page_frame(), 1);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(0x1000)).unwrap(), 5);
        clock.update_page(&memory, 9);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(0x1000)).unwrap(), 9);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(0x1008)).unwrap(), 0x1122);
    }

    #[test]
    fn page_outside_ram_is_none() {
        let (mut clock, memory) = (Clock::new(1), memory());
        for page_frame in [2, 3, 0x8_0000, u32::MAX] {
            clock.set_page_frame(1, &memory, 0);
            clock.set_page_frame(page_frame, &memory, 7);
            assert_eq!(clock.page_frame(), 0, "frame {page_frame:#x}");
            let state = ClockState { page_frame, ..clock.save() };
            assert!(matches!(Clock::restore(&state, &memory), Err(StateError::ClockPage { .. })));
        }
        assert_eq!(memory.read_obj::<u64>(GuestAddress(0x1000)).unwrap(), 0);
    }
}
