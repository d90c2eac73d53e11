//! Ways between the hosts that are slow or long: the VM is protected all the same.

use std::time::{Duration, Instant};

use anyhow::ensure;
use ftlog::DiskMode;
use ftvmm::demo::{
    client::{Action, Connection, Mix, Reply},
    pair::Member,
};
use ftvmm_tests::{
    stage::{self, PATIENCE, Stage, guest},
    way::{Way, Wire},
};

use super::{THINKING, TIMEOUT_MS, ok, survive_the_primary};

/// A wire that takes what it is given.
const FAST: u64 = 1 << 30;

/// A pair whose primary reaches its secondary by such a way.
fn pair_over(stage: &Stage, wire: Wire) -> anyhow::Result<(Member, Member)> {
    let (secondary, address) = stage.secondary(&[])?;
    let way = Way::open(&address, wire)?;
    let mut primary = stage.primary(&[&secondary], way.address())?;
    primary.wait_protected()?;
    Ok((primary, secondary))
}

/// A frame of the seed takes longer than the failure timeout to come, and the whole of it many times as long.
#[test]
fn a_seed_over_a_slow_wire_ends_and_protects() {
    stage::play(TIMEOUT_MS, |stage| {
        let wire = Wire { delay: Duration::from_millis(1), bytes_per_second: 400 << 10 };
        let (mut primary, mut secondary) = pair_over(stage, wire)?;
        let load = stage.load(Mix::Count, THINKING, 21)?;
        load.await_answers(100, PATIENCE)?;
        survive_the_primary(&mut primary, &mut secondary, load)
    });
}

#[test]
fn a_round_trip_longer_than_the_failure_timeout_protects() {
    let timeout = Duration::from_millis(TIMEOUT_MS);
    stage::play(TIMEOUT_MS, |stage| {
        let wire = Wire { delay: timeout * 11 / 20, bytes_per_second: FAST };
        let (mut primary, mut secondary) = pair_over(stage, wire)?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        let asked = Instant::now();
        ensure!(client.request("k", &Action::Incr)? == Reply::Integer(1));
        ensure!(asked.elapsed() >= 2 * wire.delay, "answered after {:?}", asked.elapsed());
        primary.process.kill()?;
        ensure!(client.request("k", &Action::Incr)? == Reply::Integer(2));
        secondary.wait_takeover()?;
        Ok(())
    });
}

/// The lease is half of the failure timeout, and an acknowledgement takes as long: by the time that it is there, it is too
/// old, unless the lease follows the round trip.
#[test]
fn a_shared_disk_is_written_where_acknowledgements_take_as_long_as_the_lease() {
    let timeout = Duration::from_millis(TIMEOUT_MS);
    stage::play_with_disk(DiskMode::Shared, TIMEOUT_MS, |stage| {
        let wire = Wire { delay: timeout * 3 / 10, bytes_per_second: FAST };
        let (mut primary, mut secondary) = pair_over(stage, wire)?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        ensure!(client.call(&[b"SET", b"key", b"value"])? == ok());
        let before = primary.status()?.position;
        let asked = Instant::now();
        for _ in 0..3 {
            ensure!(client.call(&[b"SET", b"key", b"value"])? == ok());
        }
        let (per_second, after) = (asked.elapsed().as_secs_f64(), primary.status()?.position);
        let rate = (after - before) as f64 / per_second;
        ensure!(rate < 2000.0, "{rate:.0} sync points a second while writes wait");
        primary.process.kill()?;
        ensure!(client.call(&[b"SET", b"key", b"other"])? == ok());
        secondary.wait_takeover()?;
        Ok(())
    });
}
