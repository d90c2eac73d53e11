//! What this side's memory holds already, for the primary of a seed that has begun.

use std::{io, thread};

use ftlog::PageDigests;
use machine::memory::Memory;

use crate::link::mailbox::{Letters, mailbox_of};

/// Frames that may wait for the connection.
const WAITING: usize = 16;

/// The link thread's end of it: bodies of frames.
pub struct Holdings {
    /// The last says that it is the last.
    pub letters: Letters<Vec<u8>>,
}

impl Holdings {
    /// There is nothing but zeroes.
    pub fn none() -> io::Result<Self> {
        let (mailbox, letters) = mailbox_of(WAITING)?;
        mailbox.send(PageDigests { last: true, boot: 0, pages: Vec::new() }.encode());
        Ok(Self { letters })
    }

    /// Looks through `memory` on a thread of its own; there is also `boot`, a digest of RAM at power-on. The primary writes
    /// no page before it was told of all.
    pub fn of(memory: Memory, boot: u128, key: u64) -> io::Result<Self> {
        let (mailbox, letters) = mailbox_of(WAITING)?;
        thread::Builder::new().name("holdings".into()).spawn(move || {
            // Nobody listens any more when the session has ended.
            let _ = memory
                .encode_digests(key, boot, &mut |body| if mailbox.send(body) { Ok(()) } else { Err(()) });
        })?;
        Ok(Self { letters })
    }
}
