//! A machine that is reset is as it was at power-on.

use devices::Off;
use machine::Machine;

use super::drive;

/// At the first of the probe's resets, at which everything of the life before is in RAM, vCPU and devices.
fn until_reset() -> Machine {
    let mut machine = drive::boot("builtin:resets", "rounds=1000");
    for _ in 0..10_000 {
        drive::step(&mut machine, &[]).unwrap();
        if machine.platform().reset_wanted().is_some() {
            return machine;
        }
    }
    panic!("the guest asks for no reset");
}

/// The addresses of the pages of RAM that are not the same.
fn differing(one: &Machine, other: &Machine) -> Vec<u64> {
    let (mut a, mut b) = ([0; 4096], [0; 4096]);
    let differs = |gpa: &u64| {
        one.memory().read_page(*gpa, &mut a);
        other.memory().read_page(*gpa, &mut b);
        a != b
    };
    one.memory().ranges().flat_map(|range| range.step_by(4096)).filter(differs).collect()
}

#[test]
fn ram_and_vcpu_are_those_of_power_on() {
    if !ftvmm_tests::harness::require_kvm() {
        return;
    }
    let mut machine = until_reset();
    let mut first = drive::boot("builtin:resets", "rounds=1000");
    assert!(differing(&machine, &first).len() > 1, "the guest has left something behind");
    // The next exit of a guest that begins again is the first that it ever made, with which it gets a clock page.
    let (one, other) = (drive::step(&mut machine, &[]).unwrap(), drive::step(&mut first, &[]).unwrap());
    assert_eq!(one.exit, other.exit);
    assert_eq!(machine.digests().unwrap().vcpu, first.digests().unwrap().vcpu);
    assert_eq!(differing(&machine, &first).len(), 1, "the clock page, as time goes on");
    assert_eq!(machine.tally().now().resets, 1);
}

#[test]
fn a_copy_made_between_the_wish_and_the_reset_does_the_same() {
    if !ftvmm_tests::harness::require_kvm() {
        return;
    }
    let mut machine = until_reset();
    let mut copy = drive::copy(&mut machine);
    for _ in 0..50 {
        let (one, other) = (drive::step(&mut machine, &[]).unwrap(), drive::step(&mut copy, &[]).unwrap());
        assert_eq!(one.digest, other.digest);
    }
    assert_eq!(machine.digests().unwrap().memory, copy.digests().unwrap().memory);
}

#[test]
fn a_machine_that_is_restored_can_be_reset() {
    if !ftvmm_tests::harness::require_kvm() {
        return;
    }
    let mut machine = drive::boot("builtin:resets", "rounds=3");
    let mut copies = 0;
    loop {
        drive::step(&mut machine, &[]).unwrap();
        if machine.platform().reset_wanted().is_some() {
            // A copy of a copy, and so on: what a reset goes back to travels along.
            machine = drive::copy(&mut machine);
            copies += 1;
        }
        if let Some(off) = machine.platform().powered_off() {
            assert_eq!(off, Off::Status(0));
            break;
        }
    }
    assert!(copies > 1, "{copies} resets");
}
