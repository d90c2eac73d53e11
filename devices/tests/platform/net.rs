//! Frames to and from an orderly driver.

use devices::{MAX_MTU, NetConfig, NetDrops};

use crate::driver::*;

const BUFFER: u64 = 0x8_0000;
/// With an MTU of 1500 and two VLAN tags.
const MAX_FRAME: usize = 1522;

fn drops(machine: &Machine) -> NetDrops {
    machine.platform.counters().net_drops
}

/// Makes `count` receive buffers of `len` bytes available.
fn offer_receive(machine: &mut Machine, count: u16, len: u32) {
    for index in 0..count {
        let address = BUFFER + u64::from(index) * 0x1000;
        machine.descriptor(table(RX), index, (address, len, WRITE, 0));
        machine.offer(RX, index);
    }
}

#[test]
fn sends_every_available_frame_in_order_and_gives_the_buffers_back() {
    let mut machine = Machine::started(0);
    let frames = [frame(14, 1), frame(60, 2), frame(1514, 3)];
    for (index, frame) in (0..).zip(&frames) {
        machine.offer_frame(index, BUFFER + u64::from(index) * 0x1000, frame);
    }
    assert_eq!(machine.outputs, [], "nothing is sent before the notification");
    machine.notify(TX);
    assert_eq!(machine.sent(), frames);
    assert_eq!(machine.used(TX), [(0, 0), (1, 0), (2, 0)]);
    assert!(machine.interrupted());
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 1);
    machine.write(register::INTERRUPT_ACK, 1);
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 0);

    machine.notify(TX);
    assert!(
        !machine.interrupted() && machine.sent().is_empty(),
        "a notification without a frame does nothing"
    );
}

#[test]
fn sends_a_frame_spread_over_descriptors_and_an_indirect_table() {
    let mut machine = Machine::started(INDIRECT);
    let frame = frame(100, 9);
    machine.memory_write(BUFFER, &[0; 12]);
    machine.memory_write(BUFFER + 12, &frame);
    let parts =
        [(BUFFER, 5, NEXT, 1), (BUFFER + 5, 10, NEXT, 2), (BUFFER + 15, 0, NEXT, 3), (BUFFER + 15, 97, 0, 0)];
    for (index, part) in (0..).zip(parts) {
        machine.descriptor(table(TX), index + 4, (part.0, part.1, part.2, part.3 + 4));
        machine.descriptor(0x9_0000, index, part);
    }
    machine.descriptor(table(TX), 0, (0x9_0000, 4 * 16, INDIRECT_TABLE, 0));
    machine.offer(TX, 4);
    machine.offer(TX, 0);
    machine.notify(TX);
    assert_eq!(machine.sent(), [frame.clone(), frame]);
    assert_eq!(machine.used(TX), [(4, 0), (0, 0)]);
}

#[test]
fn frames_of_impossible_length_are_dropped_and_their_buffers_given_back() {
    let mut machine = Machine::started(0);
    for (index, len) in (0..).zip([0, 13, MAX_FRAME + 1, 60_000]) {
        machine.offer_frame(index, BUFFER, &frame(len, 0));
    }
    machine.notify(TX);
    assert!(machine.sent().is_empty());
    assert_eq!(machine.used(TX).len(), 4);
    assert_eq!(drops(&machine), NetDrops { sent_length: 4, ..NetDrops::default() });
    assert_eq!(machine.violation(), None);
}

#[test]
fn receives_into_one_chain_behind_the_header() {
    let mut machine = Machine::started(0);
    offer_receive(&mut machine, 2, 1526);
    assert_eq!(machine.platform.net_receive_room(&machine.memory), 2);
    let frames = [frame(1514, 5), frame(14, 6)];
    machine.receive(&frames[0]);
    assert!(machine.interrupted());
    machine.receive(&frames[1]);
    assert!(machine.interrupted());
    assert_eq!(machine.used(RX), [(0, 1526), (1, 26)]);
    assert_eq!(machine.bytes(BUFFER, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(machine.bytes(BUFFER + 12, 1514), frames[0]);
    assert_eq!(machine.bytes(BUFFER + 0x100c, 14), frames[1]);
    assert_eq!(machine.platform.net_receive_room(&machine.memory), 0);
}

#[test]
fn receives_over_several_buffers() {
    let mut machine = Machine::started(0);
    machine.descriptor(table(RX), 0, (BUFFER, 4, WRITE | NEXT, 1));
    machine.descriptor(table(RX), 1, (BUFFER + 0x100, 10, WRITE | NEXT, 2));
    machine.descriptor(table(RX), 2, (BUFFER + 0x200, 2000, WRITE, 0));
    machine.offer(RX, 0);
    let frame = frame(100, 1);
    machine.receive(&frame);
    assert_eq!(machine.used(RX), [(0, 112)]);
    assert_eq!(machine.bytes(BUFFER + 0x100, 10), [&[0, 0, 0, 0, 0, 0, 1, 0][..], &frame[..2]].concat());
    assert_eq!(machine.bytes(BUFFER + 0x200, 98), frame[2..]);
    assert_eq!(machine.bytes(BUFFER + 0x200 + 98, 1), [0], "nothing is written past the frame");
}

#[test]
fn frames_without_a_buffer_are_dropped_and_counted() {
    let mut machine = Machine::started(0);
    machine.receive(&frame(60, 0));
    assert_eq!(drops(&machine), NetDrops { received_no_buffer: 1, ..NetDrops::default() });

    offer_receive(&mut machine, 1, 80);
    machine.receive(&frame(69, 1));
    assert_eq!(drops(&machine).received_small_buffer, 1, "the buffer is one byte too small");
    assert_eq!(machine.used(RX), []);
    machine.receive(&frame(68, 2));
    assert_eq!(machine.used(RX), [(0, 80)], "it stayed available");

    offer_receive(&mut machine, 1, 9000);
    for len in [0, 13, MAX_FRAME + 1, 65535] {
        machine.receive(&frame(len, 3));
    }
    let expected = NetDrops {
        received_no_buffer: 1,
        received_small_buffer: 1,
        received_length: 4,
        ..NetDrops::default()
    };
    assert_eq!(drops(&machine), expected);
    assert_eq!(machine.platform.net_receive_room(&machine.memory), 1);
    assert_eq!(machine.violation(), None);

    machine.write(register::STATUS, 0);
    machine.receive(&frame(60, 0));
    assert_eq!(drops(&machine), NetDrops { received_no_driver: 1, ..expected });
}

/// A full payload behind a header with no, one and two VLAN tags, as large as a guest with this MTU makes them.
#[test]
fn full_frames_pass_in_both_directions_with_vlan_tags_too() {
    for mtu in [68, 1500, 9000, MAX_MTU] {
        let mut machine = Machine::with_net(NetConfig { mac: MAC, mtu });
        machine.start(F_MTU);
        for tags in 0..=2 {
            let frame = frame(usize::from(mtu) + 14 + 4 * tags, 1);
            machine.offer_frame(0, BUFFER, &frame);
            machine.notify(TX);
            assert_eq!(machine.sent(), std::slice::from_ref(&frame), "MTU {mtu}, {tags} tags");
            offer_receive(&mut machine, 1, 12 + frame.len() as u32);
            machine.receive(&frame);
            assert_eq!(machine.bytes(BUFFER + 12, frame.len()), frame, "MTU {mtu}, {tags} tags");
        }
        machine.receive(&frame(usize::from(mtu) + 23, 1));
        assert_eq!(drops(&machine), NetDrops { received_length: 1, ..NetDrops::default() });
    }
}

#[test]
fn nothing_moves_before_driver_ok() {
    let mut machine = Machine::new();
    machine.negotiate(0);
    for queue in [RX, TX] {
        machine.set_up_queue(queue);
        machine.write(register::QUEUE_READY, 1);
    }
    offer_receive(&mut machine, 1, 1526);
    machine.offer_frame(0, BUFFER + 0x5000, &frame(60, 0));
    machine.notify(TX);
    machine.receive(&frame(60, 0));
    assert_eq!(machine.platform.net_receive_room(&machine.memory), 0);
    assert!(machine.sent().is_empty() && machine.used(RX).is_empty() && !machine.interrupted());
}

#[test]
fn no_interrupt_when_the_driver_asks_for_none() {
    let mut machine = Machine::started(0);
    machine.set_available_flags(TX, 1);
    machine.set_available_flags(RX, 1);
    machine.offer_frame(0, BUFFER, &frame(60, 0));
    machine.notify(TX);
    offer_receive(&mut machine, 1, 1526);
    machine.receive(&frame(60, 0));
    assert_eq!((machine.used(TX).len(), machine.used(RX).len()), (1, 1));
    assert!(!machine.interrupted());
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 0);
}

#[test]
fn event_index_says_when_to_interrupt_and_when_to_notify() {
    let mut machine = Machine::started(EVENT_IDX);
    // With the event index the flag means nothing.
    machine.set_available_flags(TX, 1);
    machine.set_used_event(TX, 1);
    machine.offer_frame(0, BUFFER, &frame(60, 0));
    machine.notify(TX);
    assert!(!machine.interrupted(), "entry 0 was used, the driver waits for entry 1");
    assert_eq!(machine.available_event(TX), 1);
    machine.offer_frame(1, BUFFER, &frame(60, 1));
    machine.offer_frame(2, BUFFER, &frame(60, 2));
    machine.notify(TX);
    assert!(machine.interrupted(), "the batch goes past entry 1");
    assert_eq!(machine.available_event(TX), 3);
    machine.offer_frame(3, BUFFER, &frame(60, 3));
    machine.notify(TX);
    assert!(!machine.interrupted(), "the driver did not ask again");

    machine.set_used_event(RX, 1);
    offer_receive(&mut machine, 3, 1526);
    let interrupts: Vec<bool> = (0..3)
        .map(|seed| {
            machine.receive(&frame(60, seed));
            machine.interrupted()
        })
        .collect();
    assert_eq!(interrupts, [false, true, false]);
}

#[test]
fn rings_go_round_and_their_indices_wrap() {
    let mut machine = Machine::started(EVENT_IDX);
    for round in 0..70_000u32 {
        let frame = frame(60, round as u8);
        machine.set_used_event(TX, round as u16);
        machine.offer_frame((round % 16) as u16, BUFFER, &frame);
        machine.notify(TX);
        assert_eq!(machine.sent(), [frame], "round {round}");
        assert!(machine.interrupted(), "round {round}");
    }
}

#[test]
fn reset_forgets_the_driver() {
    let mut machine = Machine::started(EVENT_IDX);
    machine.offer_frame(0, BUFFER, &frame(60, 1));
    machine.notify(TX);
    machine.write(register::STATUS, 0);
    assert_eq!((machine.read(register::STATUS), machine.read(register::INTERRUPT_STATUS)), (0, 0));
    machine.write(register::QUEUE_SEL, 1);
    assert_eq!(machine.read(register::QUEUE_READY), 0);
    machine.outputs.clear();

    machine.start(0);
    machine.offer_frame(0, BUFFER, &frame(60, 2));
    machine.notify(TX);
    assert_eq!(machine.sent(), [frame(60, 2)]);
}
