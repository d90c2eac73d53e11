//! The machine that the operations are done on.

use vm_memory::{Bytes, GuestAddress};

use super::coverage::Coverage;
use super::input::Operation;
use super::layout::{DISK_SECTORS, RAM_SIZE};
use super::requests::Requests;
use crate::{Context, DiskConfig, DiskStatus, NetConfig, Output, Platform, PlatformConfig, Ram};

/// A queue that is driven.
#[derive(Clone, Copy)]
pub(super) struct Lane {
    pub slot: u8,
    pub queue: u32,
}

/// What the guest or the caller sees of an operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    answer: Vec<u8>,
    vector: Option<u8>,
    deadline_ns: Option<u64>,
    net_room: usize,
    entropy_wanted: usize,
    in_flight: usize,
}

/// A platform with its memory, and what it said.
pub(super) struct Machine {
    pub(super) lanes: [Lane; 2],
    pub(super) platform: Platform,
    requests: Requests,
    pub(super) memory: Ram,
    pub(super) outputs: Vec<Output>,
    pub(super) now_ns: u64,
    /// Indices in the available rings, as the driver counts them.
    pub(super) available: [u16; 2],
    /// Size of the queues.
    pub(super) size: u16,
    /// Descriptors of the table the driver will use next.
    pub(super) next_descriptor: [u16; 2],
}

impl Machine {
    pub(super) fn new(lanes: [Lane; 2]) -> Self {
        let disk = DiskConfig { sectors: DISK_SECTORS, readonly: false, id: "fuzz".into() };
        let disks = vec![disk.clone(), DiskConfig { readonly: true, ..disk }];
        let config = PlatformConfig {
            net: Some(NetConfig { mac: [2, 0, 0, 0, 0, 1], mtu: 1500 }),
            disks,
            wall_base_ns: 1,
            on_panic: crate::OnPanic::Halt,
        };
        Machine {
            lanes,
            platform: Platform::new(&config),
            requests: Requests::default(),
            memory: Ram::from_ranges(&[(GuestAddress(0), RAM_SIZE)]).expect("64 KiB can be mapped"),
            outputs: Vec::new(),
            now_ns: 0,
            available: [0; 2],
            size: 1,
            next_descriptor: [0; 2],
        }
    }

    pub(super) fn ram(&self) -> Vec<u8> {
        let mut ram = vec![0; RAM_SIZE];
        self.memory.read_slice(&mut ram, GuestAddress(0)).expect("all of it is RAM");
        ram
    }

    pub(super) fn save_and_restore(&mut self) {
        let state = self.platform.save();
        self.platform = Platform::restore(&state, &self.memory).expect("a saved state is accepted");
        assert_eq!(self.platform.save(), state);
    }

    /// How many devices wait for a reset.
    pub(super) fn violations(&self) -> u64 {
        (0..8).filter(|slot| self.platform.violation(*slot).is_some()).count() as u64
    }

    /// Forgets what was said, and says how many new disk requests were among it.
    pub(super) fn take_outputs(&mut self) -> u64 {
        let new = self.requests.note(&self.outputs);
        self.outputs.clear();
        new
    }

    /// Does `operation`; the result is all that the guest or the caller sees of it.
    pub(super) fn apply(&mut self, operation: &Operation, coverage: &mut Coverage) -> Seen {
        let Machine { platform, memory, outputs, now_ns, .. } = self;
        let ctx = &mut Context { memory, now_ns: *now_ns, outputs };
        let mut answer = Vec::new();
        match operation {
            Operation::StartDriver { size, features } => self.start_driver(*size, *features),
            Operation::MmioWrite { lane, register, value } => self.write_register(*lane, *register, *value),
            Operation::Notify { lane, queue } => self.write_register(*lane, 0x50, *queue),
            Operation::Chain { lane, descriptors } => self.offer_chain(*lane, descriptors),
            Operation::Request { header, range, descriptors, indirect } => {
                [header].into_iter().chain(range).for_each(|(at, bytes)| self.poke(*at, bytes));
                self.offer_request(descriptors, *indirect);
            }
            Operation::Complete { which, status, surplus } => {
                let (id, wanted) = self.requests.choose(*which);
                let status = DiskStatus::try_from(status % 4).unwrap_or(DiskStatus::Ok);
                let data = vec![0xd5; wanted.saturating_add_signed((*surplus).into())];
                let before = platform.disk_requests_in_flight();
                platform.complete_disk(ctx, 2, id, status, &data);
                let answered = before != platform.disk_requests_in_flight();
                coverage.disk_answers += u64::from(answered);
                coverage.disk_answers_ignored += u64::from(!answered);
            }
            Operation::Entropy { len } => {
                coverage.entropy += platform.entropy_wanted(memory).min(*len) as u64;
                platform.receive_entropy(ctx, &vec![0xe7; *len]);
            }
            Operation::Reissue => platform.reissue_disk_requests(ctx),
            Operation::MmioRead { gpa, len } => {
                answer.resize(*len, 0);
                platform.mmio_read(ctx, *gpa, &mut answer);
            }
            Operation::PortWrite { port, size, data } => platform.pio_write(ctx, *port, *size, data),
            Operation::PortRead { port, size, len } => {
                answer.resize(*len, 0);
                platform.pio_read(ctx, *port, *size, &mut answer);
            }
            // Outside RAM there is nothing to poke.
            Operation::Poke { address, value } => drop(memory.write_obj(*value, GuestAddress(*address))),
            Operation::Frame { len } => {
                let before = platform.counters().net_drops.received();
                platform.receive_frame(ctx, 0, &vec![0xf5; *len]);
                coverage.received += 1 - (platform.counters().net_drops.received() - before);
            }
            Operation::Console { len } => platform.receive_console(ctx, &vec![b'c'; *len]),
            Operation::SyncPoint { later_ns } => {
                ctx.now_ns = ctx.now_ns.saturating_add(*later_ns);
                platform.begin_sync_point(ctx);
                self.now_ns = ctx.now_ns;
            }
            Operation::Interrupt => {
                platform.pending_vector().inspect(|vector| platform.acknowledge_interrupt(*vector));
            }
        }
        let platform = &self.platform;
        // Two disks of one queue each.
        assert!(platform.disk_requests_in_flight() <= 2 * 256, "more requests in flight than descriptors");
        Seen {
            answer,
            vector: platform.pending_vector(),
            deadline_ns: platform.next_deadline_ns(),
            net_room: platform.net_receive_room(&self.memory),
            entropy_wanted: platform.entropy_wanted(&self.memory),
            in_flight: platform.disk_requests_in_flight(),
        }
    }
}
