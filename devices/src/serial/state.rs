//! Saved state of the UART.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{IER_ALL, MCR_ALL, RECEIVE_CAPACITY, Serial};
use crate::state::StateError;

/// Saved state of the UART; the registers as the guest wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    /// Bytes the guest has not read yet, oldest first.
    pub received: Vec<u8>,
    /// IER.
    pub interrupt_enable: u8,
    /// LCR.
    pub line_control: u8,
    /// MCR.
    pub modem_control: u8,
    /// SCR.
    pub scratch: u8,
    /// Divisor latch.
    pub divisor: u16,
    /// FCR bit 0.
    pub fifo_enabled: bool,
    /// LSR overrun bit: input was lost.
    pub overrun: bool,
    /// The transmitter-empty interrupt is due.
    pub transmit_interrupt: bool,
}

impl Serial {
    pub(crate) fn save(&self) -> SerialState {
        let Self {
            received,
            interrupt_enable,
            line_control,
            modem_control,
            scratch,
            divisor,
            fifo_enabled,
            overrun,
            transmit_interrupt,
        } = self;
        SerialState {
            received: received.iter().copied().collect(),
            interrupt_enable: *interrupt_enable,
            line_control: *line_control,
            modem_control: *modem_control,
            scratch: *scratch,
            divisor: *divisor,
            fifo_enabled: *fifo_enabled,
            overrun: *overrun,
            transmit_interrupt: *transmit_interrupt,
        }
    }

    pub(crate) fn restore(state: &SerialState) -> Result<Self, StateError> {
        let SerialState {
            received,
            interrupt_enable,
            line_control,
            modem_control,
            scratch,
            divisor,
            fifo_enabled,
            overrun,
            transmit_interrupt,
        } = state;
        if received.len() > RECEIVE_CAPACITY {
            return Err(StateError::SerialInput { len: received.len(), capacity: RECEIVE_CAPACITY });
        }
        if interrupt_enable & !IER_ALL != 0 || modem_control & !MCR_ALL != 0 {
            return Err(StateError::SerialRegisters {
                interrupt_enable: *interrupt_enable,
                modem_control: *modem_control,
            });
        }
        let mut queue = VecDeque::with_capacity(RECEIVE_CAPACITY);
        queue.extend(received);
        Ok(Serial {
            received: queue,
            interrupt_enable: *interrupt_enable,
            line_control: *line_control,
            modem_control: *modem_control,
            scratch: *scratch,
            divisor: *divisor,
            fifo_enabled: *fifo_enabled,
            overrun: *overrun,
            transmit_interrupt: *transmit_interrupt,
        })
    }
}
