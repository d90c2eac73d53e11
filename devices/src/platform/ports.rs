//! The ports: which device answers, and with which width.

use super::Platform;
use crate::context::Context;
use crate::{clock, interrupts, power, serial, timer};

/// Port (out, 8 bits) of the kernel-entry clock: a guest comes to a sync point by writing it.
const ENTRY_CLOCK_PORT: u16 = 0x550;

impl Platform {
    /// The guest reads `port`, `size` bytes (1, 2 or 4) at a time, as often as `data` has room for (string
    /// I/O).
    pub fn pio_read(&mut self, ctx: &mut Context, port: u16, size: u8, data: &mut [u8]) {
        for item in data.chunks_mut(usize::from(size.clamp(1, 4))) {
            let value = match self.read_port(ctx, port, item.len()) {
                Some(value) => value,
                None => self.unassigned(),
            };
            item.copy_from_slice(&value.to_le_bytes()[..item.len()]);
        }
    }

    /// The guest writes `data` to `port`, `size` bytes (1, 2 or 4) at a time (string I/O).
    pub fn pio_write(&mut self, ctx: &mut Context, port: u16, size: u8, data: &[u8]) {
        for item in data.chunks(usize::from(size.clamp(1, 4))) {
            let mut value = [0; 4];
            value[..item.len()].copy_from_slice(item);
            if self.write_port(ctx, port, item.len(), u32::from_le_bytes(value)).is_none() {
                self.unassigned();
            }
        }
    }

    /// `None`: no device has this port with this width.
    fn read_port(&mut self, ctx: &Context, port: u16, size: usize) -> Option<u32> {
        let value = match (port, size) {
            (serial::FIRST_PORT..=serial::LAST_PORT, 1) => self.serial.read(port - serial::FIRST_PORT).into(),
            (interrupts::MASK_PORT, 4) => self.interrupts.mask(),
            (interrupts::PENDING_PORT, 4) => self.interrupts.pending(),
            (clock::LOW_PORT, 4) => self.clock.read_low(ctx.now_ns),
            (clock::HIGH_PORT, 4) => self.clock.read_high(),
            (clock::PAGE_PORT, 4) => self.clock.page_frame(),
            _ => return None,
        };
        Some(value)
    }

    /// `None`: no device has this port with this width.
    fn write_port(&mut self, ctx: &mut Context, port: u16, size: usize, value: u32) -> Option<()> {
        let interrupts = &mut self.interrupts;
        match (port, size) {
            (serial::FIRST_PORT..=serial::LAST_PORT, 1) => {
                self.serial.write(port - serial::FIRST_PORT, value as u8, interrupts, ctx.outputs);
            }
            (interrupts::MASK_PORT, 4) => interrupts.set_mask(value),
            (timer::RELATIVE_PORT, 4) => self.timer.arm_relative(value, ctx.now_ns),
            (timer::DEADLINE_LOW_PORT, 4) => self.timer.set_deadline_low(value),
            (timer::DEADLINE_HIGH_PORT, 4) => self.timer.set_deadline_high(value, ctx.now_ns, interrupts),
            (clock::PAGE_PORT, 4) => self.clock.set_page_frame(value, ctx.memory, ctx.now_ns),
            (power::PORT, 4) => self.power.turn_off(value, ctx.outputs),
            (power::RESET_PORT, 4) => self.power.write_reset(value, ctx.outputs),
            (power::KEYBOARD_PORT, 1) => self.power.write_keyboard(value as u8, ctx.outputs),
            (power::RESET_CONTROL_PORT, 1) => self.power.write_reset_control(value as u8, ctx.outputs),
            // The exit is all there is to it.
            (ENTRY_CLOCK_PORT, 1) => {}
            _ => return None,
        }
        Some(())
    }
}
