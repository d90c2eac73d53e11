//! Commands in a lab host, by way of its agent.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::wire::{self, Kind};

/// How long a host that is up may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same while it is asked again and again whether it is up.
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; 128 and the signal when it was killed by one.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Status(i32),
    /// The connection to its host was lost.
    Lost,
}

/// The way to a host's agent.
#[derive(Debug)]
pub(super) struct Line {
    agent: SocketAddr,
    open: Mutex<Vec<Arc<TcpStream>>>,
}

/// A command under way.
#[derive(Debug)]
pub struct Running {
    stream: Arc<TcpStream>,
    said: Arc<Said>,
    listener: Option<JoinHandle<()>>,
}

/// What a command has said so far.
#[derive(Debug, Default)]
struct Said {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    output: Vec<u8>,
    errors: Vec<u8>,
    ended: Option<Ended>,
}

impl Line {
    pub(super) fn new(agent: SocketAddr) -> Self {
        Self { agent, open: Mutex::default() }
    }

    /// Whether the agent accepts connections.
    pub(super) fn is_answered(&self) -> bool {
        TcpStream::connect_timeout(&self.agent, PROBE_TIMEOUT).is_ok()
    }

    /// Ends all connections on this side.
    pub(super) fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Fails when it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Starts a command; keeps what it says in `kept.out` and `kept.log`, too.
    pub(super) fn start(&self, command: &str, kept: Option<&Path>) -> anyhow::Result<Running> {
        let mut stream =
            TcpStream::connect_timeout(&self.agent, CONNECT_TIMEOUT).context("the host does not answer")?;
        stream.set_nodelay(true)?;
        wire::write(&mut stream, Kind::Command, command.as_bytes())?;
        let mut reader = stream.try_clone()?;
        let mut files = kept.map(keep_in).transpose()?;
        let stream = Arc::new(stream);
        let said = Arc::new(Said::default());
        let to = Arc::clone(&said);
        let listener = thread::Builder::new()
            .name("remote".into())
            .spawn(move || to.listen(&mut reader, files.as_mut()))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| Arc::strong_count(stream) > 1);
        open.push(Arc::clone(&stream));
        Ok(Running { stream, said, listener: Some(listener) })
    }
}

/// The files for standard output and standard error.
fn keep_in(kept: &Path) -> anyhow::Result<[File; 2]> {
    let create = |end: &str| {
        let path = kept.with_extension(end);
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))
    };
    Ok([create("out")?, create("log")?])
}

impl Said {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the command says until it has ended.
    fn listen(&self, stream: &mut TcpStream, mut files: Option<&mut [File; 2]>) {
        loop {
            let frame = wire::read(stream);
            let mut state = self.state();
            match frame {
                Ok((Kind::Output, body)) => {
                    state.output.extend(&body);
                    write_to(files.as_deref_mut().map(|files| &mut files[0]), &body);
                }
                Ok((Kind::Errors, body)) => {
                    state.errors.extend(&body);
                    write_to(files.as_deref_mut().map(|files| &mut files[1]), &body);
                }
                Ok((Kind::Exit, body)) => {
                    let status = String::from_utf8_lossy(&body).parse();
                    state.ended = Some(status.map_or(Ended::Lost, Ended::Status));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok((Kind::Command, _)) | Err(_) => state.ended = Some(Ended::Lost),
            }
            self.changed.notify_all();
            if state.ended.is_some() {
                return;
            }
        }
    }
}

/// These files are for whoever looks into a failure; a full disk must not cause one.
fn write_to(file: Option<&mut File>, body: &[u8]) {
    if let Some(file) = file {
        let _ = file.write_all(body);
    }
}

impl Running {
    /// What it has written to standard output.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.said.state().output).into_owned()
    }

    /// What it has written to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.said.state().errors).into_owned()
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.said.state().ended.clone()
    }

    /// Kills it and what it started. Returns at once.
    pub fn kill(&self) {
        // Fails when it is closed already. The agent kills a command whose connection ends.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_end(&self, timeout: Duration) -> anyhow::Result<Ended> {
        self.wait("its end", timeout, |_, ended| ended.cloned())
    }

    /// Waits until its standard output has what `look` looks for.
    ///
    /// # Errors
    /// When it ends before, or does not say it in time: with the end of its standard error.
    pub fn wait_output<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let found = self.wait(what, timeout, |output, ended| {
            let found = look(&String::from_utf8_lossy(output));
            if found.is_none() && ended.is_some() { Some(None) } else { found.map(Some) }
        })?;
        let quoted =
            || format!("it ended ({:?}) before {what}: {}{}", self.ended(), self.output(), self.log());
        found.with_context(quoted)
    }

    fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut(&[u8], Option<&Ended>) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.said.state();
        loop {
            if let Some(found) = look(&state.output, state.ended.as_ref()) {
                return Ok(found);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                let errors = String::from_utf8_lossy(&state.errors).into_owned();
                bail!("waited {:.1} s in vain for {what}: {errors}", timeout.as_secs_f64());
            };
            state = self.said.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All it said, when it has ended.
    pub(super) fn output_within(self, timeout: Duration) -> anyhow::Result<Output> {
        match self.wait_end(timeout)? {
            Ended::Status(status) => Ok(Output { status, stdout: self.output(), stderr: self.log() }),
            Ended::Lost => bail!("the host was lost: {}{}", self.output(), self.log()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if let Some(listener) = self.listener.take() {
            // A listener that panicked has said so.
            let _ = listener.join();
        }
    }
}
