//! A machine as it was at power-on, kept for as long as it lives: what a reset goes back to.
//!
//! A side that takes over has no kernel file, and the files of the other may have changed. So what was loaded at power-on
//! (kernel, initial RAM disk, command line, tables) is kept beside the guest's RAM, and travels with a seed and a log. A
//! reset therefore starts the same image again; another kernel needs another start.

use std::sync::Arc;

use ftlog::{PAGE_SIZE, PAGES_PER_FRAME, Pages, decode_pages, encode_page};

use xxhash_rust::xxh3::Xxh3;

use super::MachineError;
use crate::{
    kvm::{KvmError, Vcpu, VcpuState},
    memory::{Memory, is_zero},
};

/// What is needed to begin again.
pub struct PowerOn {
    /// The pages that hold anything, each body for one frame of the log.
    pages: Vec<Vec<u8>>,
    /// The vCPU.
    pub(super) vcpu: Arc<VcpuState>,
}

impl PowerOn {
    /// Of a machine that has just been loaded and has not run.
    pub(super) fn capture(memory: &Memory, vcpu: &mut Vcpu) -> Result<Self, KvmError> {
        let mut power_on = Self { pages: Vec::new(), vcpu: Arc::new(vcpu.save()?) };
        let (mut body, mut count) = (Vec::new(), 0);
        let mut page = [0; PAGE_SIZE];
        for number in memory.populated() {
            memory.read_page(number, &mut page);
            if is_zero(&page) {
                continue;
            }
            encode_page(number * PAGE_SIZE as u64, &page, &mut body);
            count += 1;
            if count == PAGES_PER_FRAME {
                power_on.pages.push(std::mem::take(&mut body));
                count = 0;
            }
        }
        if count > 0 {
            power_on.pages.push(body);
        }
        Ok(power_on)
    }

    /// From what came with a seed.
    pub(super) fn new(pages: Vec<Vec<u8>>, vcpu: Arc<VcpuState>) -> Self {
        Self { pages, vcpu }
    }

    /// Its pages, as the bodies of frames.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().map(Vec::as_slice)
    }

    /// A digest of its pages, frame by frame.
    pub(super) fn digest(&self) -> u128 {
        digest(&self.pages)
    }

    /// Puts RAM and vCPU back.
    pub(super) fn restore(&self, memory: &Memory, vcpu: &mut Vcpu) -> Result<(), KvmError> {
        memory.clear();
        for page in self.pages.iter().flat_map(|body| -> Pages<'_> { decode_pages(body) }) {
            let (gpa, page) = page.expect("it was encoded here, or checked when it came");
            assert!(memory.write_page(gpa, page), "a page at {gpa:#x} was in RAM at power-on");
        }
        vcpu.restore(&self.vcpu)
    }
}

impl super::Machine {
    /// Begins again, because the guest has asked for it: as at power-on, but that time, positions, the running digest and
    /// what was asked of the disks go on.
    pub(super) fn reset(&mut self) -> Result<(), MachineError> {
        let done = self.vcpu.leave_instruction().and_then(|()| {
            let Self { vm, vcpu, power_on, .. } = self;
            power_on.restore(vm.memory(), vcpu)
        });
        done.map_err(|source| self.failed(source))?;
        self.platform.reset();
        self.halted = false;
        self.registers = self.vcpu.registers();
        self.tally.add_reset();
        Ok(())
    }

    /// What a reset goes back to.
    pub fn power_on(&self) -> &PowerOn {
        &self.power_on
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
        for page in decode_pages(body) {
            let (gpa, _) = page?;
            if gpa < self.next_gpa || gpa >= u64::from(memory.mib()) << 20 {
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
