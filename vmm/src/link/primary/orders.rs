//! What the vCPU thread is told by the link thread.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ftlog::{Generation, Health};
use machine::VcpuThread;
use protocol::primary::{Link, Pace};
use replay::StopSwitch;

use crate::ingress::Inbox;

/// How often a stopped vCPU thread looks at the stop switch.
const GLANCE: Duration = Duration::from_millis(50);

/// This side may not run the VM any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halted {
    /// The VM goes on elsewhere, as the arbiter said.
    #[error("halted: {0}")]
    Elsewhere(String),
    /// The operator asked for a failure.
    #[error("failed on request; the VM is live on its secondary")]
    OnRequest,
    /// The guest could reach nobody from here, and that was to be a reason.
    #[error("handed over: {0} on this side; the VM is live on its secondary")]
    Unwell(Health),
    /// The link thread has ended.
    #[error("the link thread has ended")]
    LinkEnded,
}

/// What the vCPU thread should do before its next stretch.
pub enum Order {
    /// Run.
    Run,
    /// Run, after a short pause.
    RunSlowly,
    /// Save the machine's state for this peer, then ask again.
    Seed(Link, Generation),
    /// Hand over what is recorded, then wait with [`Orders::wait`].
    Wait,
    /// Never run again.
    Halt(Halted),
}

struct State {
    pace: Pace,
    seed: Option<(Link, Generation)>,
    /// The state that was saved is on its way.
    paused: bool,
    halted: Option<Halted>,
}

/// Shared by the two threads.
pub struct Orders {
    state: Mutex<State>,
    changed: Condvar,
    /// False as long as the answer is [`Order::Run`], so that the step loop need not take the lock.
    special: AtomicBool,
    inbox: Arc<Inbox>,
    stop: StopSwitch,
    vcpu: VcpuThread,
}

impl Orders {
    /// Orders not to run yet.
    pub fn new(inbox: Arc<Inbox>, stop: StopSwitch, vcpu: VcpuThread) -> Self {
        let state = State { pace: Pace::Stopped, seed: None, paused: false, halted: None };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            special: AtomicBool::new(true),
            inbox,
            stop,
            vcpu,
        }
    }

    /// True when [`Orders::next`] has more to say than [`Order::Run`].
    pub fn is_special(&self) -> bool {
        self.special.load(Ordering::Acquire)
    }

    /// What to do now.
    pub fn next(&self) -> Order {
        let mut state = self.lock();
        if let Some(halted) = &state.halted {
            return Order::Halt(halted.clone());
        }
        if let Some((link, generation)) = state.seed.take() {
            state.paused = true;
            return Order::Seed(link, generation);
        }
        match state.pace {
            _ if self.stop.is_thrown() => Order::Run,
            _ if state.paused => Order::Wait,
            Pace::Full => Order::Run,
            Pace::Slow => Order::RunSlowly,
            Pace::Stopped => Order::Wait,
        }
    }

    /// Waits until something may have changed.
    pub fn wait(&self) {
        let state = self.lock();
        let changed = |state: &State| state.halted.is_some() || state.seed.is_some();
        let may_run = !state.paused && state.pace != Pace::Stopped;
        if !changed(&state) && !may_run && !self.stop.is_thrown() {
            drop(self.changed.wait_timeout(state, GLANCE));
        }
    }

    /// How fast to run.
    pub fn set_pace(&self, pace: Pace) {
        self.change(|state| state.pace = pace);
    }

    /// Pause at the next sync point and save the state, as that of `generation`.
    pub fn seed(&self, link: Link, generation: Generation) {
        self.change(|state| state.seed = Some((link, generation)));
        self.inbox.nudge();
    }

    /// The state cannot be saved at this sync point: ask again at the next, unless the seed is off by then.
    pub fn seed_later(&self, link: Link, generation: Generation) {
        self.change(|state| {
            if std::mem::take(&mut state.paused) {
                state.seed.get_or_insert((link, generation));
            }
        });
    }

    /// The seed is sent, or came to nothing: run on.
    pub fn end_seed(&self) {
        self.change(|state| {
            state.seed = None;
            state.paused = false;
        });
    }

    /// Never run again.
    pub fn halt(&self, reason: Halted) {
        self.change(|state| {
            state.halted.get_or_insert(reason);
        });
        self.inbox.nudge();
    }

    /// Why the guest may not run any more, if so.
    pub fn halted(&self) -> Option<Halted> {
        if self.is_special() { self.lock().halted.clone() } else { None }
    }

    /// A guest that comes to no sync point does not see that it may not run any more: it is interrupted where it is. A kick
    /// may come too early to be heard, so this is to be repeated.
    pub fn kick_out_if_halted(&self) {
        if self.halted().is_some() {
            self.vcpu.kick();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let plain =
            state.pace == Pace::Full && state.seed.is_none() && !state.paused && state.halted.is_none();
        self.special.store(!plain, Ordering::Release);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Orders {
        Orders::new(Arc::new(Inbox::default()), StopSwitch::default(), VcpuThread::current().unwrap())
    }

    #[test]
    fn the_vm_waits_until_it_may_run() {
        let orders = orders();
        assert!(matches!(orders.next(), Order::Wait));
        orders.set_pace(Pace::Full);
        assert!(!orders.is_special());
        assert!(matches!(orders.next(), Order::Run));
    }

    #[test]
    fn a_seed_pauses_the_vm_until_it_is_over() {
        let orders = orders();
        orders.set_pace(Pace::Full);
        orders.seed(Link(3), Generation(2));
        assert!(matches!(orders.next(), Order::Seed(Link(3), Generation(2))));
        assert!(matches!(orders.next(), Order::Wait), "paused though the pace is full");
        orders.end_seed();
        assert!(matches!(orders.next(), Order::Run));
    }

    #[test]
    fn a_halt_is_final_and_keeps_its_first_reason() {
        let orders = orders();
        orders.halt(Halted::OnRequest);
        orders.halt(Halted::LinkEnded);
        orders.set_pace(Pace::Full);
        orders.seed(Link(1), Generation(1));
        assert!(matches!(orders.next(), Order::Halt(Halted::OnRequest)));
    }
}
