//! Random operations on two machines, one of which is saved and restored: see `devices::fuzz`.
//!
//! `DEVICES_SEED=n` repeats a run, `DEVICES_CASES=n` sets its length.

use std::cell::Cell;
use std::time::SystemTime;

use devices::fuzz::{self, Coverage};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngSeed, TestRunner};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs `body` on random input behind `start`; the sums of what came about.
fn run(start: &[u8], body: fn(&[u8]) -> Coverage) -> (u64, Coverage) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("DEVICES_SEED").unwrap_or(now.as_nanos() as u64);
    let cases = number("DEVICES_CASES").unwrap_or(500);
    println!("DEVICES_SEED={seed} DEVICES_CASES={cases}");
    let config = Config {
        cases: u32::try_from(cases).expect("DEVICES_CASES fits 32 bits"),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let total = Cell::new(Coverage::default());
    let result = TestRunner::new(config).run(&vec(any::<u8>(), 0..8192), |mut data| {
        data.splice(0..0, start.iter().copied());
        total.set(total.get() + body(&data));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("DEVICES_SEED={seed} DEVICES_CASES={cases}: {error}"));
    println!("{:?}", total.get());
    (cases, total.get())
}

#[track_caller]
fn assert_reached(cases: u64, counts: &[u64]) {
    let reached = counts.iter().all(|count| *count >= cases);
    assert!(cases < 100 || reached, "the inputs do not reach what they are for: {counts:?}");
}

/// The first operation is an orderly start with queues of 16.
#[test]
fn machines_given_the_same_stay_the_same() {
    let (cases, total) = run(&[0, 4, 0, 1], fuzz::virtio_net);
    assert_reached(cases, &[total.sent, total.received, total.violations, total.restores]);
}

/// The first operation is an orderly start with queues of 256.
#[test]
fn disks_given_the_same_stay_the_same() {
    let (cases, total) = run(&[0, 8, 0, 1, 1], fuzz::virtio_blk);
    let Coverage { disk_requests, disk_answers, disk_answers_ignored, entropy, violations, restores, .. } =
        total;
    assert_reached(
        cases,
        &[disk_requests, disk_answers, disk_answers_ignored, entropy, violations, restores],
    );
}
