//! A terminal on a host's serial console.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Ctrl-], as in telnet.
const LEAVE: u8 = 0x1d;
/// Between two attempts to reach the console of a host that is off.
const LOOK: Duration = Duration::from_millis(200);

/// How much is shown of what a console said before, bytes.
const SHOWN: usize = 4096;

/// How the terminal was before it was made raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The console, while its host is on.
type Line = Arc<Mutex<Option<UnixStream>>>;

/// Shows the end of a console's `log`, and joins standard input and output to it until Ctrl-] is typed or the input
/// ends. A host that is switched on again is joined again.
pub fn attach(serial: &Path, log: &Path) -> anyhow::Result<()> {
    make_raw()?;
    let said = fs::read(log).unwrap_or_default();
    io::stdout().write_all(&said[said.len().saturating_sub(SHOWN)..])?;
    io::stdout().flush()?;
    let line = Line::default();
    let (listened, serial) = (Arc::clone(&line), serial.to_owned());
    // Not joined: it waits for a host, and ends with the process.
    thread::Builder::new().name("console".into()).spawn(move || listen(&serial, &listened))?;
    let typed = pass_on(&line);
    restore();
    Ok(typed?)
}

fn make_raw() -> io::Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let mut termios = tcgetattr(io::stdin())?;
    *lock(&BEFORE) = Some(termios.clone());
    termios.make_raw();
    tcsetattr(io::stdin(), OptionalActions::Now, &termios)?;
    Ok(())
}

/// Makes the terminal what it was.
pub fn restore() {
    if let Some(termios) = lock(&BEFORE).take() {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &termios);
    }
}

/// What the host says goes to standard output.
fn listen(serial: &PathBuf, line: &Line) {
    loop {
        if let Ok(mut stream) = UnixStream::connect(serial) {
            *lock(line) = stream.try_clone().ok();
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                let mut output = io::stdout().lock();
                if output.write_all(&piece[..length]).and_then(|()| output.flush()).is_err() {
                    return;
                }
            }
            *lock(line) = None;
            print!("\r\n[this host is off]\r\n");
        }
        thread::sleep(LOOK);
    }
}

/// What is typed goes to the host, until Ctrl-].
fn pass_on(line: &Line) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut piece = [0; 4096];
    loop {
        let length = input.read(&mut piece)?;
        let typed = &piece[..length];
        let until = typed.iter().position(|byte| *byte == LEAVE);
        if let Some(stream) = lock(line).as_mut() {
            // Fails when the host is switched off; what is typed then is lost.
            let _ = stream.write_all(&typed[..until.unwrap_or(length)]);
        }
        if length == 0 || until.is_some() {
            return Ok(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
