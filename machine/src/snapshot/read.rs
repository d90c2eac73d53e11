//! From frames to a machine. The frames come from a file or a peer and are not trusted.

use ftlog::{Frame, FrameKind, Manifest, Message, MessageError, PagesError, decode_pages};

use crate::{
    boot_pages::{ArrivingPages, BootPages},
    kvm::{Host, KvmError, Template},
    machine::{CreateError, Machine, MachineState, StateError},
    memory::{Memory, MemoryError},
};

/// Why frames do not make a machine.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The first frame is another.
    #[error("it begins with a {0:?} frame, not with Begin")]
    NoBegin(FrameKind),
    /// A frame that does not belong there.
    #[error("a {found:?} frame stands where {expected} should")]
    Unexpected {
        /// What should be there.
        expected: &'static str,
        /// What is.
        found: FrameKind,
    },
    /// The manifest does not decode.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The guest saw a CPU that this program does not know.
    #[error(transparent)]
    Cpu(KvmError),
    /// The guest saw another CPU of that name.
    #[error(
        "it was made with another CPU table of {name} ({theirs:016x}, this program has {ours:016x}); use the same version of ftvmm"
    )]
    CpuTable {
        /// What both call it.
        name: &'static str,
        /// Digest of the table it was made with.
        theirs: u64,
        /// Digest of ours.
        ours: u64,
    },
    /// The pages do not decode.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// A page outside RAM.
    #[error("a page at {gpa:#x} lies outside the {mib} MiB of guest memory")]
    PageOutside {
        /// Where it claims to be.
        gpa: u64,
        /// The memory's size.
        mib: u32,
    },
    /// No memory of that size.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The state does not decode.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state is not there yet.
    #[error("it ends before the machine's state is complete")]
    Incomplete,
    /// KVM refused.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// In which order the pages of RAM come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Each once, in ascending order: the machine stood when they were written.
    Once,
    /// Again and again, as the guest wrote them meanwhile.
    Rounds,
}

/// A machine's state while it arrives.
pub struct Seed {
    manifest: Manifest,
    cpu: &'static Template,
    memory: Memory,
    arriving: ArrivingPages,
    /// As kept from an earlier seed, or all that has come.
    boot: Option<BootPages>,
    order: Order,
    /// Where the pages that have come end; nowhere before the first.
    pages_end: Option<u64>,
    state: Option<MachineState>,
}

impl Seed {
    /// Starts with the `Begin` frame of a machine that stood.
    pub fn begin(frame: &Frame) -> Result<Self, SeedError> {
        Self::begin_with(frame, Order::Once, |mib| Ok((Memory::new(mib)?, None)))
    }

    /// Starts with the `Begin` frame of a machine that runs, whose pages come as it writes them. `kept` gives as many MiB of
    /// memory, whatever is in them, and RAM at power-on for the case that none comes: the other side is to be told of both.
    pub fn begin_running(
        frame: &Frame,
        kept: impl FnOnce(u32) -> Result<(Memory, Option<BootPages>), MemoryError>,
    ) -> Result<Self, SeedError> {
        Self::begin_with(frame, Order::Rounds, kept)
    }

    fn begin_with(
        frame: &Frame,
        order: Order,
        kept: impl FnOnce(u32) -> Result<(Memory, Option<BootPages>), MemoryError>,
    ) -> Result<Self, SeedError> {
        if frame.kind != FrameKind::Begin {
            return Err(SeedError::NoBegin(frame.kind));
        }
        let manifest = Manifest::decode(&frame.body)?;
        let cpu = Template::named(&manifest.shape.cpu).map_err(SeedError::Cpu)?;
        let (theirs, ours) = (manifest.cpu_table, cpu.digest());
        if theirs != ours {
            return Err(SeedError::CpuTable { name: cpu.name, theirs, ours });
        }
        let (memory, boot) = kept(manifest.shape.memory_mib)?;
        Ok(Self {
            manifest,
            cpu,
            memory,
            arriving: ArrivingPages::default(),
            boot,
            order,
            pages_end: None,
            state: None,
        })
    }

    /// The memory that it comes to.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// RAM at power-on, once all of it is here.
    pub fn boot_pages(&self) -> Option<&BootPages> {
        self.boot.as_ref().filter(|_| self.state.is_some())
    }

    /// What the seed is of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes in the next frame; true when the state is complete.
    pub fn add(&mut self, frame: &Frame) -> Result<bool, SeedError> {
        match frame.kind {
            _ if self.state.is_some() => Err(SeedError::Unexpected { expected: "a log", found: frame.kind }),
            FrameKind::BootPages if self.pages_end.is_none() => {
                self.boot = None;
                let added = self.arriving.add(&frame.body, &self.memory)?;
                added.map_err(|gpa| SeedError::PageOutside { gpa, mib: self.memory.mib() })?;
                Ok(false)
            }
            FrameKind::Pages => self.add_pages(&frame.body).map(|()| false),
            FrameKind::State => {
                self.state = Some(self.decode_state(&frame.body)?);
                Ok(true)
            }
            found => Err(SeedError::Unexpected { expected: "pages or the state", found }),
        }
    }

    fn decode_state(&mut self, body: &[u8]) -> Result<MachineState, SeedError> {
        let state = MachineState::decode(body)?;
        let arriving = &mut self.arriving;
        let boot = self.boot.get_or_insert_with(|| std::mem::take(arriving).finish());
        state.has_begun_with(boot)?;
        Ok(state)
    }

    fn add_pages(&mut self, body: &[u8]) -> Result<(), SeedError> {
        for (gpa, page) in decode_pages(body)?.iter() {
            let comes_late = self.order == Order::Once && self.pages_end.is_some_and(|end| gpa < end);
            if comes_late || !self.memory.write_page(gpa, page) {
                return Err(SeedError::PageOutside { gpa, mib: self.memory.mib() });
            }
            self.pages_end = Some(gpa + page.len() as u64);
        }
        Ok(())
    }

    /// The machine.
    pub fn finish(self, host: &Host) -> Result<Machine, SeedError> {
        let (Some(state), Some(boot)) = (self.state, self.boot) else { return Err(SeedError::Incomplete) };
        Ok(Machine::restore(host, self.cpu, self.memory, state, boot)?)
    }
}
