//! All disks of a VM on this side.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use devices::{DiskRequest, DiskStatus, FIRST_DISK_SLOT, Output};
use ftlog::{DiskLine, DiskMode, DiskShape, Event, Generation, Position, VmId};
use protocol::fence::Fence;
use replay::StopSwitch;

use super::{
    Answers, Backing, DiskCopy, DiskError, DiskOption, Engine, Making, Use, Vitals,
    bases::Bases,
    device,
    member::Disk,
    stamp::{Mark, Stamp},
};
use crate::{control::DiskReport, identity::Copy, ingress::Inbox};

/// Requests of one disk without an answer at which the disk takes no more. A queue holds 256; a guest that resets the
/// device again and again has more, as the host does not forget what it was asked. Their data are bounded by
/// `MAX_HELD_BYTES`, for all disks together.
const MAX_UNANSWERED: usize = 512;

/// All disks of a VM on this side, in the order of their slots.
pub struct Disks {
    pub(super) disks: Vec<Disk>,
    answers: Arc<Answers>,
    fence: Arc<Fence>,
    comparison: Arc<Mutex<()>>,
    bases: Bases,
    /// What was written last into the stamps by [`Disks::stamp`].
    newest: Mutex<Option<Mark>>,
    stop: StopSwitch,
}

/// This side's copy is not what the primary's is.
#[derive(Debug, thiserror::Error)]
#[error(
    "disk {index} ({path}): this side's copy has answered a request with {status:?} that the primary's has done"
)]
pub struct CopyBroken {
    /// Which disk.
    index: usize,
    /// Its file here.
    path: String,
    /// What became of the request here.
    status: DiskStatus,
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

    /// Takes the requests among the guest's `outputs` in and leaves those that may be carried out. `events` are what
    /// the guest was told at the same sync point.
    pub fn admit(&self, events: &[Event], outputs: &mut Vec<Output>) {
        for event in events {
            if let Event::DiskDone { slot, id, .. } = event {
                self.at(*slot).into_iter().for_each(Disk::answered);
                self.answers.taken(*slot, *id);
            }
        }
        outputs.retain(|output| match output {
            Output::Disk(request) => self.admit_one(request),
            _ => true,
        });
    }

    fn admit_one(&self, request: &DiskRequest) -> bool {
        let Some(disk) = self.at(request.slot) else { return false };
        self.answers.expect(request.slot);
        let asked = disk.asked();
        if disk.is_changed_by(request, DiskMode::Replicated) {
            self.bases.want();
            // The other side carries it out, so this one must. Nothing holds it back here.
            return self.answers.hold_in_time(request, MAX_UNANSWERED, &self.stop);
        }
        if asked < MAX_UNANSWERED && self.answers.hold(request, disk.shape.mode) {
            return true;
        }
        self.answers.answer(request.slot, request.id, DiskStatus::IoError, Vec::new());
        false
    }

    /// Carries a request out that was admitted.
    pub fn perform(&self, request: DiskRequest) {
        match self.at(request.slot).and_then(Disk::engine) {
            Some(engine) => engine.perform(request),
            None => self.answers.answer(request.slot, request.id, DiskStatus::IoError, Vec::new()),
        }
    }

    /// The request may be carried out only when the secondary holds the log behind it.
    pub fn waits_for_commit(&self, request: &DiskRequest) -> bool {
        self.at(request.slot).is_some_and(|disk| disk.is_changed_by(request, DiskMode::Shared))
    }

    /// Carries a request of the replayed guest out on this side's copy, if there is one; not once `stop` is thrown, and
    /// nothing that comes later may be carried out then.
    pub fn copy(&self, request: DiskRequest, stop: &StopSwitch) {
        let copied =
            self.at(request.slot).is_some_and(|disk| disk.is_changed_by(&request, DiskMode::Replicated));
        if copied {
            self.bases.want();
        }
        if copied && self.answers.hold_in_time(&request, MAX_UNANSWERED, stop) {
            self.answers.expect_copy(request.slot, request.id);
            self.perform(request);
        }
    }

    /// Waits for this side's copy to have done whatever `events`, which come next in the log, have answers for, or for
    /// `stop`.
    ///
    /// # Errors
    /// It could not do what the primary's could.
    pub fn await_copies(&self, events: &[Event], stop: &StopSwitch) -> Result<(), CopyBroken> {
        for event in events {
            let Event::DiskDone { slot, id, status, .. } = event else { continue };
            let ours = self.answers.wait_copy(*slot, *id, stop);
            // What a request leaves that failed there is not defined, and it may have left the same here.
            let Some(ours) = ours.filter(|ours| *status == DiskStatus::Ok as u8 && *ours != DiskStatus::Ok)
            else {
                continue;
            };
            let index = usize::from(slot - FIRST_DISK_SLOT);
            return Err(CopyBroken {
                index,
                path: self.disks[index].path.display().to_string(),
                status: ours,
            });
        }
        Ok(())
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

    fn slots(&self) -> impl Iterator<Item = u8> {
        (FIRST_DISK_SLOT..).take(self.disks.len())
    }

    /// This side begins to replay another VM.
    pub fn replay(&self) {
        self.wait_idle();
        self.answers.set_live(false);
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

    /// This side's copies of the replicated disks, to be made equal to the other side's, or it to them.
    ///
    /// # Errors
    /// The host's.
    pub fn copies(&self) -> io::Result<Vec<DiskCopy>> {
        let replicated = (0..).zip(&self.disks).filter(|(_, disk)| disk.shape.mode == DiskMode::Replicated);
        replicated.map(|(index, disk)| disk.copy(index)).collect()
    }

    /// The copies are equal to the other side's, which is or has the secondary of this generation, at the virtual time
    /// `time_ns`: from here on they get bases, see [`super::Intents`].
    pub fn begin_bases(&self, vm: VmId, generation: Generation, time_ns: u64) {
        self.disks.iter().for_each(Disk::settle);
        self.bases.begin(vm, generation, time_ns);
    }

    /// The other side is lost, or let go.
    pub fn end_bases(&self) {
        self.bases.end();
    }

    /// The VM has come to `position`, and what it asks of the disks there was handed over.
    pub fn come_to(&self, position: Position, time_ns: u64) {
        let Some(base) = self.bases.due(position, time_ns) else { return };
        // What a stop has left undone is not in the copies.
        if !self.stop.is_thrown() {
            let replicated = self.disks.iter().filter(|disk| disk.shape.mode == DiskMode::Replicated);
            replicated.filter_map(Disk::engine).for_each(|engine| engine.base(base));
        }
    }

    /// Held by whoever compares the copies with the other side's.
    pub fn comparison(&self) -> Arc<Mutex<()>> {
        self.comparison.clone()
    }

    /// This side's copies of the replicated disks, to be made equal to the other side's. `mark` says of which VM and
    /// generation those are, `lines` what is known of them, in the order of the shape.
    ///
    /// # Errors
    /// The host's.
    pub fn makings(&self, mark: &Mark, lines: &[DiskLine]) -> io::Result<Vec<Making>> {
        let lines = lines.iter().copied().chain(std::iter::repeat(DiskLine::default()));
        let disks = (0..).zip(&self.disks).zip(lines);
        let replicated = disks.filter(|((_, disk), _)| disk.shape.mode == DiskMode::Replicated);
        replicated.map(|((index, disk), line)| disk.making(index, mark, line)).collect()
    }

    /// What is known of this side's disks, in the order of their slots.
    ///
    /// # Errors
    /// The host's, and that a stamp cannot be understood.
    pub fn stamps(&self) -> io::Result<Vec<Option<Stamp>>> {
        self.disks.iter().map(Disk::stamp).collect()
    }

    /// The copies that a VM may start from, with what is known of them. A read-only disk is nobody's.
    ///
    /// # Errors
    /// As for [`Disks::stamps`].
    pub fn known(&self) -> io::Result<Vec<Copy>> {
        let written = self.disks.iter().filter(|disk| !disk.shape.readonly);
        written
            .map(|disk| {
                Ok(Copy { path: disk.path.display().to_string(), state: disk.stamp()?.as_ref().into() })
            })
            .collect()
    }

    /// What the other side is told of them, in the order of their slots.
    ///
    /// # Errors
    /// As for [`Disks::stamps`].
    pub fn lines(&self) -> io::Result<Vec<DiskLine>> {
        self.disks.iter().map(Disk::line).collect()
    }

    /// Makes sure, before a VM starts here, that no other process is the live side of its shared disks, or will be.
    ///
    /// # Errors
    /// [`DiskError::Busy`].
    pub fn lock_live(&self) -> Result<(), DiskError> {
        self.disks.iter().try_for_each(Disk::lock_live)
    }

    /// Writes down, safely, how far this side's copies go.
    ///
    /// # Errors
    /// The host's.
    pub fn stamp(&self, mark: &Mark) -> io::Result<()> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_some_and(|newest| newest.is_after(mark)) {
            // Written meanwhile by another thread.
            return Ok(());
        }
        *newest = Some(mark.clone());
        let live = self.answers.is_live();
        (0..).zip(&self.disks).try_for_each(|(index, disk)| disk.write_stamp(index, mark, live))
    }

    /// The VM has ended in order: once all that it wrote is safe, the copies say so.
    ///
    /// # Errors
    /// The host's.
    pub fn end(&self, mark: &Mark) -> io::Result<()> {
        if !self.wait_idle() {
            // Nobody waits for what the stop has left behind: the copies go on saying what they said.
            return Ok(());
        }
        self.disks.iter().try_for_each(Disk::sync)?;
        self.stamp(mark)
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

    fn at(&self, slot: u8) -> Option<&Disk> {
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
