//! The source of random bytes.

use devices::Violation;

use crate::driver::*;

const BUFFER: u64 = 0x8_0000;
/// Where its rings are.
const RING: usize = 2;

fn started(features: u64) -> Machine {
    let mut machine = Machine::new();
    machine.slot = RNG;
    machine.start(features);
    machine
}

fn offer(machine: &mut Machine, index: u16, len: u32) {
    machine.descriptor(table(RING), index, (BUFFER + u64::from(index) * 0x1000, len, WRITE, 0));
    machine.offer(RING, index);
}

fn wanted(machine: &Machine) -> usize {
    machine.platform.entropy_wanted(&machine.memory)
}

fn receive(machine: &mut Machine, bytes: &[u8]) {
    machine.context(|platform, ctx| platform.receive_entropy(ctx, bytes));
}

#[test]
fn identity() {
    let mut machine = Machine::new();
    machine.slot = RNG;
    assert_eq!([0x00, 0x04, 0x08].map(|register| machine.read(register)), [0x7472_6976, 2, 4]);
    assert_eq!(machine.offered(), VERSION_1 | EVENT_IDX | INDIRECT);
    assert_eq!(machine.read(0x100), 0);
}

#[test]
fn is_asked_after_a_notification_only() {
    let mut machine = started(0);
    machine.notify(0);
    assert_eq!(wanted(&machine), 0, "there is no chain");
    offer(&mut machine, 0, 64);
    assert_eq!(wanted(&machine), 0);
    receive(&mut machine, &[1; 64]);
    assert_eq!(machine.used(RING), [], "nobody asked");
    machine.notify(0);
    assert_eq!(wanted(&machine), 64);
    receive(&mut machine, &frame(64, 1));
    assert_eq!((machine.used(RING), machine.bytes(BUFFER, 64)), (vec![(0, 64)], frame(64, 1)));
    assert!(machine.interrupted());
    assert_eq!((wanted(&machine), machine.outputs.len()), (0, 0));
}

#[test]
fn every_chain_gets_64_bytes_or_what_it_holds() {
    let mut machine = started(EVENT_IDX);
    for (index, len) in (0..).zip([10, 64, 4096, 64]) {
        offer(&mut machine, index, len);
    }
    machine.notify(0);
    machine.set_used_event(RING, 2);
    assert_eq!(wanted(&machine), 4 * 64);
    let bytes = frame(150, 7);
    receive(&mut machine, &bytes);
    assert_eq!(machine.used(RING), [(0, 10), (1, 64), (2, 22)]);
    assert_eq!(machine.bytes(BUFFER, 11), [&bytes[..10], &[0]].concat());
    assert_eq!(machine.bytes(BUFFER + 0x1000, 65), [&bytes[64..128], &[0]].concat());
    assert_eq!(machine.bytes(BUFFER + 0x2000, 22), bytes[128..]);
    assert!(machine.interrupted());
    assert_eq!((machine.available_event(RING), wanted(&machine)), (3, 64), "one chain is left");
    receive(&mut machine, &[1; 1000]);
    assert_eq!((machine.used(RING).len(), wanted(&machine)), (4, 0));
    assert!(!machine.interrupted(), "the driver waits for another entry");
}

#[test]
fn spreads_over_buffers() {
    let mut machine = started(0);
    for (index, (len, flags)) in (0..).zip([(3, WRITE | NEXT), (0, WRITE | NEXT), (100, WRITE)]) {
        machine.descriptor(table(RING), index, (BUFFER + u64::from(index) * 0x100, len, flags, index + 1));
    }
    machine.offer(RING, 0);
    machine.notify(0);
    receive(&mut machine, &frame(64, 2));
    assert_eq!(machine.bytes(BUFFER, 4), [&frame(64, 2)[..3], &[0]].concat());
    assert_eq!(machine.bytes(BUFFER + 0x200, 62), [&frame(64, 2)[3..], &[0]].concat());
    assert_eq!(machine.used(RING), [(0, 64)]);
}

#[test]
fn wants_no_more_than_a_page_at_a_time() {
    let mut machine = Machine::new();
    (machine.slot, machine.queue_size) = (RNG, 256);
    machine.start(0);
    machine.descriptor(table(RING), 0, (BUFFER, 64, WRITE, 0));
    (0..200).for_each(|_| machine.offer(RING, 0));
    machine.notify(0);
    let mut rounds = Vec::new();
    while wanted(&machine) > 0 {
        rounds.push(wanted(&machine));
        receive(&mut machine, &vec![1; *rounds.last().unwrap()]);
    }
    assert_eq!(rounds, [4096, 4096, 4096, 8 * 64]);
    assert_eq!(machine.used(RING).len(), 200);
}

#[test]
fn wants_nothing_without_its_queue() {
    let mut machine = started(0);
    offer(&mut machine, 0, 64);
    machine.notify(0);
    machine.write(register::QUEUE_READY, 0);
    assert_eq!(wanted(&machine), 0);
    machine.start(0);
    offer(&mut machine, 0, 64);
    machine.notify(0);
    machine.write(register::STATUS, 0);
    assert_eq!(wanted(&machine), 0);
    receive(&mut machine, &[1; 64]);
    assert_eq!(machine.bytes(BUFFER, 64), [0; 64]);
}

#[test]
fn drivers_that_break_the_protocol() {
    let wrong = Violation::BufferDirection { queue: 0, head: 0 };
    let outside = Violation::BufferOutsideRam { queue: 0, head: 0, address: RAM_SIZE as u64, len: 64 };
    for (address, flags, expected) in [(BUFFER, 0, wrong), (RAM_SIZE as u64, WRITE, outside)] {
        let mut machine = started(0);
        machine.descriptor(table(RING), 0, (address, 64, flags, 0));
        machine.offer(RING, 0);
        machine.notify(0);
        receive(&mut machine, &[1; 64]);
        assert_eq!(machine.violation(), Some(&expected));
        assert_eq!((wanted(&machine), machine.interrupted()), (0, true));
        assert_eq!(machine.read(register::STATUS), DRIVER_OK | NEEDS_RESET);
    }
    let mut machine = started(0);
    machine.set_available(RING, 17);
    machine.notify(0);
    assert!(wanted(&machine) > 0, "or nothing would find it");
    receive(&mut machine, &[1; 64]);
    assert_eq!(machine.violation(), Some(&Violation::AvailableIndex { queue: 0, next: 0 }));
    machine.notify(0);
    assert_eq!(wanted(&machine), 0);
}
