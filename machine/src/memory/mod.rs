//! The guest's RAM: anonymous host memory, with a hole below 4 GiB for what is no RAM. Beside it, the page of the
//! [`Doorbell`].
//!
//! ```text
//!  0           LOW_END (3 GiB)      4 GiB
//!  ├── RAM ────────┤    devices       ├── the rest of the RAM …
//! ```
//!
//! A page is named by its guest-physical address, here and in everything that is sent or stored.

mod doorbell;
mod page;
mod page_set;
mod pages;
mod populated;

use std::ops::Range;

use devices::Ram;
use rustix::mm::{Advice, madvise};
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MmapRegion,
    bitmap::AtomicBitmap,
};
use xxhash_rust::xxh3::Xxh3;

pub use doorbell::{DEADLINE_PAGE, Doorbell, ENTRY_CLOCK_PORT};
pub use page::{PAGE_SIZE, Page, digest as page_digest, is_zero};
pub(crate) use page_set::{PageSet, WORD_BYTES, pages_of};

/// Four times what VMware's fault tolerance takes, and half of what guests are told that an address can name.
pub const MAX_MIB: u32 = 512 << 10;
/// Page tables, command line and a small kernel must fit.
pub const MIN_MIB: u32 = 4;
/// RAM below 4 GiB ends here, well below the [`DEADLINE_PAGE`] and the window of the virtio devices at 0xd000_0000.
const LOW_END: u64 = 3 << 30;
/// Here the rest of it begins.
const HIGH_START: u64 = 4 << 30;

/// A memory size that is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Outside what the address map has room for.
    #[error("--memory {0} is outside {MIN_MIB}..={MAX_MIB} MiB")]
    Size(u32),
    /// The host does not give it.
    #[error("cannot map {mib} MiB for the guest: {reason}")]
    Map {
        /// What was asked for.
        mib: u32,
        /// What the host answered.
        reason: String,
    },
    /// The host has no page for the kernel-entry clock.
    #[error("cannot map the deadline page: {0}")]
    Page(String),
}

/// Guest RAM, all zeroes at first.
#[derive(Clone)]
pub struct Memory {
    guest: Ram,
    mib: u32,
}

impl Memory {
    /// Maps `mib` MiB; the host provides pages as they are touched.
    pub fn new(mib: u32) -> Result<Self, MemoryError> {
        if !(MIN_MIB..=MAX_MIB).contains(&mib) {
            return Err(MemoryError::Size(mib));
        }
        let bytes = u64::from(mib) << 20;
        let low = bytes.min(LOW_END);
        let mut ranges = vec![(GuestAddress(0), low as usize)];
        if bytes > low {
            ranges.push((GuestAddress(HIGH_START), (bytes - low) as usize));
        }
        let guest =
            Ram::from_ranges(&ranges).map_err(|error| MemoryError::Map { mib, reason: error.to_string() })?;
        advise(&guest);
        Ok(Self { guest, mib })
    }

    /// The mapping, for devices and the loader.
    pub fn guest(&self) -> &Ram {
        &self.guest
    }

    /// Size in MiB.
    pub fn mib(&self) -> u32 {
        self.mib
    }

    /// Number of pages of [`PAGE_SIZE`].
    pub fn page_count(&self) -> u64 {
        (u64::from(self.mib) << 20) / PAGE_SIZE as u64
    }

    /// Where its first range ends, which begins at 0.
    pub fn low_end(&self) -> u64 {
        (u64::from(self.mib) << 20).min(LOW_END)
    }

    /// Its ranges in guest-physical addresses, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.guest
            .iter()
            .map(|region| region.start_addr().raw_value()..region.start_addr().raw_value() + region.len())
    }

    /// Makes all of it zeroes again, and gives it back to the host.
    pub fn clear(&self) {
        for region in self.guest.iter() {
            // SAFETY: the mapping is there, and private and anonymous, so that pages which are given back are zeroes when
            // they are next looked at. Nobody holds references into it.
            #[allow(unsafe_code)]
            let given_back =
                unsafe { madvise(region.as_ptr().cast(), region.len() as usize, Advice::LinuxDontNeed) };
            given_back.expect("private anonymous memory can be given back");
            monitors_bitmap(region).set_addr_range(0, region.len() as usize);
        }
    }

    /// Which pages the monitor has written since it was last asked: a bitmap for each range.
    pub(crate) fn take_written(&self) -> impl Iterator<Item = Vec<u64>> {
        self.guest.iter().map(|region| monitors_bitmap(region).get_and_reset())
    }

    /// A digest of every byte of it. The guest must not run meanwhile.
    pub fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&self.mib.to_le_bytes());
        let mut page = [0; PAGE_SIZE];
        for gpa in self.populated() {
            self.read_page(gpa, &mut page);
            if !is_zero(&page) {
                hash.update(&gpa.to_le_bytes());
                hash.update(&page);
            }
        }
        hash.digest128()
    }
}

fn monitors_bitmap(region: &GuestRegionMmap<AtomicBitmap>) -> &AtomicBitmap {
    let mapping: &MmapRegion<AtomicBitmap> = region;
    mapping.bitmap()
}

/// A guest whose RAM is in huge pages has fewer and cheaper page faults, which it cannot tell. A host that has none, or
/// none left, gives small ones. What the guest keeps in its RAM (keys, its users' data) is nobody's who looks at a core
/// dump of the monitor.
fn advise(guest: &Ram) {
    for (region, advice) in
        guest.iter().flat_map(|region| [(region, Advice::LinuxHugepage), (region, Advice::LinuxDontDump)])
    {
        // SAFETY: the advice changes nothing about what the mapping holds, and the mapping is there.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(region.as_ptr().cast(), region.len() as usize, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    /// Of the mapping at `address`, from proc(5) `smaps`.
    fn flags_of_mapping(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        maps.lines().find_map(|line| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) = range.map(|(start, end)| (number(start), number(end))) {
                inside = (start..end).contains(&address);
            }
            line.strip_prefix("VmFlags:").filter(|_| inside).map(str::to_owned)
        })
    }

    #[test]
    fn huge_pages_are_asked_for_where_the_host_has_them() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            println!("skipped: this kernel has no transparent huge pages");
            return;
        }
        let memory = Memory::new(4).unwrap();
        let address = memory.guest().iter().next().unwrap().as_ptr() as usize;
        let flags = flags_of_mapping(address).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
    }

    #[test]
    fn guest_memory_is_not_in_core_dumps() {
        let memory = Memory::new(4).unwrap();
        let address = memory.guest().iter().next().unwrap().as_ptr() as usize;
        let flags = flags_of_mapping(address).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
    }

    #[test]
    fn one_changed_byte_changes_the_digest() {
        let memory = Memory::new(4).unwrap();
        let before = memory.digest();
        memory.guest().write_obj(1u8, GuestAddress(0x3f_ffff)).unwrap();
        assert_ne!(memory.digest(), before);
    }

    #[test]
    fn what_does_not_fit_below_the_devices_is_above_them() {
        let ranges = |mib| Memory::new(mib).unwrap().ranges().collect::<Vec<_>>();
        assert_eq!(ranges(3072), vec![0..3 << 30]);
        assert_eq!(ranges(3073), [0..3 << 30, 4 << 30..(4 << 30) + (1 << 20)]);
        assert!(ranges(MAX_MIB).last().unwrap().end < 1 << 40);
    }

    #[test]
    fn where_a_page_is_is_part_of_the_digest() {
        let digest = |gpa| {
            let memory = Memory::new(4096).unwrap();
            memory.guest().write_obj(1u8, GuestAddress(gpa)).unwrap();
            memory.digest()
        };
        let digests = [0, 1 << 20, 4 << 30, (4 << 30) + (1 << 20)].map(digest);
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests[..index].contains(digest), "{index}");
        }
        assert_ne!(Memory::new(4).unwrap().digest(), Memory::new(5).unwrap().digest());
    }

    #[test]
    fn sizes_outside_the_address_map_are_refused() {
        assert!(matches!(Memory::new(0), Err(MemoryError::Size(0))));
        assert!(matches!(Memory::new(MAX_MIB + 1), Err(MemoryError::Size(_))));
    }
}
