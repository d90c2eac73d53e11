//! Names that nobody else has.

use std::{fs::File, io::Read};

/// Random bytes from the host, for names only: nothing of it reaches a guest.
///
/// # Errors
/// The host's.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
