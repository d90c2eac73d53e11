//! Which pages of RAM the host has given so far.

use std::{fs::File, io, os::unix::fs::FileExt};

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Memory, PAGE_SIZE};

/// An entry of proc(5) `pagemap`: bytes, and the bits that say that there is a page.
const ENTRY: usize = 8;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

impl Memory {
    /// The numbers of the pages that may hold anything but zeroes, ascending. The guest must not run meanwhile.
    ///
    /// To read a page that nobody has touched would find zeroes, and have the host map its page of zeroes there: where
    /// it does so, the guest has small pages ever after instead of huge ones. Therefore the host is asked.
    pub fn populated(&self) -> impl Iterator<Item = u64> {
        let entries = self.page_map().inspect_err(|error| {
            tracing::debug!(%error, "the host does not say which pages it has given: all are looked at");
        });
        let is_there = move |number: &u64| match &entries {
            Ok(entries) => entries[*number as usize] & (PRESENT | SWAPPED) != 0,
            Err(_) => true,
        };
        (0..self.page_count()).filter(is_there)
    }

    fn page_map(&self) -> io::Result<Vec<u64>> {
        let host = self.guest().get_host_address(GuestAddress(0)).expect("RAM begins at 0");
        let first = host as u64 / PAGE_SIZE as u64;
        let mut bytes = vec![0; self.page_count() as usize * ENTRY];
        File::open("/proc/self/pagemap")?.read_exact_at(&mut bytes, first * ENTRY as u64)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        Ok(entries.iter().map(|entry| u64::from_ne_bytes(*entry)).collect())
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    /// Pages in the largest piece that the host may give for one byte.
    const HUGE: u64 = 512;

    #[test]
    fn only_what_was_touched_is_there() {
        let memory = Memory::new(16).unwrap();
        assert_eq!(memory.populated().count(), 0);
        memory.guest().write_obj(1u8, GuestAddress(9 << 20)).unwrap();
        let written = (9 << 20) / PAGE_SIZE as u64;
        let populated: Vec<u64> = memory.populated().collect();
        assert!(populated.contains(&written), "{populated:?}");
        assert!(populated.iter().all(|number| number.abs_diff(written) < HUGE), "{populated:?}");
    }
}
