//! All disks of a VM on this side.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use devices::FIRST_DISK_SLOT;
use ftlog::{DiskMode, DiskShape};
use protocol::fence::Fence;
use replay::StopSwitch;

use super::{
    Answers, Backing, DiskError, DiskOption, Engine, Use, Vitals, bases::Bases, device, member::Disk,
    stamp::Mark,
};
use crate::{control::DiskReport, ingress::Inbox};

/// All disks of a VM on this side, in the order of their slots.
pub struct Disks {
    pub(super) disks: Vec<Disk>,
    pub(super) answers: Arc<Answers>,
    fence: Arc<Fence>,
    pub(super) comparison: Arc<Mutex<()>>,
    pub(super) bases: Bases,
    /// What was written last into the stamps by [`Disks::stamp`].
    pub(super) newest: Mutex<Option<Mark>>,
    pub(super) stop: StopSwitch,
}

impl Disks {
    /// Opens the disks of a side that is `live`, or may be later. Answers go to `inbox`.
    pub fn open(
        options: &[DiskOption],
        usage: Use,
        live: bool,
        inbox: &Arc<Inbox>,
        stop: &StopSwitch,
    ) -> Result<Self, DiskError> {
        if options.len() > ftlog::MAX_DISKS {
            return Err(DiskError::Count { count: options.len() });
        }
        let answers = Arc::new(Answers::new(inbox.clone(), live));
        let fence = Arc::new(Fence::default());
        let disks = open_all(options, usage)?
            .into_iter()
            .map(|backing| Disk::new(backing, usage, live, &answers, &fence))
            .collect::<Result<Vec<_>, _>>()?;
        for disk in &disks {
            if usage == Use::Alone {
                disk.leave_pair()?;
            }
            // A secondary does not touch a shared disk.
            if live || disk.shape.mode == DiskMode::Replicated {
                disk.start()?;
            }
        }
        Ok(Self {
            disks,
            answers,
            fence,
            comparison: Arc::default(),
            bases: Bases::default(),
            newest: Mutex::default(),
            stop: stop.clone(),
        })
    }

    /// What the other side must agree with.
    pub fn shapes(&self) -> Vec<DiskShape> {
        self.disks.iter().map(|disk| disk.shape).collect()
    }

    /// The fence before the shared disks.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The fence has changed.
    pub fn look_at_fence(&self) {
        self.disks.iter().filter_map(Disk::engine).for_each(Engine::look);
    }

    /// Waits until nothing is on its way to the files; false when the stop switch was thrown first.
    pub fn wait_idle(&self) -> bool {
        self.slots().all(|slot| self.answers.wait_pending(slot, 0, &self.stop))
    }

    /// True when nothing is on its way to the files.
    pub fn is_idle(&self) -> bool {
        self.slots().all(|slot| self.answers.pending(slot) == 0)
    }

    /// How each disk does.
    pub fn vitals(&self) -> Vec<Vitals> {
        let vitals = |(slot, disk): (u8, &Disk)| Vitals {
            pending: self.answers.pending(slot),
            answered: self.answers.answered(slot),
            errors: disk.errors(),
        };
        self.slots().zip(&self.disks).map(vitals).collect()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u8> {
        (FIRST_DISK_SLOT..).take(self.disks.len())
    }

    /// This side begins to replay another VM, once the disks are [at rest](Disks::await_rest).
    ///
    /// # Errors
    /// They are not, for so long.
    pub fn replay(&self, patience: Duration) -> anyhow::Result<()> {
        self.await_rest(patience)?;
        self.answers.set_live(false);
        Ok(())
    }

    /// This side is the VM from now on, which writes shared disks from `from_ns` on (of the host's clock):
    /// what its copies were given is done, and answers go to the guest.
    pub fn go_live(&self, from_ns: u64) {
        self.wait_idle();
        self.answers.set_live(true);
        self.fence.open_from(from_ns);
        for disk in &self.disks {
            if let Err(error) = disk.start_anew() {
                tracing::error!("{error}; the guest gets errors from it");
            }
        }
    }

    /// Makes sure, before a VM starts here, that no other process is the live side of its shared disks, or will be.
    ///
    /// # Errors
    /// [`DiskError::Busy`].
    pub fn lock_live(&self) -> Result<(), DiskError> {
        self.disks.iter().try_for_each(Disk::lock_live)
    }

    /// What `status` tells.
    pub fn report(&self) -> Vec<DiskReport> {
        self.disks.iter().map(Disk::report).collect()
    }

    /// The data held for requests, bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.answers.held()
    }

    pub(super) fn at(&self, slot: u8) -> Option<&Disk> {
        self.disks.get(usize::from(slot.checked_sub(FIRST_DISK_SLOT)?))
    }
}

/// Opens all, none of which may be another one by another name.
fn open_all(options: &[DiskOption], usage: Use) -> Result<Vec<Backing>, DiskError> {
    let mut opened: Vec<Backing> = Vec::new();
    let mut sources = Vec::new();
    for option in options {
        let failed = |source| DiskError::Open { path: option.path.clone(), source };
        let ours = device::sources(&option.path).map_err(failed)?;
        let twice = sources.iter().position(|theirs: &Vec<_>| theirs.iter().any(|one| ours.contains(one)));
        if let Some(first) = twice.filter(|first| !(option.readonly && options[*first].readonly)) {
            return Err(DiskError::Twice { first: options[first].path.clone(), second: option.path.clone() });
        }
        sources.push(ours);
        opened.push(Backing::open(option, usage)?);
    }
    Ok(opened)
}
