//! A terminal as the console.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio, exit},
    thread,
};

use anyhow::{Context, ensure};
use ftvmm::{demo::wait, host::console::RawTerminal};
use ftvmm_tests::harness;
use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};

use super::{Place, SOON, wait_running};

/// What of the keys a terminal keeps for itself, or changes, as shells have it.
const LOCAL: LocalModes =
    LocalModes::ECHO.union(LocalModes::ICANON).union(LocalModes::ISIG).union(LocalModes::IEXTEN);
const INPUT: InputModes = InputModes::ICRNL.union(InputModes::IXON);

/// A terminal, and a process whose terminal it is.
struct Session {
    keyboard_and_screen: File,
    /// How the terminal was in the beginning.
    before: Termios,
    child: Child,
    screen: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = OpenOptions::new().read(true).write(true).open(name.to_str()?)?;
        let theirs = OwnedFd::from(theirs);
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        // SAFETY: it is open from here on.
        #[allow(unsafe_code)]
        let stdin = unsafe { BorrowedFd::borrow_raw(0) };
        let lead = move || {
            setsid()?;
            ioctl_tiocsctty(stdin)?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes two system calls, and allocates nothing.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(lead);
        }
        let before = tcgetattr(&ours)?;
        ensure!(before.local_modes.contains(LOCAL) && before.input_modes.contains(INPUT), "{before:?}");
        let child = command.spawn()?;
        fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK)?;
        Ok(Self { keyboard_and_screen: ours.into(), before, child, screen: String::new() })
    }

    /// Every key is the guest's, as it is.
    fn is_raw(&self) -> anyhow::Result<bool> {
        let now = tcgetattr(&self.keyboard_and_screen)?;
        Ok(!now.local_modes.intersects(LOCAL) && !now.input_modes.intersects(INPUT))
    }

    fn is_as_before(&self) -> anyhow::Result<bool> {
        let now = tcgetattr(&self.keyboard_and_screen)?;
        let modes = |of: &Termios| (of.input_modes, of.output_modes, of.control_modes, of.local_modes);
        Ok(modes(&now) == modes(&self.before))
    }

    fn type_in(&mut self, keys: &[u8]) -> anyhow::Result<()> {
        Ok(self.keyboard_and_screen.write_all(keys)?)
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let mut piece = [0; 4096];
        match self.keyboard_and_screen.read(&mut piece) {
            Ok(length) => self.screen.push_str(&String::from_utf8_lossy(&piece[..length])),
            // EIO: nobody has the other end open.
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(5) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let waited = wait::until(&format!("{text:?} on the screen"), SOON, || {
            self.look()?;
            Ok(self.screen.contains(text).then_some(()))
        });
        waited.with_context(|| format!("the screen: {:?}", self.screen))
    }

    fn wait_end(&mut self) -> anyhow::Result<Option<i32>> {
        let waited = wait::until("the end", SOON, || {
            self.look()?;
            Ok(self.child.try_wait()?)
        });
        Ok(waited.with_context(|| format!("the screen: {:?}", self.screen))?.code())
    }
}

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
    // As a shell does it with a job that it stops and continues.
    tcsetattr(&session.keyboard_and_screen, OptionalActions::Now, &session.before)?;
    kill_process(Pid::from_child(&session.child), Signal::CONT)?;
    wait::until("the terminal to be raw again", SOON, || Ok(session.is_raw()?.then_some(())))?;
    session.type_in(b"\x1d.")?;
    assert_eq!(session.wait_end()?, Some(0));
    assert!(session.is_as_before()?, "the terminal is left raw");
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
fn a_terminal_is_what_it_was_once_something_panicked() -> anyhow::Result<()> {
    const INSIDE: &str = "FTVMM_TEST_INSIDE_TERMINAL";
    if env::var_os(INSIDE).is_some() {
        let _raw = RawTerminal::enter()?.context("it is no terminal")?;
        let panicked = thread::spawn(|| panic!("on purpose")).join().is_err();
        exit(if panicked { 0 } else { 1 });
    }
    let mut command = Command::new(env::current_exe()?);
    let name = "terminal::a_terminal_is_what_it_was_once_something_panicked";
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let mut session = Session::start(command)?;
    session.wait_for("on purpose")?;
    assert_eq!(session.wait_end()?, Some(0));
    assert!(session.is_as_before()?, "the terminal is left raw");
    Ok(())
}
