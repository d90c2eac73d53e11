//! A machine as it was at power-on, kept for as long as it lives: what a reset goes back to.
//!
//! A side that takes over has no kernel file, and the files of the other may have changed. So what was loaded at power-on
//! (kernel, initial RAM disk, command line, tables) is kept beside the guest's RAM, and travels with a seed and a log. A
//! reset therefore starts the same image again; another kernel needs another start.

use std::{convert::Infallible, sync::Arc};

use ftlog::decode_pages;

use crate::{
    boot_pages::{ArrivingPages, BootPages},
    kvm::{KvmError, Vcpu, VcpuState},
    memory::Memory,
};

/// What is needed to begin again.
pub struct PowerOn {
    /// RAM.
    pub(super) boot: BootPages,
    /// The vCPU.
    pub(super) vcpu: Arc<VcpuState>,
}

impl PowerOn {
    /// Of a machine that has just been loaded and has not run.
    pub(super) fn capture(memory: &Memory, vcpu: &mut Vcpu) -> Result<Self, KvmError> {
        let mut arriving = ArrivingPages::default();
        let Ok(()) = memory.encode_pages(&mut |body| -> Result<(), Infallible> {
            arriving.push(body);
            Ok(())
        });
        Ok(Self { boot: arriving.finish(), vcpu: Arc::new(vcpu.save()?) })
    }

    /// Its pages.
    #[must_use]
    pub fn boot_pages(&self) -> &BootPages {
        &self.boot
    }

    /// Puts RAM and vCPU back.
    pub(super) fn restore(&self, memory: &Memory, vcpu: &mut Vcpu) -> Result<(), KvmError> {
        memory.clear();
        for body in self.boot.bodies() {
            let pages = decode_pages(body).expect("it was encoded here, or checked when it came");
            for (gpa, page) in pages.iter() {
                assert!(memory.write_page(gpa, page), "a page at {gpa:#x} was in RAM at power-on");
            }
        }
        vcpu.restore(&self.vcpu)
    }
}
