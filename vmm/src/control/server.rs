//! The listening end of the control socket.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use crossbeam_channel::bounded;
use serde_json::{Value, json};

use super::{Board, Pending, Request};

/// A request is one short line.
const MAX_LINE: u64 = 4096;
/// A client that says nothing is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers at the socket until the process ends; the socket is removed when this is dropped.
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Listens at `path`. A socket that a dead process left behind is replaced.
    pub fn start(path: &Path, board: Board) -> anyhow::Result<Self> {
        if path.exists() && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen at the control socket {}", path.display()))?;
        thread::Builder::new().name("control".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let board = board.clone();
                let served = thread::Builder::new().name("control-client".into()).spawn(move || {
                    if let Err(error) = serve(&stream, &board) {
                        tracing::debug!(%error, "control client");
                    }
                });
                if let Err(error) = served {
                    tracing::warn!(%error, "a control client is turned away");
                }
            }
        })?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(mut stream: &UnixStream, board: &Board) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Status) => json!({ "ok": board.snapshot() }),
        Ok(request) => ask(request, board),
        Err(error) => json!({ "error": format!("not a request: {error}") }),
    };
    writeln!(stream, "{answer}")?;
    Ok(())
}

fn ask(request: Request, board: &Board) -> Value {
    let (sender, receiver) = bounded(1);
    board.dispatch(Pending::new(request, sender));
    receiver.recv().unwrap_or_else(|_| json!({ "error": "the process ended before it was done" }))
}
