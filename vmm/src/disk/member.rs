//! One of a VM's disks on this side.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use devices::DiskRequest;
use ftlog::{DiskMode, DiskShape};

use super::{
    Answers, Backing, Blocks, Changes, DiskError, Engine, Fence, Progress, changes_disk,
    engine::Surroundings, file::SECTOR,
};
use crate::control::DiskReport;

/// A disk on this side.
pub struct Disk {
    /// Its file.
    pub path: PathBuf,
    /// What the guest and the other side see of it.
    pub shape: DiskShape,
    /// Until the engine starts.
    backing: Mutex<Option<Backing>>,
    engine: OnceLock<Engine>,
    /// For comparing it with the other side's copy.
    file: File,
    surroundings: Surroundings,
    progress: Arc<Progress>,
    /// Requests of the guest whose answers it has not had.
    unanswered: AtomicUsize,
}

/// This side's copy of a replicated disk.
pub struct DiskCopy {
    /// Which disk, in the order of the shape.
    pub disk: u8,
    /// The guest cannot write it, and so nobody does.
    pub readonly: bool,
    /// What it holds.
    pub blocks: Blocks,
    /// Blocks that were written since the marks were last taken.
    pub changes: Arc<Changes>,
    /// For `status`.
    pub progress: Arc<Progress>,
}

impl Disk {
    /// A disk whose engine does not run.
    pub fn new(backing: Backing, answers: &Arc<Answers>, fence: &Arc<Fence>) -> Result<Self, DiskError> {
        let path = backing.path.clone();
        let file =
            backing.file.try_clone().map_err(|source| DiskError::Open { path: path.clone(), source })?;
        let surroundings = Surroundings {
            answers: answers.clone(),
            fence: fence.clone(),
            changes: Arc::new(Changes::new(backing.bytes())),
            errors: Arc::new(AtomicU64::new(0)),
        };
        Ok(Self {
            path,
            shape: backing.shape,
            backing: Mutex::new(Some(backing)),
            engine: OnceLock::new(),
            file,
            surroundings,
            progress: Arc::default(),
            unanswered: AtomicUsize::new(0),
        })
    }

    /// Starts the engine, unless it runs.
    pub fn start(&self) -> Result<(), DiskError> {
        let Some(backing) = self.lock_backing().take() else { return Ok(()) };
        let engine = Engine::start(backing, self.surroundings.clone())?;
        let _ = self.engine.set(engine);
        Ok(())
    }

    /// Starts the engine of a disk that another host has written until now, unless it runs. The file is opened again,
    /// as network file systems compare what they have cached only then.
    pub fn start_anew(&self) -> Result<(), DiskError> {
        let mut backing = self.lock_backing();
        match backing.as_ref().map(Backing::reopen) {
            Some(Ok(again)) => *backing = Some(again),
            Some(Err(error)) => tracing::warn!("{error}; the file that was opened before is used"),
            None => {}
        }
        drop(backing);
        self.unanswered.store(0, Ordering::Release);
        self.start()
    }

    /// What carries requests out, once it runs.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// The guest has asked; gives how many it waits for beside this.
    pub fn asked(&self) -> usize {
        self.unanswered.fetch_add(1, Ordering::AcqRel)
    }

    /// The guest has had an answer.
    pub fn answered(&self) {
        let less = |count: usize| Some(count.saturating_sub(1));
        let _ = self.unanswered.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// A request changes the disk, and the disk is kept like this.
    pub fn is_changed_by(&self, request: &DiskRequest, mode: DiskMode) -> bool {
        self.shape.mode == mode && changes_disk(&request.operation)
    }

    /// This side's copy of it, as disk number `index`.
    pub fn copy(&self, index: u8) -> io::Result<DiskCopy> {
        Ok(DiskCopy {
            disk: index,
            readonly: self.shape.readonly,
            blocks: Blocks::new(self.file.try_clone()?, self.shape.sectors * SECTOR),
            changes: self.surroundings.changes.clone(),
            progress: self.progress.clone(),
        })
    }

    /// What `status` tells.
    pub fn report(&self) -> DiskReport {
        DiskReport {
            path: self.path.display().to_string(),
            mode: self.shape.mode.to_string(),
            readonly: self.shape.readonly,
            bytes: self.shape.sectors * SECTOR,
            in_flight: self.unanswered.load(Ordering::Acquire) as u64,
            errors: self.surroundings.errors.load(Ordering::Acquire),
            resync: self.progress.report(self.shape.sectors * SECTOR),
        }
    }

    fn lock_backing(&self) -> MutexGuard<'_, Option<Backing>> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
