//! Kills, pauses and power failures of a VM that keeps its data on a disk: all that was acknowledged is on the disk, and
//! a VM that is started from it has it.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{
    client::{Action, Answer, Connection, History, Mix, Operation, Reply},
    pair::Place,
    process::Process,
    random::Random,
    wait,
};
use ftvmm_tests::{
    disks, harness, ledger, linearizability,
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{
    SOON, THINKING, TIMEOUT_MS,
    kills::{Tally, blow},
    ok, partition, wait_halted,
};

/// How many kills there are in each mode unless `FTVMM_KILLS` says otherwise.
const KILLS: u64 = 12;
/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn random_kills_lose_nothing_on_replicated_disks() {
    random_kills(DiskMode::Replicated);
}

#[test]
fn random_kills_lose_nothing_on_a_shared_disk() {
    random_kills(DiskMode::Shared);
}

fn random_kills(mode: DiskMode) {
    let (seed, kills) = (harness::seed(), harness::number("FTVMM_KILLS").unwrap_or(KILLS));
    stage::play_with_disk(mode, TIMEOUT_MS, |stage| {
        let mut random = Random::new(seed);
        let mut pair = first_pair(stage, mode)?;
        let load = stage.load(Mix::Mixed, THINKING, seed)?;
        let mut done = Tally::default();
        for kill in 0..kills {
            pair = blow(stage, pair, &load, &mut random, &mut done)
                .with_context(|| format!("kill {kill} of {kills}, FTVMM_SEED={seed}"))?;
        }
        println!("killed: {done:?}");
        let history = stage::judge(load).with_context(|| format!("FTVMM_SEED={seed}"))?;
        close_here(stage, pair, history).with_context(|| format!("FTVMM_SEED={seed}"))
    });
}

/// A pair whose secondary's own disk holds something else at first.
fn first_pair(stage: &Stage, mode: DiskMode) -> anyhow::Result<Pair> {
    if mode == DiskMode::Replicated {
        disks::fill_with_garbage(&stage.disks().file(stage.free_tap(&[])))?;
    }
    stage.pair()
}

/// What a primary has asked of its disk, and has not had done when it is stopped, must not be done when it comes back.
#[test]
fn a_primary_that_was_stopped_too_long_writes_nothing_more() {
    for mode in [DiskMode::Shared, DiskMode::Replicated] {
        stage::play_with_disk(mode, TIMEOUT_MS, |stage| {
            let mut pair = first_pair(stage, mode)?;
            let load = stage.load(Mix::Mixed, THINKING, 7)?;
            for _ in 0..3 {
                let Pair { mut primary, mut secondary, .. } = pair;
                primary.process.stop()?;
                secondary.wait_takeover()?;
                load.await_answers(100, PATIENCE)?;
                primary.process.go_on()?;
                wait_halted(&mut primary)?;
                load.await_answers(100, PATIENCE)?;
                drop(primary);
                let (next, address) = stage.secondary(&[&secondary])?;
                secondary.protect(&address)?;
                secondary.wait_protected()?;
                pair = Pair { primary: secondary, secondary: next, address };
            }
            load.await_answers(100, PATIENCE)?;
            let history = stage::judge(load)?;
            close_here(stage, pair, history)
        });
    }
}

/// What the primary has written and the secondary has not heard of is on the dead host's disk alone; when that host comes
/// back as the secondary, it must be gone.
#[test]
fn hosts_that_vanish_with_their_wires_lose_nothing_on_disk() {
    for mode in [DiskMode::Shared, DiskMode::Replicated] {
        stage::play_on_hosts_with_disk(mode, TIMEOUT_MS, |stage, hosts| {
            let (pair, load) = partition::power_failures(stage, hosts)?;
            let history = stage::judge(load)?;
            let host = if pair.primary.tap == hosts.a().tap { hosts.a() } else { hosts.b() };
            close(stage, pair, history, host)
        });
    }
}

#[test]
fn redis_benchmark_and_redis_cli_work_on_a_disk() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let _pair = stage.pair()?;
        let host = guest().ip().to_string();
        let arguments = ["-h", &host, "-t", "set,get,incr", "-c", "20", "-n", "1000", "-P", "4", "-q"];
        let mut benchmark = stage.spawn("redis-benchmark", &arguments)?;
        let status = benchmark.wait_end(4 * SOON)?;
        assert!(status.success(), "{} {}", benchmark.output(), benchmark.log());
        println!("{}", benchmark.output().trim());
        let mut cli = stage.spawn("redis-cli", &["-h", &host, "GET", "counter:__rand_int__"])?;
        assert!(cli.wait_end(SOON)?.success(), "{}", cli.log());
        let counted: u64 = cli.output().trim().parse()?;
        assert!(counted >= 1000, "{counted} increments");
        Ok(())
    });
}

type Values = BTreeMap<String, Vec<u8>>;

fn close_here(stage: &Stage, pair: Pair, history: History) -> anyhow::Result<()> {
    let tap = pair.primary.tap.clone();
    close(stage, pair, history, Place::here(&tap))
}

/// Reads all keys, switches the VM off, looks at its disks, and starts it again from each of them, in the `place` where
/// it was last. All reads belong to the history, which must still have an order.
fn close(stage: &Stage, mut pair: Pair, mut history: History, place: Place<'_>) -> anyhow::Result<()> {
    let values = read_all(stage, &mut history)?;
    ensure!(!values.is_empty(), "the load has left nothing");
    shut_down([&mut pair.primary.process, &mut pair.secondary.process])?;
    let taps = [&pair.primary.tap, &pair.secondary.tap];
    let files = taps.map(|tap| stage.disks().file(tap));
    ensure!(fs::read(&files[0])? == fs::read(&files[1])?, "the copies {files:?} differ");
    // Once one of them has been started from, the other is older; that nothing is lost is what is to be shown.
    let mut setup = stage.setup.clone();
    setup.primary_options = vec!["--force".into()];
    for (tap, file) in taps.into_iter().zip(&files) {
        ensure!(on_disk(file)? == values, "{} does not hold what the VM said last", file.display());
        let host = Place { disks: stage.disks().options(tap), ..place };
        let mut again = setup.primary(&stage.name("cold"), host, NOBODY)?;
        wait::until("the guest to serve again", SOON, || {
            again.process.expect_alive()?;
            Ok(Connection::open(guest(), SOON / 20).ok())
        })?;
        ensure!(read_all(stage, &mut history)? == values, "the VM started from {} differs", file.display());
        shut_down([&mut again.process])?;
        ensure!(on_disk(file)? == values, "{} was changed by reading", file.display());
    }
    linearizability::check(&history.operations).map_err(|violation| anyhow::anyhow!("{violation}"))
}

fn on_disk(file: &std::path::Path) -> anyhow::Result<Values> {
    Ok(ledger::read(file)?.into_iter().map(|(key, record)| (key, record.value)).collect())
}

/// Reads every key of the history, over a connection of its own; gives those that exist.
fn read_all(stage: &Stage, history: &mut History) -> anyhow::Result<Values> {
    let mut keys: Vec<_> = history.operations.iter().map(|operation| operation.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut connection = Connection::open(guest(), PATIENCE)?;
    let mut values = Values::new();
    let now_ns = || stage.epoch.elapsed().as_nanos() as u64;
    for key in keys {
        let invoked_ns = now_ns();
        let reply = connection.request(&key, &Action::Get)?;
        match &reply {
            Reply::Value(Some(value)) => drop(values.insert(key.to_string(), value.clone())),
            Reply::Value(None) => {}
            other => anyhow::bail!("GET {key} is answered with {other:?}"),
        }
        let answer = Some(Answer { at_ns: now_ns(), reply });
        let connection = history.connections;
        history.operations.push(Operation { connection, key, action: Action::Get, invoked_ns, answer });
    }
    history.connections += 1;
    Ok(values)
}

/// Has the guest switch itself off, and waits for the processes to end with its status.
fn shut_down<const N: usize>(processes: [&mut Process; N]) -> anyhow::Result<()> {
    let mut client = Connection::open(guest(), PATIENCE)?;
    ensure!(client.call(&[b"SHUTDOWN"])? == ok(), "SHUTDOWN is refused");
    for process in processes {
        let status = process.wait_end(SOON)?;
        ensure!(status.code() == Some(0), "{} ended with {status}: {}", process.name(), process.log());
    }
    Ok(())
}
