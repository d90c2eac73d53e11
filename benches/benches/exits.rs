//! What an exit costs: the bare round trip through KVM, and a whole sync point with and without the log.
//!
//! `raw` runs the two-instruction guests of [`ftvmm_benches::tiny`] at CPL0. `sync point` runs the probe `exits` at
//! CPL3, where real guests do their work: digest, devices and position included.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ftlog::StepRef;
use ftvmm_benches::{exits_machine, tiny};
use ftvmm_tests::harness;
use machine::{EntryClock, Machine};
use replay::Recorder;

/// Virtual time between sync points, ns; any value will do.
const STEP_NS: u64 = 30_000;
/// Sync points that are recorded to see how long their log is.
const MEASURED: u64 = 20_000;

fn raw(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("raw");
    let guests = [("port write", tiny::PORT_WRITE), ("device read", tiny::DEVICE_READ), ("halt", tiny::HALT)];
    for (name, code) in guests {
        let (_vm, mut vcpu) = tiny::vcpu(code).expect("KVM is usable");
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(vcpu.run().expect("the guest exits")));
        });
    }
}

fn sync_point(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sync point");
    let mut machine = exits_machine().expect("KVM is usable");
    group.bench_function("without log", |bencher| bencher.iter(|| step(&mut machine, None)));
    for (name, with_registers) in [("recorded for a secondary", false), ("recorded for a file", true)] {
        let mut recorder = Recorder::after(machine.position());
        group.bench_function(name, |bencher| {
            bencher.iter(|| step(&mut machine, Some((&mut recorder, with_registers))));
        });
    }
}

/// Runs to the next sync point and records it; gives the bytes of a batch that became full.
fn step(machine: &mut Machine, log: Option<(&mut Recorder, bool)>) -> u64 {
    let reached = harness::reach(machine, EntryClock::Live).expect("the guest runs");
    let time_ns = machine.time_ns() + STEP_NS;
    let mut outputs = Vec::new();
    machine.finish_sync_point(&reached, time_ns, &[], &mut outputs);
    let Some((recorder, with_registers)) = log else { return 0 };
    let registers = with_registers.then_some(&reached.registers);
    let digest = reached.digest.short();
    let step = StepRef { time_ns, exit: reached.kind, digest, entries: None, events: &[], registers };
    recorder.record(machine.position(), step).expect("a step fits");
    if recorder.is_full() { take(recorder) } else { 0 }
}

fn take(recorder: &mut Recorder) -> u64 {
    recorder.take_batch().map_or(0, |batch| black_box(batch.body).len() as u64)
}

/// Not a time: printed for the documentation.
fn log_bytes(_: &mut Criterion) {
    let mut machine = exits_machine().expect("KVM is usable");
    for (whose, with_registers) in [("a secondary", false), ("a file, registers included", true)] {
        let mut recorder = Recorder::after(machine.position());
        let bytes: u64 =
            (0..MEASURED).map(|_| step(&mut machine, Some((&mut recorder, with_registers)))).sum();
        let bytes = bytes + take(&mut recorder);
        println!("log bytes per sync point for {whose}: {:.2}", bytes as f64 / MEASURED as f64);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = raw, sync_point, log_bytes
}
criterion_main!(benches);
