//! A Linux guest in one of the modes, used by its console as by a person.

pub mod console;
mod starting;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ftvmm::{
    control::{State, Status},
    demo::wait,
};

pub use self::starting::MEMORY_MIB;
use self::{
    console::{find_line, last_lines, value},
    starting::{PATIENCE, Programs},
};
use super::{
    Mode,
    place::{Place, Started},
};

/// The longest wait for a workload.
const WORK_PATIENCE: Duration = Duration::from_secs(3600);
/// Where the guest's root image has them.
const WORKLOADS: &str = "/usr/lib/ftvmm/workloads";
/// The guest's file system writes until some seconds after the last change.
const SETTLE: &str = "sync; sleep 8; sync";
/// A console that is not read yet may lose a line: it is typed again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// What a compile said of itself.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Its length by the guest's clock, s.
    pub seconds: f64,
    /// Files compiled.
    pub files: u32,
    /// The digest of the objects.
    pub objects: String,
    /// Its length by this machine's clock, s: until the digest is there as well.
    pub host_s: f64,
}

/// A running guest.
pub struct Guest<'a> {
    live: Box<dyn Started + 'a>,
    shadow: Option<Box<dyn Started + 'a>>,
    /// A machine of its own on the other side.
    neighbour: Option<Box<Self>>,
    /// How much of the console was looked at.
    seen: usize,
}

impl<'a> Guest<'a> {
    /// Switches it on; with a network card at this TAP device, if any.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(place: &'a dyn Place, mode: Mode, tap: Option<&str>) -> anyhow::Result<Self> {
        let Programs { live, shadow, beside } = starting::start(place, mode, tap)?;
        let neighbour = beside.map(|live| Box::new(Self { live, shadow: None, neighbour: None, seen: 0 }));
        Ok(Self { live, shadow, neighbour, seen: 0 })
    }

    /// Waits until its shell takes commands; gives when init had come up, and how long that took by the guest's clock.
    pub fn await_shell(&mut self) -> anyhow::Result<(Instant, f64)> {
        if let Some(neighbour) = &mut self.neighbour {
            neighbour.await_shell()?;
        }
        let (line, when) = self.await_line("init: up after ", PATIENCE)?;
        let up = line.split(' ').nth(3).and_then(|text| text.parse().ok());
        let up = up.with_context(|| format!("the guest's init says {line:?}"))?;
        self.await_line("shell: ", PATIENCE)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.live.type_line("echo answer=$((6 * 7))")?;
            if self.await_line("answer=42", AGAIN).is_ok() {
                return Ok((when, up));
            }
            self.ensure_runs()?;
        }
        bail!("the guest's shell does not answer: {}", self.live.output())
    }

    /// Waits until the guest is protected, where it is to be.
    pub fn await_protection(&mut self) -> anyhow::Result<()> {
        if self.shadow.is_none() {
            return Ok(());
        }
        wait::until("protection", PATIENCE, || {
            self.ensure_runs()?;
            std::thread::sleep(Duration::from_millis(200));
            Ok((self.status()?.state == State::Protected).then_some(()))
        })
    }

    /// Has it seeded again, and waits until that is done.
    ///
    /// # Errors
    /// When there is no secondary, or it cannot be seeded.
    pub fn restart_secondary(&mut self) -> anyhow::Result<()> {
        self.await_protection()?;
        self.live.restart_secondary()?;
        self.await_protection()
    }

    /// Compiles the first `files` of its list, or all, one at a time; its neighbour does as well.
    ///
    /// # Errors
    /// When it fails.
    pub fn compile(&mut self, files: Option<u32>) -> anyhow::Result<Compiled> {
        if let Some(neighbour) = &mut self.neighbour {
            neighbour.begin_compile(files)?;
        }
        self.begin_compile(files)?;
        let compiled = self.await_compiled()?;
        if let Some(neighbour) = &mut self.neighbour {
            neighbour.await_compiled()?;
        }
        Ok(compiled)
    }

    fn begin_compile(&mut self, files: Option<u32>) -> anyhow::Result<()> {
        let files = files.map_or_else(String::new, |files| files.to_string());
        self.type_line(&format!("{WORKLOADS}/compile 1 {files}"))
    }

    fn await_compiled(&mut self) -> anyhow::Result<Compiled> {
        let (_, begun) = self.await_line("compile: ", WORK_PATIENCE)?;
        let (line, ended) = self.await_line("WORKLOAD compile: ", WORK_PATIENCE)?;
        let said = || format!("the guest says {line:?}");
        let seconds: f64 = value(&line, "seconds")?.parse().with_context(said)?;
        ensure!(seconds > 0.0, "a compile in no time at all: {line:?}");
        Ok(Compiled {
            seconds,
            files: value(&line, "files")?.parse().with_context(said)?,
            objects: value(&line, "objects")?.to_owned(),
            host_s: ended.duration_since(begun).as_secs_f64(),
        })
    }

    /// Lets its file system come to rest, and then does nothing for so many seconds; gives its status before and after.
    ///
    /// # Errors
    /// When it fails.
    pub fn idle(&mut self, seconds: u32) -> anyhow::Result<[Status; 2]> {
        self.type_line(&format!("{SETTLE}; {WORKLOADS}/idle {seconds}"))?;
        self.await_line("idle: ", WORK_PATIENCE)?;
        let before = self.status()?;
        let (line, _) = self.await_line("WORKLOAD idle: ", WORK_PATIENCE)?;
        ensure!(line.contains(": ok"), "the guest says {line:?}");
        Ok([before, self.status()?])
    }

    /// Runs a shell command that says nothing; gives the monitor's status before and after.
    ///
    /// # Errors
    /// When the command fails.
    pub fn command(&mut self, command: &str) -> anyhow::Result<[Status; 2]> {
        let before = self.status()?;
        self.type_line(&format!("{command}; echo done=$((6 * 7))"))?;
        self.await_line("done=42", WORK_PATIENCE)?;
        Ok([before, self.status()?])
    }

    /// Types a command.
    fn type_line(&mut self, line: &str) -> anyhow::Result<()> {
        self.live.type_line(line)
    }

    /// Waits for the next line on the console that begins with `start`; gives it, and when it was seen.
    fn await_line(&mut self, start: &str, patience: Duration) -> anyhow::Result<(String, Instant)> {
        let what = format!("{start:?} on the guest's console");
        let found = wait::until(&what, patience, || {
            if let Some((line, end)) = find_line(&self.live.output(), self.seen, start) {
                self.seen = end;
                return Ok(Some((line, Instant::now())));
            }
            self.ensure_runs()?;
            Ok(None)
        });
        found.with_context(|| format!("the console ends with {}", last_lines(&self.live.output())))
    }

    /// Its monitor's status.
    pub fn status(&self) -> anyhow::Result<Status> {
        self.live.status()
    }

    /// CPU seconds of the live side and of the other.
    pub fn cpu_s(&self) -> anyhow::Result<[Option<f64>; 2]> {
        Ok([Some(self.live.cpu_s()?), self.other().map(|other| other.cpu_s()).transpose()?])
    }

    /// The memory maps of the live side's monitor and of the other's.
    pub fn smaps(&self) -> anyhow::Result<[Option<String>; 2]> {
        Ok([Some(self.live.smaps()?), self.other().map(|other| other.smaps()).transpose()?])
    }

    /// Whoever runs on the other side.
    fn other(&self) -> Option<&(dyn Started + 'a)> {
        self.shadow.as_deref().or_else(|| Some(self.neighbour.as_ref()?.live.as_ref()))
    }

    /// Leaves the shell, upon which the guest switches off, and waits until all has ended well.
    pub fn shut_down(mut self) -> anyhow::Result<()> {
        if let Some(neighbour) = self.neighbour.take() {
            neighbour.shut_down()?;
        }
        self.live.type_line("exit")?;
        for started in [Some(&mut self.live), self.shadow.as_mut()].into_iter().flatten() {
            let ended = wait::until("the guest to switch off", PATIENCE, || started.ended())?;
            ensure!(ended.is_empty(), "ftvmm ended with {ended}: {}", last_lines(&started.log()));
        }
        Ok(())
    }

    fn ensure_runs(&mut self) -> anyhow::Result<()> {
        let of_shadow = self.shadow.as_mut().map(|shadow| shadow.ended()).transpose()?.flatten();
        let Some(ended) = self.live.ended()?.or(of_shadow) else { return Ok(()) };
        let sides = [Some(&self.live), self.shadow.as_ref()].into_iter().flatten();
        let logs: Vec<String> = sides.map(|side| last_lines(&side.log())).collect();
        // What one side says of the other is half of what happened.
        bail!("ftvmm has ended ({ended}): {}", logs.join("\n  the other side: "))
    }
}
