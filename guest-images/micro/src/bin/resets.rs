//! Probe: a machine that begins again and again, until `rounds=N` ms have passed. What it finds of
//! the life before would be in its last line.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // A mark in memory that nothing else knows of.

use core::ptr::addr_of_mut;

use micro::digest::Digest;
use micro::platform::{boot_params, clock, interrupts, power, timer};
use micro::{cmdline, println};

micro::guest!(main);

const MARK: u64 = 0x6c69_6665_2062_6566;

/// Zeroes in the image: what is found here was written in another life.
static mut LEFT_BEHIND: [u64; 1024] = [0; 1024];

fn main() -> u32 {
    let until_ns = u64::from(cmdline::rounds(boot_params::command_line(), 100)) * 1_000_000;
    // SAFETY: one thread, and no interrupt handler touches it.
    let left_behind = unsafe { &mut *addr_of_mut!(LEFT_BEHIND) };
    if left_behind.contains(&MARK) {
        println!("resets: the memory is that of the life before");
        return 3;
    }
    left_behind.fill(core::hint::black_box(MARK));
    let mut digest = Digest::default();
    digest.add(clock::now_ns());
    if clock::now_ns() != 0 {
        println!("resets: the clock page is that of the life before");
        return 4;
    }
    clock::start();
    let now_ns = clock::read_ports();
    digest.add(now_ns);
    println!("resets: alive at {now_ns} ns, checksum {:016x}", digest.value());
    if now_ns >= until_ns {
        println!("resets: {} rounds, checksum {:016x}", until_ns / 1_000_000, digest.value());
        return 0;
    }
    // A timer that is set and a page that is the clock's are not there afterwards.
    interrupts::enable(interrupts::TIMER);
    timer::fire_in(1);
    power::reset()
}
