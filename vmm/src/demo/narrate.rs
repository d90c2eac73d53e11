//! The demo's voice: in colour and with a moving last line on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    time::Instant,
};

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
/// To the beginning of the line, and erase it.
const ERASE_LINE: &str = "\r\x1b[K";

/// Tells what happens, each line with the seconds since the beginning.
#[derive(Debug)]
pub struct Narrator {
    begun: Instant,
    to_stderr: bool,
    terminal: bool,
    colour: bool,
}

impl Narrator {
    /// Speaks on standard output, or on standard error when standard output is for a machine.
    #[must_use]
    pub fn new(to_stderr: bool) -> Self {
        let terminal = if to_stderr { stderr().is_terminal() } else { stdout().is_terminal() };
        // https://no-color.org: any value that is not empty.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { begun: Instant::now(), to_stderr, terminal, colour: terminal && !no_colour }
    }

    /// A new part of the story.
    pub fn step(&self, text: &str) {
        self.line(BOLD, text);
    }

    /// Something worth knowing.
    pub fn detail(&self, text: &str) {
        self.line(DIM, &format!("  {text}"));
    }

    /// Something turned out as it should.
    pub fn good(&self, text: &str) {
        self.line(GREEN, &format!("  {text}"));
    }

    /// Violence.
    pub fn blow(&self, text: &str) {
        self.line(YELLOW, text);
    }

    /// Something went wrong.
    pub fn bad(&self, text: &str) {
        self.line(RED, text);
    }

    /// How a wait is going; the next line takes its place. Says nothing where lines cannot be taken back.
    pub fn progress(&self, text: &str) {
        if self.terminal {
            self.write(&format!("{ERASE_LINE}{:6.2}   {text} …", self.begun.elapsed().as_secs_f64()));
        }
    }

    /// Lines as they are.
    pub fn plain(&self, text: &str) {
        let erase = if self.terminal { ERASE_LINE } else { "" };
        self.write(&format!("{erase}{text}\n"));
    }

    fn line(&self, style: &str, text: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let (style, reset) = if self.colour { (style, RESET) } else { ("", "") };
        self.plain(&format!("{seconds:6.2}  {style}{text}{reset}"));
    }

    /// Nobody listening is no reason to stop.
    fn write(&self, text: &str) {
        let _ = if self.to_stderr {
            stderr().write_all(text.as_bytes()).and_then(|()| stderr().flush())
        } else {
            stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush())
        };
    }
}
