//! Breaking what a running process writes to or takes from its host.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ftvmm::demo::process::Process;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Resource, Rlimit, prlimit},
};

use crate::stage::Stage;

/// An unprivileged user that nobody else is, for limits that do not bind root.
pub const NOBODY_ELSE: u32 = 424_242;
/// Descriptors that a claim has open at one time, at most.
const CLAIM: usize = 4;
/// Of those put aside, as many as a claim never needs, whoever else is quicker.
const ENOUGH: usize = 16;
/// Root's right to other people's files, which KVM's device is one of.
pub const FILES: &str = "+dac_override";
/// That, and the right to TAP devices: all that ftvmm needs of root's.
pub const FILES_AND_TAPS: &str = "+dac_override,+net_admin";

/// A program that runs ftvmm as `script` says, in which `"$@"` is ftvmm with its arguments.
///
/// # Errors
/// When it cannot be written.
pub fn wrapper(stage: &Stage, script: &str) -> anyhow::Result<PathBuf> {
    let path = stage.directory().join(stage.name("wrapper"));
    let text = format!("#!/bin/sh\nset -- '{}' \"$@\"\n{script}\n", stage.setup.program.display());
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// The script that runs ftvmm as [`NOBODY_ELSE`], whom RLIMIT_NPROC binds, with these of root's rights.
#[must_use]
pub fn as_nobody_else(rights: &str) -> String {
    format!(
        "exec setpriv --reuid {NOBODY_ELSE} --inh-caps {rights} --ambient-caps {rights} --pdeathsig KILL \"$@\""
    )
}

/// Limits what a running process may have from now on; gives the limit that was.
///
/// # Errors
/// When the process is gone.
pub fn limit(process: &Process, resource: Resource, to: Rlimit) -> anyhow::Result<Rlimit> {
    let id = Pid::from_raw(process.id() as i32);
    prlimit(id, resource, to).with_context(|| format!("cannot limit {}", process.name()))
}

/// Limits how many threads may run as the user of [`as_nobody_else`]. That user does it itself: in a container root may
/// not.
///
/// # Errors
/// When the process is gone, or util-linux is not there.
pub fn limit_threads(process: &Process, most: u32) -> anyhow::Result<()> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &NOBODY_ELSE.to_string(), "prlimit", "--pid", &process.id().to_string()]);
    let status =
        command.arg(format!("--nproc={most}:")).status().context("setpriv is needed (util-linux)")?;
    ensure!(status.success(), "cannot limit the threads of {}: {status}", process.name());
    Ok(())
}

/// The numbers of a process's descriptors.
struct Numbers {
    /// Of those that it has put aside.
    aside: BTreeSet<u64>,
    /// Of all others.
    used: BTreeSet<u64>,
}

impl Numbers {
    fn of(process: &Process) -> anyhow::Result<Self> {
        let mut numbers = Self { aside: BTreeSet::new(), used: BTreeSet::new() };
        for entry in fs::read_dir(format!("/proc/{}/fd", process.id()))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse()?;
            let leads_to = fs::read_link(entry.path());
            let is_aside = number > 2 && leads_to.is_ok_and(|to| to == Path::new("/dev/null"));
            let which = if is_aside { &mut numbers.aside } else { &mut numbers.used };
            which.insert(number);
        }
        Ok(numbers)
    }
}

/// A limit under which a process gets no descriptor but those that it has put aside, and these only when it gives them
/// free. They have the lowest numbers: of what it gives back otherwise only a connection can be among them.
///
/// # Errors
/// When the process is gone, or has put too few aside.
pub fn none_but_those_put_aside(process: &Process) -> anyhow::Result<u64> {
    let aside = Numbers::of(process)?.aside;
    aside.iter().nth(ENOUGH).copied().context("too few descriptors are put aside")
}

/// A limit under which a process has descriptors for a claim, those that it has put aside among them, and for nothing
/// that it would have to keep.
///
/// # Errors
/// When the process is gone.
pub fn descriptors_for_a_claim(process: &Process) -> anyhow::Result<u64> {
    let used = Numbers::of(process)?.used;
    (0..).filter(|number| !used.contains(number)).nth(CLAIM).context("numbers have no end")
}

/// A named pipe that somebody else writes to.
pub struct Pipe {
    path: PathBuf,
    end: File,
}

impl Pipe {
    /// A new pipe with a reader, which is this.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(path: &Path) -> io::Result<Self> {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        let end = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Self { path: path.to_owned(), end })
    }

    /// Writes to the pipe until not a byte more goes in.
    ///
    /// # Errors
    /// The kernel's.
    pub fn fill(&mut self) -> io::Result<()> {
        self.drain()?;
        let mut writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        for piece in [4096, 1] {
            loop {
                match writer.write(&[b'.'; 4096][..piece]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes out what is in it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drain(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        match self.end.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}
