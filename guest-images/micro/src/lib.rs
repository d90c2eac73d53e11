//! What the freestanding guests share: start-up and traps, the platform's devices, virtio-net and virtio-blk, and the
//! pieces of the servers: one of keys in memory ([`kv`]), one of keys on a disk ([`ledger`]).
//!
//! A guest runs at privilege level 3 (CPL3) with I/O rights. CPL0 is a few dozen plain-integer instructions
//! ([`arch`]): on some hosts KVM emulates every instruction there.
//!
//! The library also builds for the host, for unit tests and fuzzing of its portable parts.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod arch;
pub mod cmdline;
pub mod command;
pub mod digest;
pub mod frontend;
pub mod fuzz;
pub mod kv;
pub mod ledger;
pub mod platform;
pub mod resp;
pub mod server;
pub mod store;
pub mod virtio;

#[cfg(test)]
mod test_random;

/// Makes `$main`, a `fn() -> u32`, the program of a guest: its value is the exit status given at power-off.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        extern "C" fn guest_program() -> u32 {
            $main()
        }

        // The monitor enters here at CPL0, RSI holding `boot_params`.
        core::arch::global_asm!(
            ".global guest_entry",
            "guest_entry:",
            "lea rdi, [rip + {program}]",
            "jmp guest_boot",
            program = sym guest_program,
        );

        #[global_allocator]
        static ALLOCATOR: $crate::platform::heap::Allocator = $crate::platform::heap::Allocator;

        // A check of all targets also looks at guests as host tests, which bring a handler of their own.
        #[cfg(not(test))]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo) -> ! {
            $crate::println!("{info}");
            $crate::platform::power::panicked()
        }
    };
}
