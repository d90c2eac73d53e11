//! Which pages of RAM the host has given so far.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Memory, PAGE_SIZE};

/// An entry of proc(5) `pagemap`: bytes, and the bits that say that there is a page.
const ENTRY: usize = 8;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// Entries read at a time: those of 32 MiB of RAM.
const CHUNK: u64 = 8192;

impl Memory {
    /// The addresses of the pages that may hold anything but zeroes, ascending. The guest must not run meanwhile.
    ///
    /// To read a page that nobody has touched would find zeroes, and have the host map its page of zeroes there: where
    /// it does so, the guest has small pages ever after instead of huge ones. Therefore the host is asked.
    pub fn populated(&self) -> impl Iterator<Item = u64> {
        let page_map = File::open("/proc/self/pagemap").inspect_err(|error| {
            tracing::debug!(%error, "the host does not say which pages it has given: all are looked at");
        });
        self.ranges().flat_map(chunks).flat_map(move |chunk| {
            let there = page_map.as_ref().ok().and_then(|file| self.are_there(file, &chunk).ok());
            let is_there = move |index: usize| there.as_ref().is_none_or(|there| there[index]);
            chunk
                .step_by(PAGE_SIZE)
                .enumerate()
                .filter_map(move |(index, gpa)| is_there(index).then_some(gpa))
        })
    }

    /// Takes those out of these pages, which ascend within one range of RAM, that nobody has touched, so that they hold
    /// zeroes, and for which that `matters_not`. The guest may run: one that it touches meanwhile may be taken out.
    pub fn forget_untouched(&self, pages: &mut Vec<u64>, matters_not: impl Fn(u64) -> bool) {
        let (Some(first), Some(last)) = (pages.first().copied(), pages.last().copied()) else { return };
        let range = first..last + PAGE_SIZE as u64;
        let there = File::open("/proc/self/pagemap").and_then(|file| self.are_there(&file, &range));
        if let Ok(there) = there {
            pages.retain(|gpa| there[(gpa - first) as usize / PAGE_SIZE] || !matters_not(*gpa));
        }
    }

    /// Whether the host has given each of the pages in `range`, which lies within one of RAM's.
    fn are_there(&self, page_map: &File, range: &Range<u64>) -> io::Result<Vec<bool>> {
        let host = self.guest().get_host_address(GuestAddress(range.start)).expect("it is within RAM");
        let mut bytes = vec![0; (range.end - range.start) as usize / PAGE_SIZE * ENTRY];
        page_map.read_exact_at(&mut bytes, (host as usize / PAGE_SIZE * ENTRY) as u64)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let is_there = |entry: &[u8; ENTRY]| u64::from_ne_bytes(*entry) & (PRESENT | SWAPPED) != 0;
        Ok(entries.iter().map(is_there).collect())
    }
}

fn chunks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let bytes = CHUNK * PAGE_SIZE as u64;
    range.clone().step_by(bytes as usize).map(move |start| start..range.end.min(start + bytes))
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    /// The largest piece that the host may give for one byte, bytes.
    const HUGE: u64 = 2 << 20;

    #[test]
    fn only_what_was_touched_is_there() {
        let memory = Memory::new(16).unwrap();
        assert_eq!(memory.populated().count(), 0);
        memory.guest().write_obj(1u8, GuestAddress(9 << 20)).unwrap();
        let populated: Vec<u64> = memory.populated().collect();
        assert!(populated.contains(&(9 << 20)), "{populated:?}");
        assert!(populated.iter().all(|gpa| gpa.abs_diff(9 << 20) < HUGE), "{populated:?}");
    }

    #[test]
    fn pages_above_the_hole_are_where_the_guest_has_them() {
        // Sparse: the host has no such memory to give.
        let memory = Memory::new(64 << 10).unwrap();
        let written = [0, (3 << 30) - 4096, 4 << 30, (65 << 30) - 4096];
        for gpa in written {
            memory.guest().write_obj(1u8, GuestAddress(gpa + 7)).unwrap();
        }
        let populated: Vec<u64> = memory.populated().collect();
        assert!(populated.is_sorted());
        assert!(written.iter().all(|gpa| populated.contains(gpa)), "{populated:x?}");
        let far =
            populated.iter().filter(|gpa| written.iter().all(|written| written.abs_diff(**gpa) >= HUGE));
        assert_eq!(far.count(), 0, "{populated:x?}");
    }
}
