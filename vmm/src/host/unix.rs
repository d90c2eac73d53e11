//! Connecting to a socket at a path.

use std::{
    io::{self, ErrorKind},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as ask, socket_with},
};

/// How long a process may take to let somebody in. One that runs does at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to the socket at `path`, and waits no longer for whoever listens there than a process takes that runs.
///
/// # Errors
/// Nobody listens there, or lets nobody in.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    // It is what connect(2) waits for when too many wait already.
    stream.set_write_timeout(Some(PATIENCE))?;
    let address = SocketAddrUnix::new(path)?;
    match retry_on_intr(|| ask(&stream, &address)) {
        Ok(()) => {}
        Err(Errno::AGAIN) => {
            let reason =
                format!("the process there hangs or was stopped: it lets nobody in within {PATIENCE:?}");
            return Err(io::Error::new(ErrorKind::TimedOut, reason));
        }
        Err(error) => return Err(error.into()),
    }
    stream.set_write_timeout(None)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::{os::fd::OwnedFd, thread};

    use rustix::net::{accept, bind, listen};

    use super::*;
    use crate::control::{Request, request};

    /// Somebody listens at `path` who has room for one that waits, whom the second of these is.
    fn full(path: &Path) -> (OwnedFd, UnixStream) {
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        (listener, connect(path).unwrap())
    }

    #[test]
    fn a_process_that_lets_nobody_in_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let _full = full(&path);
        let error = format!("{:#}", request(&path, &Request::Status).unwrap_err());
        assert!(error.contains("lets nobody in") && error.contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn one_that_lets_others_in_first_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let (listener, _first) = full(&path);
        thread::scope(|scope| {
            let second = scope.spawn(|| connect(&path));
            accept(&listener).unwrap();
            second.join().unwrap().unwrap();
        });
    }
}
