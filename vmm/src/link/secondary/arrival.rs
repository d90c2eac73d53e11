//! What comes before the log: the machine's state, and the blocks of its disks.

use anyhow::ensure;
use ftlog::Frame;
use machine::{BootPages, memory::Memory, snapshot::Seed};
use protocol::secondary::follower::Work;

use super::{
    attic::{Attic, Kept},
    copies::Copies,
    holdings::Holdings,
};
use crate::identity::VmIdentity;

/// What has come of it.
pub struct Arrival {
    /// The disks on this side, while they are made equal to the primary's.
    pub copies: Option<Copies>,
    /// What the primary is told of the memory on this side.
    pub holdings: Option<Holdings>,
    seed: Option<Seed>,
    attic: Attic,
}

impl Arrival {
    /// Nothing has come.
    pub fn new(copies: Option<Copies>, attic: Attic) -> Self {
        Self { copies, holdings: None, seed: None, attic }
    }

    /// Nothing more is to come.
    pub fn end(&mut self) {
        (self.copies, self.holdings, self.seed) = (None, None, None);
    }

    /// Takes in a frame of the seed, which is to be of the VM of the handshake.
    pub fn add(&mut self, frame: &Frame, expected: &VmIdentity) -> anyhow::Result<()> {
        let Some(seed) = &mut self.seed else { return self.begin(frame, expected) };
        if seed.add(frame)? {
            self.attic
                .keep(expected.vm, Kept { memory: seed.memory().clone(), boot: seed.boot_pages().cloned() });
        }
        Ok(())
    }

    fn begin(&mut self, frame: &Frame, expected: &VmIdentity) -> anyhow::Result<()> {
        let (mut is_kept, mut digest) = (false, 0);
        let seed = Seed::begin_running(frame, |mib| {
            let Some(kept) = self.attic.take(expected.vm, mib) else { return Ok((Memory::new(mib)?, None)) };
            is_kept = true;
            digest = kept.boot.as_ref().map_or(0, BootPages::digest);
            Ok((kept.memory, kept.boot))
        })?;
        let manifest = seed.manifest();
        ensure!(
            manifest.vm == expected.vm && manifest.shape == expected.shape,
            "it is of another VM than the handshake said"
        );
        let (memory, key) = (seed.memory().clone(), manifest.digest_key);
        self.attic.keep(expected.vm, Kept { memory: memory.clone(), boot: None });
        self.holdings = Some(if is_kept { Holdings::of(memory, digest, key)? } else { Holdings::none()? });
        self.seed = Some(seed);
        Ok(())
    }

    /// Takes in what the primary says of the copies.
    pub fn copy(&mut self, frame: Frame) -> anyhow::Result<()> {
        self.copies.as_mut().map_or(Ok(()), |copies| copies.hear(frame))
    }

    /// The seed, which is complete if the primary is to be believed.
    pub fn take(&mut self) -> Option<Seed> {
        self.seed.take()
    }

    /// More blocks wait to be written than are to be kept: the primary is not heard, and that is not its fault.
    pub fn is_full(&self) -> bool {
        self.copies.as_ref().is_some_and(Copies::is_full)
    }

    /// How the copies do.
    pub fn work(&self) -> Work {
        self.copies.as_ref().map(Copies::work).unwrap_or_default()
    }
}
