//! The operator: wants anything at any time, and is answered each time.

use std::collections::BTreeMap;

use protocol::primary::controller::{Answer, Asked, Command};

use crate::failure::Failure;
use crate::faults::MS;
use crate::random::Random;

/// Any command.
pub fn any(random: &mut Random) -> Command {
    let to = "another".to_owned();
    match random.within(0..=6) {
        0 => Command::Protect { to },
        1 => Command::TestFailover,
        2 => Command::TestRestartSecondary,
        3 => Command::Suspend,
        4 => Command::Resume,
        5 => Command::TurnOff,
        _ => Command::MigrateSecondary { to },
    }
}

/// Commands that wait for their answer, and since when.
#[derive(Default)]
pub struct Commands {
    waiting: BTreeMap<Asked, u64>,
    next: u64,
}

impl Commands {
    pub fn ask(&mut self, now_ns: u64) -> Asked {
        let asked = Asked(self.next);
        self.next += 1;
        self.waiting.insert(asked, now_ns);
        asked
    }

    pub fn answered(&mut self, asked: Asked, answer: &Answer) -> Result<(), Failure> {
        match self.waiting.remove(&asked) {
            Some(_) => Ok(()),
            None => Err(Failure::bound(format!("{asked:?} is answered twice: {answer:?}"))),
        }
    }

    /// Nobody waits for something that is over.
    pub fn all_answered(&self) -> Result<(), Failure> {
        match self.waiting.first_key_value() {
            None => Ok(()),
            Some((asked, since_ns)) => {
                Err(Failure::liveness(format!("{asked:?} of {} ms is not answered", since_ns / MS)))
            }
        }
    }
}
