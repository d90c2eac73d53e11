//! Probe: one-shot timer interrupts that come while the guest computes and makes no exit but those of the kernel-entry
//! clock, which their handler counts as entries, too. The checksum takes in at which count of entries each one came.
//! `rounds=N` counts the interrupts.
#![no_std]
#![no_main]

use micro::digest::Digest;
use micro::platform::{boot_params, clock, entry_clock, interrupts, timer};
use micro::{arch, cmdline, println};

micro::guest!(main);

/// The longest wait for an interrupt, in microseconds.
const LONGEST: u32 = 2_000;

fn main() -> u32 {
    let rounds = cmdline::rounds(boot_params::command_line(), 1_000);
    clock::start();
    arch::count_interrupts();
    interrupts::enable(interrupts::TIMER);
    let mut digest = Digest::default();
    for _ in 0..rounds {
        timer::fire_in(1 + digest.value() as u32 % LONGEST);
        // For ever, on a monitor that has no kernel-entry clock or tells it wrong.
        while arch::take_pending() == 0 {
            entry_clock::enter();
            digest.add(entry_clock::entries());
        }
        digest.add(clock::now_ns());
    }
    println!("entries: {rounds} rounds, checksum {:016x}", digest.value());
    0
}
