//! Where the engines' answers go: to the guest, or to a secondary that waits for its own copy.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use devices::{DiskRequest, DiskStatus, FIRST_DISK_SLOT, MAX_DISKS};
use ftlog::DiskMode;
use replay::StopSwitch;

use super::held::Held;
use crate::ingress::Inbox;

/// How often whoever waits for a disk looks at the stop switch.
const GLANCE: Duration = Duration::from_millis(50);

/// Virtio slots of a VM.
const SLOTS: usize = FIRST_DISK_SLOT as usize + MAX_DISKS;

struct State {
    /// Answers are the guest's.
    live: bool,
    /// Requests on their way to an engine or in it, by virtio slot.
    pending: [usize; SLOTS],
    /// Requests that were answered, by virtio slot.
    answered: [u64; SLOTS],
    /// Requests of a VM that is replayed, and what became of them here.
    copies: HashMap<(u8, u64), Option<DiskStatus>>,
    held: Held,
}

/// Shared by the engines of a VM.
pub struct Answers {
    inbox: Arc<Inbox>,
    state: Mutex<State>,
    changed: Condvar,
}

impl State {
    fn pending(&mut self, slot: u8) -> &mut usize {
        &mut self.pending[usize::from(slot) % SLOTS]
    }

    fn less(&mut self, slot: u8) {
        let pending = self.pending(slot);
        *pending = pending.saturating_sub(1);
        self.answered[usize::from(slot) % SLOTS] += 1;
    }
}

impl Answers {
    /// Answers of a VM that runs on this side (`live`), or that is replayed.
    pub fn new(inbox: Arc<Inbox>, live: bool) -> Self {
        let state = State {
            live,
            pending: [0; SLOTS],
            answered: [0; SLOTS],
            copies: HashMap::new(),
            held: Held::default(),
        };
        Self { inbox, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A request is on its way to an engine.
    pub fn expect(&self, slot: u8) {
        *self.lock().pending(slot) += 1;
    }

    /// A request of a VM that is replayed is on its way to an engine.
    pub fn expect_copy(&self, slot: u8, id: u64) {
        let mut state = self.lock();
        *state.pending(slot) += 1;
        state.copies.insert((slot, id), None);
    }

    /// An engine has answered.
    pub fn answer(&self, slot: u8, id: u64, status: DiskStatus, data: Vec<u8>) {
        let mut state = self.lock();
        state.less(slot);
        if data.is_empty() || !state.live {
            state.held.give_back(slot, id);
        }
        if state.live {
            self.inbox.push_disk_done(slot, id, status as u8, data);
        } else if let Some(copy) = state.copies.get_mut(&(slot, id)) {
            *copy = Some(status);
        }
        self.changed.notify_all();
    }

    /// A request came to nothing and is not answered: this side is not the VM any more.
    pub fn give_up(&self, slot: u8, id: u64) {
        let mut state = self.lock();
        state.less(slot);
        state.held.give_back(slot, id);
        self.changed.notify_all();
    }

    /// The guest was told the answer, which waits in the inbox no more.
    pub fn taken(&self, slot: u8, id: u64) {
        self.lock().held.give_back(slot, id);
    }

    /// Counts the data of a request to a disk kept like this; false when too much is held already.
    pub fn hold(&self, request: &DiskRequest, mode: DiskMode) -> bool {
        self.lock().held.take(request, mode)
    }

    /// Counts the data of a request that replicated disks are changed by, once there is room and no more than `most` of
    /// the disk's requests are on their way; false when the stop switch was thrown first.
    pub fn hold_in_time(&self, request: &DiskRequest, most: usize, stop: &StopSwitch) -> bool {
        let mut state = self.lock();
        while *state.pending(request.slot) > most || !state.held.take(request, DiskMode::Replicated) {
            if stop.is_thrown() {
                return false;
            }
            state = self.wait(state);
        }
        true
    }

    /// The data held, bytes.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.lock().held.bytes()
    }

    /// Waits until at most `most` requests of a disk are on their way; false when the stop switch was thrown first.
    pub fn wait_pending(&self, slot: u8, most: usize, stop: &StopSwitch) -> bool {
        let mut state = self.lock();
        while *state.pending(slot) > most {
            if stop.is_thrown() {
                return false;
            }
            state = self.wait(state);
        }
        true
    }

    /// How many requests of a disk are on their way.
    pub fn pending(&self, slot: u8) -> usize {
        *self.lock().pending(slot)
    }

    /// And how many were answered so far.
    pub fn answered(&self, slot: u8) -> u64 {
        self.lock().answered[usize::from(slot) % SLOTS]
    }

    /// Waits until this side's copy has done what the log has an answer for; `None` when it was not asked to, or the
    /// stop switch was thrown first.
    pub fn wait_copy(&self, slot: u8, id: u64, stop: &StopSwitch) -> Option<DiskStatus> {
        let mut state = self.lock();
        loop {
            match *state.copies.get(&(slot, id))? {
                Some(status) => {
                    state.copies.remove(&(slot, id));
                    return Some(status);
                }
                None if stop.is_thrown() => return None,
                None => state = self.wait(state),
            }
        }
    }

    /// From now on answers are the guest's, or those of a VM that is replayed.
    pub fn set_live(&self, live: bool) {
        let mut state = self.lock();
        state.live = live;
        state.copies.clear();
        state.held = Held::default();
    }

    /// Whether answers are the guest's.
    pub fn is_live(&self) -> bool {
        self.lock().live
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, GLANCE).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
