//! RAM above 4 GiB, where it goes on after the hole for the devices.

use ftvmm_tests::{
    elf::{Guest, power_off},
    harness,
};

use super::drive::{boot_with, copy, run, step};

/// 64 GiB, of which the host has to give a few pages only.
const MEMORY_MIB: u32 = 64 << 10;
const HIGH_PAGE: u64 = (4 << 30) + 0x5000;

/// Maps the first 2 MiB above 4 GiB, writes 42 there and says something; then ends with what it finds there.
fn guest() -> Guest {
    let mut code = vec![
        0x48, 0xc7, 0x04, 0x25, 0x20, 0xa0, 0, 0, 0x27, 0, 1,
        0, // mov qword [0xa020], 0x10027: the fifth GiB's table
        0x48, 0xb8, 0xe7, 0, 0, 0, 1, 0, 0, 0, // mov rax, 0x1000000e7
        0x48, 0x89, 0x04, 0x25, 0, 0, 1, 0, // mov [0x10000], rax
        0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, // mov rax, cr3; mov cr3, rax
        0x48, 0xbb, 0, 0x50, 0, 0, 1, 0, 0, 0, // mov rbx, 0x100005000
        0xc6, 0x03, 42, // mov byte [rbx], 42
        0x66, 0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, // mov dx, 0x3f8; mov al, '!'; out dx, al
        0x0f, 0xb6, 0x03, // movzx eax, byte [rbx]
    ];
    // Without its first instruction, which loads the status.
    code.extend_from_slice(&power_off(0)[5..]);
    Guest::of_code(&code)
}

#[test]
fn what_the_guest_writes_there_is_seeded_and_part_of_the_digest() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let mut machine = boot_with(MEMORY_MIB, &guest().kernel(), "");
    let before = machine.memory().digest();
    step(&mut machine, &[])?;
    assert_ne!(machine.memory().digest(), before);
    assert!(machine.memory().populated().any(|gpa| gpa == HIGH_PAGE));
    let mut other = copy(&mut machine);
    assert_eq!(machine.digests()?, other.digests()?);
    assert_eq!((run(&mut machine)?, run(&mut other)?), (42, 42));
    Ok(())
}
