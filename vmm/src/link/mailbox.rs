//! A bounded queue whose reader waits in `poll`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};
use vmm_sys_util::eventfd::EventFd;

/// Messages that may wait unless somebody wants fewer; senders block beyond that.
const DEPTH: usize = 1024;

/// How a sleeping reader is woken. A reader that has not looked since the last wake-up is not woken again: under load
/// that saves both ends most of their system calls.
pub struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

impl Bell {
    fn ring(&self) -> bool {
        self.rung.swap(true, Ordering::AcqRel) || self.event.write(1).is_ok()
    }

    /// The order matters: whoever sends between the two lines is seen by the look into the queue that follows.
    fn answer(&self) {
        let _ = self.event.read();
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self` keeps the descriptor open for as long as the borrow.
        #[allow(unsafe_code)]
        unsafe {
            BorrowedFd::borrow_raw(self.event.as_raw_fd())
        }
    }
}

/// The sending end.
pub struct Mailbox<T> {
    sender: Sender<T>,
    bell: Arc<Bell>,
}

// Not derived: `T` itself need not be `Clone`.
impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: self.bell.clone() }
    }
}

impl<T> Mailbox<T> {
    /// Sends; false when the reader is gone.
    pub fn send(&self, message: T) -> bool {
        self.sender.send(message).is_ok() && self.bell.ring()
    }

    /// True when the reader has taken out all that was sent.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// Wakes the reader without a message; false when it cannot be woken.
    pub fn ring(&self) -> bool {
        self.bell.ring()
    }

    /// Sends what the reader need not hear of before it wakes up for something else. It is woken for it only when half
    /// of the queue is full, so that no sender comes to wait for a reader that sleeps. False when the reader is gone.
    pub fn leave(&self, message: T) -> bool {
        let sent = self.sender.send(message).is_ok();
        let filling = self.sender.capacity().is_some_and(|depth| self.sender.len() > depth / 2);
        sent && (!filling || self.bell.ring())
    }
}

/// The reading end.
pub struct Letters<T> {
    receiver: Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Letters<T> {
    /// The next message, if one waits.
    pub fn next(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Forgets that it was woken. Call it before taking messages out, so that none is overlooked.
    pub fn acknowledge(&self) {
        self.bell.answer();
    }

    /// Has the next poll return at once.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// What to poll for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The same, for one who polls while others have these letters.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}

/// A new queue.
pub fn mailbox<T>() -> io::Result<(Mailbox<T>, Letters<T>)> {
    mailbox_of(DEPTH)
}

/// A new queue in which at most `depth` messages may wait.
pub fn mailbox_of<T>(depth: usize) -> io::Result<(Mailbox<T>, Letters<T>)> {
    let (sender, receiver) = bounded(depth);
    let bell = Arc::new(Bell { event: EventFd::new(libc::EFD_NONBLOCK)?, rung: AtomicBool::new(false) });
    Ok((Mailbox { sender, bell: bell.clone() }, Letters { receiver, bell }))
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Longer than any pause of a busy machine: a lost wake-up shows as this wait.
    const PATIENCE: Duration = Duration::from_secs(30);
    const LETTERS: u32 = 200_000;

    #[test]
    fn no_letter_waits_unnoticed() {
        let (mailbox, letters) = mailbox::<u32>().unwrap();
        let sender = thread::spawn(move || (0..LETTERS).all(|n| mailbox.send(n)));
        let patience = Timespec::try_from(PATIENCE).unwrap();
        let mut expected = 0;
        while expected < LETTERS {
            let mut watched = [PollFd::from_borrowed_fd(letters.descriptor(), PollFlags::IN)];
            assert_eq!(poll(&mut watched, Some(&patience)).unwrap(), 1, "asleep with letters at {expected}");
            letters.acknowledge();
            while let Some(letter) = letters.next() {
                assert_eq!(letter, expected);
                expected += 1;
            }
        }
        assert!(sender.join().unwrap());
    }

    #[test]
    fn what_is_left_wakes_nobody_until_there_is_much_of_it() {
        let (mailbox, letters) = mailbox_of(8).unwrap();
        let is_woken = || {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::from_borrowed_fd(letters.descriptor(), PollFlags::IN)], Some(&now)).unwrap()
                == 1
        };
        assert!((0..4).all(|n| mailbox.leave(n)));
        assert!(!is_woken());
        assert!(mailbox.leave(4) && is_woken());
        letters.acknowledge();
        assert!((0..5).all(|n| letters.next() == Some(n)));
        assert!(mailbox.leave(5) && !is_woken() && mailbox.send(6) && is_woken());
        assert_eq!((letters.next(), letters.next()), (Some(5), Some(6)));
    }

    #[test]
    fn a_sender_without_a_reader_is_told() {
        let (mailbox, letters) = mailbox::<u32>().unwrap();
        drop(letters);
        assert!(!mailbox.send(1));
    }
}
