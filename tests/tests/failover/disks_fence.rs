//! A shared disk is written by the side that is the VM, and by it only when the log behind a write is safe.

use std::thread::{self, JoinHandle};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{client::Connection, pair::Member};
use ftvmm_tests::{
    ledger,
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{SOON, TIMEOUT_MS, ok, wait_alone, wait_halted};

/// Longer than it takes to stop two processes one after the other, on a busy machine too.
const LONG_MS: u64 = 3 * TIMEOUT_MS;

fn set(client: &mut Connection, value: &str) -> anyhow::Result<()> {
    let reply = client.call(&[b"SET", b"key", value.as_bytes()])?;
    ensure!(reply == ok(), "SET is answered with {reply:?}");
    Ok(())
}

fn on_disk(stage: &Stage) -> anyhow::Result<String> {
    let keys = ledger::read(&stage.disks().file("tap-a"))?;
    let record = keys.get("key").context("the key is not on the disk")?;
    Ok(String::from_utf8(record.value.clone())?)
}

/// Stops the secondary, and has the guest of the primary write to its disk then.
fn write_without_secondary(
    pair: &mut Pair,
    value: &'static str,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let mut client = Connection::open(guest(), PATIENCE)?;
    set(&mut client, "before")?;
    pair.secondary.process.stop()?;
    let waiting = thread::spawn(move || set(&mut client, value));
    let asked = |member: &mut Member| {
        let in_flight = |disks: &[ftvmm::control::DiskReport]| disks.iter().any(|disk| disk.in_flight > 0);
        member.wait_status("writing", SOON, |status| in_flight(&status.disks)).map(drop)
    };
    asked(&mut pair.primary)?;
    Ok(waiting)
}

#[test]
fn nothing_is_written_to_a_shared_disk_before_the_secondary_holds_the_log_behind_it() {
    stage::play_with_disk(DiskMode::Shared, LONG_MS, |stage| {
        let mut pair = stage.pair()?;
        let waiting = write_without_secondary(&mut pair, "after")?;
        // Had it been let out, it would be there by now: the file is in this host's memory.
        for _ in 0..20 {
            ensure!(on_disk(stage)? == "before", "written without the secondary");
            thread::sleep(std::time::Duration::from_millis(10));
        }
        pair.secondary.process.go_on()?;
        waiting.join().expect("the client does not panic")?;
        ensure!(on_disk(stage)? == "after");
        pair.primary.wait_protected()?;
        Ok(())
    });
}

/// The secondary's acknowledgement is there when the primary wakes up, but is as old as the primary's sleep was long.
#[test]
fn an_old_acknowledgement_lets_nothing_be_written_to_a_shared_disk() {
    stage::play_with_disk(DiskMode::Shared, LONG_MS, |stage| {
        let mut pair = stage.pair()?;
        let waiting = write_without_secondary(&mut pair, "old")?;
        pair.primary.process.stop()?;
        pair.secondary.process.go_on()?;
        pair.secondary.wait_takeover()?;
        wait_alone(&mut pair.secondary)?;
        waiting.join().expect("the client does not panic")?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        set(&mut client, "new")?;
        ensure!(on_disk(stage)? == "new");
        pair.primary.process.go_on()?;
        wait_halted(&mut pair.primary)?;
        ensure!(on_disk(stage)? == "new", "the primary that was stopped has written {}", on_disk(stage)?);
        Ok(())
    });
}
