//! The input of a live machine on this host.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context;
use ftlog::Event;
use machine::memory::Doorbell;
use replay::{Input, Room, StopSwitch};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Alarm, Inbox, Timer};
use crate::host::clock::VirtualClock;

/// What comes from outside, virtual time, and the way to end it.
pub struct HostInput {
    inbox: Arc<Inbox>,
    clock: VirtualClock,
    stop: StopSwitch,
    alarm: Alarm,
}

impl HostInput {
    /// The input of the machine that reads `doorbell`, whose time goes on as `clock` says.
    ///
    /// # Errors
    /// The host starts no thread for its timer.
    pub fn attach(
        inbox: &Arc<Inbox>,
        clock: VirtualClock,
        stop: &StopSwitch,
        timer: Timer,
        doorbell: &Doorbell,
    ) -> anyhow::Result<Self> {
        inbox.attach(doorbell);
        let alarm = Alarm::start(timer, doorbell.clone())?;
        Ok(Self { inbox: inbox.clone(), clock, stop: stop.clone(), alarm })
    }
}

impl Input for HostInput {
    fn is_stopped(&self) -> bool {
        self.stop.is_thrown()
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn set_alarm(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        self.alarm.set(deadline_ns, &self.clock)
    }

    fn wait(&mut self, room: Room, deadline_ns: Option<u64>) {
        let timeout = deadline_ns.map(|deadline_ns| Duration::from_nanos(self.clock.until_ns(deadline_ns)));
        if timeout != Some(Duration::ZERO) {
            self.inbox.wait(room, timeout);
        }
    }

    fn take(&mut self, room: Room, events: &mut Vec<Event>) {
        self.inbox.take(room, events);
    }

    fn entropy(&mut self, len: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            // A long read may end early when a signal comes.
            let filled = rustix::io::retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))
                .context("the host gives no random bytes for the guest's entropy device")?;
            rest = &mut rest[filled..];
        }
        Ok(bytes)
    }
}
