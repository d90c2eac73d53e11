//! From frames to a machine. The frames come from a file or a peer and are not trusted.

use ftlog::{Frame, FrameKind, Manifest, Message, MessageError, PagesError, Position, decode_pages};

use crate::{
    kvm::{Host, KvmError, Template},
    machine::{ArrivingPages, CreateError, Machine, MachineState, StateError},
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
    /// The state is not of the position that the manifest names.
    #[error("the state is of position {state}, the manifest of {manifest}")]
    Position {
        /// In the state.
        state: Position,
        /// In the manifest.
        manifest: Position,
    },
    /// The state is not of the time that the manifest names.
    #[error("the state is of {state} ns, the manifest of {manifest} ns")]
    Time {
        /// In the state.
        state: u64,
        /// In the manifest.
        manifest: u64,
    },
    /// The state is not there yet.
    #[error("it ends before the machine's state is complete")]
    Incomplete,
    /// KVM refused.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// A machine's state while it arrives.
pub struct Seed {
    manifest: Manifest,
    cpu: &'static Template,
    memory: Memory,
    power_on_pages: ArrivingPages,
    /// Pages come in ascending order, across frames too.
    next_page_gpa: u64,
    state: Option<MachineState>,
}

impl Seed {
    /// Starts with the `Begin` frame.
    pub fn begin(frame: &Frame) -> Result<Self, SeedError> {
        if frame.kind != FrameKind::Begin {
            return Err(SeedError::NoBegin(frame.kind));
        }
        let manifest = Manifest::decode(&frame.body)?;
        let cpu = Template::named(&manifest.shape.cpu).map_err(SeedError::Cpu)?;
        let (theirs, ours) = (manifest.cpu_table, cpu.digest());
        if theirs != ours {
            return Err(SeedError::CpuTable { name: cpu.name, theirs, ours });
        }
        let memory = Memory::new(manifest.shape.memory_mib)?;
        Ok(Self {
            manifest,
            cpu,
            memory,
            power_on_pages: ArrivingPages::default(),
            next_page_gpa: 0,
            state: None,
        })
    }

    /// What the seed is of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes in the next frame; true when the state is complete.
    pub fn add(&mut self, frame: &Frame) -> Result<bool, SeedError> {
        match frame.kind {
            _ if self.state.is_some() => Err(SeedError::Unexpected { expected: "a log", found: frame.kind }),
            FrameKind::BootPages if self.next_page_gpa == 0 => {
                let added = self.power_on_pages.add(&frame.body, &self.memory)?;
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

    fn decode_state(&self, body: &[u8]) -> Result<MachineState, SeedError> {
        let state = MachineState::decode(body)?;
        state.has_begun_with(&self.power_on_pages)?;
        let manifest = &self.manifest;
        if state.position() != manifest.position {
            return Err(SeedError::Position { state: state.position(), manifest: manifest.position });
        }
        if state.time_ns() != manifest.time_ns {
            return Err(SeedError::Time { state: state.time_ns(), manifest: manifest.time_ns });
        }
        Ok(state)
    }

    fn add_pages(&mut self, body: &[u8]) -> Result<(), SeedError> {
        for page in decode_pages(body) {
            let (gpa, page) = page?;
            if gpa < self.next_page_gpa || !self.memory.write_page(gpa, page) {
                return Err(SeedError::PageOutside { gpa, mib: self.memory.mib() });
            }
            self.next_page_gpa = gpa + page.len() as u64;
        }
        Ok(())
    }

    /// The machine.
    pub fn finish(self, host: &Host) -> Result<Machine, SeedError> {
        let state = self.state.ok_or(SeedError::Incomplete)?;
        Ok(Machine::restore(host, self.cpu, self.memory, state, self.power_on_pages)?)
    }
}
