//! The terminal as a guest's console: raw, and as it was before when this program ends.

use std::{
    io::{self, IsTerminal, stdin},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    process::getpgrp,
    termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
    },
};
use signal_hook::consts::SIGCONT;

/// How standard input was before, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input, raw until this is dropped, or [`restore`] is called.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Makes standard input raw, if it is a terminal and this process is in its foreground: keys go to the guest one by
    /// one, Ctrl-C too, and only the guest echoes them. What is written is still given its carriage returns, because the
    /// log goes there as well.
    pub fn enter() -> io::Result<Option<Self>> {
        if !stdin().is_terminal() || tcgetpgrp(stdin())? != getpgrp() {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let raw = raw(&before);
        *lock() = Some(before);
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        restore_before_a_panic();
        raw_again_when_continued(raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was. Does nothing where it was not made raw.
pub fn restore() {
    if let Some(before) = lock().take() {
        // The terminal may be gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

fn raw(before: &Termios) -> Termios {
    let mut raw = before.clone();
    raw.local_modes -=
        LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
    raw.input_modes -= InputModes::BRKINT
        | InputModes::ICRNL
        | InputModes::IGNCR
        | InputModes::INLCR
        | InputModes::ISTRIP
        | InputModes::IXON
        | InputModes::PARMRK;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw
}

/// A panic ends the process, perhaps without unwinding; its message should be readable, and the shell after it.
fn restore_before_a_panic() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        next(panic);
    }));
}

/// A shell gives itself its own modes when it stops a job, and the job has to see to it that it gets its own back.
fn raw_again_when_continued(raw: Termios) -> io::Result<()> {
    let action = move || {
        // A lock that is held belongs to somebody who restores.
        let is_raw = BEFORE.try_lock().is_ok_and(|before| before.is_some());
        // Continued in the background, it would be stopped again for this.
        if is_raw && tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp()) {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
    };
    // SAFETY: the handler tries a lock without waiting and makes one system call; it allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        signal_hook::low_level::register(SIGCONT, action)?;
    }
    Ok(())
}

fn lock() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}
