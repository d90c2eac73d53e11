//! What comes before the log: the machine's state, and the blocks of its disks.

use anyhow::ensure;
use ftlog::Frame;
use machine::snapshot::{Order, Seed};
use protocol::secondary::follower::Work;

use super::copies::Copies;
use crate::identity::VmIdentity;

/// What has come of it.
pub struct Arrival {
    /// The disks on this side, while they are made equal to the primary's.
    pub copies: Option<Copies>,
    seed: Option<Seed>,
}

impl Arrival {
    /// Nothing has come.
    pub fn new(copies: Option<Copies>) -> Self {
        Self { copies, seed: None }
    }

    /// Takes in a frame of the seed, which is to be of the VM of the handshake.
    pub fn add(&mut self, frame: &Frame, expected: &VmIdentity) -> anyhow::Result<()> {
        if let Some(seed) = &mut self.seed {
            seed.add(frame)?;
            return Ok(());
        }
        let seed = Seed::begin(frame, Order::Rounds)?;
        let manifest = seed.manifest();
        ensure!(
            manifest.vm == expected.vm && manifest.shape == expected.shape,
            "it is of another VM than the handshake said"
        );
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
