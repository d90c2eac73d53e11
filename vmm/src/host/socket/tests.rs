use std::{
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixStream,
    },
    thread,
};

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

fn refused(path: &Path) -> String {
    OwnSocket::listen(path).expect_err("it is not ours").to_string()
}

/// As a process that was killed leaves it: the socket and the lock file are there, and nobody has the lock.
fn die(own: OwnSocket) {
    own.lock.lock().unwrap().take();
}

#[test]
fn it_is_its_users_alone_and_gone_in_the_end() {
    let (directory, path) = place();
    let (listener, own) = OwnSocket::listen(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    drop(own);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "the socket or its lock file is left");
}

#[test]
fn what_is_no_socket_stays() {
    let (directory, path) = place();
    let content = |path: &Path| (path.symlink_metadata().unwrap().ino(), fs::read(path).ok());
    fs::write(&path, b"precious").unwrap();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    let dangling = directory.path().join("dangling");
    symlink(directory.path().join("nowhere"), &dangling).unwrap();
    for path in [&path, &link, &dangling, &directory.path().to_owned()] {
        let before = content(path);
        assert!(refused(path).contains("is there already"), "{}", path.display());
        assert_eq!(content(path), before);
        assert!(!lock_path(path).exists(), "{}", path.display());
    }
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(refused(&pipe).contains("a pipe"));
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn another_programs_socket_stays_alive_or_dead() {
    let (_directory, path) = place();
    let theirs = UnixListener::bind(&path).unwrap();
    assert!(refused(&path).contains("no ftvmm made"));
    drop(theirs);
    assert!(refused(&path).contains("no ftvmm made"), "a dead one is theirs too");
    assert!(path.exists());
}

#[test]
fn a_dead_one_of_ours_is_replaced() {
    let (_directory, path) = place();
    let (listener, own) = OwnSocket::listen(&path).unwrap();
    drop(listener);
    die(own);
    assert!(path.exists());
    let (_listener, _own) = OwnSocket::listen(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn one_that_took_a_dead_ones_place_stays() {
    let (_directory, path) = place();
    let (listener, own) = OwnSocket::listen(&path).unwrap();
    // Its inode is not given to another while somebody has it open.
    let kept = path.with_extension("kept");
    fs::rename(&path, &kept).unwrap();
    drop(listener);
    die(own);
    let _theirs = UnixListener::bind(&path).unwrap();
    assert!(refused(&path).contains("no ftvmm made"));
}

#[test]
fn one_whose_process_lives_stays_whether_it_answers_or_not() {
    let (_directory, path) = place();
    let (listener, own) = OwnSocket::listen(&path).unwrap();
    assert!(refused(&path).contains("another ftvmm process"));
    // Who is stopped, or has not come to listen, refuses as the dead do.
    drop(listener);
    UnixStream::connect(&path).unwrap_err();
    assert!(refused(&path).contains("another ftvmm process"));
    assert!(path.exists());
    drop(own);
}

#[test]
fn who_ends_does_not_remove_what_came_after_it() {
    let (_directory, path) = place();
    let (_first_listener, first) = OwnSocket::listen(&path).unwrap();
    // An operator who clears up by hand, and starts another VM at the same path.
    fs::remove_file(&path).unwrap();
    fs::remove_file(lock_path(&path)).unwrap();
    let (_second_listener, second) = OwnSocket::listen(&path).unwrap();
    drop(first);
    assert!(path.exists() && lock_path(&path).exists());
    UnixStream::connect(&path).unwrap();
    assert!(refused(&path).contains("another ftvmm process"));
    drop(second);
    assert!(!path.exists());
}

#[test]
fn somebody_elses_lock_file_stays() {
    let (_directory, path) = place();
    fs::write(lock_path(&path), b"4711\n").unwrap();
    assert!(refused(&path).contains("no lock file of ours"));
    assert_eq!(fs::read(lock_path(&path)).unwrap(), b"4711\n");
}

#[test]
fn of_many_that_start_at_once_one_has_it() {
    let (_directory, path) = place();
    let (listener, own) = OwnSocket::listen(&path).unwrap();
    drop(listener);
    die(own);
    let starts: Vec<_> =
        (0..8).map(|_| path.clone()).map(|path| thread::spawn(move || OwnSocket::listen(&path))).collect();
    let made: Vec<_> = starts.into_iter().filter_map(|start| start.join().unwrap().ok()).collect();
    assert_eq!(made.len(), 1);
    UnixStream::connect(&path).unwrap();
}

/// Who comes may open the lock file that who goes is about to remove.
#[test]
fn of_many_that_come_and_go_each_has_a_lock_that_others_find() {
    let (_directory, path) = place();
    let come_and_go = || {
        for _ in 0..1000 {
            // Until no other has it.
            let (_listener, own) =
                std::iter::repeat_with(|| OwnSocket::listen(&path)).find_map(Result::ok).unwrap();
            assert!(lock_path(own.path()).exists());
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(come_and_go))));
}

#[test]
fn a_path_that_no_socket_can_have_is_said_to_be_too_long() {
    let (directory, _) = place();
    let path = directory.path().join("x".repeat(120));
    assert!(refused(&path).contains("too long"));
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}
