//! Disks that fail on one side of a pair and not on the other.

use std::path::PathBuf;

use ftlog::DiskMode;
use ftvmm::{
    control::State,
    demo::{
        client::{Connection, Reply},
        pair::Place,
        wait,
    },
};
use ftvmm_tests::{
    disks::{self, DISK_BYTES, SmallFileSystem},
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{SOON, TIMEOUT_MS, ok, wait_alone};

/// Where the sides keep their copies.
struct Files {
    primary: PathBuf,
    secondary: PathBuf,
}

/// A protected ledger on replicated disks with these files, which are made first.
fn pair_on(stage: &Stage, files: &Files) -> anyhow::Result<Pair> {
    let option =
        |file| disks::create_empty(file, DISK_BYTES).map(|()| disks::option(file, DiskMode::Replicated));
    let (primarys, secondarys) = ([option(&files.primary)?], [option(&files.secondary)?]);
    let mut setup = stage.setup.clone();
    "builtin:ledger".clone_into(&mut setup.kernel);
    let place = Place { disks: &secondarys, ..Place::here("tap-a") };
    let (secondary, address) = setup.secondary("secondary", place)?;
    let place = Place { disks: &primarys, ..Place::here("tap-b") };
    let mut primary = setup.primary("primary", place, &address)?;
    primary.wait_protected()?;
    Ok(Pair { primary, secondary, address })
}

fn set(client: &mut Connection, key: &str) -> anyhow::Result<Reply> {
    Ok(client.call(&[b"SET", key.as_bytes(), b"value"])?)
}

#[test]
fn a_secondary_whose_copy_fails_gives_the_vm_up_and_says_why() {
    stage::play(TIMEOUT_MS, |stage| {
        let small = SmallFileSystem::enter(&stage.directory().join("small"), 256)?;
        let files = Files {
            primary: stage.directory().join("large.disk"),
            secondary: stage.directory().join("small/disk"),
        };
        let Pair { mut primary, mut secondary, .. } = pair_on(stage, &files)?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(set(&mut client, "before")?, ok());
        small.fill()?;
        // The first page of the small file has its place; the others find none.
        for key in 0..16 {
            assert_eq!(set(&mut client, &format!("key{key}"))?, ok());
        }
        // It is seeded again, and fails again when its copy is made equal: the reason of that may be the last one.
        wait::until("the secondary to give up", SOON, || {
            secondary.process.expect_alive()?;
            Ok(secondary.process.log().contains("this side's copy has answered").then_some(()))
        })?;
        let told =
            |loss: &Option<String>| loss.as_ref().is_some_and(|loss| loss.contains("this side's copy"));
        let status = secondary.wait_status("aware of it", SOON, |status| told(&status.last_loss))?;
        assert_ne!(status.state, State::Following);
        primary.wait_status("told why", SOON, |status| {
            let told =
                |text: &str| text.contains("the secondary gives up") && text.contains("this side's copy");
            status.events.iter().any(|event| told(&event.text))
        })?;
        assert_eq!(set(&mut client, "after")?, ok());
        Ok(())
    });
}

#[test]
fn an_error_of_the_primarys_disk_is_the_guests_on_both_sides() {
    stage::play(TIMEOUT_MS, |stage| {
        let small = SmallFileSystem::enter(&stage.directory().join("small"), 256)?;
        let files = Files {
            primary: stage.directory().join("small/disk"),
            secondary: stage.directory().join("large.disk"),
        };
        let Pair { mut primary, mut secondary, .. } = pair_on(stage, &files)?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        for key in 0..8 {
            assert_eq!(set(&mut client, &format!("key{key}"))?, ok());
        }
        small.fill()?;
        let failed = Reply::Error("ERR io record 8 could not be written".into());
        assert_eq!(set(&mut client, "key8")?, failed);
        assert_eq!(set(&mut client, "key0")?, ok(), "others go on");
        assert_eq!(primary.wait_protected()?.state, State::Protected);
        primary.process.kill()?;
        assert_eq!(client.call(&[b"GET", b"key8"])?, failed, "what the guest was told stays so");
        secondary.wait_takeover()?;
        wait_alone(&mut secondary)?;
        assert_eq!(set(&mut client, "key8")?, ok(), "this side's disk can");
        assert_eq!(client.call(&[b"GET", b"key8"])?, Reply::Value(Some(b"value".to_vec())));
        Ok(())
    });
}
