//! Command lines that describe no VM that can be had, as `ftvmm run` answers them.

use std::{process::Command, time::Duration};

use ftvmm::{
    control::{self, Request},
    demo::{process::Process, wait},
};
use ftvmm_tests::{
    elf::{ENTRY, Guest, elf, elf_of_32_bits, power_off},
    harness,
};
use machine::memory::{MAX_MIB, MIN_MIB};

/// Exit status and standard error of `ftvmm run`.
fn run(options: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(harness::program().unwrap());
    let run = command.arg("run").args(options).output().unwrap();
    (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
}

fn refused(options: &[&str], reasons: &[&str]) {
    let (status, said) = run(options);
    assert_eq!(status, Some(3), "{options:?}: {said}");
    assert_eq!(said.lines().count(), 1, "one error: {said}");
    for reason in reasons {
        assert!(said.contains(reason), "{options:?}: {reason} is missing: {said}");
    }
}

#[test]
fn memory_within_its_bounds() {
    if !harness::require_kvm() {
        return;
    }
    let guest = Guest::of_code(&power_off(0));
    for mib in [MIN_MIB, MIN_MIB + 1, MAX_MIB] {
        let (status, said) = run(&["--kernel", &guest.kernel(), "--memory", &mib.to_string()]);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{mib} MiB");
    }
    for mib in [0, MIN_MIB - 1, MAX_MIB + 1, u32::MAX] {
        let reason = format!("--memory {mib} is outside {MIN_MIB}..={MAX_MIB} MiB");
        refused(&["--kernel", &guest.kernel(), "--memory", &mib.to_string()], &[&reason]);
    }
}

#[test]
fn a_guest_that_fails_is_told_from_a_monitor_that_does() {
    if !harness::require_kvm() {
        return;
    }
    let guest = Guest::of_code(&power_off(7));
    assert_eq!(run(&["--kernel", &guest.kernel(), "--memory", "4"]).0, Some(1));
}

#[test]
fn a_guest_that_panics_ends_or_begins_again_as_it_was_told_to() {
    if !harness::require_kvm() {
        return;
    }
    // MOV EDX, 0x544; MOV EAX, 1; OUT DX, EAX.
    let panics = [0xba, 0x44, 0x05, 0, 0, 0xb8, 1, 0, 0, 0, 0xef];
    let guest = Guest::of_code(&panics);
    let options =
        |on_panic| ["--kernel", &guest.kernel(), "--memory", "4", "--on-panic", on_panic].map(str::to_owned);
    let (halts, reboots) = (options("halt"), options("reboot"));
    assert_eq!(run(&halts.each_ref().map(String::as_str)).0, Some(5));
    // It panics again, and again: that is seen, and ends in order when it is told to.
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    let mut command = Command::new(harness::program().unwrap());
    command.arg("run").args(&reboots).arg("--control").arg(&control);
    let mut vm = Process::start(command, "vm", directory.path(), None).unwrap();
    wait::until("resets to be seen", Duration::from_secs(20), || {
        let status = control::request(&control, &Request::Status).unwrap_or_default();
        let told = status["events"].to_string().contains("panicked");
        Ok((told && status["resets"].as_u64() > Some(3)).then_some(()))
    })
    .unwrap();
    vm.signal(rustix::process::Signal::TERM).unwrap();
    assert_eq!(vm.wait_end(Duration::from_secs(20)).unwrap().code(), Some(0), "{}", vm.log());
}

#[test]
fn no_kernel_there() {
    if !harness::require_kvm() {
        return;
    }
    refused(&["--kernel", "/nowhere/vmlinux"], &["/nowhere/vmlinux", "No such file"]);
    refused(&["--kernel", "builtin:none"], &["no built-in guest 'none'", "kv, ledger, interrupts"]);
    let guest = Guest::of_code(&power_off(0));
    refused(&["--kernel", &guest.kernel(), "--initrd", "/nowhere/initrd"], &["/nowhere/initrd"]);
}

#[test]
fn no_kernel_that_can_be_started() {
    if !harness::require_kvm() {
        return;
    }
    let whole = elf(ENTRY, &power_off(0));
    let mut big_endian = whole.clone();
    big_endian[5] = 2;
    let mut cut_off = whole.clone();
    cut_off.truncate(80);
    let mut code_cut_off = whole.clone();
    code_cut_off.truncate(125);
    let outside = elf(1 << 32, &power_off(0));
    let beyond_memory = elf(4 << 20, &power_off(0));
    let bad = [
        (&b"not an ELF file, but long enough to be one: 64 bytes are a header's length."[..], "a text"),
        (b"", "empty"),
        (b"\x7fELF", "a header's start"),
        (&elf_of_32_bits(&power_off(0)), "32 bits"),
        (&big_endian, "big-endian"),
        (&cut_off, "without all of its segments"),
        (&code_cut_off, "without all of its code"),
        (&outside, "far outside of memory"),
        (&beyond_memory, "just outside of memory"),
    ];
    for (bytes, what) in bad {
        let guest = Guest::of_bytes(bytes);
        println!("{what}");
        refused(
            &["--kernel", &guest.kernel(), "--memory", "4"],
            &[&guest.kernel(), "not a kernel this monitor can start"],
        );
    }
}

#[test]
fn what_does_not_fit() {
    if !harness::require_kvm() {
        return;
    }
    let guest = Guest::of_code(&power_off(0));
    let long = "x".repeat(2048);
    refused(&["--kernel", &guest.kernel(), "--cmdline", &long], &["2048 bytes, more than 2047"]);
    let initrd = Guest::of_bytes(&vec![1; 4 << 20]);
    let options = ["--kernel", &guest.kernel(), "--memory", "4", "--initrd", &initrd.kernel()];
    refused(&options, &["the initrd does not fit in 4 MiB"]);
}

#[test]
fn an_initrd_that_would_lie_on_the_kernel() {
    if !harness::require_kvm() {
        return;
    }
    // Of 4 MiB, the kernel has the second and third, and the initrd is one byte longer than the fourth.
    let guest = Guest::of_code(&[power_off(0), vec![0; 2 << 20]].concat());
    let initrd = Guest::of_bytes(&vec![1; (1 << 20) + 1]);
    let options = ["--kernel", &guest.kernel(), "--memory", "4", "--initrd", &initrd.kernel()];
    refused(&options, &["does not fit beside the kernel", "4 MiB", "--memory"]);
    let roomy = ["--kernel", &guest.kernel(), "--memory", "5", "--initrd", &initrd.kernel()];
    assert_eq!(run(&roomy).0, Some(0));
}

#[test]
fn what_has_no_end_is_not_read() {
    if !harness::require_kvm() {
        return;
    }
    let reason = "/dev/zero: it is neither a file nor a pipe";
    refused(&["--kernel", "/dev/zero"], &[reason]);
    let guest = Guest::of_code(&power_off(0));
    refused(&["--kernel", &guest.kernel(), "--initrd", "/dev/zero"], &[reason]);
}

#[test]
fn an_address_without_a_host_or_a_port_is_a_wrong_command_line() {
    let program = harness::program().unwrap();
    for (command, option) in [("primary", "--peer"), ("secondary", "--listen"), ("protect", "--to")] {
        for address in ["7000", "", ":7000", "host:seventy"] {
            let run = Command::new(&program).args([command, option, address]).output().unwrap();
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            assert_eq!(run.status.code(), Some(2), "{said}");
            assert!(said.contains("HOST:PORT is expected"), "{said}");
        }
    }
}
