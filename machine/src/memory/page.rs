//! One page.

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// One page's contents.
pub type Page = [u8; PAGE_SIZE];

/// True when the page holds nothing but zeroes and so need not be sent.
pub fn is_zero(page: &Page) -> bool {
    page.chunks_exact(16).all(|chunk| chunk == [0; 16])
}
