//! Looking at the arbiter while this side has the VM: an operator may have had it started elsewhere (`--force`).
//!
//! On a thread of its own, because a shared directory may take long to answer, or for ever. What it does not show is
//! no verdict: this side runs on, and `status` says that the arbiter cannot be seen.

use ftlog::Generation;
use protocol::{
    LOOK_NS,
    primary::{Event, Phase},
};

use super::{messages::Message, thread::LinkThread};
use crate::{
    arbiter::{ArbiterError, Holder, Latest},
    host::{clock::monotonic_ns, reserve},
};

/// What `status` calls it when the arbiter cannot be seen.
const TROUBLE: &str = "arbiter";
/// A look that takes longer than this is told as trouble, ns.
const LATE_NS: u64 = 3 * LOOK_NS;

/// When to look, and whether somebody does.
#[derive(Default)]
pub struct Watch {
    /// Since when the look is under way.
    since_ns: Option<u64>,
    next_ns: u64,
}

/// What a look has shown.
#[derive(Debug, PartialEq, Eq)]
enum Sight {
    /// This side has the newest generation.
    Ours,
    /// Somebody else has a later one.
    Later { generation: Generation, holder: String },
    /// Neither of these.
    Unclear(String),
}

impl Watch {
    /// Calls for a look, if it is time for one; it then counts as under way.
    fn begin(&mut self, now_ns: u64) -> bool {
        let due = self.since_ns.is_none() && now_ns >= self.next_ns;
        if due {
            self.since_ns = Some(now_ns);
        }
        due
    }

    fn is_late(&self, now_ns: u64) -> bool {
        self.since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > LATE_NS)
    }

    fn ended(&mut self, now_ns: u64) {
        self.since_ns = None;
        self.next_ns = now_ns.saturating_add(LOOK_NS);
    }
}

impl LinkThread {
    /// Looks now and then, from the first generation that this side holds on.
    pub(super) fn watch_arbiter(&mut self) {
        if self.halted || self.core.phase() == Phase::Starting {
            return;
        }
        let now_ns = monotonic_ns();
        if self.watch.is_late(now_ns) {
            self.site
                .board
                .trouble(TROUBLE, format!("no answer for more than {} s", LATE_NS / 1_000_000_000));
        }
        if self.watch.begin(now_ns) {
            self.look();
        }
    }

    fn look(&mut self) {
        let (arbiter, mailbox) = (self.site.arbiter.clone(), self.mailbox.clone());
        let (name, generation) = (self.identity.shape.name.clone(), self.core.generation());
        let spawned = reserve::spawn("look", move || {
            mailbox.send(Message::Looked(generation, arbiter.latest(&name)));
        });
        if let Err(error) = spawned {
            self.watch.ended(monotonic_ns());
            self.site.board.trouble(TROUBLE, format!("no thread to look at it: {error}"));
        }
    }

    /// A look has ended that began when `ours` was the last generation that this side held.
    pub(super) fn looked(&mut self, ours: Generation, shown: Result<Option<Latest>, ArbiterError>) {
        self.watch.ended(monotonic_ns());
        match judge(ours, &self.site.holder, shown) {
            Sight::Ours => self.site.board.well(TROUBLE),
            Sight::Later { generation, holder } => self.tell(Event::ArbiterShows { generation, holder }),
            Sight::Unclear(why) => self.site.board.trouble(TROUBLE, why),
        }
    }
}

fn judge(ours: Generation, holder: &Holder, shown: Result<Option<Latest>, ArbiterError>) -> Sight {
    match shown {
        Ok(Some(Latest { entry, .. })) if entry.holder == *holder => Sight::Ours,
        Ok(Some(Latest { entry, .. })) if entry.generation > ours => {
            Sight::Later { generation: entry.generation, holder: entry.holder.to_string() }
        }
        Ok(_) => Sight::Unclear(format!(
            "it does not show generation {ours}, which this side holds; was it cleared away (ftvmm arbiter forget)?"
        )),
        Err(error) => Sight::Unclear(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use ftlog::VmId;

    use super::*;
    use crate::arbiter::Entry;

    fn shown(generation: u64, holder: &Holder) -> Result<Option<Latest>, ArbiterError> {
        let (generation, holder) = (Generation(generation), holder.clone());
        Ok(Some(Latest {
            entry: Entry { vm: VmId([1; 16]), generation, holder, since_ms: 0, yields: false },
            ended: None,
        }))
    }

    #[test]
    fn only_a_later_generation_of_another_is_a_verdict() {
        let (us, other) = (Holder::this_process().unwrap(), Holder::this_process().unwrap());
        let ours = Generation(5);
        for won in [5, 6] {
            assert_eq!(judge(ours, &us, shown(won, &us)), Sight::Ours, "won while it was looked");
        }
        let later = Sight::Later { generation: Generation(7), holder: other.to_string() };
        assert_eq!(judge(ours, &us, shown(7, &other)), later);
        let spec = "nothing".to_owned();
        for unclear in [Ok(None), shown(5, &other), shown(1, &other), Err(ArbiterError::Spec { spec })] {
            assert!(matches!(judge(ours, &us, unclear), Sight::Unclear(_)));
        }
    }

    #[test]
    fn one_look_at_a_time_and_a_pause_after_each() {
        let mut watch = Watch::default();
        assert!(watch.begin(7));
        assert!(!watch.begin(u64::MAX), "one is under way");
        assert!(!watch.is_late(7 + LATE_NS) && watch.is_late(8 + LATE_NS));
        watch.ended(9);
        assert!(!watch.is_late(u64::MAX) && !watch.begin(8 + LOOK_NS));
        assert!(watch.begin(9 + LOOK_NS));
    }
}
