//! Disks that do not belong together, and guests that do not find theirs.

use std::fs;

use ftlog::DiskMode;
use ftvmm::{
    control::State,
    demo::{client::Connection, pair::Place},
};
use ftvmm_tests::{
    disks::{self, DISK_BYTES},
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{SOON, TIMEOUT_MS};

/// A secondary with the disks `theirs` is refused by a primary with the disks of the stage, for a reason that names all
/// of `words`; the VM runs on.
fn expect_refusal(stage: &Stage, theirs: &[String], words: &[&str]) -> anyhow::Result<()> {
    let place = Place { disks: theirs, ..Place::here("tap-a") };
    let (mut secondary, address) = stage.setup.secondary(&stage.name("other"), place)?;
    let mut primary = stage.primary(&[&secondary], &address)?;
    let told = |loss: &Option<String>| {
        loss.as_ref().is_some_and(|loss| words.iter().all(|word| loss.contains(word)))
    };
    let status = primary.wait_status("turned away", SOON, |status| told(&status.last_loss))?;
    assert_ne!(status.state, State::Protected);
    println!("{}", status.last_loss.unwrap_or_default());
    let status = secondary.wait_status("aware of it", SOON, |status| told(&status.last_loss))?;
    assert_eq!(status.state, State::Listening);
    Connection::open(guest(), PATIENCE)?;
    Ok(())
}

#[test]
fn a_secondary_with_another_disk_is_told_why() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let file = |name: &str, bytes| {
            let path = stage.directory().join(name);
            disks::create_empty(&path, bytes).map(|()| path)
        };
        let right = file("right", DISK_BYTES)?;
        let replicated = disks::option(&right, DiskMode::Replicated);
        let small = disks::option(&file("small", DISK_BYTES - 512)?, DiskMode::Replicated);
        let large = disks::option(&file("large", DISK_BYTES + 512)?, DiskMode::Replicated);
        let second = disks::option(&file("second", DISK_BYTES)?, DiskMode::Replicated);
        let (shared, read_only) = (disks::option(&right, DiskMode::Shared), format!("{replicated},readonly"));
        expect_refusal(stage, &[small], &["disk 0", "2051 sectors", "2050 sectors"])?;
        expect_refusal(stage, &[large], &["disk 0", "2051 sectors", "2052 sectors"])?;
        expect_refusal(stage, &[shared], &["disk 0", "shared", "replicated"])?;
        expect_refusal(stage, &[read_only], &["disk 0", "readonly"])?;
        expect_refusal(stage, &[], &["1 disk", "given 0"])?;
        expect_refusal(stage, &[replicated, second], &["1 disk", "given 2"])
    });
}

#[test]
fn a_guest_without_its_disk_says_so_and_switches_off() {
    stage::play(TIMEOUT_MS, |stage| {
        let console = stage.directory().join("diskless.console");
        let target = format!("file={}", console.display());
        let arguments = ["run", "--kernel", "builtin:ledger", "--net", "tap=tap-a", "--console", &target];
        let output = stage.ftvmm(&arguments)?;
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let said = fs::read_to_string(console)?;
        assert!(said.contains("ledger: no virtio-blk device in slot 2"), "{said}");
        Ok(())
    });
}

#[test]
fn a_disk_that_cannot_be_used_is_an_error_that_names_it() {
    stage::play(TIMEOUT_MS, |stage| {
        let path = |name: &str| stage.directory().join(name);
        disks::create_empty(&path("odd"), 1000)?;
        disks::create_empty(&path("empty"), 0)?;
        fs::create_dir(path("directory"))?;
        for name in ["missing", "odd", "empty", "directory"] {
            let disk = format!("path={}", path(name).display());
            let output = stage.ftvmm(&["run", "--kernel", "builtin:ledger", "--disk", &disk])?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{name}: {said}");
            assert!(said.contains(&path(name).display().to_string()), "{name}: {said}");
        }
        Ok(())
    });
}

#[test]
fn a_disk_belongs_to_one_vm_at_a_time() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Pair { primary, secondary, .. } = stage.pair()?;
        for member in [primary, secondary] {
            let path = stage.disks().file(&member.tap);
            let disk = format!("path={}", path.display());
            let output = stage.ftvmm(&["run", "--kernel", "builtin:ledger", "--disk", &disk])?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.contains(&path.display().to_string()) && said.contains("used by"), "{said}");
        }
        Ok(())
    });
}
