//! RAM page by page, for digests and for seeding a secondary.

use ftlog::{PAGE_DIGESTS_PER_FRAME, PageDigests, PagesEncoder};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{
    Memory,
    page::{PAGE_SIZE, Page, digest, is_zero},
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

    /// Hands digests of the pages that hold anything but zeroes to `sink`, in ascending order, as bodies of frames, which say
    /// that there is `boot` too. Nobody may write them meanwhile.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn encode_digests<E>(
        &self,
        key: u64,
        boot: u128,
        sink: &mut dyn FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut digests = PageDigests { last: false, boot, pages: Vec::new() };
        let mut page = [0; PAGE_SIZE];
        for gpa in self.populated() {
            self.read_page(gpa, &mut page);
            if is_zero(&page) {
                continue;
            }
            digests.pages.push((gpa, digest(key, &page)));
            if digests.pages.len() == PAGE_DIGESTS_PER_FRAME {
                sink(digests.encode())?;
                digests.pages.clear();
            }
        }
        sink(PageDigests { last: true, ..digests }.encode())
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
