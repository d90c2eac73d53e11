//! The virtio devices in their slots.

use serde::{Deserialize, Serialize};

use super::blk::{Disk, DiskConfig, DiskState};
use super::mmio::{self, Transport};
use super::net::{Net, NetConfig, NetState};
use super::rng::{Rng, RngState};
use super::slot_numbers::{FIRST_DISK_SLOT, MAX_DISKS, NET_SLOT, RNG_SLOT};
use super::violation::Violation;
use crate::context::Context;
use crate::interrupts::InterruptController;
use crate::ram::Ram;
use crate::state::StateError;

/// The virtio devices.
#[derive(Debug)]
pub(crate) struct Slots {
    pub net: Option<Net>,
    pub rng: Rng,
    pub disks: Vec<Disk>,
}

/// Saved state of the virtio devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsState {
    /// The network device in slot 0, when the VM has one.
    pub net: Option<NetState>,
    /// The source of random bytes in slot 1.
    pub rng: RngState,
    /// The disks, from slot 2 on.
    pub disks: Vec<DiskState>,
}

impl Slots {
    /// Disks beyond [`MAX_DISKS`] are left out.
    pub(crate) fn new(net: Option<NetConfig>, disks: &[DiskConfig]) -> Self {
        let disks = (FIRST_DISK_SLOT..).zip(disks).take(MAX_DISKS);
        Slots {
            net: net.map(Net::new),
            rng: Rng::new(),
            disks: disks.map(|(slot, config)| Disk::new(slot, config.clone())).collect(),
        }
    }

    /// All devices, as their drivers could reset them one by one.
    pub(crate) fn reset(&mut self) {
        let Self { net, rng, disks } = self;
        net.iter_mut().for_each(|net| net.transport.reset());
        rng.reset();
        disks.iter_mut().for_each(Disk::reset);
    }

    /// `None`: there is no such register to read, or not with this width.
    pub(crate) fn read(&self, gpa: u64, data: &mut [u8]) -> Option<()> {
        let (slot, register) = mmio::register_of(gpa)?;
        self.transport(slot)?.read(register, data)
    }

    /// `None`: there is no such register to write, or not with this width.
    pub(crate) fn write(
        &mut self,
        gpa: u64,
        data: &[u8],
        ctx: &mut Context,
        interrupts: &mut InterruptController,
    ) -> Option<()> {
        let (slot, register) = mmio::register_of(gpa)?;
        match slot {
            NET_SLOT => self.net.as_mut()?.write(register, data, ctx, interrupts),
            RNG_SLOT => self.rng.write(register, data, ctx, interrupts),
            _ => self.disk(slot)?.write(register, data, ctx, interrupts),
        }
    }

    pub(crate) fn disk(&mut self, slot: u8) -> Option<&mut Disk> {
        self.disks.get_mut(usize::from(slot.checked_sub(FIRST_DISK_SLOT)?))
    }

    pub(crate) fn violation(&self, slot: u8) -> Option<&Violation> {
        self.transport(slot)?.violation()
    }

    /// Every device that waits for its reset, by slot.
    pub(crate) fn violations(&self) -> impl Iterator<Item = (u8, &Violation)> {
        let slots = 0..FIRST_DISK_SLOT + self.disks.len() as u8;
        slots.filter_map(|slot| Some((slot, self.violation(slot)?)))
    }

    fn transport(&self, slot: u8) -> Option<&Transport> {
        match slot {
            NET_SLOT => self.net.as_ref().map(|net| &net.transport),
            RNG_SLOT => Some(&self.rng.transport),
            _ => self.disks.get(usize::from(slot - FIRST_DISK_SLOT)).map(|disk| &disk.transport),
        }
    }

    pub(crate) fn save(&self) -> SlotsState {
        let Self { net, rng, disks } = self;
        SlotsState {
            net: net.as_ref().map(Net::save),
            rng: rng.save(),
            disks: disks.iter().map(Disk::save).collect(),
        }
    }

    pub(crate) fn restore(state: &SlotsState, memory: &Ram) -> Result<Self, StateError> {
        let SlotsState { net, rng, disks } = state;
        if disks.len() > MAX_DISKS {
            return Err(StateError::DiskCount { found: disks.len() });
        }
        let disks = (FIRST_DISK_SLOT..).zip(disks).map(|(slot, disk)| Disk::restore(slot, disk, memory));
        Ok(Slots {
            net: net.as_ref().map(|net| Net::restore(net, memory)).transpose()?,
            rng: Rng::restore(rng, memory)?,
            disks: disks.collect::<Result<_, _>>()?,
        })
    }
}
