use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

const VM: VmId = VmId([7; 16]);
const DISK: DiskId = DiskId([9; 16]);

fn stamp(state: StampState, generation: u64) -> Stamp {
    let mark = Mark { vm: VM, name: "db".into(), generation: Generation(generation), state };
    Stamp::new(&mark, DISK, 0, 4096, DiskMode::Replicated)
}

fn half(before: Option<Stamp>, undo: Option<&str>) -> Stamp {
    let before = Before { stamp: before.map(Box::new), undo: undo.map(str::to_owned) };
    Stamp { before: Some(before), ..stamp(StampState::Half, 5) }
}

fn image(directory: &Path) -> (PathBuf, Place) {
    let path = directory.join("a.img");
    fs::write(&path, [0; 4096]).unwrap();
    let place = Place::of(&fs::File::open(&path).unwrap()).unwrap();
    (path, place)
}

#[test]
fn a_stamp_comes_back_and_only_its_owner_may_read_it() {
    let directory = TempDir::new().unwrap();
    let (_, place) = image(directory.path());
    assert_eq!(place.read().unwrap(), None);
    for stamp in [
        stamp(StampState::Live, 3),
        Stamp { alone: true, ..stamp(StampState::Ended, u64::MAX) },
        half(Some(stamp(StampState::Follower, 2)), Some("0f")),
        half(None, None),
    ] {
        place.write(&stamp).unwrap();
        assert_eq!(place.read().unwrap(), Some(stamp));
    }
    let mode = fs::metadata(place.stamp_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.remove().unwrap();
    place.remove().unwrap();
    assert_eq!(place.read().unwrap(), None);
}

/// Whatever a file holds, and however long it is, it is an error that names it.
#[test]
fn what_is_no_stamp_is_an_error_that_names_it() {
    let directory = TempDir::new().unwrap();
    let (_, place) = image(directory.path());
    let valid = String::from_utf8(stamp(StampState::Live, 3).to_text().unwrap()).unwrap();
    let half = String::from_utf8(half(None, None).to_text().unwrap()).unwrap();
    for wrong in [
        String::new(),
        valid[..valid.len() / 2].to_owned(),
        valid.replace("\"version\": 1", "\"version\": 2"),
        valid.replace("\"live\"", "\"half\""),
        half.replace("\"half\"", "\"live\""),
        valid.replace("0707", "07"),
        format!("{valid}{}", " ".repeat(1 << 20)),
        "\u{0}".repeat(100),
    ] {
        fs::write(place.stamp_path(), &wrong).unwrap();
        let error = place.read().unwrap_err().to_string();
        assert!(error.contains("a.img.ftvmm"), "{error}");
    }
}

#[test]
fn a_stamp_is_beside_the_file_whatever_link_led_to_it_and_not_beside_another() {
    let directory = TempDir::new().unwrap();
    let (path, place) = image(directory.path());
    place.write(&stamp(StampState::Live, 3)).unwrap();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    let file = fs::File::open(&link).unwrap();
    assert!(Place::of(&file).unwrap().read().unwrap().is_some());
    fs::rename(&path, directory.path().join("away")).unwrap();
    fs::write(&path, [0; 4096]).unwrap();
    assert_eq!(Place::of(&file).unwrap().read().unwrap(), None, "under its new name it has none");
    fs::remove_file(directory.path().join("away")).unwrap();
    assert!(Place::of(&file).is_err());
}

#[test]
fn what_may_be_started_without_protection() {
    let path = Path::new("a.img");
    let (ended, live) = (stamp(StampState::Ended, 5), stamp(StampState::Live, 5));
    let (undoable, gone) = (half(Some(live.clone()), Some("0f")), half(None, None));
    for (stamp, expected) in [
        (None, Ok(None)),
        (Some(&ended), Ok(Some("run alone"))),
        (Some(&live), Ok(Some("generation 5"))),
        (Some(&undoable), Err("disk restore a.img")),
        (Some(&gone), Err("is gone")),
    ] {
        match (may_boot(path, stamp), expected) {
            (Ok(None), Ok(None)) => {}
            (Ok(Some(text)), Ok(Some(word))) | (Err(text), Err(word)) => {
                assert!(text.contains(word), "{text}")
            }
            (found, _) => panic!("{stamp:?}: {found:?}"),
        }
    }
}

/// After a start from an older copy, which the operator has forced, the other copy is as new as it was.
#[test]
fn what_a_line_lacks_is_not_overwritten() {
    let live = |generation| Generation(generation);
    let follower = stamp(StampState::Follower, 4);
    for (before, generation, started, lacks) in [
        (stamp(StampState::Live, 4), live(5), true, None),
        (stamp(StampState::Ended, 4), live(5), true, None),
        (stamp(StampState::Live, 4), live(7), true, Some((5, 6))),
        (follower.clone(), live(5), false, None),
        (follower, live(5), true, Some((4, 4))),
        (half(None, None), live(6), true, Some((0, 5))),
        (Stamp { lacks: Some((2, 3)), ..stamp(StampState::Live, 4) }, live(5), true, Some((2, 3))),
        (Stamp { lacks: Some((2, 3)), ..stamp(StampState::Live, 4) }, live(6), true, Some((2, 5))),
    ] {
        assert_eq!(before.lacks_from(generation, started), lacks, "{before}");
    }
    let theirs = Stamp { lacks: Some((2, 3)), ..stamp(StampState::Live, 4) };
    let theirs = Theirs { vm: VM, name: "db", generation: Generation(4), line: theirs.line() };
    for (generation, refused) in [(1, false), (2, true), (3, true), (4, false)] {
        let ours = stamp(StampState::Ended, generation);
        let told = may_be_overwritten(Path::new("b.img"), Some(&ours), &theirs, false);
        assert_eq!(told.is_err(), refused, "{generation}: {told:?}");
    }
}

#[test]
fn what_may_be_overwritten() {
    let path = Path::new("b.img");
    let theirs = Theirs {
        vm: VM,
        name: "db",
        generation: Generation(5),
        line: DiskLine { id: Some(DISK), lacks: None },
    };
    let other_vm = Stamp { vm: VmId([8; 16]), name: "mail".into(), ..stamp(StampState::Ended, 1) };
    let other_disk = Stamp { disk: DiskId([1; 16]), index: 3, ..stamp(StampState::Ended, 5) };
    let newer = half(Some(stamp(StampState::Live, 6)), None);
    let newer_half = Stamp { generation: Generation(6), ..newer };
    for (stamp, lost) in [
        (None, None),
        (Some(stamp(StampState::Follower, 5)), None),
        (Some(stamp(StampState::Live, 4)), None),
        (Some(stamp(StampState::Ended, 5)), None),
        (Some(half(None, None)), None),
        (Some(stamp(StampState::Live, 6)), Some("newer")),
        (Some(stamp(StampState::Follower, 6)), Some("newer")),
        (Some(newer_half), Some("newer")),
        (Some(other_vm), Some("mail")),
        (Some(other_disk), Some("number 3")),
        (Some(Stamp { alone: true, ..stamp(StampState::Live, 4) }), Some("run from it alone")),
    ] {
        let (refused, forced) = (
            may_be_overwritten(path, stamp.as_ref(), &theirs, false),
            may_be_overwritten(path, stamp.as_ref(), &theirs, true),
        );
        match lost {
            None => assert_eq!((refused, forced), (Ok(None), Ok(None)), "{stamp:?}"),
            Some(word) => {
                let (refused, forced) = (refused.unwrap_err(), forced.unwrap().unwrap());
                assert!(refused.contains(word) && refused.contains("--force"), "{refused}");
                assert!(forced.contains(word) && forced.contains("b.img"), "{forced}");
            }
        }
    }
}
