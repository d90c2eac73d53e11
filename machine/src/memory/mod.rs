//! The guest's RAM: one zero-based region of anonymous host memory. Beside it, the page of the [`Doorbell`].

mod doorbell;
mod page;
mod pages;
mod populated;

use rustix::mm::{Advice, madvise};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use xxhash_rust::xxh3::Xxh3;

pub use doorbell::{DEADLINE_PAGE, Doorbell, ENTRY_CLOCK_PORT};
pub use page::{PAGE_SIZE, Page, is_zero};

/// RAM ends well below the [`DEADLINE_PAGE`] and the window of the virtio devices at 0xd000_0000.
pub const MAX_MIB: u32 = 3072;
/// Page tables, command line and a small kernel must fit.
pub const MIN_MIB: u32 = 4;

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
    guest: GuestMemoryMmap,
    mib: u32,
}

impl Memory {
    /// Maps `mib` MiB; the host provides pages as they are touched.
    pub fn new(mib: u32) -> Result<Self, MemoryError> {
        if !(MIN_MIB..=MAX_MIB).contains(&mib) {
            return Err(MemoryError::Size(mib));
        }
        let ranges = [(GuestAddress(0), (mib as usize) << 20)];
        let guest = GuestMemoryMmap::from_ranges(&ranges)
            .map_err(|error| MemoryError::Map { mib, reason: error.to_string() })?;
        advise(&guest);
        Ok(Self { guest, mib })
    }

    /// The mapping, for devices and the loader.
    pub fn guest(&self) -> &GuestMemoryMmap {
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

    /// Makes all of it zeroes again, and gives it back to the host.
    pub fn clear(&self) {
        for region in self.guest.iter() {
            // SAFETY: the mapping is there, and private and anonymous, so that pages which are given back are zeroes when
            // they are next looked at. Nobody holds references into it.
            #[allow(unsafe_code)]
            let given_back =
                unsafe { madvise(region.as_ptr().cast(), region.len() as usize, Advice::LinuxDontNeed) };
            given_back.expect("private anonymous memory can be given back");
        }
    }

    /// A digest of every byte of it.
    pub fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        let mut page = [0; PAGE_SIZE];
        for number in 0..self.page_count() {
            self.read_page(number, &mut page);
            hash.update(&page);
        }
        hash.digest128()
    }
}

/// A guest whose RAM is in huge pages has fewer and cheaper page faults, which it cannot tell. A host that has none, or
/// none left, gives small ones. What the guest keeps in its RAM (keys, its users' data) is nobody's who looks at a core
/// dump of the monitor.
fn advise(guest: &GuestMemoryMmap) {
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
    fn sizes_outside_the_address_map_are_refused() {
        assert!(matches!(Memory::new(0), Err(MemoryError::Size(0))));
        assert!(matches!(Memory::new(MAX_MIB + 1), Err(MemoryError::Size(_))));
    }
}
