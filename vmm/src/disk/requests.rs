//! What the guest asks of its disks, on its way to the engines: of the live side's guest, and of the one that is replayed.

use devices::{DiskRequest, DiskStatus, FIRST_DISK_SLOT, Output};
use ftlog::{DiskMode, Event};
use replay::StopSwitch;

use super::{Disks, member::Disk};

/// Requests of one disk without an answer at which the disk takes no more. A queue holds 256; a guest that resets the
/// device again and again has more, as the host does not forget what it was asked. Their data are bounded by
/// `MAX_HELD_BYTES`, for all disks together.
const MAX_UNANSWERED: usize = 512;

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
}
