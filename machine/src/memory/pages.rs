//! RAM page by page, for digests and for seeding a secondary.

use ftlog::PagesEncoder;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{
    Memory,
    page::{PAGE_SIZE, Page, is_zero},
};

impl Memory {
    /// Hands the pages that hold anything but zeroes to `sink`, in ascending order, as bodies of frames. The guest must
    /// not run meanwhile.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn encode_pages<E>(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut pages = PagesEncoder::default();
        let mut page = [0; PAGE_SIZE];
        for gpa in self.populated() {
            self.read_page(gpa, &mut page);
            if !is_zero(&page) {
                pages.push(gpa, &page);
            }
            if pages.is_full() {
                sink(&pages.take())?;
            }
        }
        if pages.is_empty() { Ok(()) } else { sink(&pages.take()) }
    }

    /// Copies the page at `gpa` out, which must be one of RAM's.
    pub fn read_page(&self, gpa: u64, page: &mut Page) {
        self.guest().read_slice(page, GuestAddress(gpa)).expect("it is an address of a page of RAM");
    }

    /// Whether there is a page of RAM at `gpa`.
    #[must_use]
    pub fn has_page(&self, gpa: u64) -> bool {
        gpa.is_multiple_of(PAGE_SIZE as u64) && self.guest().address_in_range(GuestAddress(gpa))
    }

    /// Copies a page in; false when `gpa` is not a whole page of RAM.
    #[must_use]
    pub fn write_page(&self, gpa: u64, page: &[u8]) -> bool {
        self.has_page(gpa) && self.guest().write_slice(page, GuestAddress(gpa)).is_ok()
    }
}
