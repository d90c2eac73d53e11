//! The kernel-entry clock's page, and the exit at the count that it names, by guests at CPL0.

use ftlog::{Delta, ExitKind};
use ftvmm_tests::{elf::Guest, harness};
use kvm_bindings::kvm_regs;
use machine::{
    EntryClock, Machine, Reached,
    kvm::Host,
    memory::{Doorbell, Memory},
    transfer::Theirs,
};

use super::drive;

/// `xor eax, eax; mov ebx, 0xcffff000; mov dx, 0x550`: the count, the page, the port.
const START: [u8; 11] = [0x31, 0xc0, 0xbb, 0x00, 0xf0, 0xff, 0xcf, 0x66, 0xba, 0x50, 0x05];
/// `1: inc rax; cmp rax, [rbx]; je 2f; cmp qword ptr [rbx], 0; jne 1b; 2: cmp rax, rax; out dx, al; jmp 1b`
const COUNT: [u8; 20] = [
    0x48, 0xff, 0xc0, 0x48, 0x3b, 0x03, 0x74, 0x06, 0x48, 0x83, 0x3b, 0x00, 0x75, 0xf2, 0x48, 0x39, 0xc0,
    0xee, 0xeb, 0xec,
];
/// `mov [rbx], rax; mov rcx, [rbx]; out 0x80, al`
const WRITE: [u8; 8] = [0x48, 0x89, 0x03, 0x48, 0x8b, 0x0b, 0xe6, 0x80];
const RAX: usize = 0;
const RCX: usize = 2;

fn boot(code: &[&[u8]]) -> Option<Machine> {
    harness::require_kvm().then(|| drive::boot(&Guest::of_code(&code.concat()).kernel(), ""))
}

fn run(machine: &mut Machine, clock: EntryClock) -> Reached {
    let reached = harness::reach(machine, clock).unwrap();
    machine.finish_sync_point(&reached, machine.time_ns(), &[], &mut Vec::new());
    reached
}

#[test]
fn a_stretch_ends_at_the_count_that_the_log_names() {
    let Some(mut machine) = boot(&[&START, &COUNT]) else { return };
    for entries in [1, 2, 1000, 1001, 50_000] {
        let reached = run(&mut machine, EntryClock::Logged(Some(entries)));
        assert_eq!((reached.kind, reached.entries), (ExitKind::Pio, Some(entries)));
        assert_eq!(reached.registers[RAX], entries);
    }
}

#[test]
fn a_live_guest_goes_on_until_the_bell_rings() {
    let Some(mut machine) = boot(&[&START, &COUNT]) else { return };
    let doorbell = machine.doorbell().clone();
    let mut last = 0;
    for _ in 0..20 {
        let ringer = {
            let doorbell = doorbell.clone();
            std::thread::spawn(move || doorbell.ring())
        };
        let entries = run(&mut machine, EntryClock::Live).entries.expect("it has no other exit");
        ringer.join().unwrap();
        doorbell.reset();
        assert!(entries > last);
        last = entries;
    }
}

/// A guest that is forced to stop within an entry may take an interrupt there, whose handler counts entries, too: on both
/// sides it is the entry with the log's count that makes the exit, though higher ones come before it.
#[test]
fn an_entry_that_was_interrupted_stops_at_its_own_count() {
    if !harness::require_kvm() {
        return;
    }
    let mut machine = drive::boot("builtin:entries", "rounds=3");
    let entries = loop {
        machine.doorbell().ring();
        let reached = run(&mut machine, EntryClock::Live);
        if let (Some(entries), Some(_)) = (reached.entries, machine.platform().next_deadline_ns()) {
            break entries;
        }
    };
    machine.doorbell().reset();
    let due_ns = machine.platform().next_deadline_ns().unwrap();
    let mut follower = drive::copy(&mut machine);
    let delta = before_the_exit(&mut machine);
    let sides = [(&mut machine, EntryClock::Live), (&mut follower, EntryClock::Logged(Some(entries)))];
    let reached = sides.map(|(machine, clock)| {
        let forced = machine.install(&delta).unwrap();
        machine.finish_sync_point(&forced, due_ns, &[], &mut Vec::new());
        assert!(machine.platform().pending_vector().is_some(), "the timer is due");
        run(machine, clock)
    });
    assert_eq!(reached.each_ref().map(|reached| reached.entries), [Some(entries); 2]);
    assert_eq!(reached[0].digest, reached[1].digest);
    assert_eq!(machine.digests().unwrap(), follower.digests().unwrap());
}

/// What leads back to the OUT instruction, one byte, that the last exit was for.
fn before_the_exit(machine: &mut Machine) -> Delta {
    let mut account = machine.source().begin(Theirs::default()).unwrap();
    account.rest().unwrap();
    let Delta { pages, vcpu } = machine.delta(&mut account.into_account()).unwrap();
    let (mut registers, rest) = postcard::take_from_bytes::<kvm_regs>(&vcpu).unwrap();
    registers.rip -= 1;
    Delta { pages, vcpu: [&postcard::to_stdvec(&registers).unwrap(), rest].concat() }
}

#[test]
fn a_guest_can_read_the_page_and_not_write_it() {
    let Some(mut machine) = boot(&[&START, &WRITE]) else { return };
    let reached = run(&mut machine, EntryClock::Logged(Some(42)));
    assert_eq!((reached.kind, reached.entries), (ExitKind::Mmio, None), "a write is a device's");
    let reached = run(&mut machine, EntryClock::Logged(Some(43)));
    assert_eq!((reached.kind, reached.entries), (ExitKind::Pio, None), "another port");
    assert_eq!(reached.registers[RCX], 43);
}

#[test]
fn the_page_is_no_part_of_the_state() {
    let Some(mut machine) = boot(&[&START, &COUNT]) else { return };
    run(&mut machine, EntryClock::Logged(Some(100)));
    let before = machine.digests().unwrap();
    machine.doorbell().set(12345);
    assert_eq!(machine.digests().unwrap(), before);
    let mut copy = drive::copy(&mut machine);
    assert_eq!(copy.digests().unwrap(), before);
    let reached = [&mut machine, &mut copy].map(|machine| run(machine, EntryClock::Logged(Some(777))));
    assert_eq!(reached[0].digest, reached[1].digest);
}

#[test]
fn no_ram_is_where_the_page_is() {
    if !harness::require_kvm() {
        return;
    }
    let largest = Memory::new(machine::memory::MAX_MIB).unwrap();
    let host = Host::open().unwrap();
    host.create_vm(host.richest_cpu().unwrap(), largest, Doorbell::new().unwrap()).unwrap();
}
