//! What is known of the memory of a secondary that follows: which pages a delta has to hold.
//!
//! Where no account has been kept, because none was needed for a while, the secondary is asked what its memory holds at the
//! position before, and a thread compares that with ours; what differs is the first delta.
//!
//! ```text
//!   guest interrupted ──► AskPages ─► …                          the guest runs on
//!                                      PageDigests ─► compared
//!   guest interrupted ──► what differs or was written since, the vCPU ─► Pages … Delta, and the step
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use ftlog::{Delta, Position};
use machine::{
    Machine, VcpuThread,
    kvm::KvmError,
    transfer::{Theirs, Transfer},
};
use protocol::primary::Link;
use replay::Deltas;

/// How the guest can be stopped where it is.
pub enum Way {
    /// As it stands: nobody follows.
    Free,
    /// With this.
    Delta(Delta),
    /// Not yet: the secondary is to be asked.
    Ask,
    /// Not yet: it was asked, or has not acknowledged the last delta.
    Wait,
}

/// A question to the secondary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    /// There is none.
    #[default]
    None,
    /// For the stretch that the guest is in.
    Asked,
    /// For one that has ended by itself.
    Void,
}

struct Follower {
    link: Link,
    deltas: Deltas,
    question: Question,
    /// A delta that leads here is not acknowledged: another would wait behind it, and the guest with it.
    under_way: Option<Position>,
    /// The guest was interrupted meanwhile, to be stopped, and runs on.
    is_awaited: bool,
}

#[derive(Default)]
struct State {
    /// Whose seed it is that the vCPU thread may stop for.
    expected: Option<Link>,
    follower: Option<Follower>,
}

/// Shared by the vCPU thread, which keeps the account, and the link thread, which ends it.
pub struct Followed {
    state: Mutex<State>,
    vcpu: VcpuThread,
}

impl Followed {
    /// Nobody follows the guest of `vcpu`.
    pub fn new(vcpu: VcpuThread) -> Self {
        Self { state: Mutex::default(), vcpu }
    }

    /// Somebody will follow, if its seed comes to a good end.
    pub fn expect(&self, link: Link) {
        self.lock().expected = Some(link);
    }

    /// Nobody follows any more, or will.
    pub fn end(&self) {
        let over = std::mem::take(&mut *self.lock());
        // Not while the vCPU thread may want the lock: KVM takes its time to forget which pages it was to watch.
        drop(over);
    }

    /// The rest of the seed is handed over: from here on the other side executes the same.
    pub fn begin(&self, link: Link, transfer: Transfer, time_ns: u64) {
        let mut state = self.lock();
        if state.expected == Some(link) {
            let deltas = Deltas::after(transfer, time_ns);
            let (question, under_way, is_awaited) = (Question::None, None, false);
            state.follower = Some(Follower { link, deltas, question, under_way, is_awaited });
        }
    }

    /// The guest has come to a position by itself.
    ///
    /// # Errors
    /// KVM's.
    pub fn come_to_position(&self, time_ns: u64) -> Result<(), KvmError> {
        let mut state = self.lock();
        let Some(Follower { deltas, question, is_awaited, .. }) = &mut state.follower else { return Ok(()) };
        *is_awaited = false;
        if *question == Question::Asked {
            *question = Question::Void;
        }
        deltas.come_to_position(time_ns)
    }

    /// How the guest of `machine` can be stopped where it was interrupted.
    ///
    /// # Errors
    /// KVM's.
    pub fn way(&self, machine: &mut Machine) -> anyhow::Result<Way> {
        let mut state = self.lock();
        let Some(Follower { deltas, question, under_way, is_awaited, .. }) = &mut state.follower else {
            return Ok(Way::Free);
        };
        *is_awaited = true;
        if under_way.is_some() {
            return Ok(Way::Wait);
        }
        if let Some(delta) = deltas.take(machine)? {
            (*under_way, *is_awaited) = (Some(machine.position().next()), false);
            return Ok(Way::Delta(delta));
        }
        if !deltas.is_kept() {
            deltas.begin(&machine.source())?;
        }
        Ok(match question {
            Question::None if !deltas.is_lent() => {
                *question = Question::Asked;
                Way::Ask
            }
            _ => Way::Wait,
        })
    }

    /// The secondary holds everything up to here.
    pub fn acknowledged(&self, through: Position) {
        let mut state = self.lock();
        if let Some(follower) = &mut state.follower
            && follower.under_way.take_if(|position| *position <= through).is_some()
        {
            self.interrupt(follower);
        }
    }

    /// What the guest was to wait for has come: it is looked at again.
    fn interrupt(&self, follower: &mut Follower) {
        if std::mem::take(&mut follower.is_awaited) {
            self.vcpu.kick();
        }
    }

    /// The secondary has answered. Who compares holds `turn` meanwhile: another seed waits for it.
    pub fn learn(self: &Arc<Self>, theirs: Theirs, turn: Arc<Mutex<()>>) {
        let mut state = self.lock();
        let Some(Follower { link, deltas, question, .. }) = &mut state.follower else { return };
        let (link, is_awaited) = (*link, std::mem::take(question) == Question::Asked);
        let Some(transfer) = is_awaited.then(|| deltas.lend()).flatten() else { return };
        let followed = self.clone();
        let compare = move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            followed.compare(link, transfer, &theirs);
        };
        if let Err(error) = thread::Builder::new().name("differences".into()).spawn(compare) {
            tracing::warn!(%error, "no thread to compare memory with the secondary's: it is asked again");
            *deltas = Deltas::default();
        }
    }

    fn compare(&self, link: Link, mut transfer: Transfer, theirs: &Theirs) {
        let is_of = |follower: &&mut Follower| follower.link == link;
        let is_off =
            || !self.lock().follower.as_mut().filter(is_of).is_some_and(|follower| follower.deltas.is_lent());
        if let Err(error) = transfer.settle(theirs, &is_off) {
            tracing::warn!(%error, "what the secondary's memory holds could not be compared");
            transfer.begin_again();
        }
        if let Some(follower) = self.lock().follower.as_mut().filter(is_of) {
            follower.deltas.take_back(transfer);
            self.interrupt(follower);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
