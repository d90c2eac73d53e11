//! What the vCPU thread is told by the link thread.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ftlog::{Generation, Health};
use machine::{VcpuThread, transfer::Transfer};
use protocol::{
    primary::{Link, Pace},
    seeding::Degree,
};
use replay::StopSwitch;

use crate::{host::clock::boot_ns, ingress::Inbox};

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
    /// Send what is left of this seed, then ask again.
    Seed(Stop),
    /// Hand over what is recorded, then wait with [`Orders::wait`].
    Wait,
    /// Never run again.
    Halt(Halted),
}

/// What is left of a seed for the stop.
pub struct Stop {
    /// With whom.
    pub link: Link,
    /// Of the seed.
    pub generation: Generation,
    /// The memory.
    pub transfer: Box<Transfer>,
    /// When it was asked for, ns of the host's clock.
    pub asked_ns: u64,
}

struct State {
    pace: Pace,
    seed: Option<Stop>,
    /// The vCPU thread has it, and nobody has said yet what has come of it.
    stopping: bool,
    slowed: Degree,
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
        let (pace, slowed) = (Pace::Stopped, Degree::default());
        let state = State { pace, seed: None, stopping: false, slowed, halted: None };
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
        if let Some(seed) = state.seed.take() {
            state.stopping = true;
            return Order::Seed(seed);
        }
        match state.pace {
            _ if self.stop.is_thrown() => Order::Run,
            Pace::Full => Order::Run,
            Pace::Slow => Order::RunSlowly,
            Pace::Stopped => Order::Wait,
        }
    }

    /// Waits until something may have changed.
    pub fn wait(&self) {
        let state = self.lock();
        let changed = |state: &State| state.halted.is_some() || state.seed.is_some();
        if !changed(&state) && state.pace == Pace::Stopped && !self.stop.is_thrown() {
            drop(self.changed.wait_timeout(state, GLANCE));
        }
    }

    /// How fast to run.
    pub fn set_pace(&self, pace: Pace) {
        self.change(|state| state.pace = pace);
    }

    /// Stop for the rest of a seed, as that of `generation`: where the guest is, or at its next sync point.
    pub fn seed(&self, link: Link, generation: Generation, transfer: Box<Transfer>) {
        let seed = Stop { link, generation, transfer, asked_ns: boot_ns() };
        self.change(|state| state.seed = Some(seed));
        self.inbox.nudge();
        self.vcpu.kick();
    }

    /// The state cannot be saved at this sync point: ask again at the next, unless the seed is off by then.
    pub fn seed_later(&self, seed: Stop) {
        self.change(|state| {
            if std::mem::take(&mut state.stopping) {
                state.seed.get_or_insert(seed);
            }
        });
    }

    /// The seed is sent, or came to nothing: run on, as fast as before.
    pub fn end_seed(&self) {
        let mut left = None;
        self.change(|state| {
            left = state.seed.take();
            state.stopping = false;
            state.slowed = Degree::default();
        });
        // Not while the vCPU thread may want the lock: KVM takes its time to forget which pages it was to watch.
        drop(left);
    }

    /// Run more slowly.
    pub fn slow(&self, degree: Degree) {
        self.change(|state| state.slowed = degree);
        self.vcpu.kick();
    }

    /// Whether a stop is asked for.
    pub fn wants_stop(&self) -> bool {
        self.is_special() && self.lock().seed.is_some()
    }

    /// How much slower: not while a stop is asked for, to which the guest has to come.
    pub fn slowed(&self) -> Degree {
        if !self.is_special() {
            return Degree::default();
        }
        let state = self.lock();
        if state.seed.is_some() { Degree::default() } else { state.slowed }
    }

    /// Stands for so long, or until there is something to do.
    pub fn stand(&self, stands: Duration) {
        let until = Instant::now() + stands;
        let mut state = self.lock();
        let wanted = |state: &State| {
            state.slowed > Degree::default() && state.seed.is_none() && state.halted.is_none()
        };
        while wanted(&state) && !self.stop.is_thrown() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left.min(GLANCE));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
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

    /// A guest that comes to no sync point does not see that it may not run any more, or not as fast, or is to stop: it is
    /// interrupted where it is. A kick may come too early to be heard, so this is to be repeated.
    pub fn kick_out_if_needed(&self) {
        if self.halted().is_some() || self.wants_stop() || self.slowed() > Degree::default() {
            self.vcpu.kick();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let plain = state.pace == Pace::Full
            && state.seed.is_none()
            && state.slowed == Degree::default()
            && state.halted.is_none();
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
    fn a_vm_that_is_slowed_is_so_until_the_seed_is_over() {
        let orders = orders();
        orders.set_pace(Pace::Full);
        orders.slow(Degree::default().stronger());
        assert!(orders.is_special());
        assert!(matches!(orders.next(), Order::Run));
        orders.stand(Duration::from_millis(1));
        orders.end_seed();
        assert_eq!(orders.slowed(), Degree::default());
        assert!(!orders.is_special());
        // It has nothing to stand for.
        orders.stand(Duration::from_secs(3600));
    }

    #[test]
    fn a_halt_is_final_and_keeps_its_first_reason() {
        let orders = orders();
        orders.halt(Halted::OnRequest);
        orders.halt(Halted::LinkEnded);
        orders.set_pace(Pace::Full);
        assert!(matches!(orders.next(), Order::Halt(Halted::OnRequest)));
    }
}
