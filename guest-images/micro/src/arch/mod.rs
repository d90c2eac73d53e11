//! Start-up, traps and idling: everything that runs at CPL0, and its CPL3 side.
//!
//! ```text
//! guest_entry -> guest_boot (CPL0: GDT, TSS, IDT) -> IRETQ -> start (CPL3) -> the guest's program -> power off
//! interrupt  -> vector stub sets a bit of PENDING -> IRETQ
//! HLT (CPL3) -> #GP -> halts at CPL0 unless a bit of PENDING is set -> IRETQ behind the HLT
//! other exception -> its frame is kept in FAULT -> IRETQ to report_fault (CPL3) -> power off
//! ```
//!
//! Interrupts stay enabled at CPL3 all the time: not every host lets CPL3 execute CLI and STI. A handler may come
//! between any two instructions, so all it does is to set a bit; lines nobody wants are masked at the controller.
#![allow(unsafe_code)] // Start-up assembly, HLT, and the statics it shares with Rust.

mod boot;
mod counted;
mod memory;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::platform::{self, power};

pub use counted::count_interrupts;

/// Interrupt lines that fired and were not yet taken; the interrupt stubs set the bits.
static PENDING: AtomicU32 = AtomicU32::new(0);

/// What is known of the exception that stopped the guest, in the order in which the boot code stores it: vector, error
/// code, RIP, CS, RFLAGS, RSP, CR2.
static FAULT: [AtomicU64; 7] = [const { AtomicU64::new(0) }; 7];

static REPORTING: AtomicBool = AtomicBool::new(false);

/// Lines that fired since the last call, bit n for line n.
pub fn take_pending() -> u32 {
    // One locked instruction: an interrupt comes before or after it, so none is lost.
    PENDING.swap(0, Ordering::SeqCst)
}

/// Sleeps until an unmasked line fires; returns at once when one has fired that was not taken.
pub fn idle() {
    // SAFETY: the #GP that HLT raises at CPL3 is served by the boot code, which comes back to the next instruction with
    // all registers as they were.
    unsafe { core::arch::asm!("hlt") }
}

/// The first CPL3 code of a guest.
extern "C" fn start(program: extern "C" fn() -> u32, boot_params: usize) -> ! {
    platform::boot_params::set_address(boot_params);
    platform::heap::start();
    power::off(program())
}

/// Prints the exception in [`FAULT`] and stops the guest.
extern "C" fn report_fault() -> ! {
    // An exception while reporting one: whatever is broken, the console cannot tell.
    if REPORTING.swap(true, Ordering::Relaxed) {
        power::off(power::FAULTED);
    }
    let [vector, error, rip, cs, rflags, rsp, cr2] =
        FAULT.each_ref().map(|field| field.load(Ordering::Relaxed));
    crate::println!(
        "exception {vector} error {error:#x} rip {rip:#x} cs {cs:#x} rflags {rflags:#x} rsp {rsp:#x} cr2 {cr2:#x}"
    );
    power::off(power::FAULTED)
}
