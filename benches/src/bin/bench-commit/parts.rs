//! What the parts of the path cost within one process, with nobody to wait for.

use std::{
    hint::black_box,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Instant,
};

use anyhow::Context;
use ftlog::{
    Ack, Condition, Event, ExitKind, FrameDecoder, FrameKind, Position, StepRef, decode_steps, encode_frame,
};
use ftvmm::link::mailbox::{Letters, mailbox};
use ftvmm_benches::spread::Spread;
use protocol::commit::{Gate, Limits};
use replay::{Batch, Recorder};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

/// Times that each part is measured.
const SAMPLES: usize = 2_000;
/// Calls in one sample, where one alone is too short for a clock.
const CALLS: u32 = 64;
/// Sync points from one answer to the next, and the request among them.
const SYNC_POINTS: u64 = 6;
const REQUEST_BYTES: usize = 100;

/// A part and its time.
#[derive(Debug, Serialize)]
pub struct Part {
    /// What is done.
    pub name: &'static str,
    /// How long that takes, µs.
    pub spread: Spread,
}

/// Measures all parts, in the order of the path.
pub fn measure() -> anyhow::Result<Vec<Part>> {
    let batch = record(&mut Recorder::after(Position(0)), 0);
    let mut framed = Vec::new();
    encode_frame(0, FrameKind::Steps, &batch.body, &mut framed)?;
    let ack = Ack {
        received: batch.last,
        executed: batch.last,
        executed_time_ns: 0,
        executed_bytes: 0,
        condition: Condition::default(),
    };
    let (mut recorder, mut recorded) = (Recorder::after(Position(0)), 0);
    let (mut out, mut ack_out) = (Vec::new(), Vec::new());
    let mut gate = Gate::new(Limits { outputs: 16, bytes: 1 << 20 });
    let (mut at, mut left) = (Position(1), Vec::new());
    let [write, read] = loopback(&framed)?;
    Ok(vec![
        part("record the sync points of one answer", || {
            black_box(record(&mut recorder, recorded));
            recorded += SYNC_POINTS;
        }),
        part("checksum of the batch, in the frame's cost", || {
            black_box(xxh3_64(black_box(&batch.body)));
        }),
        part("frame the batch", || {
            out.clear();
            encode_frame(0, FrameKind::Steps, black_box(&batch.body), &mut out).expect("a short body");
        }),
        Part { name: "wake a thread by its mailbox", spread: wake()? },
        Part { name: "write it to a loopback connection", spread: write },
        Part { name: "read it there", spread: read },
        part("verify the frame", || {
            let mut decoder = FrameDecoder::new();
            assert_eq!(decoder.feed(black_box(&framed)), framed.len());
            black_box(decoder.next().expect("our own frame"));
        }),
        part("decode its steps", || {
            black_box(decode_steps(black_box(&batch.body)).expect("our own batch"));
        }),
        part("encode and frame an acknowledgement", || {
            ack_out.clear();
            let body = black_box(&ack).encode();
            encode_frame(0, FrameKind::Ack, &body, &mut ack_out).expect("a short body");
        }),
        part("verify and decode it", || {
            let mut decoder = FrameDecoder::new();
            assert_eq!(decoder.feed(black_box(&ack_out)), ack_out.len());
            let frame = decoder.next().expect("our own frame").expect("a whole frame");
            black_box(Ack::decode(&frame.body).expect("our own acknowledgement"));
        }),
        part("into the gate and out", || {
            gate.put(at, 100, 0, ()).expect("room for one");
            gate.release(at, &mut left);
            left.clear();
            at = at.next();
        }),
    ])
}

fn part(name: &'static str, mut call: impl FnMut()) -> Part {
    let mut sample = || {
        let began = Instant::now();
        (0..CALLS).for_each(|_| call());
        began.elapsed().as_nanos() as u64 / u64::from(CALLS)
    };
    sample();
    Part { name, spread: Spread::of((0..SAMPLES).map(|_| sample())) }
}

/// What the guest does between two answers to one client.
fn record(recorder: &mut Recorder, after: u64) -> Batch {
    let request = [Event::NetFrame { slot: 0, frame: vec![7; REQUEST_BYTES] }];
    for n in 1..=SYNC_POINTS {
        let step = StepRef {
            time_ns: (after + n) * 10_000,
            exit: ExitKind::Pio,
            digest: n as u32,
            entries: None,
            events: if n == 1 { &request } else { &[] },
            registers: None,
        };
        recorder.record(Position(after + n), step).expect("a step fits");
    }
    recorder.take_batch().expect("steps were recorded")
}

/// The two system calls, in one thread: nobody is woken.
fn loopback(framed: &[u8]) -> anyhow::Result<[Spread; 2]> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    let mut buffer = vec![0; framed.len()];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..SAMPLES {
        let began = Instant::now();
        here.write_all(framed)?;
        let written = Instant::now();
        there.read_exact(&mut buffer)?;
        times[0].push((written - began).as_nanos() as u64);
        times[1].push(written.elapsed().as_nanos() as u64);
    }
    Ok(times.map(|times| Spread::of(times.into_iter())))
}

/// Half of the way to another thread and back, both of which wait in `poll`.
fn wake() -> anyhow::Result<Spread> {
    let ((to, letters), (back, answers)) = (mailbox::<()>()?, mailbox::<()>()?);
    let other = thread::spawn(move || while next(&letters).is_ok() && back.send(()) {});
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let began = Instant::now();
        to.send(());
        next(&answers)?;
        times.push(began.elapsed().as_nanos() as u64 / 2);
    }
    // It finds nobody to answer, once it is woken a last time.
    drop(answers);
    to.send(());
    other.join().ok().context("the other thread failed")?;
    Ok(Spread::of(times.into_iter()))
}

fn next(letters: &Letters<()>) -> anyhow::Result<()> {
    loop {
        letters.acknowledge();
        if letters.next().is_some() {
            return Ok(());
        }
        poll(&mut [PollFd::from_borrowed_fd(letters.descriptor(), PollFlags::IN)], None)?;
    }
}
