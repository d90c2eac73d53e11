//! When a position passed each stage on its way from the guest to the network, to find where an output's time goes.
//!
//! Off, [`mark`] is a load and a branch. The environment variable `FTVMM_TRACE` names a directory, and then the process
//! writes its marks to the file `PID` in it: shared memory, so that a process which is killed loses none, and no system
//! call is made on the way. Both sides of a pair on one host have one monotonic clock: `make bench-commit` joins their
//! files by position.

use std::{
    env,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use ftlog::Position;
use rustix::time::{ClockId, clock_gettime};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

/// The environment variable that names the directory.
pub const VARIABLE: &str = "FTVMM_TRACE";
/// Marks that a file holds; those that come later are not kept. 12 MiB.
const MARKS: usize = 1 << 19;
/// A mark in the file: stage, position and time, each a u64, little-endian on the hosts that there are.
const MARK_LEN: usize = 3 * size_of::<u64>();

static SHEET: OnceLock<Sheet> = OnceLock::new();

/// Where a position is, in the order in which it comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u64)]
pub enum Stage {
    /// Primary, vCPU thread: the stretch that ends at this sync point has ended.
    Exited = 1,
    /// The batch whose last step it is, is closed.
    Closed = 2,
    /// The controller hears of it.
    Taken = 4,
    /// The socket has taken the batch.
    Sent = 5,
    /// Secondary, link thread: woken by whatever it is; of no position.
    SecondaryWoken = 6,
    /// The batch that ends here is verified and decoded.
    Decoded = 7,
    /// The socket has taken the acknowledgement of all up to here.
    Acknowledged = 8,
    /// Primary, link thread: woken by whatever it is; of no position.
    PrimaryWoken = 9,
    /// The acknowledgement of all up to here is decoded.
    Heard = 10,
    /// An output of this position has passed the gate.
    Released = 11,
    /// The outlet has taken it.
    Emitted = 12,
}

impl Stage {
    /// In the order in which an output comes there.
    pub const ALL: [Self; 11] = [
        Self::Exited,
        Self::Closed,
        Self::Taken,
        Self::Sent,
        Self::SecondaryWoken,
        Self::Decoded,
        Self::Acknowledged,
        Self::PrimaryWoken,
        Self::Heard,
        Self::Released,
        Self::Emitted,
    ];
}

/// A position at a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where it is.
    pub stage: Stage,
    /// Which one.
    pub position: Position,
    /// When, ns of the host's monotonic clock.
    pub ns: u64,
}

struct Sheet {
    map: MmapRegion,
    next: AtomicUsize,
}

impl Sheet {
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let len = MARKS * MARK_LEN;
        file.set_len(len as u64)?;
        // Populated: no mark is to wait for a page.
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let map = MmapRegion::build(Some(FileOffset::new(file, 0)), len, protection, flags);
        let map = map.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { map, next: AtomicUsize::new(0) })
    }

    fn put(&self, mark: Mark) {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= MARKS {
            return;
        }
        for (part, value) in [mark.position.0, mark.ns, mark.stage as u64].into_iter().enumerate() {
            // The stage last: a mark without one is not there.
            let offset = index * MARK_LEN + (part + 1) % 3 * size_of::<u64>();
            let word: &AtomicU64 = self.map.get_atomic_ref(offset).expect("it is within the file");
            word.store(value, Ordering::Release);
        }
    }
}

/// Begins to write marks if the environment says so.
///
/// # Errors
/// The file cannot be made.
pub fn begin() -> io::Result<()> {
    let Some(directory) = env::var_os(VARIABLE) else { return Ok(()) };
    let sheet = Sheet::create(&PathBuf::from(directory).join(process::id().to_string()))?;
    SHEET.get_or_init(|| sheet);
    Ok(())
}

/// `position` is at `stage` now.
pub fn mark(stage: Stage, position: Position) {
    let Some(sheet) = SHEET.get() else { return };
    let now = clock_gettime(ClockId::Monotonic);
    let ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    sheet.put(Mark { stage, position, ns });
}

/// The marks that the process wrote to `path`, in the order in which they were made.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Mark>> {
    let bytes = fs::read(path)?;
    let (words, _) = bytes.as_chunks::<{ size_of::<u64>() }>();
    let words: Vec<u64> = words.iter().copied().map(u64::from_le_bytes).collect();
    let (marks, _) = words.as_chunks::<3>();
    let known = |[stage, position, ns]: &[u64; 3]| {
        let stage = Stage::ALL.into_iter().find(|known| *known as u64 == *stage)?;
        Some(Mark { stage, position: Position(*position), ns: *ns })
    };
    Ok(marks.iter().filter_map(known).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_is_read_in_order_and_a_full_sheet_takes_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("marks");
        let sheet = Sheet::create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), []);
        let marks = Stage::ALL.map(|stage| Mark { stage, position: Position(stage as u64 * 3), ns: 7 });
        marks.into_iter().for_each(|mark| sheet.put(mark));
        assert_eq!(read(&path).unwrap(), marks);

        sheet.next.store(MARKS - 1, Ordering::Relaxed);
        sheet.put(marks[0]);
        sheet.put(marks[1]);
        assert_eq!(read(&path).unwrap().last(), Some(&marks[0]));
    }

    #[test]
    fn who_was_not_told_to_makes_no_marks() {
        mark(Stage::Exited, Position(1));
        assert!(SHEET.get().is_none());
    }
}
