//! One of a VM's disks on this side.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use devices::DiskRequest;
use ftlog::{DiskId, DiskLine, DiskMode, DiskShape, Generation};
use protocol::fence::Fence;

use super::{
    Answers, Backing, Blocks, Changes, DiskCopy, DiskError, Engine, Making, Progress, SECTOR, Use,
    changes_disk, device,
    engine::Equipment,
    intents::Intents,
    lock,
    stamp::{Mark, Place, Stamp, may_boot},
    worker::Surroundings,
};
use crate::control::{BaseReport, DiskReport};

/// A disk on this side.
pub struct Disk {
    /// Its file.
    pub path: PathBuf,
    /// What the guest and the other side see of it.
    pub shape: DiskShape,
    /// Until the engine starts.
    backing: Mutex<Option<(Backing, Equipment)>>,
    engine: OnceLock<Engine>,
    /// For comparing it with the other side's copy, and for the locks, which it keeps.
    file: File,
    /// Where its stamp is; none where there cannot be one.
    place: Option<Place>,
    surroundings: Surroundings,
    /// A VM is started from it, and not taken over.
    started: bool,
    progress: Arc<Progress>,
    /// Requests of the guest whose answers it has not had.
    unanswered: AtomicUsize,
}

impl Disk {
    /// A disk whose engine does not run.
    pub fn new(
        backing: Backing,
        usage: Use,
        started: bool,
        answers: &Arc<Answers>,
        fence: &Arc<Fence>,
    ) -> Result<Self, DiskError> {
        let path = backing.path.clone();
        let file =
            backing.file.try_clone().map_err(|source| DiskError::Open { path: path.clone(), source })?;
        let place = match Place::of(&file) {
            Ok(place) => Some(place),
            Err(error) if usage == Use::Alone || backing.shape.readonly => {
                tracing::debug!(disk = %path.display(), %error, "no stamp");
                None
            }
            Err(source) => return Err(DiskError::Stamp { path, source }),
        };
        let intents = open_intents(&backing, usage)
            .map_err(|source| DiskError::Stamp { path: path.clone(), source })?;
        let equipment =
            Equipment::prepare().map_err(|source| DiskError::Ring { path: path.clone(), source })?;
        let surroundings = Surroundings {
            answers: answers.clone(),
            fence: fence.clone(),
            changes: Arc::new(Changes::new(backing.bytes())),
            intents: Arc::new(intents),
            errors: Arc::new(AtomicU64::new(0)),
        };
        Ok(Self {
            path,
            shape: backing.shape,
            backing: Mutex::new(Some((backing, equipment))),
            engine: OnceLock::new(),
            file,
            place,
            surroundings,
            started,
            progress: Arc::default(),
            unanswered: AtomicUsize::new(0),
        })
    }

    /// Starts the engine, unless it runs.
    pub fn start(&self) -> Result<(), DiskError> {
        let Some((backing, equipment)) = self.lock_backing().take() else { return Ok(()) };
        let engine = Engine::start(equipment, backing, self.surroundings.clone())?;
        let _ = self.engine.set(engine);
        Ok(())
    }

    /// Starts the engine of a disk that another host has written until now, unless it runs. The file is opened again,
    /// as network file systems compare what they have cached only then.
    pub fn start_anew(&self) -> Result<(), DiskError> {
        if let Some((backing, _)) = &mut *self.lock_backing() {
            match backing.reopen() {
                Ok(again) => backing.file = again,
                Err(error) => tracing::warn!("{error}; the file that was opened before is used"),
            }
            if self.shape.mode == DiskMode::Shared && !self.shape.readonly {
                lock::take_live_over(&self.file, &self.path);
            }
        }
        self.unanswered.store(0, Ordering::Release);
        self.start()
    }

    /// Nobody else is the live side of a shared disk, or will be, while this has it.
    pub fn lock_live(&self) -> Result<(), DiskError> {
        if self.shape.mode == DiskMode::Shared && !self.shape.readonly {
            lock::lock_live(&self.file, &self.path)?;
        }
        Ok(())
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

    /// The copy is equal to the other side's.
    pub fn settle(&self) {
        self.surroundings.intents.settle();
    }

    /// This side's copy of it, as disk number `index`.
    pub fn copy(&self, index: u8) -> io::Result<DiskCopy> {
        Ok(DiskCopy {
            disk: index,
            readonly: self.shape.readonly,
            blocks: Blocks::new(self.file.try_clone()?, self.shape.sectors * SECTOR),
            changes: self.surroundings.changes.clone(),
            intents: self.surroundings.intents.clone(),
            progress: self.progress.clone(),
        })
    }

    /// This side's copy of it, as disk number `index`, to be made equal to the primary's.
    pub fn making(&self, index: u8, mark: &Mark, line: DiskLine) -> io::Result<Making> {
        let place = if self.shape.readonly { None } else { Some(Place::of(&self.file)?) };
        Ok(Making::new(self.copy(index)?, place, self.path.clone(), mark.clone(), line))
    }

    /// What is known of this copy.
    pub fn stamp(&self) -> io::Result<Option<Stamp>> {
        self.place.as_ref().map_or(Ok(None), Place::read)
    }

    /// Writes down how far this copy goes. A shared disk's stamp belongs to the side that is `live`.
    pub fn write_stamp(&self, index: u8, mark: &Mark, live: bool) -> io::Result<()> {
        let shared = self.shape.mode == DiskMode::Shared;
        let Some(place) = self.place.as_ref().filter(|_| !self.shape.readonly && (live || !shared)) else {
            return Ok(());
        };
        let known = self.stamp()?.filter(|stamp| stamp.vm == mark.vm);
        let disk = match known.as_ref().map(|stamp| stamp.disk).or(self.device_id()) {
            Some(disk) => disk,
            None => Stamp::new_disk()?,
        };
        let lacks = match known {
            Some(stamp) => stamp.lacks_from(mark.generation, self.started),
            // Nobody knows what it is.
            None => (mark.generation > Generation(1)).then(|| (0, mark.generation.0 - 1)),
        };
        let stamp = Stamp::new(mark, disk, index, self.shape.sectors * SECTOR, self.shape.mode);
        place.write(&Stamp { lacks, ..stamp })
    }

    /// Which disk it is, as far as that is known here: its stamp's, or, as each host has a stamp of its own for a block
    /// device that both reach, the device's.
    pub fn line(&self) -> io::Result<DiskLine> {
        let line = self.stamp()?.as_ref().map(Stamp::line).unwrap_or_default();
        Ok(DiskLine { id: self.device_id().or(line.id), ..line })
    }

    /// Whether it is a regular file, whose stamp all hosts see that see the file.
    pub fn is_file(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.is_file())
    }

    fn device_id(&self) -> Option<DiskId> {
        let metadata = self.file.metadata().ok().filter(|metadata| !metadata.is_file())?;
        let shared = self.shape.mode == DiskMode::Shared;
        let key = shared.then(|| device::key(metadata.rdev()).ok()).flatten()?;
        key.number().map(DiskId)
    }

    /// Before a VM runs from it that nobody protects: it must be whole, and is then equal to no other copy.
    pub fn leave_pair(&self) -> Result<(), DiskError> {
        let failed = |source| DiskError::Stamp { path: self.path.clone(), source };
        if let Some(place) = self.place.as_ref().filter(|_| !self.shape.readonly) {
            // Nobody marks what this VM will write.
            place.remove_intents().map_err(failed)?;
        }
        let stamp = self.stamp().map_err(failed)?;
        let told = may_boot(&self.path, stamp.as_ref()).map_err(|reason| DiskError::Unfit { reason })?;
        if let (Some(told), Some(stamp), Some(place), false) = (told, stamp, &self.place, self.shape.readonly)
        {
            tracing::warn!("{told}");
            place.write(&Stamp { alone: true, ..stamp }).map_err(failed)?;
        }
        Ok(())
    }

    /// Waits until all that was written is safe.
    pub fn sync(&self) -> io::Result<()> {
        if self.shape.readonly { Ok(()) } else { Ok(rustix::fs::fdatasync(&self.file)?) }
    }

    /// Requests that failed.
    pub fn errors(&self) -> u64 {
        self.surroundings.errors.load(Ordering::Acquire)
    }

    /// What `status` tells.
    pub fn report(&self) -> DiskReport {
        DiskReport {
            path: self.path.display().to_string(),
            mode: self.shape.mode.to_string(),
            readonly: self.shape.readonly,
            bytes: self.shape.sectors * SECTOR,
            in_flight: self.unanswered.load(Ordering::Acquire) as u64,
            errors: self.errors(),
            resync: self.progress.report(self.shape.sectors * SECTOR),
            base: self
                .surroundings
                .intents
                .oldest()
                .map(|base| BaseReport { generation: base.generation.0, position: base.position.0 }),
        }
    }

    fn lock_backing(&self) -> MutexGuard<'_, Option<(Backing, Equipment)>> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of a copy that this side keeps for itself. What is left of a time when it was kept so is not true any more.
fn open_intents(backing: &Backing, usage: Use) -> io::Result<Intents> {
    let (DiskShape { readonly, mode, .. }, bytes) = (backing.shape, backing.bytes());
    if usage == Use::Alone || readonly {
        return Ok(Intents::none(bytes));
    }
    let place = Place::of(&backing.file)?;
    if mode == DiskMode::Shared {
        place.remove_intents()?;
        return Ok(Intents::none(bytes));
    }
    Intents::open(place, backing.file.try_clone()?, bytes)
}
