//! The platform: every device of the machine, and which of them answers an access.

use vm_memory::GuestMemoryMmap;

use crate::clock::{self, Clock};
use crate::context::Context;
use crate::interrupts::{self, InterruptController};
use crate::power::{self, Power};
use crate::serial::{self, Serial};
use crate::state::{PlatformState, STATE_VERSION, StateError};
use crate::timer::{self, Timer};
use crate::virtio::{self, Net};

/// The shape of a platform: what the two sides of a pair must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformConfig {
    /// MAC address of the network device; without one there is no network device.
    pub net_mac: Option<[u8; 6]>,
    /// Unix time at power-on, in nanoseconds.
    pub wall_base_ns: u64,
}

/// What the devices counted since power-on. Deterministic, so equal on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accesses to ports and addresses without a device, or of a width the device does not have.
    pub unassigned_accesses: u64,
    /// Frames for the guest that were dropped: too short, too long, or without a buffer that holds them.
    pub received_frames_dropped: u64,
    /// Frames from the guest that were dropped: too short or too long.
    pub sent_frames_dropped: u64,
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
    net: Option<Net>,
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
            power: Power::new(),
            net: config.net_mac.map(Net::new),
            unassigned_accesses: 0,
        }
    }

    /// Lets the devices see the time of a new sync point: a timer that is due raises its line, the clock page
    /// is written.
    pub fn begin_sync_point(&mut self, ctx: &mut Context) {
        self.timer.fire_if_due(ctx.now_ns, &mut self.interrupts);
        self.clock.update_page(ctx.memory, ctx.now_ns);
    }

    /// The guest reads `port`, `size` bytes (1, 2 or 4) at a time, as often as `data` has room for (string
    /// I/O).
    pub fn pio_read(&mut self, ctx: &mut Context, port: u16, size: u8, data: &mut [u8]) {
        for item in data.chunks_mut(usize::from(size.clamp(1, 4))) {
            let value = match self.read_port(ctx, port, item.len()) {
                Some(value) => value,
                None => self.unassigned(),
            };
            item.copy_from_slice(&value.to_le_bytes()[..item.len()]);
        }
    }

    /// The guest writes `data` to `port`, `size` bytes (1, 2 or 4) at a time (string I/O).
    pub fn pio_write(&mut self, ctx: &mut Context, port: u16, size: u8, data: &[u8]) {
        for item in data.chunks(usize::from(size.clamp(1, 4))) {
            let mut value = [0; 4];
            value[..item.len()].copy_from_slice(item);
            if self.write_port(ctx, port, item.len(), u32::from_le_bytes(value)).is_none() {
                self.unassigned();
            }
        }
    }

    /// The guest reads `data.len()` bytes at guest-physical address `gpa`, where there is no RAM.
    pub fn mmio_read(&mut self, _ctx: &mut Context, gpa: u64, data: &mut [u8]) {
        let answered = match (&self.net, virtio::register_of(gpa)) {
            (Some(net), Some((virtio::NET_SLOT, register))) => net.read(register, data).is_some(),
            _ => false,
        };
        if !answered {
            self.unassigned();
            data.fill(u8::MAX);
        }
    }

    /// The guest writes `data` at guest-physical address `gpa`, where there is no RAM.
    pub fn mmio_write(&mut self, ctx: &mut Context, gpa: u64, data: &[u8]) {
        let answered = match (&mut self.net, virtio::register_of(gpa)) {
            (Some(net), Some((virtio::NET_SLOT, register))) => {
                net.write(register, data, ctx, &mut self.interrupts).is_some()
            }
            _ => false,
        };
        if !answered {
            self.unassigned();
        }
    }

    /// A frame from outside for the device in virtio slot `slot`. It is dropped, and counted, when there is
    /// no buffer for it.
    pub fn receive_frame(&mut self, ctx: &mut Context, slot: u8, frame: &[u8]) {
        match &mut self.net {
            Some(net) if slot == virtio::NET_SLOT => net.receive(frame, ctx, &mut self.interrupts),
            _ => {}
        }
    }

    /// Bytes from outside for the console. Those without room are lost, and the guest sees an overrun.
    pub fn receive_console(&mut self, _ctx: &mut Context, bytes: &[u8]) {
        self.serial.receive(bytes, &mut self.interrupts);
    }

    /// How many frames [`Platform::receive_frame`] has buffers for now; 0 when the driver is not ready.
    pub fn net_receive_room(&self, memory: &GuestMemoryMmap<()>) -> usize {
        self.net.as_ref().map_or(0, |net| net.receive_room(memory))
    }

    /// How many bytes [`Platform::receive_console`] has room for now.
    pub fn console_receive_room(&self) -> usize {
        self.serial.receive_room()
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

    /// The guest's exit status, once it turned itself off.
    pub fn powered_off(&self) -> Option<u32> {
        self.power.off_status()
    }

    /// MAC address of the network device.
    pub fn net_mac(&self) -> Option<[u8; 6]> {
        self.net.as_ref().map(Net::mac)
    }

    /// How the guest's network driver broke the virtio protocol, when the device waits for its reset.
    pub fn net_violation(&self) -> Option<&virtio::Violation> {
        self.net.as_ref().and_then(Net::violation)
    }

    /// What the devices counted since power-on.
    pub fn counters(&self) -> Counters {
        let (received_frames_dropped, sent_frames_dropped) = self.net.as_ref().map_or((0, 0), Net::dropped);
        Counters {
            unassigned_accesses: self.unassigned_accesses,
            received_frames_dropped,
            sent_frames_dropped,
        }
    }

    /// Everything the devices hold that is not in guest memory.
    pub fn save(&self) -> PlatformState {
        let Self { interrupts, serial, timer, clock, power, net, unassigned_accesses } = self;
        PlatformState {
            version: STATE_VERSION,
            interrupts: interrupts.save(),
            serial: serial.save(),
            timer: timer.save(),
            clock: clock.save(),
            power: power.save(),
            net: net.as_ref().map(Net::save),
            unassigned_accesses: *unassigned_accesses,
        }
    }

    /// The platform that was saved as `state`, on guest memory `memory`.
    ///
    /// # Errors
    /// The state is of another version, or one that [`Platform::save`] cannot have written for this memory.
    pub fn restore(state: &PlatformState, memory: &GuestMemoryMmap<()>) -> Result<Self, StateError> {
        let PlatformState { version, interrupts, serial, timer, clock, power, net, unassigned_accesses } =
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
            net: net.as_ref().map(|net| Net::restore(net, memory)).transpose()?,
            unassigned_accesses: *unassigned_accesses,
        })
    }

    /// `None`: no device has this port with this width.
    fn read_port(&mut self, ctx: &Context, port: u16, size: usize) -> Option<u32> {
        let value = match (port, size) {
            (serial::FIRST_PORT..=serial::LAST_PORT, 1) => self.serial.read(port - serial::FIRST_PORT).into(),
            (interrupts::MASK_PORT, 4) => self.interrupts.mask(),
            (interrupts::PENDING_PORT, 4) => self.interrupts.pending(),
            (clock::LOW_PORT, 4) => self.clock.read_low(ctx.now_ns),
            (clock::HIGH_PORT, 4) => self.clock.read_high(),
            (clock::PAGE_PORT, 4) => self.clock.page_frame(),
            _ => return None,
        };
        Some(value)
    }

    /// `None`: no device has this port with this width.
    fn write_port(&mut self, ctx: &mut Context, port: u16, size: usize, value: u32) -> Option<()> {
        let interrupts = &mut self.interrupts;
        match (port, size) {
            (serial::FIRST_PORT..=serial::LAST_PORT, 1) => {
                self.serial.write(port - serial::FIRST_PORT, value as u8, interrupts, ctx.outputs);
            }
            (interrupts::MASK_PORT, 4) => interrupts.set_mask(value),
            (timer::RELATIVE_PORT, 4) => self.timer.arm_relative(value, ctx.now_ns),
            (timer::DEADLINE_LOW_PORT, 4) => self.timer.set_deadline_low(value),
            (timer::DEADLINE_HIGH_PORT, 4) => self.timer.set_deadline_high(value, ctx.now_ns, interrupts),
            (clock::PAGE_PORT, 4) => self.clock.set_page_frame(value, ctx.memory, ctx.now_ns),
            (power::PORT, 4) => self.power.turn_off(value, ctx.outputs),
            _ => return None,
        }
        Some(())
    }

    /// Counts an access nobody answers; gives the value it reads.
    fn unassigned(&mut self) -> u32 {
        self.unassigned_accesses = self.unassigned_accesses.saturating_add(1);
        u32::MAX
    }
}
