//! A machine that was saved and restored goes on as the one that was not.

use ftlog::Event;
use ftvmm_tests::{
    elf::{Guest, power_off},
    harness,
};
use machine::Machine;

use super::drive::{Seen, after, boot, boot_with, copy, run, step, step_as};

/// Runs a guest to its end, once undisturbed and once with a copy made at every `stride`th sync point: the copies go
/// on from there with the same input, and all of them end in the same state.
fn check(kernel: &str, cmdline: &str, stride: usize, input: impl Fn(usize) -> Vec<Event>) {
    if !harness::require_kvm() {
        return;
    }
    let (mut machine, mut seen) = (boot(kernel, cmdline), Vec::new());
    while machine.platform().powered_off().is_none() {
        assert!(seen.len() < 100_000, "the guest does not end");
        seen.push(step(&mut machine, &input(seen.len())).unwrap());
    }
    assert_eq!(machine.platform().powered_off(), Some(devices::Off::Status(0)));
    let end = machine.digests().unwrap();

    let mut saved = boot(kernel, cmdline);
    for k in 0..seen.len() {
        assert_eq!(saved.position(), after(k));
        if k % stride == 0 {
            let mut copy = copy(&mut saved);
            assert_eq!(copy.digests().unwrap(), saved.digests().unwrap(), "{kernel}: restored at {k}");
            go_on(&mut copy, &seen[k..]);
            assert_eq!(copy.digests().unwrap(), end, "{kernel}: went on from {k}");
        }
        assert_eq!(step_as(&mut saved, &seen[k]), seen[k], "{kernel}: after it was saved at {k}");
    }
    assert_eq!(saved.digests().unwrap(), end, "{kernel}: saved now and then");
    println!("{kernel}: {} sync points", seen.len());
}

fn go_on(machine: &mut Machine, seen: &[Seen]) {
    for expected in seen {
        assert_eq!(step_as(machine, expected), *expected, "at {}", machine.position());
    }
}

#[test]
fn at_every_sync_point_of_an_interrupt_storm() {
    check("builtin:interrupts", "rounds=8", 1, |_| Vec::new());
}

#[test]
fn at_every_sync_point_of_many_exits() {
    check("builtin:exits", "rounds=50", 1, |_| Vec::new());
}

#[test]
fn at_every_sync_point_of_clock_reads() {
    check("builtin:clocks", "rounds=8", 1, |_| Vec::new());
}

#[test]
fn at_every_sync_point_of_self_modifying_code() {
    check("builtin:smc", "rounds=500", 1, |_| Vec::new());
}

#[test]
fn between_two_long_stretches() {
    check("builtin:compute", "rounds=2", 16, |_| Vec::new());
}

#[test]
fn with_console_input_that_the_guest_has_not_read() {
    let text = b"one\ntwo and some more\nbye\n";
    let typed = |step: usize| match text.get(step.wrapping_sub(20)) {
        Some(byte) if step < 40 => vec![Event::ConsoleInput(vec![*byte])],
        _ if step == 40 => vec![Event::ConsoleInput(text[20..].to_vec())],
        _ => Vec::new(),
    };
    check("builtin:echo", "", 1, typed);
}

/// Reading it would have the host give pages of zeroes, and the guest small pages where it could have had huge ones.
#[test]
fn ram_that_nobody_has_touched_stays_untouched() {
    if !harness::require_kvm() {
        return;
    }
    let mut machine = boot_with(64, "builtin:exits", "rounds=1");
    let populated = |machine: &Machine| machine.memory().populated().count();
    let before = populated(&machine);
    assert!(before > 0 && (before as u64) < machine.memory().page_count(), "{before} pages");
    copy(&mut machine);
    assert_eq!(populated(&machine), before);
}

/// `REP OUTSB` of five bytes to the console: an exit for each.
const STRING_OUTPUT: [u8; 16] = [0xbe, 0, 0, 0x10, 0, 0x66, 0xba, 0xf8, 0x03, 0xb9, 5, 0, 0, 0, 0xf3, 0x6e];

#[test]
fn within_a_string_instruction() {
    let guest = Guest::with_fault_handler(&STRING_OUTPUT);
    check(&guest.kernel(), "", 1, |_| Vec::new());
}

/// `mov rax, [0xd0000ffc]`: eight bytes across the end of a device's page, which KVM splits into two exits.
const SPLIT_READ: [u8; 8] = [0xbb, 0xfc, 0x0f, 0x00, 0xd0, 0x48, 0x8b, 0x03];

/// Between the two exits there is no state to save: the machine says so, and can be saved after the second.
#[test]
fn a_machine_within_an_instruction_is_not_at_rest() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let mut code = SPLIT_READ.to_vec();
    code.extend(power_off(0));
    let guest = Guest::of_code(&code);
    let mut machine = boot(&guest.kernel(), "");
    step(&mut machine, &[])?;
    assert!(!machine.is_at_rest()?);
    machine.save().err().expect("a state within an instruction");
    step(&mut machine, &[])?;
    assert!(machine.is_at_rest()?);
    let mut other = copy(&mut machine);
    assert_eq!(run(&mut machine)?, run(&mut other)?);
    Ok(())
}
