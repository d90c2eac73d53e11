//! `ftvmm console`.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    control::{Request, request},
    host::{
        console::{ConsoleTarget, Escape, RawTerminal, Typed},
        unix::connect,
    },
    logging,
};

/// What was typed and waits for the guest, bytes.
const MAX_WAITING: usize = 64 << 10;

/// Join this terminal to a guest's console that is at a socket (its --console unix=SOCKET)
///
/// All keys are the guest's, Ctrl-C too, except: Ctrl-] followed by a full stop leaves. Several may look at one console
/// at a time. Without a terminal, standard input is typed to the guest as fast as it reads, and the console goes to
/// standard output until the machine ends. Examples:
///
///   ftvmm console /run/vm0.console
///   ftvmm console --control /run/ftvmm.sock
#[derive(Args)]
pub struct Console {
    /// The console's socket
    #[arg(value_name = "SOCKET", required_unless_present = "control", conflicts_with = "control")]
    socket: Option<PathBuf>,
    /// The control socket of the process, which is asked where its console is
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
}

impl Console {
    pub fn execute(self) -> anyhow::Result<u8> {
        let socket = self.find()?;
        let stream =
            connect(&socket).with_context(|| format!("no console answers at {}", socket.display()))?;
        let terminal = RawTerminal::enter()?;
        if terminal.is_some() {
            logging::say(&format!("connected to {}; {}", socket.display(), Escape::HELP));
        }
        let ended = join(&stream, terminal.is_some());
        drop(terminal);
        ended.map(|()| 0).with_context(|| format!("the console at {} is lost", socket.display()))
    }

    fn find(&self) -> anyhow::Result<PathBuf> {
        let Some(control) = &self.control else { return Ok(self.socket.clone().unwrap_or_default()) };
        let status = request(control, &Request::Status)?;
        let target = status["console"]["target"].as_str().unwrap_or_default();
        match target.parse() {
            Ok(ConsoleTarget::Unix(path)) => Ok(path),
            _ => bail!(
                "the console is {target:?} and not at a socket; start the VM with --console unix=SOCKET"
            ),
        }
    }
}

/// Carries bytes both ways until the other end closes, or the user leaves.
fn join(mut stream: &UnixStream, is_terminal: bool) -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (mut escape, mut typed, mut ended) = (Escape::default(), Vec::new(), false);
    let mut piece = [0; 4096];
    stream.set_nonblocking(true)?;
    loop {
        // The terminal is read although the guest is behind, because the user may want to leave.
        let reads = !ended && typed.len() < MAX_WAITING;
        if is_readable(reads.then_some(&input), stream, !typed.is_empty()) {
            let length = input.read(&mut piece)?;
            ended = length == 0;
            match is_terminal {
                true => {
                    let Typed { bytes, leave } = escape.filter(&piece[..length]);
                    if leave {
                        return Ok(());
                    }
                    typed.extend(bytes);
                }
                false => typed.extend(&piece[..length]),
            }
        }
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => output.write_all(&piece[..length])?,
            Err(error) => expect_later(error)?,
        }
        if !typed.is_empty() {
            match stream.write(&typed) {
                Ok(written) => drop(typed.drain(..written)),
                Err(error) => expect_later(error)?,
            }
        }
        if ended && typed.is_empty() {
            stream.shutdown(Shutdown::Write)?;
        }
    }
}

/// Waits until something can be done; true when it is to read `input`.
fn is_readable(input: Option<&File>, stream: &UnixStream, writes: bool) -> bool {
    let interest = if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut watched = vec![PollFd::new(stream, interest)];
    watched.extend(input.map(|input| PollFd::new(input, PollFlags::IN)));
    // An error here, such as an interruption, only means to look at once.
    poll(&mut watched, None::<&Timespec>).is_ok()
        && watched.get(1).is_some_and(|input| !input.revents().is_empty())
}

/// Not now is no error.
fn expect_later(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
