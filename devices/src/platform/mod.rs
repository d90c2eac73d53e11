//! The platform: every device of the machine, and which of them answers an access.

mod input;
mod ports;

use crate::clock::Clock;
use crate::context::Context;
use crate::ends::{Off, ResetCause};
use crate::interrupts::InterruptController;
use crate::power::{OnPanic, Power};
use crate::ram::Ram;
use crate::serial::Serial;
use crate::state::{PlatformState, STATE_VERSION, StateError};
use crate::timer::Timer;
use crate::virtio::{DiskConfig, Net, NetConfig, NetDrops, Slots, Violation};

/// The shape of a platform: what the two sides of a pair must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformConfig {
    /// The network device, if there is one.
    pub net: Option<NetConfig>,
    /// The disks; the first is in virtio slot [`crate::FIRST_DISK_SLOT`]. Those beyond [`crate::MAX_DISKS`] are left
    /// out.
    pub disks: Vec<DiskConfig>,
    /// Unix time at power-on, in nanoseconds.
    pub wall_base_ns: u64,
    /// What comes of a guest that says that it has panicked.
    pub on_panic: OnPanic,
}

/// What the devices counted since power-on. Deterministic, so equal on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accesses to ports and addresses without a device, or of a width the device does not have.
    pub unassigned_accesses: u64,
    /// Frames that the network device dropped.
    pub net_drops: NetDrops,
}

/// All devices of the virtual machine.
///
/// At each sync point the caller first calls [`Platform::begin_sync_point`], then hands over the access and
/// the input, then delivers [`Platform::pending_vector`] when the vCPU takes interrupts.
#[derive(Debug)]
pub struct Platform {
    interrupts: InterruptController,
    serial: Serial,
    timer: Timer,
    clock: Clock,
    power: Power,
    virtio: Slots,
    unassigned_accesses: u64,
}

impl Platform {
    /// The platform at power-on.
    pub fn new(config: &PlatformConfig) -> Self {
        Platform {
            interrupts: InterruptController::new(),
            serial: Serial::new(),
            timer: Timer::new(),
            clock: Clock::new(config.wall_base_ns),
            power: Power::new(config.on_panic),
            virtio: Slots::new(config.net, &config.disks),
            unassigned_accesses: 0,
        }
    }

    /// Lets the devices see the time of a new sync point: a timer that is due raises its line, the clock page
    /// is written.
    pub fn begin_sync_point(&mut self, ctx: &mut Context) {
        self.timer.fire_if_due(ctx.now_ns, &mut self.interrupts);
        self.clock.update_page(ctx.memory, ctx.now_ns);
    }

    /// The guest reads `data.len()` bytes at guest-physical address `gpa`, where there is no RAM.
    pub fn mmio_read(&mut self, _ctx: &mut Context, gpa: u64, data: &mut [u8]) {
        if self.virtio.read(gpa, data).is_none() {
            self.unassigned();
            data.fill(u8::MAX);
        }
    }

    /// The guest writes `data` at guest-physical address `gpa`, where there is no RAM.
    pub fn mmio_write(&mut self, ctx: &mut Context, gpa: u64, data: &[u8]) {
        if self.virtio.write(gpa, data, ctx, &mut self.interrupts).is_none() {
            self.unassigned();
        }
    }

    /// Virtual time, in nanoseconds, at which a device wants the next sync point.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.timer.deadline_ns()
    }

    /// The interrupt vector to deliver next.
    pub fn pending_vector(&self) -> Option<u8> {
        self.interrupts.next_vector()
    }

    /// The vCPU took `vector`.
    pub fn acknowledge_interrupt(&mut self, vector: u8) {
        self.interrupts.acknowledge(vector);
    }

    /// How the machine ended, once it has.
    pub fn powered_off(&self) -> Option<Off> {
        self.power.off()
    }

    /// Why the machine is to be reset before the guest runs on, if it is.
    pub fn reset_wanted(&self) -> Option<ResetCause> {
        self.power.reset_wanted()
    }

    /// The devices as they are at power-on. Virtual time goes on, and so do what was counted and the numbers of disk
    /// requests: an answer to one from before the reset is an answer to nothing.
    pub fn reset(&mut self) {
        let Self { interrupts, serial, timer, clock, power, virtio, unassigned_accesses: _ } = self;
        *interrupts = InterruptController::new();
        *serial = Serial::new();
        *timer = Timer::new();
        clock.reset();
        power.reset();
        virtio.reset();
    }

    /// The network device.
    pub fn net(&self) -> Option<NetConfig> {
        self.virtio.net.as_ref().map(Net::config)
    }

    /// The disks, by virtio slot.
    pub fn disks(&self) -> impl Iterator<Item = (u8, &DiskConfig)> {
        self.virtio.disks.iter().map(|disk| (disk.slot(), disk.config()))
    }

    /// How the driver of the device in virtio slot `slot` broke the virtio protocol, when the device waits for its
    /// reset.
    pub fn violation(&self, slot: u8) -> Option<&Violation> {
        self.virtio.violation(slot)
    }

    /// Every virtio device that waits for its reset, by slot, and how its driver broke the protocol.
    pub fn violations(&self) -> impl Iterator<Item = (u8, &Violation)> {
        self.virtio.violations()
    }

    /// What the devices counted since power-on.
    pub fn counters(&self) -> Counters {
        Counters {
            unassigned_accesses: self.unassigned_accesses,
            net_drops: self.virtio.net.as_ref().map(Net::drops).unwrap_or_default(),
        }
    }

    /// Everything the devices hold that is not in guest memory.
    pub fn save(&self) -> PlatformState {
        let Self { interrupts, serial, timer, clock, power, virtio, unassigned_accesses } = self;
        PlatformState {
            version: STATE_VERSION,
            interrupts: interrupts.save(),
            serial: serial.save(),
            timer: timer.save(),
            clock: clock.save(),
            power: power.save(),
            virtio: virtio.save(),
            unassigned_accesses: *unassigned_accesses,
        }
    }

    /// The platform that was saved as `state`, on guest memory `memory`.
    ///
    /// # Errors
    /// The state is of another version, or one that [`Platform::save`] cannot have written for this memory.
    pub fn restore(state: &PlatformState, memory: &Ram) -> Result<Self, StateError> {
        let PlatformState { version, interrupts, serial, timer, clock, power, virtio, unassigned_accesses } =
            state;
        if *version != STATE_VERSION {
            return Err(StateError::Version { found: *version });
        }
        Ok(Platform {
            interrupts: InterruptController::restore(interrupts),
            serial: Serial::restore(serial)?,
            timer: Timer::restore(timer),
            clock: Clock::restore(clock, memory)?,
            power: Power::restore(power),
            virtio: Slots::restore(virtio, memory)?,
            unassigned_accesses: *unassigned_accesses,
        })
    }

    /// Counts an access nobody answers; gives the value it reads.
    fn unassigned(&mut self) -> u32 {
        self.unassigned_accesses = self.unassigned_accesses.saturating_add(1);
        u32::MAX
    }
}
