//! Probe: sends back what the console sends, until it has read the line `bye`.
#![no_std]
#![no_main]

use micro::digest::Digest;
use micro::platform::{console, interrupts};
use micro::{arch, println};

micro::guest!(main);

/// The start of the line being read; the rest of a longer line only counts for the checksum.
#[derive(Default)]
struct Line {
    start: [u8; 8],
    length: usize,
}

impl Line {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.start.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    fn is_bye(&self) -> bool {
        self.length == 3 && self.start.starts_with(b"bye")
    }
}

fn main() -> u32 {
    interrupts::enable(interrupts::SERIAL);
    console::enable_receive_interrupt();
    println!("echo: ready");
    let mut digest = Digest::default();
    let mut line = Line::default();
    loop {
        while let Some(byte) = console::read() {
            console::write(byte);
            digest.add(u64::from(byte));
            match byte {
                b'\n' if line.is_bye() => {
                    println!("echo: checksum {:016x}", digest.value());
                    return 0;
                }
                b'\n' => line = Line::default(),
                b'\r' => {}
                _ => line.push(byte),
            }
        }
        arch::idle();
        arch::take_pending();
    }
}
