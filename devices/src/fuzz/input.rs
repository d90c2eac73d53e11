//! Operations, read from random bytes.

use super::layout::{RAM_SIZE, SLOTS_BASE};

/// One thing the guest or the world outside does. A lane is one of the two queues that are driven.
#[derive(Debug)]
pub(super) enum Operation {
    StartDriver {
        size: u32,
        features: u32,
    },
    MmioWrite {
        lane: usize,
        register: u64,
        value: u32,
    },
    MmioRead {
        gpa: u64,
        len: usize,
    },
    PortWrite {
        port: u16,
        size: u8,
        data: Vec<u8>,
    },
    PortRead {
        port: u16,
        size: u8,
        len: usize,
    },
    Poke {
        address: u64,
        value: u64,
    },
    Chain {
        lane: usize,
        descriptors: Vec<[u8; 16]>,
    },
    Request {
        header: (u64, Vec<u8>),
        range: Option<(u64, Vec<u8>)>,
        descriptors: Vec<[u8; 16]>,
        indirect: bool,
    },
    Notify {
        lane: usize,
        queue: u32,
    },
    Complete {
        which: usize,
        status: u8,
        surplus: i16,
    },
    Entropy {
        len: usize,
    },
    Reissue,
    Frame {
        len: usize,
    },
    Console {
        len: usize,
    },
    SyncPoint {
        later_ns: u64,
    },
    Interrupt,
}

impl Operation {
    pub(super) fn read(input: &mut Input) -> Operation {
        match input.byte() % 24 {
            // Mostly the two optional ring features or none; some sizes are too large.
            0 => Operation::StartDriver {
                size: 1 << (input.byte() % 10),
                features: u32::from(input.byte() & 0x1c) << 26,
            },
            1 | 2 => Operation::MmioWrite {
                lane: 0,
                register: u64::from(input.byte()) * 4,
                value: input.scattered() as u32,
            },
            3 => {
                let gpa = SLOTS_BASE.wrapping_add(input.scattered());
                Operation::MmioRead { gpa, len: 1 << (input.byte() % 4) }
            }
            4 | 5 => {
                let (port, size) = (input.port(), 1 << (input.byte() % 4));
                Operation::PortWrite { port, size, data: input.bytes(usize::from(input.peek() % 16)) }
            }
            6 => Operation::PortRead { port: input.port(), size: 1 << (input.byte() % 4), len: 8 },
            7 | 8 => Operation::Poke { address: input.scattered(), value: input.scattered() },
            9..=15 => {
                let (lane, count) = (usize::from(input.byte() % 2), 1 + input.byte() % 4);
                let direction = if lane == 0 { 2 } else { 0 };
                let descriptors = (1..=count).map(|at| input.descriptor(direction, at == count)).collect();
                Operation::Chain { lane, descriptors }
            }
            16..=18 => Operation::Notify { lane: 0, queue: input.queue() },
            19 | 20 => Operation::Frame { len: usize::from(input.word() % 1600) },
            21 => Operation::Console { len: usize::from(input.byte()) },
            22 => Operation::SyncPoint { later_ns: input.scattered() >> 4 },
            _ => Operation::Interrupt,
        }
    }
}

/// The input, read from the front; zeroes when it is used up.
pub(super) struct Input<'a> {
    data: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Input { data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn peek(&self) -> u8 {
        self.data.first().copied().unwrap_or(0)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.peek();
        self.data = self.data.get(1..).unwrap_or(&[]);
        byte
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Mostly a small number or an address in RAM, sometimes one at the end of something.
    pub(super) fn scattered(&mut self) -> u64 {
        match self.byte() % 8 {
            0 | 1 => u64::from(self.byte()),
            2..=5 => u64::from(self.word()),
            6 => RAM_SIZE as u64 - u64::from(self.byte() % 32),
            _ => u64::MAX - u64::from(self.word()),
        }
    }

    /// Mostly a queue the device has.
    pub(super) fn queue(&mut self) -> u32 {
        match self.byte() {
            byte @ ..252 => u32::from(byte % 2),
            byte => u32::from(byte),
        }
    }

    /// Mostly a port of the platform.
    fn port(&mut self) -> u16 {
        let byte = self.byte();
        match byte % 4 {
            0 => 0x3f8 + u16::from(byte >> 4),
            1..=2 => 0x510 + u16::from(byte >> 4) * 4,
            _ => self.word(),
        }
    }

    /// A descriptor: now and then with any address, length, flags and successor, mostly whole.
    pub(super) fn descriptor(&mut self, direction: u16, last: bool) -> [u8; 16] {
        let odd = self.byte();
        let address =
            if odd & 0x7f == 1 { self.scattered() } else { u64::from(self.word()) & 0x7fff | 0x7000 };
        let len = if odd & 0x7f == 2 { self.scattered() as u32 } else { u32::from(self.word() % 800) };
        let flags = if odd & 0x7f == 3 { self.word() % 8 } else { direction | u16::from(!last) };
        let next = if odd & 0x7f == 4 { self.word() } else { 1 };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        bytes
    }
}
