//! The console: a 16550A UART, as far as Linux's 8250 driver and small guests use one.
//!
//! Sending is immediate, so the transmitter is always empty. Interrupts are pulses on line 4, given when a
//! cause appears or is enabled, as an edge-triggered PC would: a handler reads until nothing is left. The
//! bits are those of the PC16550D data sheet.

mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::context::Output;
use crate::interrupts::InterruptController;
pub use state::SerialState;

/// First port of the UART.
pub(crate) const FIRST_PORT: u16 = 0x3f8;
/// Last port of the UART.
pub(crate) const LAST_PORT: u16 = 0x3ff;

/// Received bytes kept for the guest. More than the 16 of the real part, which only saves exits.
const RECEIVE_CAPACITY: usize = 256;
const LINE: u8 = 4;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const INTERRUPT_ID_FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const MODEM_STATUS: u16 = 6;
const SCRATCH: u16 = 7;

const IER_RECEIVED: u8 = 0x01;
const IER_TRANSMIT_EMPTY: u8 = 0x02;
const IER_LINE_STATUS: u8 = 0x04;
const IER_ALL: u8 = 0x0f;

const IIR_NONE: u8 = 0x01;
const IIR_TRANSMIT_EMPTY: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE_STATUS: u8 = 0x06;
const IIR_FIFO_ENABLED: u8 = 0xc0;

const FCR_ENABLE: u8 = 0x01;
const FCR_CLEAR_RECEIVE: u8 = 0x02;

const LCR_DIVISOR_LATCH: u8 = 0x80;

const MCR_LOOPBACK: u8 = 0x10;
const MCR_ALL: u8 = 0x1f;

const LSR_DATA_READY: u8 = 0x01;
const LSR_OVERRUN: u8 = 0x02;
const LSR_TRANSMIT_EMPTY: u8 = 0x60;

/// Carrier detect, data set ready, clear to send.
const MSR_CONNECTED: u8 = 0xb0;

#[derive(Debug)]
pub(crate) struct Serial {
    received: VecDeque<u8>,
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: u16,
    fifo_enabled: bool,
    overrun: bool,
    /// The transmitter-empty interrupt is due: set by a write or by enabling it, cleared when its id is read.
    transmit_interrupt: bool,
}

impl Serial {
    pub(crate) fn new() -> Self {
        Serial {
            received: VecDeque::with_capacity(RECEIVE_CAPACITY),
            interrupt_enable: 0,
            line_control: 0,
            modem_control: 0,
            scratch: 0,
            divisor: 0,
            fifo_enabled: false,
            overrun: false,
            transmit_interrupt: false,
        }
    }

    /// How many bytes [`Serial::receive`] takes now.
    pub(crate) fn receive_room(&self) -> usize {
        RECEIVE_CAPACITY - self.received.len()
    }

    /// Input from the console. Bytes for which there is no room are lost and reported to the guest as an
    /// overrun.
    pub(crate) fn receive(&mut self, bytes: &[u8], interrupts: &mut InterruptController) {
        let taken = bytes.len().min(self.receive_room());
        self.received.extend(&bytes[..taken]);
        self.overrun |= taken < bytes.len();
        let arrived = if taken > 0 { IER_RECEIVED } else { 0 };
        let lost = if taken < bytes.len() { IER_LINE_STATUS } else { 0 };
        self.pulse_if_enabled(arrived | lost, interrupts);
    }

    pub(crate) fn read(&mut self, register: u16) -> u8 {
        match register {
            DATA if self.divisor_latched() => self.divisor as u8,
            DATA => self.received.pop_front().unwrap_or(0),
            INTERRUPT_ENABLE if self.divisor_latched() => (self.divisor >> 8) as u8,
            INTERRUPT_ENABLE => self.interrupt_enable,
            INTERRUPT_ID_FIFO_CONTROL => self.read_interrupt_id(),
            LINE_CONTROL => self.line_control,
            MODEM_CONTROL => self.modem_control,
            LINE_STATUS => self.read_line_status(),
            MODEM_STATUS => self.modem_status(),
            SCRATCH => self.scratch,
            _ => u8::MAX,
        }
    }

    pub(crate) fn write(
        &mut self,
        register: u16,
        value: u8,
        interrupts: &mut InterruptController,
        outputs: &mut Vec<Output>,
    ) {
        match register {
            DATA if self.divisor_latched() => self.divisor = self.divisor & 0xff00 | u16::from(value),
            DATA => self.transmit(value, interrupts, outputs),
            INTERRUPT_ENABLE if self.divisor_latched() => {
                self.divisor = self.divisor & 0x00ff | u16::from(value) << 8;
            }
            INTERRUPT_ENABLE => self.write_interrupt_enable(value & IER_ALL, interrupts),
            INTERRUPT_ID_FIFO_CONTROL => self.write_fifo_control(value),
            LINE_CONTROL => self.line_control = value,
            MODEM_CONTROL => self.modem_control = value & MCR_ALL,
            SCRATCH => self.scratch = value,
            // The status registers are read-only.
            _ => {}
        }
    }

    fn divisor_latched(&self) -> bool {
        self.line_control & LCR_DIVISOR_LATCH != 0
    }

    fn loopback(&self) -> bool {
        self.modem_control & MCR_LOOPBACK != 0
    }

    fn transmit(&mut self, byte: u8, interrupts: &mut InterruptController, outputs: &mut Vec<Output>) {
        if self.loopback() {
            self.receive(&[byte], interrupts);
        } else if let Some(Output::Console(bytes)) = outputs.last_mut() {
            bytes.push(byte);
        } else {
            outputs.push(Output::Console(vec![byte]));
        }
        self.transmit_interrupt = true;
        self.pulse_if_enabled(IER_TRANSMIT_EMPTY, interrupts);
    }

    /// An interrupt whose cause is already there is given when it becomes enabled.
    fn write_interrupt_enable(&mut self, value: u8, interrupts: &mut InterruptController) {
        let newly_enabled = value & !self.interrupt_enable;
        self.interrupt_enable = value;
        self.transmit_interrupt |= newly_enabled & IER_TRANSMIT_EMPTY != 0;
        let mut causes = IER_TRANSMIT_EMPTY;
        if !self.received.is_empty() {
            causes |= IER_RECEIVED;
        }
        if self.overrun {
            causes |= IER_LINE_STATUS;
        }
        self.pulse_if_enabled(newly_enabled & causes, interrupts);
    }

    fn write_fifo_control(&mut self, value: u8) {
        let enabled = value & FCR_ENABLE != 0;
        // Turning the FIFOs on or off empties them.
        if value & FCR_CLEAR_RECEIVE != 0 || enabled != self.fifo_enabled {
            self.received.clear();
        }
        self.fifo_enabled = enabled;
    }

    fn pulse_if_enabled(&self, causes: u8, interrupts: &mut InterruptController) {
        if self.interrupt_enable & causes != 0 {
            interrupts.raise(LINE);
        }
    }

    /// The highest-priority cause that is enabled; reading transmitter-empty clears it.
    fn read_interrupt_id(&mut self) -> u8 {
        let enabled = |cause| self.interrupt_enable & cause != 0;
        let id = if self.overrun && enabled(IER_LINE_STATUS) {
            IIR_LINE_STATUS
        } else if !self.received.is_empty() && enabled(IER_RECEIVED) {
            IIR_RECEIVED
        } else if self.transmit_interrupt && enabled(IER_TRANSMIT_EMPTY) {
            self.transmit_interrupt = false;
            IIR_TRANSMIT_EMPTY
        } else {
            IIR_NONE
        };
        if self.fifo_enabled { id | IIR_FIFO_ENABLED } else { id }
    }

    fn read_line_status(&mut self) -> u8 {
        let ready = if self.received.is_empty() { 0 } else { LSR_DATA_READY };
        let overrun = if std::mem::take(&mut self.overrun) { LSR_OVERRUN } else { 0 };
        LSR_TRANSMIT_EMPTY | ready | overrun
    }

    /// In loopback the modem control outputs come back as the modem status inputs, which drivers probe for.
    fn modem_status(&self) -> u8 {
        if !self.loopback() {
            return MSR_CONNECTED;
        }
        let control = self.modem_control;
        let (dtr, rts, out) = (control & 0x01, control & 0x02, control & 0x0c);
        dtr << 5 | rts << 3 | out << 4
    }
}
