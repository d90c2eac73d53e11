//! The bodies of the fuzz targets on random input, for a second or two each: bytes without sense, and valid input with
//! a few bytes changed. `FTVMM_SEED` repeats a run.

#[path = "fuzz_bodies/random.rs"]
mod random;
#[path = "fuzz_bodies/valid.rs"]
mod valid;

use std::time::{Duration, Instant};

use devices::fuzz;
use ftvmm_tests::harness;
use random::Random;

/// How long each body runs.
const TIME: Duration = Duration::from_millis(1500);
const MAX_LENGTH: u64 = 4096;

/// Runs `body` on random bytes, and on pieces of `valid` input with random changes, until the time is up.
fn run(valid: &[Vec<u8>], body: impl Fn(&[u8])) {
    let mut random = Random::new(harness::seed());
    // What is not changed passes.
    valid.iter().for_each(|input| body(input));
    let (start, mut runs) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        body(&random.bytes(MAX_LENGTH));
        for input in valid {
            body(&random.changed(input));
        }
        runs += 1;
    }
    println!("{} inputs", runs * (1 + valid.len()));
}

#[test]
fn log_steps() {
    run(&[valid::steps()], ftlog::fuzz::steps);
}

#[test]
fn log_frames() {
    run(&[valid::frames()], ftlog::fuzz::frames);
}

#[test]
fn messages() {
    run(&valid::messages(), ftlog::fuzz::messages);
}

#[test]
fn virtio_net() {
    run(&[], |data| {
        fuzz::virtio_net(data);
    });
}

/// The seed makes every kind of request, has them answered, forgotten by a reset and said again.
#[test]
fn virtio_blk() {
    let seed = include_bytes!("../../fuzz/seeds/virtio_blk/orderly");
    let coverage = fuzz::virtio_blk(seed);
    let fuzz::Coverage { violations, disk_requests, disk_answers, .. } = coverage;
    assert_eq!((violations, disk_requests, disk_answers), (0, 8, 7), "{coverage:?}");
    assert!(coverage.entropy > 0 && coverage.restores > 0, "{coverage:?}");
    run(&[seed.to_vec()], |data| {
        fuzz::virtio_blk(data);
    });
}

#[test]
fn resp() {
    run(&[valid::requests()], micro::fuzz::resp);
}
