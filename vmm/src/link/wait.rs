//! How a link thread waits.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, Timespec, poll},
    io::Errno,
};

/// How often everything is looked at when it cannot be waited for.
const POLL_AGAIN: Duration = Duration::from_millis(1);
/// Less than a day, so that it fits.
const LONGEST: Duration = Duration::from_secs(1 << 16);

/// Waits until something can be read or written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    /// For so long it looks again and again before it sleeps: a thread that sleeps is woken some microseconds after it could
    /// have gone on, and one that does not has a core for itself.
    pub busy: Duration,
}

impl Wait {
    /// Waits until one of these is ready or `patience` is over. False when it cannot be known which is: all are to be looked
    /// at.
    pub fn poll(&self, watched: &mut [PollFd<'_>], patience: Duration) -> bool {
        if !self.busy.is_zero() && !patience.is_zero() && looked_busily(watched, self.busy.min(patience)) {
            return true;
        }
        match look(watched, patience) {
            Ok(_) | Err(Errno::INTR) => true,
            // Such as that the host has no memory now, or allows fewer descriptors than these.
            Err(_) => {
                thread::sleep(POLL_AGAIN);
                false
            }
        }
    }
}

/// True when one was ready within `busy`.
fn looked_busily(watched: &mut [PollFd<'_>], busy: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < busy {
        if look(watched, Duration::ZERO).is_ok_and(|ready| ready > 0) {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

fn look(watched: &mut [PollFd<'_>], patience: Duration) -> Result<usize, Errno> {
    let timeout = Timespec::try_from(patience.min(LONGEST)).expect("less than a day fits");
    poll(watched, Some(&timeout))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::PollFlags;

    use super::*;
    use crate::link::mailbox::mailbox;

    #[test]
    fn a_wait_ends_when_something_is_there_or_patience_is_over_busy_or_not() {
        let (mailbox, letters) = mailbox::<u32>().unwrap();
        let bell = letters.bell();
        for busy in [Duration::ZERO, Duration::from_micros(200), LONGEST] {
            let wait = Wait { busy };
            let ready = |patience| {
                let mut watched = [PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
                assert!(wait.poll(&mut watched, patience));
                watched[0].revents().contains(PollFlags::IN)
            };
            assert!(!ready(Duration::from_millis(1)), "{busy:?}");
            assert!(mailbox.send(1) && ready(LONGEST));
            letters.acknowledge();
        }
    }
}
