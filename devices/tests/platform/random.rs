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

#[test]
fn machines_given_the_same_stay_the_same() {
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
    let run = TestRunner::new(config).run(&vec(any::<u8>(), 0..8192), |mut data| {
        // The first operation is an orderly start with queues of 16 and no optional features.
        data.splice(0..0, [0, 4, 0, 1]);
        let (sum, case) = (total.get(), fuzz::virtio_net(&data));
        total.set(Coverage {
            sent: sum.sent + case.sent,
            received: sum.received + case.received,
            violations: sum.violations + case.violations,
            restores: sum.restores + case.restores,
        });
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("DEVICES_SEED={seed} DEVICES_CASES={cases}: {error}"));
    let Coverage { sent, received, violations, restores } = total.get();
    println!("{:?}", total.get());
    let reached = [sent, received, violations, restores].iter().all(|count| *count >= cases);
    assert!(cases < 100 || reached, "the inputs do not reach what they are for: {:?}", total.get());
}
