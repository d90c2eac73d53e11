//! A terminal, and a process whose terminal it is.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
};

use anyhow::{Context, ensure};
use ftvmm::demo::wait;
use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};

use super::SOON;

/// What of the keys a terminal keeps for itself, or changes, as shells have it.
const LOCAL: LocalModes =
    LocalModes::ECHO.union(LocalModes::ICANON).union(LocalModes::ISIG).union(LocalModes::IEXTEN);
const INPUT: InputModes = InputModes::ICRNL.union(InputModes::IXON);

/// A terminal, and a process whose terminal it is.
pub struct Session {
    keyboard_and_screen: File,
    /// How the terminal was in the beginning.
    before: Termios,
    pub child: Child,
    pub screen: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
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
    pub fn is_raw(&self) -> anyhow::Result<bool> {
        let now = tcgetattr(&self.keyboard_and_screen)?;
        Ok(!now.local_modes.intersects(LOCAL) && !now.input_modes.intersects(INPUT))
    }

    pub fn is_as_before(&self) -> anyhow::Result<bool> {
        let now = tcgetattr(&self.keyboard_and_screen)?;
        let modes = |of: &Termios| (of.input_modes, of.output_modes, of.control_modes, of.local_modes);
        Ok(modes(&now) == modes(&self.before))
    }

    /// What a shell does with a job that it stops and continues, as the keys are its own in between.
    pub fn stop_and_continue(&self) -> anyhow::Result<()> {
        tcsetattr(&self.keyboard_and_screen, OptionalActions::Now, &self.before)?;
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    pub fn type_in(&mut self, keys: &[u8]) -> anyhow::Result<()> {
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

    pub fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let waited = wait::until(&format!("{text:?} on the screen"), SOON, || {
            self.look()?;
            Ok(self.screen.contains(text).then_some(()))
        });
        waited.with_context(|| format!("the screen: {:?}", self.screen))
    }

    pub fn wait_end(&mut self) -> anyhow::Result<Option<i32>> {
        let waited = wait::until("the end", SOON, || {
            self.look()?;
            Ok(self.child.try_wait()?)
        });
        Ok(waited.with_context(|| format!("the screen: {:?}", self.screen))?.code())
    }
}
