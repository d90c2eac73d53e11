//! The pages of RAM that hold anything at power-on, as the bodies of frames: what a reset goes back to.

use std::sync::Arc;

use ftlog::{PAGE_SIZE, decode_pages};
use xxhash_rust::xxh3::Xxh3;

use crate::memory::Memory;

/// Them. Clones are the same pages.
#[derive(Clone)]
pub struct BootPages {
    /// Each for one frame of the log.
    bodies: Arc<Vec<Vec<u8>>>,
    digest: u128,
}

impl BootPages {
    /// The bodies of frames.
    #[must_use]
    pub fn bodies(&self) -> &[Vec<u8>] {
        &self.bodies
    }

    /// A digest of them, frame by frame.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }
}

/// Takes in pages that come with a seed, which are not trusted.
#[derive(Default)]
pub struct ArrivingPages {
    bodies: Vec<Vec<u8>>,
    /// Of these; as they come, since whoever waits for the last of them does not wait for this too.
    hash: Xxh3,
    next_gpa: u64,
}

impl ArrivingPages {
    /// The body of a frame, of a machine with `memory`. Gives the address of a page that cannot be.
    ///
    /// # Errors
    /// It does not decode.
    pub fn add(&mut self, body: &[u8], memory: &Memory) -> Result<Result<(), u64>, ftlog::PagesError> {
        for (gpa, _) in decode_pages(body)?.iter() {
            if gpa < self.next_gpa || !memory.has_page(gpa) {
                return Ok(Err(gpa));
            }
            self.next_gpa = gpa + PAGE_SIZE as u64;
        }
        self.push(body);
        Ok(Ok(()))
    }

    /// The body of a frame that was made here.
    pub fn push(&mut self, body: &[u8]) {
        self.hash.update(&(body.len() as u64).to_le_bytes());
        self.hash.update(body);
        self.bodies.push(body.to_vec());
    }

    /// All of them.
    #[must_use]
    pub fn finish(self) -> BootPages {
        BootPages { digest: self.hash.digest128(), bodies: Arc::new(self.bodies) }
    }
}
