//! A terminal as the console.

use std::{
    env,
    io::stdin,
    process::{Command, Stdio, exit},
    thread,
};

use anyhow::{Context, ensure};
use ftvmm::{demo::wait, host::console::RawTerminal};
use ftvmm_tests::harness;
use rustix::{
    process::{Pid, Signal, kill_process},
    termios::tcgetattr,
};

use super::{Place, SOON, session::Session, wait_running};

/// Types a line, and Ctrl-C; both are the guest's, and are shown once.
fn use_it(session: &mut Session) -> anyhow::Result<()> {
    session.type_in(b"hello")?;
    session.wait_for("hello")?;
    // By now a terminal's own echo would have shown it, too.
    session.type_in(b"\x03!")?;
    session.wait_for("hello\x03!")?;
    ensure!(session.screen.matches("hello").count() == 1, "echoed twice: {:?}", session.screen);
    ensure!(session.child.try_wait()?.is_none(), "Ctrl-C was not the guest's");
    Ok(())
}

#[test]
fn a_terminal_is_the_guests_until_the_user_leaves_and_then_what_it_was() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let mut session = Session::start(place.command(&["--console", "stdio"])?)?;
    session.wait_for("echo: ready")?;
    assert!(session.is_raw()?);
    use_it(&mut session)?;
    session.stop_and_continue()?;
    wait::until("the terminal to be raw again", SOON, || Ok(session.is_raw()?.then_some(())))?;
    session.type_in(b"\x1d.")?;
    assert_eq!(session.wait_end()?, Some(0));
    assert!(session.is_as_before()?, "the terminal is left raw");
    Ok(())
}

/// A job in the background: its shell, or who is in the foreground, has the keys.
#[test]
fn a_terminal_that_is_anothers_stays_as_it_is() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let run = place.command(&["--console", "stdio"])?;
    let mut shell = Command::new("sh");
    shell.args(["-m", "-c", "setpriv --pdeathsig KILL \"$@\" & wait", "sh"]).arg(run.get_program());
    shell.args(run.get_args()).current_dir(place.0.path());
    let mut session = Session::start(shell)?;
    session.wait_for("echo: ready")?;
    assert!(session.is_as_before()?, "it is not the guest's, and was made so");
    Ok(())
}

#[test]
fn a_terminal_is_what_it_was_after_a_signal() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let mut session = Session::start(place.command(&["--console", "stdio"])?)?;
    session.wait_for("echo: ready")?;
    assert!(session.is_raw()?);
    kill_process(Pid::from_child(&session.child), Signal::TERM)?;
    assert_eq!(session.wait_end()?, Some(0));
    assert!(session.is_as_before()?, "the terminal is left raw");
    Ok(())
}

#[test]
fn the_console_command_gives_its_terminal_to_the_guest_and_leaves_the_machine_alone() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let control = place.path("control");
    let mut machine = place.start("machine", &["--control", "control", "--console", "unix=console"])?;
    wait_running(&mut machine, &control)?;
    let mut command = Command::new(harness::program()?);
    command.arg("console").arg(place.path("console")).stdin(Stdio::null());
    let mut session = Session::start(command)?;
    session.wait_for("connected")?;
    assert!(session.is_raw()?);
    use_it(&mut session)?;
    session.type_in(b"\x1d.")?;
    assert_eq!(session.wait_end()?, Some(0));
    assert!(session.is_as_before()?, "the terminal is left raw");
    wait_running(&mut machine, &control)?;
    Ok(())
}

/// As a process of its own, which a panic may end without unwinding the thread that has the terminal.
#[test]
fn a_terminal_is_what_it_was_once_it_is_let_go_of_and_once_something_panicked() -> anyhow::Result<()> {
    const INSIDE: &str = "FTVMM_TEST_INSIDE_TERMINAL";
    if env::var_os(INSIDE).is_some() {
        let modes = || tcgetattr(stdin()).map(|modes| modes.local_modes);
        let before = modes()?;
        drop(RawTerminal::enter()?.context("it is no terminal")?);
        ensure!(modes()? == before, "it is let go of and left raw");
        let _raw = RawTerminal::enter()?.context("it is no terminal")?;
        let panicked = thread::spawn(|| panic!("on purpose")).join().is_err();
        exit(if panicked { 0 } else { 1 });
    }
    let mut command = Command::new(env::current_exe()?);
    let name = "terminal::a_terminal_is_what_it_was_once_it_is_let_go_of_and_once_something_panicked";
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let mut session = Session::start(command)?;
    session.wait_for("on purpose")?;
    assert_eq!(session.wait_end()?, Some(0));
    assert!(session.is_as_before()?, "the terminal is left raw");
    Ok(())
}
