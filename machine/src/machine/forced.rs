//! Forced positions: the guest is stopped at an instruction that no execution finds again, and state in place of log leads
//! the other side there.
//!
//! ```text
//!   live:    kick ─► between two instructions? ─► what has changed: a delta ─► force ───► events, as at any sync point
//!   replay:  the delta of the step ─► install, in place of the stretch that led there ──► events, as at any sync point
//! ```
//!
//! Devices change at positions only, so they are the same on both sides: what a stretch changes is RAM and the vCPU.
//!
//! A count of branches would name such a position, and then nothing but that number would have to be sent: it would stand in
//! the step, as the count of kernel entries does, and [`Machine::install`] would run the guest up to it.

use ftlog::{Delta, decode_pages};

use super::{Machine, MachineError, Reached};
use crate::{
    kvm::{Exit, KvmError, VcpuState},
    transfer::Transfer,
};

/// Why a delta cannot be installed. The machine is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is of a guest that runs, where this one is halted.
    #[error("a delta leads on from a halt that nothing has ended")]
    Halted,
    /// Pages that do not decode.
    #[error(transparent)]
    Pages(#[from] ftlog::PagesError),
    /// A page outside RAM.
    #[error("a delta has a page at {0:#x}, where there is no RAM")]
    PageOutside(u64),
    /// A vCPU that does not decode.
    #[error("the vCPU of a delta does not decode: {0}")]
    Vcpu(postcard::Error),
    /// KVM refused.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl Machine {
    /// True when the guest, interrupted within a stretch, stands between two of its instructions, where it can be
    /// [forced](Machine::force) to stop.
    ///
    /// # Errors
    /// KVM's.
    pub fn is_between_instructions(&mut self) -> Result<bool, MachineError> {
        Ok(self.in_stretch && self.vcpu.complete_exit().map_err(|source| self.failed(source))?)
    }

    /// True when the guest has interrupts on, where it was interrupted.
    pub fn has_interrupts_on(&mut self) -> bool {
        self.vcpu.interrupt_flag()
    }

    /// What leads there, according to `changes`.
    ///
    /// # Errors
    /// KVM's.
    pub fn delta(&mut self, changes: &mut Transfer) -> Result<Delta, MachineError> {
        let pages = changes.rest().map_err(|source| self.failed(source))?;
        let vcpu = self.vcpu.save().map_err(|source| self.failed(source))?;
        Ok(Delta { pages, vcpu: postcard::to_stdvec(&vcpu).expect("a vCPU encodes") })
    }

    /// Ends the stretch where the guest stands: `delta` is the digest of what leads there, 0 where nobody needs that.
    ///
    /// # Panics
    /// When the guest does not stand [between two instructions](Machine::is_between_instructions) of a stretch.
    pub fn force(&mut self, delta: u64) -> Reached {
        assert!(self.in_stretch, "a guest between two stretches has its position");
        self.reach(Exit::Forced { delta }).expect("the log has such an end")
    }

    /// Comes to where the other side's guest was forced to stop, by what that side sent: in place of running the stretch.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn install(&mut self, delta: &Delta) -> Result<Reached, InstallError> {
        // What comes before the guest's first instruction changes the devices, as it did there.
        if !self.begin_stretch()? {
            return Err(InstallError::Halted);
        }
        let mut digest = 0;
        for body in &delta.pages {
            let pages = decode_pages(body)?;
            digest = pages.digest(digest);
            for (gpa, page) in pages.iter() {
                if !self.memory().write_page(gpa, page) {
                    return Err(InstallError::PageOutside(gpa));
                }
            }
        }
        let vcpu: VcpuState = postcard::from_bytes(&delta.vcpu).map_err(InstallError::Vcpu)?;
        self.replace_vcpu(&vcpu).map_err(|source| self.failed(source))?;
        Ok(self.force(Delta::digest_with(digest, &delta.vcpu)))
    }

    fn replace_vcpu(&mut self, state: &VcpuState) -> Result<(), KvmError> {
        self.vcpu.leave_instruction()?;
        self.vcpu.restore(state)
    }
}
