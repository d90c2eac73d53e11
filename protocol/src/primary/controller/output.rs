//! What the guest said, on its way out: held until the log that led to it is safe.

use alloc::vec::Vec;

use ftlog::Position;

use super::{Controller, Effect, Fence, Lease, Said, Stretch};
use crate::{
    commit::{Gate, Held},
    primary::{Batch, Event as RoleEvent},
};

impl<O, W> Controller<O, W> {
    /// The log goes to the peer before the outputs are put into the gate.
    pub(super) fn take_stretch(&mut self, stretch: Stretch<O, W>, effects: &mut Vec<Effect<O, W>>) {
        let Stretch { through, bytes, since_ns, said_ns, said } = stretch;
        self.recorded = through;
        self.tell_role(RoleEvent::Recorded(Batch { through, bytes, since_ns }), effects);
        for (position, said) in said {
            match said {
                // Never full: what the disks admit is bounded.
                Said::Write(write) => {
                    if let Ok(Some(held)) = self.writes.put(position, 0, said_ns, write) {
                        effects.push(Effect::Write(held.item));
                    }
                }
                Said::Output { bytes, output } => match self.gate.put(position, bytes, said_ns, output) {
                    Ok(left) => self.emit(left, effects),
                    Err(full) => self.dropped_outputs.push(full),
                },
            }
        }
        self.tell_held(effects);
    }

    /// Nothing is held any more.
    pub(super) fn open_gates(&mut self, effects: &mut Vec<Effect<O, W>>) {
        effects.push(Effect::Fence(Fence::Open));
        self.leave(effects, |gate, left| gate.open(left), |writes, left| writes.open(left));
    }

    /// Outputs after this position wait for a peer.
    pub(super) fn close_gates(&mut self, after: Position, effects: &mut Vec<Effect<O, W>>) {
        self.lease = Lease::new(&self.config);
        effects.push(Effect::Fence(Fence::Close));
        self.writes.close(after);
        self.gate.close(after);
    }

    /// The peer holds the log up to `through`.
    pub(super) fn release(&mut self, through: Position, effects: &mut Vec<Effect<O, W>>) {
        if let Some(until_ns) = self.lease.acknowledged(through, self.now_ns) {
            effects.push(Effect::Fence(Fence::Extend(until_ns)));
        }
        self.leave(
            effects,
            |gate, left| gate.release(through, left),
            |writes, left| writes.release(through, left),
        );
    }

    /// Nothing leaves any more, ever.
    pub(super) fn shut_gates(&mut self, effects: &mut Vec<Effect<O, W>>) {
        self.gate.shut();
        self.writes.shut();
        effects.push(Effect::Fence(Fence::Shut));
    }

    fn leave(
        &mut self,
        effects: &mut Vec<Effect<O, W>>,
        outputs: impl FnOnce(&mut Gate<O>, &mut Vec<Held<O>>),
        writes: impl FnOnce(&mut Gate<W>, &mut Vec<Held<W>>),
    ) {
        let (mut left, mut written) = (Vec::new(), Vec::new());
        writes(&mut self.writes, &mut written);
        effects.extend(written.into_iter().map(|held| Effect::Write(held.item)));
        outputs(&mut self.gate, &mut left);
        if !left.is_empty() {
            self.emit(left, effects);
            self.tell_held(effects);
        }
    }

    /// The only way out of a primary.
    fn emit(&mut self, left: impl IntoIterator<Item = Held<O>>, effects: &mut Vec<Effect<O, W>>) {
        for held in left {
            self.released = self.released.max(held.position);
            effects.push(Effect::Emit {
                output: held.item,
                position: held.position,
                waited_ns: self.now_ns.saturating_sub(held.put_ns),
            });
        }
    }

    fn tell_held(&mut self, effects: &mut Vec<Effect<O, W>>) {
        let (outputs, bytes) = (self.gate.outputs() as u64, self.gate.bytes());
        self.tell_role(RoleEvent::Held { outputs, bytes }, effects);
    }
}
