//! What both sides of a stream of frames take for granted.

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"FTLG";
/// The version of the format that this crate writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 7;
/// The longest body, in bytes.
pub const MAX_BODY: usize = 4 << 20;
