//! The virtio-net driver (virtio 1.2, section 5.1), as a device for smoltcp.
//!
//! A frame costs no exit: receive buffers go back without a notification, and frames to send wait in the queue until
//! [`Net::flush`] notifies once for all of them. Interrupts are off while the guest works; it asks for one with
//! [`Net::request_interrupt`] before it sleeps.

use alloc::vec::Vec;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::mmio::Transport;
use super::queue::{BUFFER_BYTES, QUEUE_SIZE, Queue};

const DEVICE_ID: u32 = 1;
const FEATURES: u64 = 1 << 32 | 1 << 29 | 1 << 5; // VERSION_1, EVENT_IDX, NET_F_MAC
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;

/// The header before each frame; without offloads there is nothing in it.
const HEADER_BYTES: usize = 12;
/// The largest frame: 1500 bytes of payload behind an Ethernet header.
const FRAME_BYTES: usize = 1514;

/// A network device at work.
pub struct Net {
    transport: Transport,
    receive: Queue,
    transmit: Queue,
    /// Transmit buffers that are the driver's.
    free: Vec<u16>,
    unsent: bool,
}

impl Net {
    /// The network device in `slot`, started; `None` when there is no such device or it lacks what the driver needs.
    pub fn start(slot: usize) -> Option<Self> {
        let transport = Transport::find(slot, DEVICE_ID)?;
        transport.negotiate(FEATURES, FEATURES)?;
        let (mut receive, transmit) = (Queue::new(true), Queue::new(false));
        for (index, queue) in [(RECEIVE, &receive), (TRANSMIT, &transmit)] {
            if !transport.set_up_queue(index, u32::from(QUEUE_SIZE), queue.addresses()) {
                return None;
            }
        }
        (0..QUEUE_SIZE).for_each(|buffer| receive.give(buffer, BUFFER_BYTES));
        transport.start();
        Some(Self { transport, receive, transmit, free: (0..QUEUE_SIZE).collect(), unsent: false })
    }

    /// The device's MAC address.
    pub fn mac(&self) -> [u8; 6] {
        core::array::from_fn(|index| self.transport.config_u8(index))
    }

    /// Sends what was queued since the last call: one exit, or none when there is nothing.
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.unsent) {
            self.transport.notify(TRANSMIT);
            self.reclaim();
        }
    }

    /// Whether a frame waits to be received.
    pub fn has_received(&self) -> bool {
        self.receive.peek().is_some()
    }

    /// Asks for an interrupt when a frame arrives; whether none is waiting already, so that the guest may sleep.
    pub fn request_interrupt(&mut self) -> bool {
        self.receive.request_interrupt()
    }

    /// Works without interrupts from here on.
    pub fn suppress_interrupts(&mut self) {
        self.receive.suppress_interrupts();
        self.transmit.suppress_interrupts();
    }

    /// Makes sure there is a buffer to send with; whether there is.
    fn make_room(&mut self) -> bool {
        if self.free.is_empty() {
            self.flush();
        }
        !self.free.is_empty()
    }

    fn reclaim(&mut self) {
        while let Some(used) = self.transmit.peek() {
            self.transmit.take();
            self.free.push(used.head);
        }
    }
}

impl Device for Net {
    type RxToken<'a> = Receive<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Receive<'_>, Transmit<'_>)> {
        if !self.has_received() || !self.make_room() {
            return None;
        }
        let Self { receive, transmit, free, unsent, .. } = self;
        Some((Receive { queue: receive }, Transmit { queue: transmit, free, unsent }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        let room = self.make_room();
        let Self { transmit, free, unsent, .. } = self;
        room.then_some(Transmit { queue: transmit, free, unsent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}

/// The right to receive the next frame.
pub struct Receive<'a> {
    queue: &'a mut Queue,
}

impl RxToken for Receive<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let Some(used) = self.queue.peek() else {
            return read(&[]);
        };
        self.queue.take();
        let result = read(self.queue.buffer(used.head)[..used.length].get(HEADER_BYTES..).unwrap_or(&[]));
        self.queue.give(used.head, BUFFER_BYTES);
        result
    }
}

/// The right to send a frame.
pub struct Transmit<'a> {
    queue: &'a mut Queue,
    free: &'a mut Vec<u16>,
    unsent: &'a mut bool,
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let buffer = self.free.pop().expect("the token is given out only when a buffer is free");
        let frame = &mut self.queue.buffer(buffer)[..HEADER_BYTES + length];
        frame[..HEADER_BYTES].fill(0);
        let result = write(&mut frame[HEADER_BYTES..]);
        self.queue.give(buffer, HEADER_BYTES + length);
        *self.unsent = true;
        result
    }
}
