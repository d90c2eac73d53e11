//! A machine as it was at power-on, kept for as long as it lives: what a reset goes back to.
//!
//! A side that takes over has no kernel file, and the files of the other may have changed. So what was loaded at power-on
//! (kernel, initial RAM disk, command line, tables) is kept beside the guest's RAM, and travels with a seed and a log. A
//! reset therefore starts the same image again; another kernel needs another start.

use std::{convert::Infallible, sync::Arc};

use ftlog::{PAGE_SIZE, decode_pages};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    kvm::{KvmError, Vcpu, VcpuState},
    memory::Memory,
};

/// What is needed to begin again.
pub struct PowerOn {
    /// The pages that hold anything, each body for one frame of the log.
    pages: Arc<Vec<Vec<u8>>>,
    /// A digest of them, frame by frame.
    pub(super) digest: u128,
    /// The vCPU.
    pub(super) vcpu: Arc<VcpuState>,
}

impl PowerOn {
    /// Of a machine that has just been loaded and has not run.
    pub(super) fn capture(memory: &Memory, vcpu: &mut Vcpu) -> Result<Self, KvmError> {
        let mut pages = Vec::new();
        let Ok(()) = memory.encode_pages(&mut |body| -> Result<(), Infallible> {
            pages.push(body.to_vec());
            Ok(())
        });
        Ok(Self::new(pages, Arc::new(vcpu.save()?)))
    }

    /// From what came with a seed.
    pub(super) fn new(pages: Vec<Vec<u8>>, vcpu: Arc<VcpuState>) -> Self {
        let digest = digest(&pages);
        Self { pages: Arc::new(pages), digest, vcpu }
    }

    /// Its pages, as the bodies of frames.
    pub fn frames(&self) -> &Arc<Vec<Vec<u8>>> {
        &self.pages
    }

    /// Puts RAM and vCPU back.
    pub(super) fn restore(&self, memory: &Memory, vcpu: &mut Vcpu) -> Result<(), KvmError> {
        memory.clear();
        for body in self.pages.iter() {
            let pages = decode_pages(body).expect("it was encoded here, or checked when it came");
            for (gpa, page) in pages.iter() {
                assert!(memory.write_page(gpa, page), "a page at {gpa:#x} was in RAM at power-on");
            }
        }
        vcpu.restore(&self.vcpu)
    }
}

fn digest(bodies: &[Vec<u8>]) -> u128 {
    let mut hash = Xxh3::new();
    for body in bodies {
        hash.update(&(body.len() as u64).to_le_bytes());
        hash.update(body);
    }
    hash.digest128()
}

/// Takes in pages that come with a seed, which are not trusted.
#[derive(Default)]
pub struct ArrivingPages {
    bodies: Vec<Vec<u8>>,
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
        self.bodies.push(body.to_vec());
        Ok(Ok(()))
    }

    /// A digest of them, frame by frame.
    #[must_use]
    pub fn digest(&self) -> u128 {
        digest(&self.bodies)
    }

    /// All of them.
    #[must_use]
    pub fn into_bodies(self) -> Vec<Vec<u8>> {
        self.bodies
    }
}
