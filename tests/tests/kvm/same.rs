//! Two machines that are given the same are the same.

use ftvmm_tests::harness;

use super::drive::{boot, step, step_as};

#[test]
fn machines_with_the_same_steps_have_the_same_state() {
    if !harness::require_kvm() {
        return;
    }
    for guest in ["builtin:interrupts", "builtin:clocks", "builtin:exits", "builtin:smc"] {
        let (mut one, mut other) = (boot(guest, "rounds=20"), boot(guest, "rounds=20"));
        assert_eq!(one.digests().unwrap(), other.digests().unwrap(), "{guest} at power-on");
        while one.platform().powered_off().is_none() {
            let seen = step(&mut one, &[]).unwrap();
            assert_eq!(step_as(&mut other, &seen), seen, "{guest} at {}", one.position());
        }
        assert_eq!(one.digests().unwrap(), other.digests().unwrap(), "{guest} at its end");
    }
}

/// The digests are worth something: a nanosecond that the guest could see makes another execution.
#[test]
fn machines_with_different_times_have_different_states() {
    if !harness::require_kvm() {
        return;
    }
    let (mut one, mut other) = (boot("builtin:clocks", "rounds=20"), boot("builtin:clocks", "rounds=20"));
    let mut differed = false;
    while one.platform().powered_off().is_none() {
        let mut seen = step(&mut one, &[]).unwrap();
        seen.time_ns += 1;
        differed |= step_as(&mut other, &seen).digest != seen.digest;
    }
    assert!(differed);
    let (one, other) = (one.digests().unwrap(), other.digests().unwrap());
    assert_ne!(one.memory, other.memory);
    assert_ne!(one.running, other.running);
}
