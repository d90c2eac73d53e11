//! Consoles that fail and come back.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::ensure;
use ftvmm::demo::{process::Process, wait};
use ftvmm_tests::harness;
use rustix::fs::{OFlags, fcntl_setfl};

use super::{Place, SOON, wait_running, wait_status};

/// The guest's first words.
const GREETING: &str = "echo: ready";
/// Of a paste that is several times what waits for the guest.
const LINES: u32 = 600;

#[test]
fn a_console_on_a_disk_that_was_full_is_written_when_there_is_room_again() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let control = place.path("control");
    fs::create_dir(place.path("disk"))?;
    // A disk of the process's own, which the test reaches through the process.
    let script = "mount -t tmpfs -o size=64k none disk && head -c 64k /dev/zero >disk/filler && exec \"$@\"";
    let run = place.command(&["--control", "control", "--console", "file=disk/console"])?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.current_dir(place.0.path());
    let mut machine = Process::start(command, "machine", place.0.path(), None)?;
    let ill = |text: &str| text.contains("No space left");
    wait_status(&mut machine, &control, "the disk to be full", |status| {
        status.troubles.iter().any(|trouble| trouble.what == "console" && ill(&trouble.text))
    })?;

    let disk = format!("/proc/{}/cwd/disk", machine.id());
    fs::remove_file(Path::new(&disk).join("filler"))?;
    wait_status(&mut machine, &control, "well again", |status| status.troubles.is_empty())?;
    let console = Path::new(&disk).join("console");
    let said = fs::read_to_string(&console)?;
    ensure!(said.contains(GREETING), "the first words are lost: {said:?}");
    assert_eq!(fs::metadata(&console)?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn the_console_command_types_all_of_a_long_paste_and_shows_what_is_said() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let control = place.path("control");
    let mut machine = place.start("machine", &["--control", "control", "--console", "unix=console"])?;
    wait_running(&mut machine, &control)?;
    // One that never reads.
    let mut silent = UnixStream::connect(place.path("console"))?;
    silent.write_all(b"\n")?;

    let mut command = Command::new(harness::program()?);
    command.args(["console", "--control"]).arg(&control).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn()?;
    let (mut typing, mut shown) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    // What would leave is not looked for where nobody types.
    let line = |number: u32| format!("line {number}\x1d. of the paste\n");
    let lines: String = (0..LINES).map(line).collect();
    let (paste, last) = (lines.clone(), line(LINES - 1));
    let pasting = std::thread::spawn(move || typing.write_all(paste.as_bytes()));
    let mut said = String::new();
    fcntl_setfl(&shown, OFlags::NONBLOCK)?;
    let result = wait::until("the paste to come back", SOON, || {
        let mut piece = [0; 65536];
        match shown.read(&mut piece) {
            Ok(length) => said.push_str(&String::from_utf8_lossy(&piece[..length]).replace('\r', "")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(said.ends_with(&last).then_some(()))
    });
    let ended = machine.kill();
    let status = client.wait()?;
    result?;
    ended?;
    pasting.join().unwrap()?;
    ensure!(said.ends_with(&lines), "some of the paste is lost");
    ensure!(status.success(), "the end of the machine is no error of its console's: {status}");
    Ok(())
}
