//! Runs shell commands in a lab host for whoever connects: one per connection. When the connection ends before the
//! command does, the command and what it started are killed.
//!
//! Compiled alone and statically into the lab host's initramfs by `build-host`.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

#[path = "../src/lab/wire.rs"]
mod wire;

use wire::Kind;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", wire::PORT))?;
    for connection in listener.incoming() {
        let connection = connection?;
        thread::Builder::new().spawn(move || {
            if let Err(error) = serve(connection) {
                eprintln!("agent: {error}");
            }
        })?;
    }
    Ok(())
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let (kind, body) = match wire::read(&mut connection) {
        // Somebody only wanted to know whether the host is up.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        read => read?,
    };
    if kind != Kind::Command {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{kind:?} instead of a command")));
    }
    let command = String::from_utf8_lossy(&body);
    let mut child = Command::new("/bin/sh")
        .args(["-c", &command])
        .env("PATH", "/files:/bin")
        .env("HOME", "/tmp")
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let status = attend(&connection, &mut child);
    wire::write(&mut connection, Kind::Exit, code(status?).to_string().as_bytes())?;
    connection.shutdown(Shutdown::Both)
}

/// Passes the command's output on until it has ended and nothing of its own writes any more.
fn attend(connection: &TcpStream, child: &mut Child) -> io::Result<ExitStatus> {
    let writer = Mutex::new(connection.try_clone()?);
    let mut watched = connection.try_clone()?;
    let id = child.id();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let ended = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&ended);
    // Not scoped: it ends when the connection does.
    thread::spawn(move || {
        // Nothing more is ever sent to the agent, so this returns when the other side has gone. A command that ended
        // may have left something that runs on by intent.
        if matches!(watched.read(&mut [0]), Ok(0) | Err(_)) && !has_ended.load(Ordering::SeqCst) {
            kill_group(id);
        }
    });
    thread::scope(|scope| {
        scope.spawn(|| copy(output, Kind::Output, &writer));
        scope.spawn(|| copy(errors, Kind::Errors, &writer));
    });
    let status = child.wait();
    ended.store(true, Ordering::SeqCst);
    status
}

fn copy(from: Option<impl Read>, kind: Kind, to: &Mutex<TcpStream>) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        if wire::write(&mut *to, kind, &piece[..length]).and_then(|()| to.flush()).is_err() {
            // The other side has gone; the command is being killed.
            return;
        }
    }
}

/// Kills the command and what it started. The standard library cannot signal a group, busybox can.
fn kill_group(id: u32) {
    let killed = Command::new("/bin/kill").args(["-9", &format!("-{id}")]).status();
    if let Err(error) = killed {
        eprintln!("agent: cannot kill the command {id}: {error}");
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
