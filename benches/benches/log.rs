//! What the log costs, without a machine: the digest and the recorder at each sync point, frames and batches both ways.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ftlog::{
    Event, ExitKind, FrameDecoder, FrameKind, Position, REGISTER_COUNT, StepRef, decode_steps, encode_frame,
};
use ftlog::{RegisterFile, RunningDigest};
use replay::Recorder;

/// A batch with one answer to a request, a full batch, and a frame of guest memory (1 MiB).
const BODIES: [usize; 3] = [256, 64 << 10, 1 << 20];
/// An Ethernet frame with a small request in it.
const REQUEST_BYTES: usize = 100;

fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    let registers: RegisterFile = std::array::from_fn(|n| n as u64 * 0x1234_5678);
    let mut digest = RunningDigest::default();
    group.bench_function("sync point", |bencher| {
        bencher.iter(|| digest.absorb_exit(ExitKind::Pio, 0x3f8, &[1], black_box(&registers)));
    });
    let frame = vec![7; REQUEST_BYTES];
    group.bench_function("output of 100 bytes", |bencher| {
        bencher.iter(|| digest.absorb(black_box(&frame)));
    });
}

/// A guest's run of sync points: time and registers change a little, and now and then a request comes.
struct Execution {
    position: Position,
    registers: RegisterFile,
    request: [Event; 1],
}

impl Execution {
    fn new() -> Self {
        let request = [Event::NetFrame { slot: 0, frame: vec![7; REQUEST_BYTES] }];
        Self { position: Position(0), registers: [3; REGISTER_COUNT], request }
    }

    fn record(&mut self, recorder: &mut Recorder, with_registers: bool, with_request: bool) {
        self.position = self.position.next();
        self.registers[0] = self.position.0;
        self.registers[16] ^= 0x40;
        let step = StepRef {
            time_ns: self.position.0 * 30_000,
            exit: ExitKind::Pio,
            digest: self.position.0 as u32,
            entries: None,
            events: if with_request { &self.request } else { &[] },
            registers: with_registers.then_some(&self.registers),
        };
        recorder.record(self.position, step).expect("a step fits");
    }
}

fn recorder(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorder");
    let cases = [("plain", false, false), ("with registers", true, false), ("with a request", false, true)];
    for (name, with_registers, with_request) in cases {
        let mut execution = Execution::new();
        let mut recorder = Recorder::after(execution.position);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                execution.record(&mut recorder, with_registers, with_request);
                if recorder.is_full() {
                    black_box(recorder.take_batch());
                }
            });
        });
    }
}

fn full_batch(with_registers: bool) -> (Vec<u8>, u32) {
    let mut execution = Execution::new();
    let mut recorder = Recorder::after(execution.position);
    while !recorder.is_full() {
        let with_request = execution.position.0.is_multiple_of(8);
        execution.record(&mut recorder, with_registers, with_request);
    }
    let batch = recorder.take_batch().expect("it is full");
    (batch.body, batch.steps)
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode a full batch");
    for (name, with_registers) in [("plain", false), ("with registers", true)] {
        let (body, steps) = full_batch(with_registers);
        group.throughput(Throughput::Elements(u64::from(steps)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode_steps(black_box(&body)).expect("our own batch"));
        });
    }
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for length in BODIES {
        let body = vec![0x5a; length];
        group.throughput(Throughput::Bytes(length as u64));
        let mut encoded = Vec::new();
        group.bench_function(BenchmarkId::new("encode", length), |bencher| {
            bencher.iter(|| {
                encoded.clear();
                encode_frame(0, FrameKind::Steps, black_box(&body), &mut encoded).expect("a short body");
            });
        });
        group.bench_function(BenchmarkId::new("decode", length), |bencher| {
            bencher.iter_batched(
                FrameDecoder::new,
                |decoder| decode(decoder, &encoded),
                BatchSize::SmallInput,
            );
        });
    }
}

fn decode(mut decoder: FrameDecoder, encoded: &[u8]) -> FrameDecoder {
    assert_eq!(decoder.feed(black_box(encoded)), encoded.len());
    black_box(decoder.next().expect("our own frame").expect("a whole frame"));
    decoder
}

criterion_group!(benches, digest, recorder, batches, frames);
criterion_main!(benches);
