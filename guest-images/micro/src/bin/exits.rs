//! Probe: many VM exits, ports and memory-mapped registers mixed. `rounds=N` counts the exits.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // A volatile read of a device register.

use micro::digest::Digest;
use micro::platform::{boot_params, ports};
use micro::{cmdline, println};

micro::guest!(main);

const SERIAL_SCRATCH: u16 = 0x3ff;
/// Magic value of virtio slot 0; all ones when the VM has no network.
const VIRTIO_MAGIC: *const u32 = 0xd000_0000 as *const u32;

fn main() -> u32 {
    let rounds = cmdline::rounds(boot_params::command_line(), 100_000);
    let mut digest = Digest::default();
    for round in 0..rounds {
        let value = match round % 4 {
            0 => {
                ports::write_u8(SERIAL_SCRATCH, digest.value() as u8);
                0
            }
            1 | 2 => u32::from(ports::read_u8(SERIAL_SCRATCH)),
            // SAFETY: a device register outside RAM; reading it has no effect.
            _ => unsafe { VIRTIO_MAGIC.read_volatile() },
        };
        digest.add(u64::from(value));
    }
    println!("exits: {rounds} rounds, checksum {:016x}", digest.value());
    0
}
