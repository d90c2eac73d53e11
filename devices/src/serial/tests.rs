use super::*;

struct Bench {
    serial: Serial,
    interrupts: InterruptController,
    outputs: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        Bench { serial: Serial::new(), interrupts: InterruptController::new(), outputs: Vec::new() }
    }

    fn write(&mut self, register: u16, value: u8) {
        self.serial.write(register, value, &mut self.interrupts, &mut self.outputs);
    }

    fn read(&mut self, register: u16) -> u8 {
        self.serial.read(register)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.serial.receive(bytes, &mut self.interrupts);
    }

    /// Whether line 4 fired since it was last asked.
    fn fired(&mut self) -> bool {
        let pending = self.interrupts.pending();
        self.interrupts.acknowledge(crate::VECTOR_BASE + LINE);
        assert_eq!(pending & !(1 << LINE), 0, "the UART has only line 4");
        pending != 0
    }
}

#[test]
fn written_bytes_come_out_in_one_item_and_no_interrupt() {
    let mut bench = Bench::new();
    b"hello".iter().for_each(|byte| bench.write(DATA, *byte));
    assert_eq!(bench.outputs, [Output::Console(b"hello".to_vec())]);
    assert!(!bench.fired());
    assert_eq!(bench.read(LINE_STATUS), LSR_TRANSMIT_EMPTY);
}

#[test]
fn console_bytes_around_another_output_stay_in_order() {
    let mut bench = Bench::new();
    bench.write(DATA, b'a');
    bench.outputs.push(Output::PowerOff(crate::ends::Off::Status(0)));
    bench.write(DATA, b'b');
    let (a, b) = (Output::Console(b"a".to_vec()), Output::Console(b"b".to_vec()));
    assert_eq!(bench.outputs, [a, Output::PowerOff(crate::ends::Off::Status(0)), b]);
}

#[test]
fn input_is_read_in_order_with_interrupt() {
    let mut bench = Bench::new();
    bench.write(INTERRUPT_ENABLE, IER_RECEIVED);
    assert!(!bench.fired());
    bench.receive(b"xy");
    assert!(bench.fired());
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_RECEIVED);
    assert_eq!(bench.read(LINE_STATUS) & LSR_DATA_READY, LSR_DATA_READY);
    assert_eq!((bench.read(DATA), bench.read(DATA), bench.read(DATA)), (b'x', b'y', 0));
    assert_eq!(bench.read(LINE_STATUS) & LSR_DATA_READY, 0);
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_NONE);
}

#[test]
fn input_that_waited_fires_when_it_is_enabled() {
    let mut bench = Bench::new();
    bench.receive(b"x");
    assert!(!bench.fired());
    bench.write(INTERRUPT_ENABLE, IER_RECEIVED);
    assert!(bench.fired());
    bench.write(INTERRUPT_ENABLE, IER_RECEIVED);
    assert!(!bench.fired(), "it was enabled already");
}

#[test]
fn transmit_interrupt_on_enable_and_after_each_write() {
    let mut bench = Bench::new();
    bench.write(INTERRUPT_ENABLE, IER_TRANSMIT_EMPTY);
    assert!(bench.fired());
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_TRANSMIT_EMPTY);
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_NONE, "reading the id clears it");
    bench.write(DATA, b'a');
    assert!(bench.fired());
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_TRANSMIT_EMPTY);
}

#[test]
fn causes_come_in_order_of_priority() {
    let mut bench = Bench::new();
    bench.write(INTERRUPT_ENABLE, IER_ALL);
    bench.receive(&[b'z'; RECEIVE_CAPACITY + 1]);
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_LINE_STATUS);
    assert_eq!(bench.read(LINE_STATUS) & LSR_OVERRUN, LSR_OVERRUN);
    assert_eq!(bench.read(LINE_STATUS) & LSR_OVERRUN, 0);
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_RECEIVED);
    (0..RECEIVE_CAPACITY).for_each(|_| assert_eq!(bench.read(DATA), b'z'));
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_TRANSMIT_EMPTY);
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL), IIR_NONE);
}

#[test]
fn input_is_bounded() {
    let mut bench = Bench::new();
    assert_eq!(bench.serial.receive_room(), RECEIVE_CAPACITY);
    bench.receive(&[0; 10_000]);
    bench.receive(&[1; 10_000]);
    assert_eq!(bench.serial.receive_room(), 0);
    assert_eq!(bench.read(DATA), 0);
    assert_eq!(bench.serial.receive_room(), 1);
}

#[test]
fn divisor_latch_hides_data_and_interrupt_enable() {
    let mut bench = Bench::new();
    bench.write(LINE_CONTROL, LCR_DIVISOR_LATCH);
    bench.write(DATA, 0x0c);
    bench.write(INTERRUPT_ENABLE, 0x01);
    assert_eq!((bench.read(DATA), bench.read(INTERRUPT_ENABLE)), (0x0c, 0x01));
    bench.write(LINE_CONTROL, 0x03);
    assert_eq!(bench.read(INTERRUPT_ENABLE), 0);
    assert_eq!(bench.outputs, []);
}

/// The probes of Linux's 8250 driver: scratch, interrupt enable, FIFO id, loopback of the modem lines.
#[test]
fn probes_of_the_linux_driver() {
    let mut bench = Bench::new();
    bench.write(SCRATCH, 0xa5);
    assert_eq!(bench.read(SCRATCH), 0xa5);
    bench.write(INTERRUPT_ENABLE, 0xff);
    assert_eq!(bench.read(INTERRUPT_ENABLE), IER_ALL);
    bench.write(INTERRUPT_ENABLE, 0);
    bench.write(INTERRUPT_ID_FIFO_CONTROL, FCR_ENABLE);
    assert_eq!(bench.read(INTERRUPT_ID_FIFO_CONTROL) >> 6, 3);
    bench.write(MODEM_CONTROL, MCR_LOOPBACK | 0x0a);
    assert_eq!(bench.read(MODEM_STATUS) & 0xf0, 0x90);
    bench.write(DATA, b'l');
    assert_eq!((bench.read(DATA), bench.outputs.len()), (b'l', 0));
    bench.write(MODEM_CONTROL, 0);
    assert_eq!(bench.read(MODEM_STATUS), MSR_CONNECTED);
}

#[test]
fn fifo_control_clears_input() {
    let mut bench = Bench::new();
    bench.write(INTERRUPT_ID_FIFO_CONTROL, FCR_ENABLE);
    bench.receive(b"old");
    bench.write(INTERRUPT_ID_FIFO_CONTROL, FCR_ENABLE);
    assert_eq!(bench.serial.receive_room(), RECEIVE_CAPACITY - 3);
    bench.write(INTERRUPT_ID_FIFO_CONTROL, FCR_ENABLE | FCR_CLEAR_RECEIVE);
    assert_eq!(bench.serial.receive_room(), RECEIVE_CAPACITY);
}

#[test]
fn state_round_trips_and_is_checked() {
    let mut bench = Bench::new();
    bench.write(LINE_CONTROL, LCR_DIVISOR_LATCH);
    bench.write(DATA, 0x0c);
    bench.write(LINE_CONTROL, 3);
    bench.write(INTERRUPT_ENABLE, IER_TRANSMIT_EMPTY);
    bench.write(MODEM_CONTROL, 0x0b);
    bench.receive(b"pending");
    let state = bench.serial.save();
    assert_eq!(Serial::restore(&state).unwrap().save(), state);

    let bad = [
        SerialState { received: vec![0; RECEIVE_CAPACITY + 1], ..state.clone() },
        SerialState { interrupt_enable: 0x10, ..state.clone() },
        SerialState { modem_control: 0x20, ..state },
    ];
    bad.iter().for_each(|state| assert!(Serial::restore(state).is_err(), "{state:?}"));
}
