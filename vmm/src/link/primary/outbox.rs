//! The vCPU thread's way to the controller.

use super::{
    desk::SharedDesk,
    messages::{FromVcpu, Stretch},
    orders::Halted,
};
use crate::{
    host::pulse::Pulse,
    link::{budget::Budget, mailbox::Mailbox},
};

/// What it gives goes to the controller in the order in which it is given.
pub struct Outbox {
    pub desk: SharedDesk,
    pub mailbox: Mailbox<FromVcpu>,
    /// How much may be in the mailbox.
    pub budget: Budget,
    pub pulse: Pulse,
}

impl Outbox {
    /// Gives what was recorded: to the controller itself, if nobody has it and nothing that came before is still on its way
    /// to it.
    pub fn give(&self, stretch: Stretch) -> anyhow::Result<()> {
        // To compress a delta takes its time, in which the guest may run.
        if stretch.delta.is_none()
            && let Some(mut place) = self.desk.try_lock()
            && self.mailbox.is_empty()
            && let Some(desk) = place.as_mut()
        {
            desk.recorded(stretch);
            desk.flush();
            if desk.has_left_something() {
                self.mailbox.ring();
            }
            return Ok(());
        }
        self.tell(stretch.bytes(), FromVcpu::Recorded(stretch))
    }

    /// Leaves a message of so many bytes for the link thread. Waits while that has too much to do, which is not this
    /// thread's fault.
    pub fn tell(&self, bytes: u64, message: FromVcpu) -> anyhow::Result<()> {
        if self.budget.is_short_of(bytes) {
            self.pulse.set_busy(false);
        }
        self.budget.take(bytes);
        self.pulse.set_busy(true);
        if self.mailbox.send(message) {
            return Ok(());
        }
        Err(Halted::LinkEnded.into())
    }

    /// Waits for others: nothing is to be expected of this thread meanwhile.
    pub fn waiting(&self, wait: impl FnOnce()) {
        self.pulse.set_busy(false);
        wait();
        self.pulse.set_busy(true);
    }
}
