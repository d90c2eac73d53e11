//! The ports: which device answers, and with which width.

use devices::Output;
use vm_memory::{Bytes, GuestAddress};

use crate::driver::Machine;

#[test]
fn timer_interrupts_at_its_deadline() {
    let mut machine = Machine::new();
    machine.sync_point(1_000);
    machine.out(0x520, 2);
    assert_eq!(machine.platform.next_deadline_ns(), Some(3_000));
    machine.sync_point(2_999);
    assert_eq!(machine.platform.pending_vector(), None);
    machine.sync_point(3_000);
    assert_eq!(machine.platform.pending_vector(), Some(0x20));
    assert_eq!(machine.input(0x514), 1);
    machine.out(0x510, 1);
    assert_eq!((machine.platform.pending_vector(), machine.input(0x510)), (None, 1));
    machine.out(0x510, 0);
    machine.platform.acknowledge_interrupt(0x20);
    assert_eq!((machine.platform.pending_vector(), machine.platform.next_deadline_ns()), (None, None));

    machine.out(0x524, 9);
    machine.out(0x528, 1);
    assert_eq!(machine.platform.next_deadline_ns(), Some((1 << 32) + 9));
    machine.out(0x520, 0);
    assert_eq!(machine.platform.next_deadline_ns(), None);
}

#[test]
fn clock_by_port_and_by_page() {
    let mut machine = Machine::new();
    machine.sync_point(0x1_0000_0002);
    assert_eq!((machine.input(0x530), machine.input(0x534)), (2, 1));
    machine.out(0x538, 0x30);
    let page = |machine: &Machine| machine.memory.read_obj::<[u64; 2]>(GuestAddress(0x3_0000)).unwrap();
    assert_eq!(page(&machine), [0x1_0000_0002, 1_700_000_000_000_000_000]);
    machine.sync_point(0x1_0000_0003);
    assert_eq!(page(&machine)[0], 0x1_0000_0003);
    machine.out(0x538, 0);
    machine.sync_point(0x1_0000_0004);
    assert_eq!(page(&machine)[0], 0x1_0000_0003);
    machine.out(0x538, u32::MAX);
    assert_eq!(machine.input(0x538), 0);
}

#[test]
fn console_and_power() {
    let mut machine = Machine::new();
    let room = machine.platform.console_receive_room();
    machine.context(|platform, ctx| {
        platform.pio_write(ctx, 0x3f8, 1, b"hello");
        platform.receive_console(ctx, b"yes");
        let mut data = [0; 4];
        platform.pio_read(ctx, 0x3f8, 1, &mut data);
        assert_eq!(&data, b"yes\0");
    });
    assert_eq!(machine.platform.console_receive_room(), room);
    assert_eq!(machine.platform.powered_off(), None);
    machine.out(0x540, 42);
    assert_eq!(machine.platform.powered_off(), Some(devices::Off::Status(42)));
    assert_eq!(
        machine.outputs,
        [Output::Console(b"hello".to_vec()), Output::PowerOff(devices::Off::Status(42))]
    );
}

#[test]
fn console_interrupt_is_line_4() {
    let mut machine = Machine::new();
    machine.context(|platform, ctx| {
        platform.pio_write(ctx, 0x3f9, 1, &[1]);
        platform.receive_console(ctx, b"x");
    });
    assert_eq!(machine.platform.pending_vector(), Some(0x24));
}

#[test]
fn string_output_of_wide_items() {
    let mut machine = Machine::new();
    let items: Vec<u8> = [5u32, 6, 7].iter().flat_map(|item| item.to_le_bytes()).collect();
    machine.context(|platform, ctx| platform.pio_write(ctx, 0x510, 4, &items));
    assert_eq!(machine.input(0x510), 7);
}

#[test]
fn kernel_entry_clock_is_an_exit_and_nothing_else() {
    let mut machine = Machine::new();
    let state = machine.platform.save();
    machine.context(|platform, ctx| platform.pio_write(ctx, 0x550, 1, &[0xff]));
    assert_eq!((machine.platform.save(), machine.outputs.len()), (state, 0));
    machine.out(0x550, 1);
    assert_eq!(machine.input(0x550), u32::MAX);
    assert_eq!(machine.platform.counters().unassigned_accesses, 2, "it is 8 bits wide and not read");
}

#[test]
fn ports_without_a_device_or_of_another_width_read_all_ones() {
    let mut machine = Machine::new();
    let mut read = |port: u16, size: u8, len: usize| {
        let mut data = vec![0; len];
        machine.context(|platform, ctx| platform.pio_read(ctx, port, size, &mut data));
        assert!(data.iter().all(|byte| *byte == 0xff), "{port:#x}");
    };
    // No device, another width, write-only ports, widths no CPU has.
    for (port, size, len) in
        [(0x80, 1, 1), (0x3f8, 4, 4), (0x510, 1, 1), (0x520, 4, 4), (0x540, 4, 4), (0xffff, 2, 2)]
    {
        read(port, size, len);
    }
    read(0x80, 0, 3);
    read(0x80, 255, 9);
    assert_eq!(machine.platform.counters().unassigned_accesses, 6 + 3 + 3);
    machine.context(|platform, ctx| {
        platform.pio_write(ctx, 0x510, 2, &[1, 1]);
        platform.pio_write(ctx, 0x514, 4, &[1; 4]);
        platform.pio_write(ctx, 0x540, 0, &[]);
        platform.pio_write(ctx, 0x540, 8, &[1; 7]);
    });
    assert_eq!(machine.platform.counters().unassigned_accesses, 12 + 2 + 1);
    assert_eq!(machine.platform.powered_off(), Some(devices::Off::Status(0x0101_0101)));
    assert_eq!(machine.input(0x510), 0);
}
