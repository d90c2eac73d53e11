//! Probe: clock reads by port and by page. Time must not run backwards, and the page must not run ahead of the ports.
//! `rounds=N` counts the readings of both.
#![no_std]
#![no_main]

use micro::digest::Digest;
use micro::platform::{boot_params, clock};
use micro::{cmdline, println};

micro::guest!(main);

fn main() -> u32 {
    let rounds = cmdline::rounds(boot_params::command_line(), 10_000);
    clock::start();
    let mut digest = Digest::default();
    let mut last = 0;
    for round in 0..rounds {
        let page_before = clock::now_ns();
        let ports = clock::read_ports();
        let page_after = clock::now_ns();
        if last > page_before || page_before > ports || ports > page_after {
            println!("clocks: round {round} went {last}, {page_before}, {ports}, {page_after} ns");
            return 3;
        }
        last = page_after;
        [page_before, ports, page_after, clock::wall_ns()].into_iter().for_each(|time| digest.add(time));
    }
    println!("clocks: {rounds} rounds, checksum {:016x}", digest.value());
    0
}
