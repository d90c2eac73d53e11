//! Probe: a storm of one-shot timer interrupts, taken between port reads and from sleep. The checksum takes in when
//! each one came: after how many port reads, and at what time. `rounds=N` counts the interrupts.
#![no_std]
#![no_main]

use micro::digest::Digest;
use micro::platform::{boot_params, clock, interrupts, ports, timer};
use micro::{arch, cmdline, println};

micro::guest!(main);

const SERIAL_SCRATCH: u16 = 0x3ff;
/// Port reads after which a missing interrupt is an error; the longest wait is some 30 of them.
const PATIENCE: u64 = 1_000_000;

fn main() -> u32 {
    let rounds = cmdline::rounds(boot_params::command_line(), 3_000);
    clock::start();
    interrupts::enable(interrupts::TIMER);
    let mut digest = Digest::default();
    for round in 0..rounds {
        timer::fire_in(1 + digest.value() as u32 % 500);
        let reads = if round % 4 == 3 { sleep() } else { work() };
        if reads == PATIENCE {
            println!("interrupts: none came in round {round}");
            return 3;
        }
        digest.add(reads);
        digest.add(clock::now_ns());
    }
    println!("interrupts: {rounds} rounds, checksum {:016x}", digest.value());
    0
}

/// Reads a port until the interrupt came; the number of reads.
fn work() -> u64 {
    let mut reads = 0;
    while arch::take_pending() == 0 && reads < PATIENCE {
        ports::read_u8(SERIAL_SCRATCH);
        reads += 1;
    }
    reads
}

/// Sleeps until the interrupt came.
fn sleep() -> u64 {
    while arch::take_pending() == 0 {
        arch::idle();
    }
    0
}
