//! Exit statuses, the same for every command.

use devices::Off;
use replay::Ended;

use crate::{disk::DiskError, logging};

/// 0: done, and the guest was content. 1: the guest switched off with a status that is not 0.
/// 2: the command line is wrong (clap's own). 3: everything else that failed. 4: a start was refused ([`Refused`]).
/// 5: the guest panicked.
const GUEST_FAILED: u8 = 1;
pub const FAILED: u8 = 3;
const REFUSED: u8 = 4;
const GUEST_PANICKED: u8 = 5;

/// The VM is not started here, because it runs elsewhere or something would be lost by it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The exit status for a machine's end.
pub fn of_machine(ended: Ended) -> u8 {
    match ended {
        Ended::PoweredOff(Off::Status(0)) | Ended::Stopped => 0,
        Ended::PoweredOff(Off::Status(_)) => GUEST_FAILED,
        Ended::PoweredOff(Off::Panicked) => GUEST_PANICKED,
    }
}

/// Prints an error with its causes on one line; returns the exit status.
pub fn report(error: &anyhow::Error) -> u8 {
    logging::say(&format!("ftvmm: {}", one_line(error)));
    let unfit = matches!(error.downcast_ref(), Some(DiskError::Unfit { .. }));
    if unfit || error.is::<Refused>() { REFUSED } else { FAILED }
}

/// The error and its causes, each once: many of our messages name their cause in their own words already.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_that_the_message_names_is_not_repeated() {
        let error =
            anyhow!("device busy").context("cannot attach: device busy; in use?").context("no network");
        assert_eq!(one_line(&error), "no network: cannot attach: device busy; in use?");
    }
}
