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
        let mut digest = BodiesDigest::default();
        pages.iter().for_each(|body| digest.add(body));
        Ok(Self { pages: Arc::new(pages), digest: digest.value(), vcpu: Arc::new(vcpu.save()?) })
    }

    /// From what came with a seed.
    pub(super) fn arrived(pages: ArrivingPages, vcpu: Arc<VcpuState>) -> Self {
        let digest = pages.digest();
        Self { pages: Arc::new(pages.bodies), digest, vcpu }
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

/// Frame by frame.
#[derive(Default)]
struct BodiesDigest(Xxh3);

impl BodiesDigest {
    fn add(&mut self, body: &[u8]) {
        self.0.update(&(body.len() as u64).to_le_bytes());
        self.0.update(body);
    }

    fn value(&self) -> u128 {
        self.0.digest128()
    }
}

/// Takes in pages that come with a seed, which are not trusted.
#[derive(Default)]
pub struct ArrivingPages {
    bodies: Vec<Vec<u8>>,
    /// Of these; as they come, since whoever waits for the last of them does not wait for this too.
    digest: BodiesDigest,
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
        self.digest.add(body);
        self.bodies.push(body.to_vec());
        Ok(Ok(()))
    }

    /// A digest of them, frame by frame.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest.value()
    }
}
