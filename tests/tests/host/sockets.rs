//! Paths of sockets at which something is already.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
};

use ftvmm_tests::harness;
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    process::Signal,
};

use super::{Place, SOON, wait_running};

const QUIET: [&str; 2] = ["--console", "file=said"];

fn make_node(path: &Path, kind: FileType, device: u64) -> anyhow::Result<()> {
    Ok(mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, device)?)
}

#[test]
fn what_stands_at_the_path_of_a_socket_is_not_removed() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    fs::write(place.path("disk.img"), b"precious")?;
    fs::create_dir(place.path("directory"))?;
    symlink(place.path("disk.img"), place.path("link"))?;
    make_node(&place.path("pipe"), FileType::Fifo, 0)?;
    // Not /dev/null itself: the test is about programs that would remove it.
    make_node(&place.path("null"), FileType::CharacterDevice, makedev(1, 3))?;
    let _theirs = UnixListener::bind(place.path("theirs"))?;
    for (name, what) in [
        ("disk.img", "a file"),
        ("directory", "a directory"),
        ("link", "a symbolic link"),
        ("pipe", "a pipe"),
        ("null", "a device"),
        ("theirs", "a socket that no ftvmm made"),
    ] {
        let said = place.refused(&[&QUIET[..], &["--control", name]].concat())?;
        assert!(said.contains(what), "{said}");
        let console = format!("unix={name}");
        let said = place.refused(&["--console", &console])?;
        assert!(said.contains(what), "{said}");
    }
    assert_eq!(fs::read(place.path("disk.img"))?, b"precious");
    assert_eq!(fs::read_link(place.path("link"))?, place.path("disk.img"));
    assert!(fs::metadata(place.path("pipe"))?.file_type().is_fifo());
    assert!(fs::metadata(place.path("null"))?.file_type().is_char_device());
    Ok(())
}

#[test]
fn sockets_of_a_machine_that_lives_are_its_own_and_those_of_a_dead_one_are_replaced() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let (control, console) = (place.path("control"), place.path("console"));
    let options = ["--control", "control", "--console", "unix=console"];
    let mut first = place.start("first", &options)?;
    wait_running(&mut first, &control)?;
    for socket in [&control, &console] {
        assert_eq!(fs::metadata(socket)?.permissions().mode() & 0o777, 0o600);
    }
    // Stopped, it answers nobody.
    first.stop()?;
    assert!(
        place.refused(&[&QUIET[..], &["--control", "control"]].concat())?.contains("another ftvmm process")
    );
    assert!(place.refused(&["--console", "unix=console"])?.contains("another ftvmm process"));
    first.go_on()?;
    wait_running(&mut first, &control)?;

    first.kill()?;
    assert!(control.exists() && console.exists());
    let mut second = place.start("second", &options)?;
    wait_running(&mut second, &control)?;
    second.signal(Signal::TERM)?;
    assert_eq!(second.wait_end(SOON)?.code(), Some(0), "{}", second.log());
    assert!(!control.exists() && !console.exists(), "a socket is left behind");
    Ok(())
}

#[test]
fn a_machine_that_ends_leaves_the_socket_of_the_one_that_took_its_place() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let control = place.path("control");
    let options = [&QUIET[..], &["--control", "control"]].concat();
    let mut first = place.start("first", &options)?;
    wait_running(&mut first, &control)?;
    // What an operator does who believes it dead.
    fs::remove_file(&control)?;
    fs::remove_file(place.path("control.lock"))?;
    let mut second = place.start("second", &options)?;
    wait_running(&mut second, &control)?;
    first.signal(Signal::TERM)?;
    assert_eq!(first.wait_end(SOON)?.code(), Some(0), "{}", first.log());
    wait_running(&mut second, &control)?;
    Ok(())
}
