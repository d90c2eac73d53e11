//! Where the pieces go, all below 1 MiB.

pub const GDT: u64 = 0x500;
pub const ZERO_PAGE: u64 = 0x7000;
pub const PAGE_TABLES: u64 = 0x9000;
pub const COMMAND_LINE: u64 = 0x2_0000;
pub const COMMAND_LINE_MAX: usize = 2048;
pub const LOW_RAM_END: u64 = 0x9_fc00;
pub const HIGH_RAM: u64 = 0x10_0000;
