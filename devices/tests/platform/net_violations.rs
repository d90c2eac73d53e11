//! Drivers that break the protocol.

use devices::{NetDrops, Platform, Violation};

use crate::driver::*;

const BUFFER: u64 = 0x8_0000;

/// The device stopped and said so, and works again after a reset.
#[track_caller]
fn assert_violated(machine: &mut Machine, is_expected: impl Fn(&Violation) -> bool) {
    let violation = machine.violation().expect("the device must need a reset").clone();
    assert_eq!(machine.platform.violations().collect::<Vec<_>>(), [(NET, &violation)]);
    assert!(is_expected(&violation), "{violation}");
    assert_eq!(machine.read(register::STATUS), DRIVER_OK | NEEDS_RESET);
    assert_ne!(machine.read(register::INTERRUPT_STATUS) & 2, 0);
    assert!(machine.interrupted());
    machine.sent();

    machine.notify(TX);
    machine.receive(&frame(60, 0));
    machine.write(register::STATUS, DRIVER_OK);
    assert_eq!(machine.read(register::STATUS), DRIVER_OK | NEEDS_RESET);
    assert!(machine.sent().is_empty() && !machine.interrupted(), "it does nothing until it is reset");
    assert_eq!(machine.platform.net_receive_room(&machine.memory), 0);

    machine.start(0);
    machine.offer_frame(0, BUFFER, &frame(60, 7));
    machine.notify(TX);
    assert_eq!(machine.sent(), [frame(60, 7)]);
}

/// A machine whose transmit queue holds these descriptors; descriptor 0 heads the chain that was sent.
fn send(descriptors: &[(u64, u32, u16, u16)]) -> Machine {
    let mut machine = Machine::started(INDIRECT);
    for (index, descriptor) in (0..).zip(descriptors) {
        machine.descriptor(table(TX), index, *descriptor);
    }
    machine.offer(TX, 0);
    machine.notify(TX);
    machine
}

/// A machine that received a frame into a chain of these descriptors.
fn receive(descriptors: &[(u64, u32, u16, u16)]) -> Machine {
    let mut machine = Machine::started(INDIRECT);
    for (index, descriptor) in (0..).zip(descriptors) {
        machine.descriptor(table(RX), index, *descriptor);
    }
    machine.offer(RX, 0);
    machine.receive(&frame(60, 0));
    assert_eq!(
        machine.platform.counters().net_drops,
        NetDrops { received_no_driver: 1, ..NetDrops::default() }
    );
    machine
}

#[test]
fn chain_that_loops() {
    for loops in [vec![(BUFFER, 30, NEXT, 0)], vec![(BUFFER, 30, NEXT, 1), (BUFFER, 0, NEXT, 0)]] {
        assert_violated(&mut send(&loops), |v| matches!(v, Violation::ChainWithoutEnd { queue: 1, head: 0 }));
    }
    let mut machine = receive(&[(BUFFER, 30, NEXT | WRITE, 0)]);
    assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { queue: 0, head: 0 }));
}

#[test]
fn chain_that_leaves_the_table() {
    for next in [16, 17, u16::MAX] {
        let mut machine = send(&[(BUFFER, 30, NEXT, next)]);
        assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { .. }));
    }
    let mut machine = Machine::started(0);
    machine.offer(TX, 16);
    machine.notify(TX);
    assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { head: 16, .. }));
}

#[test]
fn chain_of_more_than_4_gib() {
    let mut machine = send(&[(0, RAM_SIZE as u32, NEXT, 0)]);
    assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { .. }));
}

#[test]
fn buffer_outside_ram() {
    let ram_end = RAM_SIZE as u64;
    let outside = [
        (ram_end, 60),
        (ram_end - 59, 60),
        (u64::MAX, 60),
        (u64::MAX - 59, 60),
        (0, u32::MAX),
        (NET_BASE, 4),
    ];
    for (address, len) in outside {
        let expected = Violation::BufferOutsideRam { queue: 1, head: 0, address, len };
        assert_violated(&mut send(&[(address, len, 0, 0)]), |v| *v == expected);
        let expected = Violation::BufferOutsideRam { queue: 0, head: 0, address, len };
        assert_violated(&mut receive(&[(address, len, WRITE, 0)]), |v| *v == expected);
    }
}

#[test]
fn buffer_of_the_wrong_direction() {
    let wrong = |queue: u16| move |v: &Violation| *v == Violation::BufferDirection { queue, head: 0 };
    assert_violated(&mut send(&[(BUFFER, 60, WRITE, 0)]), wrong(1));
    assert_violated(&mut send(&[(BUFFER, 60, NEXT, 1), (BUFFER, 60, WRITE, 0)]), wrong(1));
    assert_violated(&mut receive(&[(BUFFER, 1526, 0, 0)]), wrong(0));
    assert_violated(&mut receive(&[(BUFFER, 12, NEXT, 1), (BUFFER, 1514, WRITE, 0)]), wrong(0));
}

#[test]
fn chain_without_room_for_the_header() {
    assert_violated(&mut send(&[(BUFFER, 11, 0, 0)]), |v| {
        matches!(v, Violation::HeaderDoesNotFit { len: 11, .. })
    });
    assert_violated(&mut receive(&[(BUFFER, 0, WRITE, 0)]), |v| {
        matches!(v, Violation::HeaderDoesNotFit { len: 0, .. })
    });
}

#[test]
fn indirect_tables_in_the_wrong_place() {
    let tables = [(BUFFER, 15), (BUFFER, 0), (RAM_SIZE as u64, 16), (u64::MAX - 15, 32), (BUFFER, 0x10_0000)];
    for (address, len) in tables {
        let mut machine = send(&[(address, len, INDIRECT_TABLE, 0)]);
        assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { .. }));
    }
    let mut machine = Machine::started(INDIRECT);
    machine.descriptor(BUFFER, 0, (BUFFER, 16, INDIRECT_TABLE, 0));
    machine.descriptor(table(TX), 0, (BUFFER, 16, INDIRECT_TABLE, 0));
    machine.offer(TX, 0);
    machine.notify(TX);
    assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { .. }));
}

#[test]
fn indirect_chain_longer_than_the_queue() {
    let mut machine = Machine::started(INDIRECT);
    for index in 0..17 {
        machine.descriptor(BUFFER, index, (BUFFER, 10, NEXT, index + 1));
    }
    machine.descriptor(table(TX), 0, (BUFFER, 64 * 16, INDIRECT_TABLE, 0));
    machine.offer(TX, 0);
    machine.notify(TX);
    assert_violated(&mut machine, |v| matches!(v, Violation::ChainTooLong { .. }));
}

#[test]
fn more_chains_available_than_descriptors() {
    for queue in [RX, TX] {
        let mut machine = Machine::started(0);
        machine.set_available(queue, 17);
        assert!(
            queue == TX || machine.platform.net_receive_room(&machine.memory) > 0,
            "or no frame would find it"
        );
        machine.receive(&frame(60, 0));
        machine.notify(TX);
        let queue = queue as u16;
        assert_violated(&mut machine, |v| *v == Violation::AvailableIndex { queue, next: 0 });
    }
}

/// The used ring lies over the available ring: giving the first buffer back writes its head, 1, over the
/// available index, which was 0. So there is one more chain than the queue holds.
#[test]
fn one_notification_sends_no_more_than_the_queue_holds() {
    let mut machine = Machine::new();
    machine.negotiate(0);
    machine.set_up_queue(TX);
    let (used, available) = (available(TX), available(TX) + 2);
    machine.write(register::QUEUE_DEVICE_LOW, used as u32);
    machine.write(register::QUEUE_DRIVER_LOW, available as u32);
    machine.write(register::QUEUE_READY, 1);
    machine.write(register::STATUS, DRIVER_OK);
    let mut state = machine.platform.save();
    state.virtio.net.as_mut().unwrap().transport.queues[TX].next = Some((65520, 65520));
    machine.platform = Platform::restore(&state, &machine.memory).unwrap();

    machine.memory_write(available + 4, &[1, 0]);
    for head in [0, 1] {
        machine.descriptor(table(TX), head, (BUFFER, 60, 0, 0));
    }
    machine.notify(TX);
    assert_eq!(machine.sent().len(), 16);
    machine.notify(TX);
    assert_eq!(machine.sent().len(), 1);
}

#[test]
fn notification_of_a_queue_that_is_not_there() {
    for queue in [2, u32::MAX] {
        let mut machine = Machine::started(0);
        machine.write(register::QUEUE_NOTIFY, queue);
        assert_violated(&mut machine, |v| *v == Violation::NotifiedQueue { queue });
    }
}

/// Frames sent before the one that broke the protocol were sent.
#[test]
fn frames_before_the_violation_go_out() {
    let mut machine = Machine::started(0);
    machine.offer_frame(0, BUFFER, &frame(60, 1));
    machine.offer(TX, 99);
    machine.notify(TX);
    assert_eq!(machine.sent(), [frame(60, 1)]);
    assert_violated(&mut machine, |v| matches!(v, Violation::ChainWithoutEnd { head: 99, .. }));
}
