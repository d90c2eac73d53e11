//! What leaves a primary, and what is written to the shared disk.

use protocol::fence::Verdict;
use protocol::primary::controller::Fence;

use super::PrimaryIo;
use crate::failure::Failure;
use crate::guest::Output;
use crate::oracle::Leave;
use crate::shared::Shared;

impl PrimaryIo {
    /// Outputs that the controller lets leave.
    pub(super) fn emit(&mut self, output: Output, shared: &mut Shared) -> Result<(), Failure> {
        let why = if self.open { Leave::Open } else { Leave::Held(self.log_conn) };
        shared.oracle.leaves(self.name, self.generation, output, why)?;
        shared.stats.outputs += 1;
        Ok(())
    }

    pub(super) fn set_fence(&mut self, fence: Fence, shared: &mut Shared) -> Result<(), Failure> {
        match fence {
            Fence::Open => {
                self.open = true;
                self.fence.open();
                self.say_again(shared)?;
            }
            Fence::Close => {
                self.open = false;
                self.fence.close();
            }
            Fence::Extend(until_ns) => {
                self.fence.extend(until_ns);
                self.fence.take_wanted();
            }
            Fence::Shut => self.fence.shut(),
        }
        Ok(())
    }

    pub(super) fn say_again(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        for output in std::mem::take(&mut self.repeat) {
            shared.oracle.leaves(self.name, self.generation, output, Leave::Open)?;
        }
        if std::mem::take(&mut self.taken_over) {
            shared.oracle.nothing_unsaid(self.generation, self.guest.position)?;
        }
        Ok(())
    }

    /// The shared disk takes what the fence lets pass.
    pub(super) fn write_disk(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        let now_ns = shared.clock_ns(self.name.host);
        while !self.writes.is_empty() && self.fence.verdict(now_ns) == Verdict::Yes {
            let Some(write) = self.writes.pop_front() else { break };
            shared.oracle.writes(self.name, self.generation, write)?;
            shared.stats.writes += 1;
        }
        Ok(())
    }
}
