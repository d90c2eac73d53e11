//! The guest's own end, and its time across a takeover.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::Context;
use ftlog::Generation;
use ftvmm::arbiter::FileArbiter;
use ftvmm_tests::{
    harness,
    stage::{self, PATIENCE, Pair, guest},
};

use super::{SOON, TIMEOUT_MS};

/// A second or so of exits: long enough to be protected before the guest is through.
const ROUNDS: &str = "rounds=20000";

#[test]
fn a_guest_that_switches_off_ends_both_sides_with_its_last_words() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut secondary, address) = stage.secondary(&[])?;
        let console = stage.directory().join("exits.console");
        let (arbiter, target) =
            (format!("file:{}", stage.setup.arbiter.display()), format!("file={}", console.display()));
        let program = harness::program()?;
        let mut arguments =
            vec!["primary", "--kernel", "builtin:exits", "--cmdline", ROUNDS, "--peer", &address];
        arguments.extend(["--arbiter", &arbiter, "--console", &target, "--failure-timeout", "1000"]);
        let mut primary =
            stage.spawn(program.to_str().context("the program's path is no text")?, &arguments)?;

        let ended = primary.wait_end(4 * SOON)?;
        assert_eq!(ended.code(), Some(0), "{}", primary.log());
        assert!(primary.log().contains("protected"), "it was through too soon: {}", primary.log());
        let ended = secondary.process.wait_end(SOON)?;
        assert_eq!(ended.code(), Some(0), "{}", secondary.process.log());
        let said = fs::read_to_string(console)?;
        assert!(said.contains("checksum"), "{said}");
        // The secondary knew that nothing was left to say: it did not take over to say it.
        let known = FileArbiter::open(&arbiter)?.list()?;
        let [(_, Ok(latest))] = known.as_slice() else { anyhow::bail!("{known:?}") };
        assert_eq!(latest.entry.generation, Generation(1));
        assert!(latest.ended.is_some());
        Ok(())
    });
}

#[test]
fn time_goes_on_across_a_takeover_and_never_back() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut client = TcpStream::connect_timeout(&guest(), PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut last = guest_time(&mut client)?;
        for round in 0..40 {
            if round == 20 {
                primary.process.kill()?;
            }
            let now = guest_time(&mut client)?;
            assert!(now >= last, "back from {last:?} to {now:?}");
            assert!(now - last < PATIENCE, "on from {last:?} to {now:?}");
            last = now;
        }
        secondary.wait_takeover()?;
        Ok(())
    });
}

/// What the guest's TIME command answers: seconds and µs of Unix time.
fn guest_time(client: &mut TcpStream) -> anyhow::Result<Duration> {
    client.write_all(b"TIME\r\n")?;
    let lines: Vec<String> = BufReader::new(client).lines().take(5).collect::<Result<_, _>>()?;
    let [_, _, seconds, _, micros] = lines.as_slice() else { anyhow::bail!("TIME answers {lines:?}") };
    Ok(Duration::from_secs(seconds.parse()?) + Duration::from_micros(micros.parse()?))
}
