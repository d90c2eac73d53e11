//! Which pages a delta would have to hold: an account is kept from when one was needed first until none was for a while.

use ftlog::Delta;
use machine::{
    Machine, MachineError,
    kvm::KvmError,
    transfer::{Source, Theirs, Transfer},
};

/// How often, in virtual time, it is looked at how many pages there are.
const LOOK_NS: u64 = 10_000_000;
/// With more than this, both sides being at the same position, it begins anew: a delta stays below about so many pages,
/// each of which costs the guest a fault when it writes it again.
const MOST_PAGES: u64 = 1024;
/// The account ends when for so long, in virtual time, no delta was needed.
const IDLE_NS: u64 = 2_000_000_000;

/// What the account counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Basis {
    /// A position at which both sides had the same.
    #[default]
    Equal,
    /// Somewhere in the stretch that the guest is in: nothing is known to be equal.
    Unknown,
    /// The same, but the other side has said what it has at the position before.
    Told,
}

/// The account of one execution and of one who follows it.
#[derive(Default)]
pub struct Deltas {
    changes: Option<Transfer>,
    basis: Basis,
    /// It is never to end.
    for_good: bool,
    looked_ns: u64,
    needed_ns: u64,
}

impl Deltas {
    /// None is kept; one that is begun does not end. For a log file: nobody can be asked what has changed while none was.
    #[must_use]
    pub fn for_good() -> Self {
        Self { for_good: true, ..Self::default() }
    }

    /// Goes on with what was sent while the guest ran, at a position where the other side is to have the same.
    #[must_use]
    pub fn after(transfer: Transfer, time_ns: u64) -> Self {
        Self { changes: Some(transfer), looked_ns: time_ns, needed_ns: time_ns, ..Self::default() }
    }

    /// True when there is one.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.changes.is_some()
    }

    /// Begins one, in the midst of a stretch: nothing is known to be equal.
    ///
    /// # Errors
    /// KVM's, and that somebody else keeps one.
    pub fn begin(&mut self, source: &Source) -> Result<(), KvmError> {
        self.changes = Some(source.begin_unknown()?);
        self.basis = Basis::Unknown;
        Ok(())
    }

    /// The other side has said what it has at the position before this stretch.
    pub fn learn(&mut self, theirs: Theirs) {
        if let Some(changes) = self.changes.as_mut().filter(|_| self.basis == Basis::Unknown) {
            changes.learn(theirs);
            self.basis = Basis::Told;
        }
    }

    /// What leads to where the guest was interrupted; `None` while that is not known.
    ///
    /// # Errors
    /// KVM's.
    pub fn take(&mut self, machine: &mut Machine) -> Result<Option<Delta>, MachineError> {
        match self.basis {
            Basis::Unknown => Ok(None),
            Basis::Equal | Basis::Told => self.take_all(machine),
        }
    }

    /// The same where nobody can say what the other side has: all of RAM, the first time.
    ///
    /// # Errors
    /// KVM's.
    pub fn take_all(&mut self, machine: &mut Machine) -> Result<Option<Delta>, MachineError> {
        let Some(changes) = &mut self.changes else { return Ok(None) };
        let delta = machine.delta(changes)?;
        self.basis = Basis::Equal;
        (self.looked_ns, self.needed_ns) = (machine.time_ns(), machine.time_ns());
        Ok(Some(delta))
    }

    /// The guest has come to a position by itself, at which the other side will have the same.
    ///
    /// # Errors
    /// KVM's.
    pub fn come_to_position(&mut self, time_ns: u64) -> Result<(), KvmError> {
        let Some(changes) = &mut self.changes else { return Ok(()) };
        if std::mem::take(&mut self.basis) != Basis::Equal {
            (self.looked_ns, self.needed_ns) = (time_ns, time_ns);
            return changes.agree();
        }
        if time_ns < self.looked_ns + LOOK_NS {
            return Ok(());
        }
        self.looked_ns = time_ns;
        if !self.for_good && time_ns >= self.needed_ns + IDLE_NS {
            self.changes = None;
        } else if changes.look()? > MOST_PAGES {
            changes.agree()?;
        }
        Ok(())
    }
}
