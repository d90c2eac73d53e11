//! The registers of virtio over MMIO.

use devices::Violation;

use crate::driver::register::*;
use crate::driver::*;

#[test]
fn identity_features_and_configuration() {
    let mut machine = Machine::new();
    let identity = [0x00, 0x04, 0x08].map(|register| machine.read(register));
    assert_eq!(identity, [0x7472_6976, 2, 1]);
    assert_eq!(machine.offered(), VERSION_1 | EVENT_IDX | INDIRECT | F_MAC | F_MTU);
    machine.write(DEVICE_FEATURES_SEL, 2);
    assert_eq!(machine.read(DEVICE_FEATURES), 0);
    assert_eq!(machine.read(0xfc), 0, "the configuration never changes");

    let mut configuration = [0xff; 16];
    machine.context(|platform, ctx| platform.mmio_read(ctx, NET_BASE + 0x100, &mut configuration));
    let mtu = CONFIG.mtu.to_le_bytes();
    assert_eq!(configuration, [&MAC[..], &[0; 4], &mtu, &[0; 4]].concat()[..], "address, MTU, nothing else");
    let mut last = [0];
    machine.context(|platform, ctx| platform.mmio_read(ctx, NET_BASE + 0x105, &mut last));
    assert_eq!(last, [MAC[5]]);
    assert_eq!(machine.platform.net(), Some(CONFIG));
    assert_eq!(machine.platform.counters().unassigned_accesses, 0);
}

#[test]
fn two_queues_of_256() {
    let mut machine = Machine::new();
    let sizes = [0, 1, 2, u32::MAX].map(|queue| {
        machine.write(QUEUE_SEL, queue);
        (machine.read(QUEUE_NUM_MAX), machine.read(QUEUE_READY))
    });
    assert_eq!(sizes, [(256, 0), (256, 0), (0, 0), (0, 0)]);
}

#[test]
fn features_the_device_lacks_are_refused_by_keeping_features_ok_clear() {
    let mut machine = Machine::new();
    machine.negotiate(1 << 0);
    assert_eq!(machine.read(STATUS), ACKNOWLEDGED);
    machine.negotiate(F_MAC | EVENT_IDX);
    assert_eq!(machine.read(STATUS), FEATURES_OK);
    machine.write(DRIVER_FEATURES_SEL, 0);
    machine.write(DRIVER_FEATURES, 1);
    machine.write(STATUS, DRIVER_OK);
    assert_eq!(machine.read(STATUS), DRIVER_OK, "features are fixed from FEATURES_OK on");
}

#[test]
fn a_driver_older_than_version_1_is_refused() {
    let mut machine = Machine::new();
    machine.write(STATUS, ACKNOWLEDGED);
    machine.write(STATUS, FEATURES_OK);
    assert_eq!(machine.read(STATUS), ACKNOWLEDGED);
}

#[test]
fn status_out_of_order() {
    let mut machine = Machine::new();
    machine.write(STATUS, ACKNOWLEDGED | 4);
    assert_eq!(machine.read(STATUS), NEEDS_RESET, "DRIVER_OK before FEATURES_OK");
    assert!(!machine.interrupted(), "there is no interrupt before DRIVER_OK");

    machine.start(0);
    machine.write(STATUS, FEATURES_OK);
    let expected = Violation::Status { status: DRIVER_OK, written: FEATURES_OK };
    assert_eq!(machine.violation(), Some(&expected), "a bit was cleared");
    assert!(machine.interrupted());
    machine.write(STATUS, 0);
    assert_eq!((machine.read(STATUS), machine.violation()), (0, None));
}

#[test]
fn queue_registers_that_cannot_be() {
    let wrong = [
        (QUEUE_NUM, 0),
        (QUEUE_NUM, 3),
        (QUEUE_NUM, 512),
        (QUEUE_NUM, 0x1_0010),
        (QUEUE_DESC_LOW, 0x1_0008),
        (QUEUE_DESC_LOW, RAM_SIZE as u32 - 16),
        (QUEUE_DESC_HIGH, 1),
        (QUEUE_DESC_HIGH, u32::MAX),
        (QUEUE_DRIVER_LOW, 0x1_2001),
        (QUEUE_DRIVER_LOW, RAM_SIZE as u32 - 4),
        (QUEUE_DEVICE_LOW, 0x1_4002),
        (QUEUE_DEVICE_LOW, RAM_SIZE as u32),
    ];
    for (register, value) in wrong {
        let mut machine = Machine::new();
        machine.negotiate(0);
        machine.set_up_queue(RX);
        machine.write(register, value);
        machine.write(QUEUE_READY, 1);
        assert_eq!(machine.read(QUEUE_READY), 0, "{register:#x} = {value:#x}");
        assert!(
            matches!(machine.violation(), Some(Violation::QueueSetup { queue: 0, .. })),
            "{register:#x} = {value:#x}"
        );
        assert_eq!(machine.read(STATUS), FEATURES_OK | NEEDS_RESET);
    }
}

#[test]
fn queue_before_features() {
    let mut machine = Machine::new();
    machine.set_up_queue(TX);
    machine.write(QUEUE_READY, 1);
    assert_eq!(machine.violation(), Some(&Violation::QueueBeforeFeatures { queue: 1 }));
}

#[test]
fn registers_of_an_enabled_queue_do_not_change() {
    let mut machine = Machine::started(0);
    machine.write(QUEUE_SEL, TX as u32);
    machine.write(QUEUE_DESC_LOW, 0);
    machine.write(QUEUE_NUM, 1);
    machine.write(QUEUE_READY, 1);
    machine.offer_frame(5, 0x8_0000, &frame(60, 1));
    machine.notify(TX);
    assert_eq!(machine.sent(), [frame(60, 1)]);
    machine.write(QUEUE_READY, 0);
    assert_eq!(machine.read(QUEUE_READY), 0);
    machine.notify(TX);
    assert_eq!(machine.violation(), None);
}

#[test]
fn accesses_of_another_width_or_register_are_unassigned() {
    let mut machine = Machine::new();
    let mut read = |gpa: u64, len: usize| {
        let mut data = vec![0; len];
        machine.context(|platform, ctx| platform.mmio_read(ctx, gpa, &mut data));
        assert!(data.iter().all(|byte| *byte == 0xff), "{gpa:#x} {len}");
    };
    // Half a register, one across two, a write-only one, an empty slot, outside the window.
    for (gpa, len) in [(NET_BASE, 2), (NET_BASE + 2, 4), (NET_BASE + 0x50, 4), (NET_BASE + 0x7000, 4), (0, 8)]
    {
        read(gpa, len);
    }
    read(u64::MAX, 1);
    machine.write(0, 5);
    machine.write(0x100, 5);
    machine.context(|platform, ctx| platform.mmio_write(ctx, NET_BASE + STATUS, &[1]));
    assert_eq!(machine.read(STATUS), 0);
    assert_eq!(machine.platform.counters().unassigned_accesses, 9);
}

#[test]
fn without_a_network_the_slot_is_empty() {
    let config = devices::PlatformConfig {
        net: None,
        disks: Vec::new(),
        wall_base_ns: 0,
        on_panic: devices::OnPanic::Halt,
    };
    let mut machine = Machine::new();
    machine.platform = devices::Platform::new(&config);
    assert_eq!(machine.read(0), u32::MAX);
    machine.receive(&frame(60, 0));
    assert_eq!(machine.platform.net_receive_room(&machine.memory), 0);
    assert_eq!(machine.platform.net(), None);
}
