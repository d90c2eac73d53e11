//! Probe: stretches of some 200 ms without an exit, in XMM registers and memory; `passes=N` makes them longer or shorter,
//! and `last=N` the last one. The checksum depends on these alone.
#![no_std]
#![no_main]

extern crate alloc;

use micro::digest::Digest;
use micro::platform::{boot_params, ports};
use micro::{cmdline, println};

micro::guest!(main);

const SERIAL_SCRATCH: u16 = 0x3ff;
const WORDS: usize = 128 * 1024;
const PASSES: u32 = 8_000;

fn main() -> u32 {
    let command_line = boot_params::command_line();
    let rounds = cmdline::rounds(command_line, 5);
    let passes = cmdline::number(command_line, "passes", PASSES);
    let last = cmdline::number(command_line, "last", passes);
    let mut memory = alloc::vec![1.0f64; WORDS];
    let mut digest = Digest::default();
    for round in 0..rounds {
        for pass in 0..if round + 1 == rounds { last } else { passes } {
            stir(&mut memory, f64::from(round) + f64::from(pass));
        }
        memory.iter().for_each(|word| digest.add(word.to_bits()));
        ports::write_u8(SERIAL_SCRATCH, digest.value() as u8);
    }
    println!("compute: {rounds} rounds, checksum {:016x}", digest.value());
    0
}

/// One pass over the memory; the compiler makes packed arithmetic of it. The values stay finite: each is halved before
/// something bounded is added.
fn stir(memory: &mut [f64], seed: f64) {
    let step = 1.0 / (seed + 3.0);
    for word in memory {
        *word = *word * 0.5 + step;
    }
}
