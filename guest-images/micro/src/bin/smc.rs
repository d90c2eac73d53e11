//! Probe: self-modifying code. A function is rewritten before each call, with a port access now and then in between.
//! `rounds=N` counts the calls; the checksum depends on nothing else.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // Writes code and calls it.

use core::cell::UnsafeCell;
use core::ptr;

use micro::digest::Digest;
use micro::platform::{boot_params, ports};
use micro::{cmdline, println};

micro::guest!(main);

const SERIAL_SCRATCH: u16 = 0x3ff;
/// `mov eax, imm32; add|sub|xor eax, imm32; ret`
const CODE: [u8; 11] = [0xb8, 0, 0, 0, 0, 0x05, 0, 0, 0, 0, 0xc3];
const OPERATIONS: [u8; 3] = [0x05, 0x2d, 0x35];

/// A page of code. The platform's mapping leaves all memory executable.
#[repr(align(4096))]
struct CodePage(UnsafeCell<[u8; 4096]>);

// SAFETY: a guest has one vCPU and no threads.
unsafe impl Sync for CodePage {}

static PAGE: CodePage = CodePage(UnsafeCell::new([0; 4096]));

fn main() -> u32 {
    let rounds = cmdline::rounds(boot_params::command_line(), 200_000);
    let mut digest = Digest::default();
    for round in 0..rounds {
        let [first, second] = [digest.value() as u32, (digest.value() >> 32) as u32];
        let operation = round as usize % OPERATIONS.len();
        let place = (digest.value() % 4000) as usize;
        let value = write_and_call(place, OPERATIONS[operation], first, second);
        let expected = match operation {
            0 => first.wrapping_add(second),
            1 => first.wrapping_sub(second),
            _ => first ^ second,
        };
        if value != expected {
            println!("smc: round {round}: stale code gave {value:#x} instead of {expected:#x}");
            return 3;
        }
        digest.add(u64::from(value));
        if round % 64 == 0 {
            ports::write_u8(SERIAL_SCRATCH, value as u8);
        }
    }
    println!("smc: {rounds} rounds, checksum {:016x}", digest.value());
    0
}

/// Writes the function at `place` in the page (at most 4085) and calls it.
fn write_and_call(place: usize, operation: u8, first: u32, second: u32) -> u32 {
    let mut code = CODE;
    code[1..5].copy_from_slice(&first.to_le_bytes());
    code[5] = operation;
    code[6..10].copy_from_slice(&second.to_le_bytes());
    // SAFETY: `place` leaves room for the code in the page, which nothing else refers to; the code keeps to the calling
    // convention. A store is seen by a later jump to the place it changed: the processor watches for that.
    unsafe {
        let start = PAGE.0.get().cast::<u8>().add(place);
        ptr::copy_nonoverlapping(code.as_ptr(), start, code.len());
        let function: extern "C" fn() -> u32 = core::mem::transmute(start);
        function()
    }
}
