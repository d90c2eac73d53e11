//! One request on its way to the file: what the host is asked next, and what its answer means.

use std::{fs::File, io::IoSlice, ops::Range};

use devices::{DiskOperation, DiskRequest, DiskStatus};
use ftlog::DiskMode;
use io_uring::{opcode, squeue, types::Fd};
use rustix::{
    fs::{FallocateFlags, fallocate, fdatasync},
    io::{ReadWriteFlags, pwritev2},
};

use super::changes_disk;

/// Zeroes are written this many at a time. They stay where they are, as the kernel reads them while we do other things.
static ZEROES: [u8; 256 << 10] = [0; 256 << 10];

/// What the host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Read,
    Write,
    /// Make a hole, which reads as zeroes.
    Punch,
    /// Zeroes that take space.
    ZeroRange,
    /// Zeroes, written.
    Zeroes,
    Sync,
}

/// A request and how far it is.
#[derive(Debug)]
pub struct Job {
    /// The virtio slot of the disk.
    pub slot: u8,
    /// Which of the disk's requests.
    pub id: u64,
    /// It changes the disk, or when its content is safe.
    pub changes: bool,
    /// Data to be written, or room for data that are read, which there is from the first call on.
    pub data: Vec<u8>,
    call: Call,
    offset: u64,
    len: u64,
    done: u64,
    mode: DiskMode,
    is_discard: bool,
    /// Nobody has asked for it but this program: what was done before is made safe.
    pub is_own: bool,
}

impl Job {
    /// Makes safe what was done before, for this program's own sake.
    pub fn own_sync(mode: DiskMode) -> Self {
        let request = DiskRequest { slot: 0, id: 0, operation: DiskOperation::Flush };
        Self { is_own: true, ..Self::new(request, mode) }
    }

    /// The first step of `request` to a disk that is kept in this mode.
    pub fn new(request: DiskRequest, mode: DiskMode) -> Self {
        let DiskRequest { slot, id, operation } = request;
        let changes = changes_disk(&operation);
        let is_discard = matches!(operation, DiskOperation::Discard { .. });
        let (call, offset, len, data) = match operation {
            DiskOperation::Read { offset, len } => (Call::Read, offset, u64::from(len), Vec::new()),
            DiskOperation::Write { offset, data } => (Call::Write, offset, data.len() as u64, data),
            DiskOperation::Flush => (Call::Sync, 0, 0, Vec::new()),
            DiskOperation::Discard { offset, len } => (Call::Punch, offset, len, Vec::new()),
            DiskOperation::WriteZeroes { offset, len, may_unmap: true } => {
                (Call::Punch, offset, len, Vec::new())
            }
            DiskOperation::WriteZeroes { offset, len, may_unmap: false } => {
                (Call::ZeroRange, offset, len, Vec::new())
            }
        };
        Self { slot, id, changes, data, call, offset, len, done: 0, mode, is_discard, is_own: false }
    }

    /// It makes safe what was done before.
    pub fn is_sync(&self) -> bool {
        self.call == Call::Sync && self.len == 0
    }

    /// The bytes it is about; none for a flush.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }

    /// The two must be carried out in the order in which they came.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let (one, two) = (self.range(), other.range());
        (self.changes || other.changes) && one.start < two.end && two.start < one.end
    }

    /// The next call. It holds a pointer into [`Job::data`], which must not move or go before the call is over.
    pub fn entry(&mut self, file: Fd) -> squeue::Entry {
        let (at, left) = (self.offset + self.done, self.len - self.done);
        match self.call {
            Call::Read => {
                let buffer = self.unread();
                opcode::Read::new(file, buffer.as_mut_ptr(), buffer.len() as u32).offset(at).build()
            }
            Call::Write => self.write_entry(file, at, &self.data[self.done as usize..]),
            Call::Zeroes => self.write_entry(file, at, zeroes(left)),
            Call::Punch => allocate(file, at, left, libc::FALLOC_FL_PUNCH_HOLE),
            Call::ZeroRange => allocate(file, at, left, libc::FALLOC_FL_ZERO_RANGE),
            Call::Sync => opcode::Fsync::new(file).flags(io_uring::types::FsyncFlags::DATASYNC).build(),
        }
    }

    fn write_entry(&self, file: Fd, at: u64, bytes: &[u8]) -> squeue::Entry {
        let flags = if self.is_durable() { libc::RWF_DSYNC } else { 0 };
        opcode::Write::new(file, bytes.as_ptr(), bytes.len() as u32).offset(at).rw_flags(flags).build()
    }

    /// Makes the next call here and now, for a host that does not make it beside others; what io_uring would give.
    pub fn call(&mut self, file: &File) -> i32 {
        let (at, left) = (self.offset + self.done, self.len - self.done);
        let result = match self.call {
            Call::Read => rustix::io::pread(file, self.unread(), at),
            Call::Write => self.write(file, at, &self.data[self.done as usize..]),
            Call::Zeroes => self.write(file, at, zeroes(left)),
            Call::Punch => {
                fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, left).map(|()| 0)
            }
            Call::ZeroRange => {
                fallocate(file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, at, left).map(|()| 0)
            }
            Call::Sync => fdatasync(file).map(|()| 0),
        };
        result.map_or_else(|error| -error.raw_os_error(), |bytes| bytes as i32)
    }

    fn write(&self, file: &File, at: u64, bytes: &[u8]) -> rustix::io::Result<usize> {
        let flags = if self.is_durable() { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        pwritev2(file, &[IoSlice::new(bytes)], at, flags)
    }

    /// The room for what is not read yet.
    fn unread(&mut self) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = vec![0; self.len as usize];
        }
        &mut self.data[self.done as usize..]
    }

    /// The other side of a shared disk cannot see this host's cache, and its guest, which goes on as if nothing had
    /// happened, will not repeat a write that was answered.
    fn is_durable(&self) -> bool {
        self.mode == DiskMode::Shared
    }

    /// What became of the last call; gives the status when that was all.
    pub fn advance(&mut self, result: i32) -> Option<DiskStatus> {
        if result < 0 {
            return self.failed(-result);
        }
        match self.call {
            // Nothing read, nothing written: the file ends too early, or the host has no room.
            Call::Read | Call::Write | Call::Zeroes if result == 0 => Some(DiskStatus::IoError),
            Call::Read | Call::Write | Call::Zeroes => {
                self.done += result as u64;
                (self.done >= self.len).then_some(DiskStatus::Ok)
            }
            Call::Punch | Call::ZeroRange if self.is_durable() => {
                self.call = Call::Sync;
                None
            }
            Call::Punch | Call::ZeroRange | Call::Sync => Some(DiskStatus::Ok),
        }
    }

    fn failed(&mut self, errno: i32) -> Option<DiskStatus> {
        match (self.call, errno) {
            (_, libc::EINTR | libc::EAGAIN) => None,
            // A host may be unable to do this to this file, or not to this range of it.
            (
                Call::Punch | Call::ZeroRange,
                libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | libc::EINVAL,
            ) => {
                // What a discarded range reads as is not defined, but both copies must agree on it.
                if self.is_discard && self.mode == DiskMode::Shared {
                    return Some(DiskStatus::Unsupported);
                }
                self.call = Call::Zeroes;
                None
            }
            _ => Some(DiskStatus::IoError),
        }
    }
}

/// As many of `len` zeroes as are written at a time.
fn zeroes(len: u64) -> &'static [u8] {
    &ZEROES[..len.min(ZEROES.len() as u64) as usize]
}

fn allocate(file: Fd, offset: u64, len: u64, mode: i32) -> squeue::Entry {
    opcode::Fallocate::new(file, len).offset(offset).mode(mode | libc::FALLOC_FL_KEEP_SIZE).build()
}
