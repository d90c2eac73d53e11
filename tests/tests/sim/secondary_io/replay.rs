//! The vCPU thread of a secondary.

use ftlog::{Delta, Diverged, StepsFrame};
use protocol::sabotage::{self, Check};
use protocol::secondary::follower;

use super::{SecondaryIo, Waiting};
use crate::guest::OUTPUT_BYTES;
use crate::shared::Shared;

impl SecondaryIo {
    pub(super) fn loaded(&mut self, shared: &mut Shared) {
        if !self.reading {
            return;
        }
        let position = self.seed.position;
        self.guest = Some(self.seed);
        shared.oracle.seeded(self.name, self.generation, self.conn, position);
        shared.stats.seeds_held += 1;
        for (first, last) in std::mem::take(&mut self.early) {
            shared.oracle.received(self.conn, first, last);
        }
        self.tell(follower::Input::Loaded { position }, shared);
    }

    pub(super) fn execute(&mut self, batch: StepsFrame, mut delta: Option<Delta>, bytes: u64) {
        let last = batch.steps.len() - 1;
        let steps = batch.steps.into_iter().enumerate();
        self.log.extend(steps.map(|(index, step)| Waiting {
            step,
            delta: delta.take(),
            batch_bytes: if index == last { bytes } else { 0 },
        }));
    }

    /// Executes some of the log, comparing what comes out with what the primary saw.
    pub(super) fn replay(&mut self, shared: &mut Shared) {
        let Some(mut guest) = self.guest.filter(|_| !shared.is_frozen(self.name.host)) else { return };
        if shared.is_endless(self.name.host) {
            self.spun += 1;
            return;
        }
        let steps = if shared.is_slow(self.name.host) { 1 } else { shared.random.within(1..=12) };
        let mut finished_bytes = 0;
        for _ in 0..steps {
            // A machine that diverged stands, unless nobody minds.
            if self.diverged && !sabotage::disabled(Check::Divergence) {
                break;
            }
            let Some(waiting) = self.log.pop_front() else { break };
            if let Some(delta) = waiting.delta {
                shared.stats.installed += 1;
                guest.hash = u64::from_le_bytes(delta.vcpu.try_into().expect("8 bytes"));
            }
            guest.step(waiting.step.time_ns);
            if shared.diverges(self.name.host) {
                guest.hash ^= 1 << 40;
            }
            if guest.digest() != waiting.step.digest && !self.diverged {
                self.diverged = true;
                let registers = [0; ftlog::REGISTER_COUNT];
                let diverged = Diverged::new(guest.position, "the model diverges", registers);
                self.tell(follower::Input::Diverged(Box::new(diverged)), shared);
                if !sabotage::disabled(Check::Divergence) {
                    break;
                }
            }
            finished_bytes += waiting.batch_bytes;
            if let Some(output) = guest.output() {
                self.unreleased.push(output.position, OUTPUT_BYTES, output);
            }
        }
        self.log_bytes -= finished_bytes;
        self.executed += finished_bytes;
        if self.guest != Some(guest) {
            self.guest = Some(guest);
            let executed =
                follower::Input::Executed { through: guest.position, bytes: finished_bytes, time_ns: 0 };
            self.tell(executed, shared);
        }
    }
}
