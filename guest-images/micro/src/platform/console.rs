//! The console: the 16550 serial port. Every byte is an exit (KVM splits string writes too), so say little.

use core::fmt::{self, Write};

use super::ports;

const DATA: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = 0x3f9;
const LINE_STATUS: u16 = 0x3fd;
const DATA_READY: u8 = 1;

/// The transmitter; the device takes a byte with every write, so there is nothing to wait for.
struct Transmitter;

impl Write for Transmitter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(write);
        Ok(())
    }
}

/// Prints `arguments`; [`println!`](crate::println) is the way to call it.
pub fn print(arguments: fmt::Arguments) {
    // The transmitter takes everything; an error could only come from a value's own formatting.
    let _ = Transmitter.write_fmt(arguments);
}

/// Sends a byte.
pub fn write(byte: u8) {
    ports::write_u8(DATA, byte);
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::platform::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Makes received bytes raise the serial line.
pub fn enable_receive_interrupt() {
    ports::write_u8(INTERRUPT_ENABLE, 1);
}

/// The next received byte, if there is one.
pub fn read() -> Option<u8> {
    (ports::read_u8(LINE_STATUS) & DATA_READY != 0).then(|| ports::read_u8(DATA))
}
