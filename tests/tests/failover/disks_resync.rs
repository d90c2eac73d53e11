//! A large copy that has to be made equal while the guest writes.

use std::{fs, thread, time::Duration};

use anyhow::ensure;
use ftlog::DiskMode;
use ftvmm::{
    control::State,
    demo::{
        client::{Connection, Mix},
        pair::Place,
        random::Random,
    },
};
use ftvmm_tests::{
    disks, harness, ledger,
    stage::{self, PATIENCE, guest},
};

use super::{SOON, THINKING, TIMEOUT_MS, ok, wait_alone};

/// Long enough to be caught at: a thousand blocks or so, all of them different at first.
const BYTES: u64 = 64 << 20;
/// Kills of the secondary while its copy is made equal.
const KILLS: u32 = 5;

#[test]
fn a_copy_is_made_equal_while_the_guest_writes_and_whoever_dies() {
    let seed = harness::seed();
    stage::play(TIMEOUT_MS, |stage| {
        let mut random = Random::new(seed);
        let files = ["primary.disk", "secondary.disk"].map(|name| stage.directory().join(name));
        for file in &files {
            disks::create_empty(file, BYTES)?;
        }
        disks::fill_with_garbage(&files[1])?;
        let options = files.each_ref().map(|file| [disks::option(file, DiskMode::Replicated)]);
        let mut setup = stage.setup.clone();
        "builtin:ledger".clone_into(&mut setup.kernel);
        let place = |side: usize| Place { disks: &options[side], ..Place::here(["tap-a", "tap-b"][side]) };

        let mut primary = setup.primary("primary", place(0), "127.0.0.1:1")?;
        wait_alone(&mut primary)?;
        let load = stage.load(Mix::Mixed, THINKING, seed)?;
        let mut caught = 0;
        for kill in 0..KILLS {
            let (mut secondary, address) = setup.secondary(&format!("killed-{kill}"), place(1))?;
            primary.protect(&address)?;
            let begun = |state| matches!(state, State::Seeding | State::Protected);
            primary.wait_status("at it", SOON, |status| begun(status.state))?;
            thread::sleep(Duration::from_millis(random.below(150)));
            caught += u32::from(primary.status()?.state == State::Seeding);
            secondary.process.kill()?;
            wait_alone(&mut primary)?;
        }
        let (mut secondary, address) = setup.secondary("secondary", place(1))?;
        primary.protect(&address)?;
        // A record that is written once and does not reach the secondary stays missing there.
        let mut client = Connection::open(guest(), PATIENCE)?;
        let mut replies = Vec::new();
        primary.wait_status("protected", 2 * SOON, |status| {
            let key = format!("once-{}", replies.len());
            replies.push(client.call(&[b"SET", key.as_bytes(), b"value"]));
            status.state == State::Protected
        })?;
        let written = replies.len();
        for reply in replies {
            ensure!(reply? == ok(), "SET is refused");
        }
        println!(
            "{caught} of {KILLS} kills came while the copies differed, {written} records were written once"
        );
        load.await_answers(100, PATIENCE)?;
        stage::judge(load)?;

        ensure!(client.call(&[b"SHUTDOWN"])? == ok(), "SHUTDOWN is refused");
        for process in [&mut primary.process, &mut secondary.process] {
            let status = process.wait_end(SOON)?;
            ensure!(status.code() == Some(0), "{}: {status}: {}", process.name(), process.log());
        }
        ensure!(fs::read(&files[0])? == fs::read(&files[1])?, "the copies differ");
        ensure!(!ledger::read(&files[1])?.is_empty(), "there is nothing in the ledger");
        Ok(())
    });
}
