//! What is known of the memory of a secondary that follows: which pages a delta has to hold.
//!
//! Where no account has been kept, because none was needed for a while, the secondary is asked what its memory holds at the
//! position before; what differs there is the first delta.
//!
//! ```text
//!   guest interrupted ──► AskPages ─► …          the guest runs on
//!                                      PageDigests ─► learn
//!   guest interrupted ──► what differs, the vCPU ─► Pages … Delta, and the step
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

use ftlog::Delta;
use machine::{
    Machine,
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
    /// Not yet: it was asked.
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
    deltas: Deltas,
    question: Question,
}

#[derive(Default)]
struct State {
    /// Whose seed it is that the vCPU thread may stop for.
    link: Option<Link>,
    follower: Option<Follower>,
}

/// Shared by the vCPU thread, which keeps the account, and the link thread, which ends it.
#[derive(Default)]
pub struct Followed(Mutex<State>);

impl Followed {
    /// Somebody will follow, if its seed comes to a good end.
    pub fn expect(&self, link: Link) {
        self.lock().link = Some(link);
    }

    /// Nobody follows any more, or will.
    pub fn end(&self) {
        *self.lock() = State::default();
    }

    /// The rest of the seed is handed over: from here on the other side executes the same.
    pub fn begin(&self, link: Link, transfer: Transfer, time_ns: u64) {
        let mut state = self.lock();
        if state.link == Some(link) {
            let deltas = Deltas::after(transfer, time_ns);
            state.follower = Some(Follower { deltas, question: Question::None });
        }
    }

    /// The guest has come to a position by itself.
    ///
    /// # Errors
    /// KVM's.
    pub fn come_to_position(&self, time_ns: u64) -> Result<(), KvmError> {
        let mut state = self.lock();
        let Some(Follower { deltas, question }) = &mut state.follower else { return Ok(()) };
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
        let Some(Follower { deltas, question }) = &mut state.follower else { return Ok(Way::Free) };
        if let Some(delta) = deltas.take(machine)? {
            return Ok(Way::Delta(delta));
        }
        if !deltas.is_kept() {
            deltas.begin(&machine.source())?;
        }
        Ok(match question {
            Question::None => {
                *question = Question::Asked;
                Way::Ask
            }
            Question::Asked | Question::Void => Way::Wait,
        })
    }

    /// The secondary has answered.
    pub fn learn(&self, theirs: Theirs) {
        let mut state = self.lock();
        let Some(Follower { deltas, question }) = &mut state.follower else { return };
        if std::mem::take(question) == Question::Asked {
            deltas.learn(theirs);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
