//! Guests that do what they should not. What has no repeatable position stops the VM, which says what happened, where,
//! and the registers; a driver that breaks virtio's rules stops its device only, which `status` tells.

use std::{process::Command, time::Duration};

use ftvmm::{
    control::{self, Request, Status},
    demo::{process::Process, wait},
};
use ftvmm_tests::{elf::Guest, harness};

use super::drive;

/// What stops a guest of this code, in this process and as `ftvmm run` says it.
fn stopped_by(code: &[u8]) -> Option<String> {
    if !harness::require_kvm() {
        return None;
    }
    let guest = Guest::of_code(code);
    let error = drive::run(&mut drive::boot(&guest.kernel(), "")).unwrap_err().to_string();
    let mut command = Command::new(harness::program().unwrap());
    let run = command.args(["run", "--memory", "4", "--kernel", &guest.kernel()]).output().unwrap();
    assert_eq!(run.status.code(), Some(3));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(said, format!("ftvmm: {error}\n"));
    Some(error)
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
}

/// `mov rbx, 0x1122334455667788; out 0x80, al`: a register to recognise and one sync point.
const MARK: [u8; 12] = [0x48, 0xbb, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xe6, 0x80];
/// The marked register, and the instruction after [`MARK`].
const MARKED: [&str; 2] = ["rbx 0x1122334455667788", "rip 0x000000000010000c"];

#[test]
fn a_triple_fault() {
    // UD2 without interrupt gates.
    let Some(error) = stopped_by(&[&MARK[..], &[0x0f, 0x0b]].concat()) else { return };
    assert_says(
        &error,
        &[
            "after #1",
            "unexpected exit",
            "KVM_EXIT_SHUTDOWN (the guest took a triple fault)",
            "at that sync point",
        ],
    );
    assert_says(&error, &MARKED[..1]);
}

#[test]
fn an_instruction_that_kvm_cannot_emulate() {
    // mov eax, 0xd0000000; jmp rax: an instruction fetched from a device, which no KVM executes.
    let Some(error) = stopped_by(&[&MARK[..], &[0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0]].concat()) else { return };
    assert_says(&error, &["after #1", "unexpected exit", "KVM_EXIT_INTERNAL_ERROR", "emulation failure"]);
    assert_says(&error, &[MARKED[0], "rip 0x00000000d0000000"]);
}

#[test]
fn a_halt_with_interrupts_off() {
    let Some(error) = stopped_by(&[&MARK[..], &[0xf4]].concat()) else { return };
    assert_says(&error, &["the guest halted with interrupts off at #2", MARKED[0], "rip 0x000000000010000d"]);
}

#[test]
fn a_driver_that_breaks_virtios_rules_shows_in_status_and_its_guest_runs_on() {
    if !harness::require_kvm() {
        return;
    }
    // mov eax, 0xd0001070; mov dword [rax], 4: DRIVER_OK before anything else, to the source of random bytes.
    let breaks = [0xb8, 0x70, 0x10, 0, 0xd0, 0xc7, 0, 4, 0, 0, 0];
    // again: out 0x80, al; jmp again
    let runs_on = [0xe6, 0x80, 0xeb, 0xfc];
    let guest = Guest::of_code(&[&breaks[..], &runs_on].concat());
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    let mut command = Command::new(harness::program().unwrap());
    command.args(["run", "--memory", "4", "--kernel", &guest.kernel(), "--control"]).arg(&control);
    let mut vm = Process::start(command, "vm", directory.path(), None).unwrap();
    let mut last = None;
    let waited = wait::until("the device's trouble to be seen", Duration::from_secs(20), || {
        vm.expect_alive()?;
        let Ok(answer) = control::request(&control, &Request::Status) else { return Ok(None) };
        let status: Status = serde_json::from_value(answer)?;
        let told = status.troubles.iter().any(|it| it.what == "devices" && it.text.contains("random bytes"));
        // Its exits go on behind the one that broke the rules.
        let goes_on = told && status.exits.total() > 1000;
        last = Some(status);
        Ok(goes_on.then_some(()))
    });
    waited.unwrap_or_else(|error| panic!("{error:#}: {last:?}"));
}
