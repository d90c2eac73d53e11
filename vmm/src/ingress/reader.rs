//! The thread that reads the TAP device.

use std::{io, sync::Arc, time::Duration};

use rustix::event::{PollFd, PollFlags, poll};
use vmm_sys_util::eventfd::EventFd;

use super::Inbox;
use crate::host::{
    reserve::{self, Handle},
    tap::{MAX_FRAME, Tap},
};

/// Frames handed over together.
const BATCH: usize = 64;
/// How often a reader that waits for room looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(20);

/// Moves frames from a TAP device to the inbox until it is dropped.
pub struct TapReader {
    stop: EventFd,
    thread: Option<Handle<()>>,
}

impl TapReader {
    /// Starts reading.
    pub fn start(tap: Arc<Tap>, inbox: Arc<Inbox>) -> io::Result<Self> {
        let stop = EventFd::new(libc::EFD_NONBLOCK)?;
        let stopped = stop.try_clone()?;
        let body = move || {
            if let Err(error) = read_until(&tap, &inbox, &stopped) {
                tracing::error!(tap = tap.name(), %error, "reading the TAP device failed; the guest hears nothing more");
            }
        };
        let thread = reserve::spawn("tap", body)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_until(tap: &Tap, inbox: &Inbox, stop: &EventFd) -> io::Result<()> {
    let mut buffer = vec![0; MAX_FRAME];
    let mut frames = Vec::with_capacity(BATCH);
    loop {
        wait_for_frames(tap, stop)?;
        if stop.read().is_ok() {
            return Ok(());
        }
        while frames.len() < BATCH && !inbox.is_full() {
            let Some(length) = tap.receive(&mut buffer)? else { break };
            // The log's events are that long at most; no Ethernet frame is longer.
            frames.push(buffer[..length.min(ftlog::MAX_EVENT_PAYLOAD)].to_vec());
        }
        inbox.push_frames(&mut frames, PATIENCE);
    }
}

fn wait_for_frames(tap: &Tap, stop: &EventFd) -> io::Result<()> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: `stop` keeps its descriptor open for as long as the borrow.
    #[allow(unsafe_code)]
    let stop = unsafe { BorrowedFd::borrow_raw(stop.as_raw_fd()) };
    let mut ready = [PollFd::new(tap, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
    match poll(&mut ready, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
