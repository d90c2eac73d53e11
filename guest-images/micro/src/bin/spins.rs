//! Probe: one-shot timer interrupts that come while the guest computes in memory and makes neither an exit nor an entry into
//! its kernel. The checksum takes in after how much computing each one came. `rounds=N` counts the interrupts, `pages=N` is
//! the memory.
#![no_std]
#![no_main]

extern crate alloc;

use micro::digest::Digest;
use micro::platform::{boot_params, clock, interrupts, timer};
use micro::{arch, cmdline, println};

micro::guest!(main);

/// The longest wait for an interrupt, in microseconds.
const LONGEST: u32 = 2_000;
/// Words after which a page is cleared.
const CLEARS: u64 = 1 << 16;
/// Words in a page.
const WORDS: usize = 512;
/// Words cleared at a time: a whole page is among them, wherever the memory begins.
const CLEARED: usize = 2 * WORDS;

fn main() -> u32 {
    let command_line = boot_params::command_line();
    let rounds = cmdline::rounds(command_line, 20);
    let pages = cmdline::number(command_line, "pages", 64) as usize;
    let mut memory = alloc::vec![0u64; pages.div_ceil(2).max(1) * CLEARED];
    clock::start();
    interrupts::enable(interrupts::TIMER);
    let mut digest = Digest::default();
    let (mut total, begun_ns) = (0, clock::read_ports());
    for _ in 0..rounds {
        timer::fire_in(1 + digest.value() as u32 % LONGEST);
        let count = compute(&mut memory);
        total += count;
        digest.add(count);
        digest.add(clock::now_ns());
    }
    let took_us = (clock::read_ports() - begun_ns) / 1000;
    memory.iter().for_each(|word| digest.add(*word));
    println!("spins: {rounds} rounds, checksum {:016x}, {total} words in {took_us} us", digest.value());
    0
}

/// Writes all over the memory until the interrupt came: for ever, on a monitor that stops no guest where it is. Some of
/// it, and then some other, is cleared and left alone for a while. How many words were written.
fn compute(memory: &mut [u64]) -> u64 {
    let (mut count, mut cleared) = (0, 0);
    while arch::take_pending() == 0 {
        let place = (count as usize).wrapping_mul(521) % memory.len();
        if place / CLEARED != cleared {
            memory[place] = memory[place].rotate_left(7) ^ count;
        }
        count += 1;
        if count.is_multiple_of(CLEARS) {
            cleared = place / CLEARED;
            memory[cleared * CLEARED..][..CLEARED].fill(0);
        }
    }
    count
}
