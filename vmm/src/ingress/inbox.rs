//! What waits for the guest, in bounded queues.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ftlog::Event;
use machine::memory::Doorbell;
use replay::Room;

/// Frames that may wait; the TAP reader pauses above it and the kernel drops what does not fit in its own queue.
const MAX_FRAMES: usize = 1024;
/// Console bytes that may wait; more is not taken, and whoever brings them has to wait.
const MAX_CONSOLE: usize = 4096;
/// Bytes of frames in one step of the log: several steps fit in a batch, and a batch in a log frame.
const MAX_STEP_BYTES: usize = 256 << 10;
/// The slot of the one network device a VM can have.
const NET_SLOT: u8 = 0;
/// Frames in one step.
const MAX_STEP_FRAMES: usize = 256;
/// Answers of disks in one step, and the bytes of data after which it takes no more of them: with all of this a step
/// is well below a log frame's bound.
const MAX_STEP_ANSWERS: usize = 256;
const MAX_STEP_DISK_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    console: VecDeque<u8>,
    /// Answers of disks, each an [`Event::DiskDone`]; bounded by what the disks admit.
    disks: VecDeque<Event>,
    /// Brings the guest to a sync point, when a live one is there.
    doorbell: Option<Doorbell>,
    /// Somebody wants the vCPU thread's attention (a command, a stop).
    nudged: bool,
    /// There is no guest here that anybody could type to.
    deaf: bool,
    /// The vCPU thread waits in [`Inbox::wait`] and so does not run the guest; for what there is room, in that case.
    vcpu_waits: Option<Room>,
}

impl Waiting {
    /// Whether something waits that the guest could take in now.
    fn is_deliverable(&self, room: Room) -> bool {
        room.frames > 0 && !self.frames.is_empty()
            || room.console > 0 && !self.console.is_empty()
            || !self.disks.is_empty()
    }

    fn ring(&self) {
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
    }
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

    /// From now on the guest that reads this doorbell is the one that all this is for.
    pub fn attach(&self, doorbell: &Doorbell) {
        let mut waiting = self.lock();
        waiting.doorbell = Some(doorbell.clone());
        // What came before may have rung for nobody.
        doorbell.ring();
    }

    /// Has the vCPU thread look at what is here: it is woken where it waits, and a guest that runs is brought to a
    /// sync point. Under the lock it is one or the other, so that a guest which was asleep makes no exit for nothing.
    fn call(&self, waiting: &Waiting) {
        if waiting.vcpu_waits.is_some() {
            self.arrived.notify_one();
        } else {
            waiting.ring();
        }
    }

    /// Adds frames from the network and waits while there is no room, at most `patience`.
    pub fn push_frames(&self, frames: &mut Vec<Vec<u8>>, patience: Duration) {
        let mut waiting = self.lock();
        waiting.frames.extend(frames.drain(..));
        self.call(&waiting);
        if waiting.frames.len() > MAX_FRAMES {
            drop(self.room.wait_timeout(waiting, patience));
        }
    }

    /// True when no more frames should be read for now.
    pub fn is_full(&self) -> bool {
        self.lock().frames.len() > MAX_FRAMES
    }

    /// Adds console input; gives how many of the bytes there was room for. The others are still the caller's.
    pub fn push_console(&self, bytes: &[u8]) -> usize {
        let mut waiting = self.lock();
        if waiting.deaf {
            return bytes.len();
        }
        let taken = bytes.len().min(MAX_CONSOLE - waiting.console.len());
        if taken > 0 {
            waiting.console.extend(&bytes[..taken]);
            self.call(&waiting);
        }
        taken
    }

    /// What is typed from now on is for nobody, until [`Inbox::clear`]: a secondary has no guest that hears it, and what
    /// was kept would be told the guest that comes to live here.
    pub fn be_deaf(&self) {
        self.lock().deaf = true;
    }

    /// Adds the answer of a backing file to request `id` of the disk in virtio slot `slot`: its status (a
    /// `devices::DiskStatus`) and what was read, at most [`ftlog::MAX_DISK_DATA`] bytes.
    pub fn push_disk_done(&self, slot: u8, id: u64, status: u8, data: Vec<u8>) {
        let mut waiting = self.lock();
        waiting.disks.push_back(Event::DiskDone { slot, id, status, data });
        self.call(&waiting);
    }

    /// Has the vCPU thread come to a sync point, or end its wait, without an event.
    pub fn nudge(&self) {
        let mut waiting = self.lock();
        waiting.nudged = true;
        self.call(&waiting);
    }

    /// Drops what waits: it was for a machine that is gone. What comes from now on is for the one that is here.
    pub fn clear(&self) {
        let mut waiting = self.lock();
        waiting.deaf = false;
        waiting.frames.clear();
        waiting.console.clear();
        waiting.disks.clear();
        self.room.notify_all();
    }

    /// The vCPU thread waits, although something is here for it: it is about to wake up, or cannot.
    pub fn is_waited_for(&self) -> bool {
        let waiting = self.lock();
        waiting.vcpu_waits.is_some_and(|room| waiting.nudged || waiting.is_deliverable(room))
    }

    /// Waits until something comes that the guest has room for, somebody nudges, or `timeout` (for ever if `None`).
    pub fn wait(&self, room: Room, timeout: Option<Duration>) {
        let mut waiting = self.lock();
        waiting.vcpu_waits = Some(room);
        let still = |waiting: &mut Waiting| !waiting.nudged && !waiting.is_deliverable(room);
        let mut waiting = match timeout {
            None => self.arrived.wait_while(waiting, still).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let woken = self.arrived.wait_timeout_while(waiting, timeout, still);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        waiting.vcpu_waits = None;
        waiting.nudged = false;
    }

    /// Moves what the guest has room for into `events`, within the bounds of one step, and silences the doorbell: what
    /// comes from here on rings again. What did not fit in the step rings now.
    pub fn take(&self, mut room: Room, events: &mut Vec<Event>) {
        let mut waiting = self.lock();
        if let Some(doorbell) = &waiting.doorbell {
            doorbell.reset();
        }
        let was_full = waiting.frames.len() > MAX_FRAMES;
        take_frames(&mut waiting, &mut room, events);
        let console = room.console.min(waiting.console.len());
        if console > 0 {
            room.console -= console;
            events.push(Event::ConsoleInput(waiting.console.drain(..console).collect()));
        }
        take_answers(&mut waiting, events);
        if waiting.is_deliverable(room) {
            waiting.ring();
        }
        if was_full && waiting.frames.len() <= MAX_FRAMES {
            self.room.notify_all();
        }
    }
}

fn take_frames(waiting: &mut Waiting, room: &mut Room, events: &mut Vec<Event>) {
    let mut bytes = 0;
    for _ in 0..room.frames.min(MAX_STEP_FRAMES) {
        if bytes >= MAX_STEP_BYTES {
            return;
        }
        let Some(frame) = waiting.frames.pop_front() else { return };
        bytes += frame.len();
        room.frames -= 1;
        events.push(Event::NetFrame { slot: NET_SLOT, frame });
    }
}

fn take_answers(waiting: &mut Waiting, events: &mut Vec<Event>) {
    let mut bytes = 0;
    for _ in 0..MAX_STEP_ANSWERS {
        if bytes >= MAX_STEP_DISK_BYTES {
            return;
        }
        let Some(answer) = waiting.disks.pop_front() else { return };
        bytes += answer.payload().len();
        events.push(answer);
    }
}

#[cfg(test)]
mod tests;
