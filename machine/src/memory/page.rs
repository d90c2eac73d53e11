//! One page.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// One page's contents.
pub type Page = [u8; PAGE_SIZE];

/// What the page holds, in short: for comparing it with one elsewhere. Nobody who does not know `key` can make two whose
/// digests are equal, but by chance.
pub fn digest(key: u64, page: &Page) -> u128 {
    xxh3_128_with_seed(page, key)
}

/// True when the page holds nothing but zeroes and so need not be sent.
pub fn is_zero(page: &Page) -> bool {
    page.chunks_exact(16).all(|chunk| chunk == [0; 16])
}
