//! Where the driver puts its rings.

pub fn table(ring: usize) -> u64 {
    0x1_0000 * (ring as u64 + 1)
}

pub fn available(ring: usize) -> u64 {
    table(ring) + 0x2000
}

pub fn used(ring: usize) -> u64 {
    table(ring) + 0x4000
}
