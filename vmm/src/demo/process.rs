//! A child process that does not outlive its parent.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::{net::Namespace, wait};

/// How much of a log an error quotes, in lines.
const QUOTED_LINES: usize = 6;

/// A child, killed and reaped when dropped. It also dies with the *thread* that started it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    output: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `namespace` (or in the calling thread's), with its output in `directory`.
    ///
    /// # Errors
    /// When a file cannot be made or the program cannot be started.
    pub fn start(
        mut command: Command,
        name: &str,
        directory: &Path,
        namespace: Option<&Namespace>,
    ) -> anyhow::Result<Self> {
        let (output, log) = (directory.join(format!("{name}.out")), directory.join(format!("{name}.log")));
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&output)?).stderr(create(&log)?);
        if let Some(namespace) = namespace {
            namespace.enter_on_exec(&mut command)?;
        }
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { child, name: name.to_owned(), output, log })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output.
    #[must_use]
    pub fn output(&self) -> String {
        read(&self.output)
    }

    /// What it has written to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it was reaped already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Stops it (SIGSTOP) and waits until none of its threads runs any more.
    ///
    /// # Errors
    /// When it is gone, or does not stop in time.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let what = format!("{} to stop", self.name);
        wait::until(&what, Duration::from_secs(5), || Ok(all_threads_stopped(self.id())?.then_some(())))
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it was reaped already.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it, as a power failure would, and reaps it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Its exit status, once it ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_end(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, timeout, || Ok(self.child.try_wait()?))
    }

    /// An error with the end of its log when it ended.
    ///
    /// # Errors
    /// See above.
    pub fn expect_alive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.ended()? else { return Ok(()) };
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n    ");
        bail!("{} ended ({status}); the end of {}:\n    {end}", self.name, self.log.display());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By `/proc/ID/task/*/stat` (proc(5)): the state is the letter after the name, which is in parentheses.
fn all_threads_stopped(id: u32) -> io::Result<bool> {
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end in between.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { continue };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.bytes().next());
        if !matches!(state, Some(b'T' | b'Z' | b'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Has the kernel kill the child when the thread that starts it ends, however it ends.
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the request.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(ask);
    }
}
