//! A guest that resets its machine while it is protected: the machine begins again in place, on both sides, and whoever
//! dies before, in or after it costs nothing.

use std::{fs, io::Write, net::TcpStream, thread, time::Duration};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::State,
    demo::{
        client::{Action, Connection, Reply},
        random::Random,
        wait,
    },
};
use ftvmm_tests::{
    harness,
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{SOON, TIMEOUT_MS, ok};

/// Resets with a death beside each, in each mode.
const ROUNDS: u64 = 6;

#[test]
fn a_reset_under_kills_loses_nothing_on_replicated_disks() {
    resets_and_kills(DiskMode::Replicated);
}

#[test]
fn a_reset_under_kills_loses_nothing_on_a_shared_disk() {
    resets_and_kills(DiskMode::Shared);
}

fn resets_and_kills(mode: DiskMode) {
    let seed = harness::seed();
    stage::play_with_disk(mode, TIMEOUT_MS, |stage| {
        let mut random = Random::new(seed);
        let mut pair = stage.pair()?;
        let mut counted = 0;
        for round in 0..ROUNDS {
            counted = count(counted).with_context(|| format!("round {round}"))?;
            pair = reset_and_kill(stage, pair, &mut random).with_context(|| format!("round {round}"))?;
        }
        count(counted)?;
        Ok(())
    });
}

/// What was acknowledged before is there.
fn count(before: i64) -> anyhow::Result<i64> {
    let mut client = Connection::open(guest(), PATIENCE)?;
    let mut last = before;
    for _ in 0..5 {
        let reply = client.request("k", &Action::Incr)?;
        ensure!(reply == Reply::Integer(last + 1), "{reply:?} after {last}");
        last += 1;
    }
    Ok(last)
}

fn reset_and_kill(stage: &Stage, pair: Pair, random: &mut Random) -> anyhow::Result<Pair> {
    let Pair { mut primary, mut secondary, .. } = pair;
    let lives = lives(stage)?;
    // Carried out or cut short: the answer leaves, or the reset comes first.
    let _asked = ask_for_reset(PATIENCE)?;
    thread::sleep(Duration::from_micros(random.below(40_000)));
    let primary_dies = random.below(2) == 0;
    let mut survivor = if primary_dies {
        primary.process.kill()?;
        drop(primary);
        secondary
    } else {
        secondary.process.kill()?;
        drop(secondary);
        primary
    };
    let alone = |status: &ftvmm::control::Status| status.state == State::Unprotected;
    survivor.wait_status("alone", SOON, alone)?;
    // It may have died before the guest was asked.
    let asked = client_asks_until_reset(stage, lives);
    asked.with_context(|| format!("{:?}", survivor.status()))?;
    let (secondary, address) = stage.secondary(&[&survivor])?;
    survivor.protect(&address)?;
    survivor.wait_protected()?;
    Ok(Pair { primary: survivor, secondary, address })
}

/// Says so on a connection, which is not to be closed at once.
fn ask_for_reset(patience: Duration) -> anyhow::Result<TcpStream> {
    let mut client = TcpStream::connect_timeout(&guest(), patience)?;
    client.write_all(b"SHUTDOWN RESTART\r\n")?;
    Ok(client)
}

/// How often the guest has begun, by what it has said on all consoles.
fn lives(stage: &Stage) -> anyhow::Result<usize> {
    let mut lives = 0;
    for entry in fs::read_dir(stage.directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "console") {
            lives += String::from_utf8_lossy(&fs::read(path)?).matches("ledger: listening").count();
        }
    }
    Ok(lives)
}

fn client_asks_until_reset(stage: &Stage, before: usize) -> anyhow::Result<()> {
    wait::until("the guest to begin again", SOON, || {
        if lives(stage)? > before {
            return Ok(Some(()));
        }
        let _asked = ask_for_reset(Duration::from_secs(1));
        Ok(None)
    })
}

#[test]
fn a_reset_leaves_the_pair_protected_and_is_told() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let generation = primary.status()?.generation;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Set(b"kept".to_vec()))?, ok());
        let _asked = ask_for_reset(PATIENCE)?;
        let reset = |status: &ftvmm::control::Status| {
            status.resets == 1
                && status.events.iter().any(|event| event.text.contains("has reset the machine"))
        };
        let status = primary.wait_status("reset", SOON, reset)?;
        assert_eq!((status.state, status.generation), (State::Protected, generation));
        wait::until("the secondary to have done it too", SOON, || {
            let events = secondary.status()?.events;
            Ok(events.iter().any(|event| event.text.contains("has reset the machine")).then_some(()))
        })?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Get)?, Reply::Value(Some(b"kept".to_vec())));
        assert_eq!(primary.status()?.state, State::Protected);
        Ok(())
    });
}
