//! The commit gate, and a secondary that stays behind for so long that the primary must wait for it.

use std::{
    io::ErrorKind,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use ftvmm::demo::{
    client::{Action, Connection, Mix, Reply},
    pair::Member,
};
use ftvmm_tests::stage::{self, PATIENCE, Pair, guest};

use super::{SOON, THINKING, wait_alone};

/// Longer than any pause in these tests.
const LONG_MS: u64 = 20_000;

#[test]
fn no_answer_leaves_before_the_secondary_holds_the_log_behind_it() {
    let timeout = Duration::from_millis(2000);
    stage::play(timeout.as_millis() as u64, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));

        secondary.process.stop()?;
        let stopped = Instant::now();
        let waiting = thread::spawn(move || (client.request("k", &Action::Incr), Instant::now()));
        wait_alone(&mut primary)?;
        let (reply, answered) = waiting.join().expect("the client does not panic");
        assert_eq!(reply?, Reply::Integer(2));
        // The last sign of life may be a heartbeat's distance older than the stop.
        let waited = answered - stopped;
        assert!(waited > timeout / 2, "answered after {waited:?}, while the secondary held no log of it");
        Ok(())
    });
}

#[test]
fn a_secondary_that_stays_behind_stops_the_primary_which_then_goes_on() {
    stage::play(LONG_MS, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Mixed, THINKING, 4)?;
        secondary.process.stop()?;
        primary.wait_status("stopped", SOON, |status| status.pace == "stopped")?;
        // What was under way when the order came is done after the first of two attempts.
        expect_silence();
        let stopped = primary.status()?;
        let (memory, answers) = (resident_bytes(&primary)?, load.acknowledged());
        expect_silence();
        let later = primary.status()?;
        assert_eq!(later.position, stopped.position, "the vCPU ran");
        assert_eq!(load.acknowledged(), answers);
        let grown = resident_bytes(&primary)?.saturating_sub(memory);
        assert!(grown < 8 << 20, "{grown} bytes more while nothing ran");

        secondary.process.go_on()?;
        load.await_answers(200, PATIENCE)?;
        primary.wait_status("at full pace", SOON, |status| status.pace == "full")?;
        stage::judge(load)?;
        Ok(())
    });
}

/// A stopped VM answers nobody: neither the connection nor the request on it, whichever it comes to.
fn expect_silence() {
    let Ok(mut client) = Connection::open(guest(), Duration::from_millis(1500)) else { return };
    let error = client.request("k", &Action::Incr).expect_err("a stopped VM answers nobody");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

/// What a process holds of memory.
fn resident_bytes(member: &Member) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", member.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
