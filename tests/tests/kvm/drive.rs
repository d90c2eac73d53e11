//! Running a machine sync point by sync point, with time and input made up here.

use devices::{Off, Output, PlatformConfig};
use ftlog::{Event, ExitKind, FrameKind, Generation, Manifest, Message, Position, Shape, VmId};
use ftvmm_tests::harness;
use machine::{
    EntryClock, Machine, MachineError,
    boot::Image,
    kvm::Host,
    snapshot::{self, Seed},
};

/// Enough for every guest of these tests, and quickly compared.
const MEMORY_MIB: u32 = 4;
/// Unix time at power-on, ns.
const WALL_BASE_NS: u64 = 1_700_000_000_000_000_000;
/// More sync points than any of these guests needs.
const PATIENCE: usize = 100_000;

/// What a machine was given at a sync point, and what it was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub exit: ExitKind,
    pub time_ns: u64,
    pub events: Vec<Event>,
    pub digest: u32,
    pub outputs: Vec<Output>,
}

/// A machine at power-on.
pub fn boot(kernel: &str, cmdline: &str) -> Machine {
    boot_with(MEMORY_MIB, kernel, cmdline)
}

/// The same with `memory_mib` MiB.
pub fn boot_with(memory_mib: u32, kernel: &str, cmdline: &str) -> Machine {
    let image = Image::open(kernel, None).unwrap();
    let devices = PlatformConfig {
        net: None,
        disks: Vec::new(),
        wall_base_ns: WALL_BASE_NS,
        on_panic: devices::OnPanic::Halt,
    };
    let host = Host::open().unwrap();
    Machine::boot(&host, host.richest_cpu().unwrap(), memory_mib, &devices, &image, cmdline).unwrap()
}

/// Runs to the next sync point and completes it, 20 microseconds after the last or, when the guest sleeps, at its
/// timer's deadline.
pub fn step(machine: &mut Machine, events: &[Event]) -> Result<Seen, MachineError> {
    step_at(machine, events, |machine, idle| {
        let soon = machine.time_ns() + 20_000;
        if idle { machine.platform().next_deadline_ns().unwrap_or(soon).max(soon) } else { soon }
    })
}

/// Does again what another machine was seen to do.
pub fn step_as(machine: &mut Machine, seen: &Seen) -> Seen {
    step_at(machine, &seen.events, |_, _| seen.time_ns).unwrap()
}

fn step_at(
    machine: &mut Machine,
    events: &[Event],
    time: impl FnOnce(&Machine, bool) -> u64,
) -> Result<Seen, MachineError> {
    let reached = harness::reach(machine, EntryClock::Live)?;
    let time_ns = time(machine, machine.is_idle_at(&reached));
    let mut outputs = Vec::new();
    machine.finish_sync_point(&reached, time_ns, events, &mut outputs);
    Ok(Seen { exit: reached.kind, time_ns, events: events.to_vec(), digest: reached.digest.short(), outputs })
}

/// Runs until the guest powers off; its exit status.
///
/// # Panics
/// When it panicked.
///
/// # Errors
/// What ended it against its will.
pub fn run(machine: &mut Machine) -> Result<u32, MachineError> {
    for _ in 0..PATIENCE {
        step(machine, &[])?;
        match machine.platform().powered_off() {
            Some(Off::Status(status)) => return Ok(status),
            Some(Off::Panicked) => panic!("the guest panicked"),
            None => {}
        }
    }
    panic!("the guest does not end: {}", machine.position());
}

/// A second machine in the same state, by way of the frames that a secondary is seeded with.
pub fn copy(machine: &mut Machine) -> Machine {
    let cpu = Host::open().unwrap().richest_cpu().unwrap();
    let shape =
        Shape { memory_mib: machine.memory().mib(), cpus: 1, cpu: cpu.name.into(), ..Shape::default() };
    let manifest = Manifest {
        vm: VmId([0; 16]),
        generation: Generation(0),
        shape,
        cpu_table: cpu.digest(),
        wall_base_ns: WALL_BASE_NS,
        digest_key: 0,
    };
    let mut frames = Vec::new();
    let sink = |kind: FrameKind, body: &[u8]| {
        let sequence = frames.len() as u64;
        frames.push(ftlog::Frame { kind, sequence, offset: 0, body: body.to_vec() });
        anyhow::Ok(())
    };
    snapshot::write(machine, &manifest, sink).unwrap();
    assert_eq!(frames[0].body, manifest.encode().unwrap());
    let mut seed = Seed::begin(&frames[0]).unwrap();
    let last = frames.len() - 1;
    for (index, frame) in frames.iter().enumerate().skip(1) {
        assert_eq!(seed.add(frame).unwrap(), index == last);
    }
    let copy = seed.finish(&Host::open().unwrap()).unwrap();
    assert_eq!((copy.position(), copy.time_ns()), (machine.position(), machine.time_ns()));
    copy
}

/// The position after `steps` sync points.
pub fn after(steps: usize) -> Position {
    Position(steps as u64)
}
