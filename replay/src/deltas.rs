//! Which pages a delta would have to hold: an account is kept from when one was needed first until none was for a while.

use ftlog::Delta;
use machine::{
    Machine, MachineError,
    kvm::KvmError,
    transfer::{Source, Transfer},
};

/// How often, in virtual time, it is looked at how many pages there are.
const LOOK_NS: u64 = 10_000_000;
/// With more than this, both sides being at the same position, it begins anew: a delta stays below about so many pages,
/// each of which costs the guest a fault when it writes it again.
const MOST_PAGES: u64 = 1024;
/// The account ends when for so long, in virtual time, no delta was needed.
const IDLE_NS: u64 = 2_000_000_000;

/// The account of one execution and of one who follows it.
#[derive(Default)]
pub struct Deltas {
    account: Account,
    /// It is never to end.
    for_good: bool,
    looked_ns: u64,
    needed_ns: u64,
}

#[derive(Default)]
enum Account {
    /// None is kept.
    #[default]
    None,
    /// Whatever differs from the last position at which both sides had the same is in it.
    Kept(Transfer),
    /// It was begun in the stretch that the guest is in: nothing is known to be equal.
    Fresh(Transfer),
    /// Somebody compares it with what the other side has at the position before this stretch.
    Lent,
    /// The same, but the guest has come to another position meanwhile.
    Outdated,
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
        let account = Account::Kept(transfer.into_account());
        Self { account, looked_ns: time_ns, needed_ns: time_ns, ..Self::default() }
    }

    /// True when there is one.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !matches!(self.account, Account::None)
    }

    /// Begins one, in the midst of a stretch: nothing is known to be equal.
    ///
    /// # Errors
    /// KVM's, and that somebody else keeps one.
    pub fn begin(&mut self, source: &Source) -> Result<(), KvmError> {
        self.account = Account::Fresh(source.begin_unknown()?);
        Ok(())
    }

    /// Gives it away, to be [compared](Transfer::settle) with what the other side has at the position before this stretch;
    /// if that is of any use.
    pub fn lend(&mut self) -> Option<Transfer> {
        match std::mem::replace(&mut self.account, Account::Lent) {
            Account::Fresh(transfer) => Some(transfer),
            other => {
                self.account = other;
                None
            }
        }
    }

    /// True while the comparison is of use.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        matches!(self.account, Account::Lent)
    }

    /// Takes it back.
    pub fn take_back(&mut self, mut transfer: Transfer) {
        self.account = if self.is_lent() {
            Account::Kept(transfer)
        } else {
            // What was compared after that position may have been written between the two.
            transfer.begin_again();
            Account::Fresh(transfer)
        };
    }

    /// What leads to where the guest was interrupted; `None` while that is not known.
    ///
    /// # Errors
    /// KVM's.
    pub fn take(&mut self, machine: &mut Machine) -> Result<Option<Delta>, MachineError> {
        let Account::Kept(changes) = &mut self.account else { return Ok(None) };
        let delta = machine.delta(changes)?;
        (self.looked_ns, self.needed_ns) = (machine.time_ns(), machine.time_ns());
        Ok(Some(delta))
    }

    /// The same where nobody can say what the other side has: all of RAM, the first time.
    ///
    /// # Errors
    /// KVM's.
    pub fn take_all(&mut self, machine: &mut Machine) -> Result<Option<Delta>, MachineError> {
        self.keep();
        self.take(machine)
    }

    /// What it counts from is known now.
    fn keep(&mut self) {
        self.account = match std::mem::take(&mut self.account) {
            Account::Fresh(transfer) => Account::Kept(transfer),
            other => other,
        };
    }

    /// The guest has come to a position by itself, at which the other side will have the same.
    ///
    /// # Errors
    /// KVM's.
    pub fn come_to_position(&mut self, time_ns: u64) -> Result<(), KvmError> {
        match &mut self.account {
            Account::None | Account::Outdated => {}
            Account::Lent => self.account = Account::Outdated,
            Account::Fresh(changes) => {
                changes.agree()?;
                (self.looked_ns, self.needed_ns) = (time_ns, time_ns);
                self.keep();
            }
            Account::Kept(_) if time_ns < self.looked_ns + LOOK_NS => {}
            Account::Kept(_) if !self.for_good && time_ns >= self.needed_ns + IDLE_NS => {
                self.account = Account::None;
            }
            Account::Kept(changes) => {
                self.looked_ns = time_ns;
                if changes.look()? > MOST_PAGES {
                    changes.agree()?;
                }
            }
        }
        Ok(())
    }
}
