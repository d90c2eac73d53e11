//! Operations on disks, read from random bytes.

use super::input::{Input, Operation};
use super::layout::SLOTS_BASE;

impl Operation {
    pub(super) fn read_for_disk(input: &mut Input) -> Operation {
        match input.byte() % 64 {
            0 => Operation::StartDriver { size: 1 << (input.byte() % 10), features: input.disk_features() },
            1 | 2 => Operation::MmioWrite {
                lane: usize::from(input.byte() % 2),
                register: u64::from(input.byte()) * 4,
                value: input.scattered() as u32,
            },
            3 => {
                let gpa = SLOTS_BASE.wrapping_add(input.scattered());
                Operation::MmioRead { gpa, len: 1 << (input.byte() % 4) }
            }
            4 => Operation::Poke { address: input.scattered(), value: input.scattered() },
            5 => {
                // The last one alone is writable.
                let count = 2 + input.byte() % 4;
                let direction = |at| if at == count { 2 } else { 0 };
                let descriptors =
                    (1..=count).map(|at| input.descriptor(direction(at), at == count)).collect();
                Operation::Chain { lane: 0, descriptors }
            }
            6..=9 => {
                let count = 1 + input.byte() % 4;
                let descriptors = (1..=count).map(|at| input.descriptor(2, at == count)).collect();
                Operation::Chain { lane: 1, descriptors }
            }
            10..=25 => input.request(),
            26..=40 => Operation::Notify { lane: usize::from(input.byte() % 2), queue: input.queue() / 2 },
            41..=57 => Operation::Complete {
                which: input.word().into(),
                status: input.byte(),
                // Mostly as many bytes as were asked for.
                surplus: if input.byte().is_multiple_of(16) { input.scattered() as u16 as i16 } else { 0 },
            },
            58 | 59 => Operation::Entropy { len: usize::from(input.word() % 5000) },
            60 => Operation::Reissue,
            61 => Operation::SyncPoint { later_ns: input.scattered() >> 4 },
            _ => Operation::Interrupt,
        }
    }
}

impl Input<'_> {
    /// Mostly with the flush, without which the disk does not start, and the two optional features of the ring or
    /// none; now and then with one that there is not.
    fn disk_features(&mut self) -> u32 {
        let (ring, odd) = (u32::from(self.byte() & 3) << 28, self.byte());
        ring | u32::from(odd % 16 != 0) << 9 | u32::from(odd % 16 == 15) << 30
    }

    /// A request in a few descriptors, now and then with something wrong.
    fn request(&mut self) -> Operation {
        let layout = self.byte();
        let kind = self.kind();
        let sector = if layout.is_multiple_of(16) { self.scattered() } else { u64::from(self.byte() % 64) };
        let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
        let (header_at, data_at) = (self.buffer_at(), self.buffer_at());
        let (sent, wanted) = match kind {
            0 => (0, self.data_len()),
            1 => (self.data_len(), 0),
            8 => (0, 20),
            11 | 13 => (16, 0),
            _ => (0, 0),
        };
        let mut parts =
            vec![(header_at, 16, 0), (data_at, sent, 0), (data_at, wanted, 2), (header_at + 16, 1, 2)];
        parts.retain(|(_, len, _)| *len > 0 || layout & 1 != 0);
        if layout & 2 != 0 {
            let (at, len, flags) = parts.remove(0);
            let cut = len.min(u32::from(layout >> 4));
            parts.splice(0..0, [(at, cut, flags), (at + u64::from(cut), len - cut, flags)]);
        }
        let last = parts.len() - 1;
        let mut descriptors: Vec<[u8; 16]> =
            (0..).zip(parts).map(|(at, part)| whole_descriptor(part, at == last)).collect();
        if self.byte().is_multiple_of(32) {
            let at = usize::from(self.byte()) % descriptors.len();
            descriptors[at] = self.descriptor(0, at == last);
        }
        let range = (kind == 11 || kind == 13).then(|| self.range()).map(|range| (data_at, range));
        Operation::Request { header: (header_at, header), range, descriptors, indirect: layout & 12 == 12 }
    }

    /// Mostly a type that there is.
    fn kind(&mut self) -> u32 {
        match self.byte() {
            byte @ ..240 => [0, 0, 1, 1, 4, 8, 11, 13][usize::from(byte % 8)],
            _ => self.scattered() as u32,
        }
    }

    /// Mostly a few sectors.
    fn data_len(&mut self) -> u32 {
        match self.byte() {
            byte @ ..240 => u32::from(byte % 8 + 1) * 512,
            _ => u32::from(self.word()),
        }
    }

    /// In the part of RAM where no rings are.
    fn buffer_at(&mut self) -> u64 {
        0x7000 + u64::from(self.word() % 0x8000)
    }

    /// The data of a discard or a write of zeroes.
    fn range(&mut self) -> Vec<u8> {
        let odd = self.byte();
        let sector = if odd & 15 == 1 { self.scattered() } else { u64::from(self.byte() % 64) };
        let count = if odd & 15 == 2 { self.scattered() as u32 } else { u32::from(self.byte() % 16) };
        let flags = u32::from(odd >> 6);
        [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
    }
}

/// A descriptor whose successor, if there is one, comes next.
fn whole_descriptor((address, len, flags): (u64, u32, u16), last: bool) -> [u8; 16] {
    let flags = flags | u16::from(!last);
    let bytes = [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &1u16.to_le_bytes()];
    bytes.concat().try_into().expect("the parts are 16 bytes together")
}
