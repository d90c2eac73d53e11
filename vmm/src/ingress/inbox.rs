//! What waits for the guest, in bounded queues.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ftlog::Event;

/// Frames that may wait; the TAP reader pauses above it and the kernel drops what does not fit in its own queue.
const MAX_FRAMES: usize = 1024;
/// Console bytes that may wait; more is dropped, as on a real serial line.
const MAX_CONSOLE: usize = 4096;
/// Bytes of frames in one step of the log: several steps fit in a batch, and a batch in a log frame.
const MAX_STEP_BYTES: usize = 256 << 10;
/// The slot of the one network device a VM can have.
const NET_SLOT: u8 = 0;
/// Frames in one step.
const MAX_STEP_FRAMES: usize = 256;

/// How much the guest could take in now.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Network frames.
    pub frames: usize,
    /// Console bytes.
    pub console: usize,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    console: VecDeque<u8>,
    /// Somebody wants the vCPU thread's attention (a command, a stop).
    nudged: bool,
    vcpu_waits: bool,
}

/// The meeting point of the vCPU thread with everybody else.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    /// Something came, or somebody wants attention.
    arrived: Condvar,
    /// There is room for frames again.
    room: Condvar,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds frames from the network and waits while there is no room, at most `patience`.
    pub fn push_frames(&self, frames: &mut Vec<Vec<u8>>, patience: Duration) {
        let mut waiting = self.lock();
        waiting.frames.extend(frames.drain(..));
        if waiting.vcpu_waits {
            self.arrived.notify_one();
        }
        if waiting.frames.len() > MAX_FRAMES {
            drop(self.room.wait_timeout(waiting, patience));
        }
    }

    /// True when no more frames should be read for now.
    pub fn is_full(&self) -> bool {
        self.lock().frames.len() > MAX_FRAMES
    }

    /// Adds console input.
    pub fn push_console(&self, bytes: &[u8]) {
        let mut waiting = self.lock();
        let room = MAX_CONSOLE - waiting.console.len();
        waiting.console.extend(&bytes[..bytes.len().min(room)]);
        self.arrived.notify_one();
    }

    /// Ends the vCPU thread's wait without an event.
    pub fn nudge(&self) {
        self.lock().nudged = true;
        self.arrived.notify_one();
    }

    /// Drops what waits: it was for a machine that is gone.
    pub fn clear(&self) {
        let mut waiting = self.lock();
        waiting.frames.clear();
        waiting.console.clear();
        self.room.notify_all();
    }

    /// Waits until something comes that the guest has room for, somebody nudges, or `timeout` (for ever if `None`).
    pub fn wait(&self, room: Room, timeout: Option<Duration>) {
        let mut waiting = self.lock();
        waiting.vcpu_waits = true;
        let still = |waiting: &mut Waiting| {
            let deliverable = room.frames > 0 && !waiting.frames.is_empty()
                || room.console > 0 && !waiting.console.is_empty();
            !waiting.nudged && !deliverable
        };
        let mut waiting = match timeout {
            None => self.arrived.wait_while(waiting, still).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let woken = self.arrived.wait_timeout_while(waiting, timeout, still);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        waiting.vcpu_waits = false;
        waiting.nudged = false;
    }

    /// Moves what the guest has room for into `events`, within the bounds of one step.
    pub fn take(&self, room: Room, events: &mut Vec<Event>) {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let was_full = waiting.frames.len() > MAX_FRAMES;
        while events.len() < room.frames.min(MAX_STEP_FRAMES) && bytes < MAX_STEP_BYTES {
            let Some(frame) = waiting.frames.pop_front() else { break };
            bytes += frame.len();
            events.push(Event::NetFrame { slot: NET_SLOT, frame });
        }
        let console = room.console.min(waiting.console.len());
        if console > 0 {
            events.push(Event::ConsoleInput(waiting.console.drain(..console).collect()));
        }
        if was_full && waiting.frames.len() <= MAX_FRAMES {
            self.room.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { frames: 8, console: 8 };

    #[test]
    fn nothing_is_taken_that_the_guest_has_no_room_for() {
        let inbox = Inbox::default();
        inbox.push_frames(&mut vec![vec![1], vec![2], vec![3]], Duration::ZERO);
        inbox.push_console(b"abc");
        let mut events = Vec::new();
        inbox.take(Room { frames: 2, console: 1 }, &mut events);
        assert_eq!(events.len(), 3);
        assert_eq!(events[2], Event::ConsoleInput(b"a".to_vec()));
        events.clear();
        inbox.take(ROOM, &mut events);
        assert_eq!(events[0], Event::NetFrame { slot: NET_SLOT, frame: vec![3] });
        assert_eq!(events[1], Event::ConsoleInput(b"bc".to_vec()));
    }

    #[test]
    fn a_nudge_and_a_frame_each_end_the_wait() {
        let inbox = Inbox::default();
        inbox.nudge();
        inbox.wait(ROOM, None);
        inbox.push_frames(&mut vec![vec![1]], Duration::ZERO);
        inbox.wait(ROOM, None);
        inbox.wait(Room { frames: 0, console: 0 }, Some(Duration::ZERO));
    }

    #[test]
    fn console_input_is_bounded() {
        let inbox = Inbox::default();
        for _ in 0..10 {
            inbox.push_console(&[b'x'; 1000]);
        }
        assert_eq!(inbox.lock().console.len(), MAX_CONSOLE);
    }
}
