//! The thread that reads the TAP device, and looks for it again when it has gone away.

use std::{fs::File, io, os::fd::AsFd, sync::Arc, time::Duration};

use devices::NetConfig;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Inbox;
use crate::{
    control::Board,
    host::{
        bell::Bell,
        reserve::{self, Handle},
        tap::{MAX_FRAME, Tap, receive},
    },
};

/// Frames handed over together.
const BATCH: usize = 64;
/// How often a reader that waits for room looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often a device that is gone is looked for.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// What does not work while it is gone, as `status` calls it.
const NET: &str = "net";

/// Moves frames from a TAP device to the inbox until it is dropped.
pub struct TapReader {
    stop: Bell,
    thread: Option<Handle<()>>,
}

struct Reader {
    tap: Arc<Tap>,
    mtu: u16,
    inbox: Arc<Inbox>,
    board: Board,
    stop: Bell,
}

impl TapReader {
    /// Starts reading for a guest with this network card, if it has one. `stop` is the reader's alone.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn start(
        tap: Option<&Arc<Tap>>,
        net: Option<NetConfig>,
        inbox: &Arc<Inbox>,
        board: &Board,
        stop: Bell,
    ) -> io::Result<Option<Self>> {
        let (Some(tap), Some(net)) = (tap, net) else { return Ok(None) };
        let reader = Reader {
            tap: tap.clone(),
            mtu: net.mtu,
            inbox: inbox.clone(),
            board: board.clone(),
            stop: stop.clone(),
        };
        let thread = reserve::spawn("tap", move || reader.run())?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.stop.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Reader {
    fn run(&self) {
        while !self.stop.silence() {
            match self.tap.file() {
                Some(file) => {
                    if let Err(error) = self.read(&file) {
                        self.tap.detach();
                        self.tell_gone(&error.to_string());
                    }
                }
                None => self.look_again(),
            }
        }
    }

    /// Waits for frames and hands them over.
    fn read(&self, file: &File) -> io::Result<()> {
        let mut buffer = vec![0; MAX_FRAME];
        let mut frames = Vec::with_capacity(BATCH);
        let mut ready =
            [PollFd::new(file, PollFlags::IN), PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN)];
        loop {
            match poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !ready[1].revents().is_empty() {
                return Ok(());
            }
            while frames.len() < BATCH && !self.inbox.is_full() {
                // A device that is gone is ready too (POLLERR), and says so here.
                let Some(length) = receive(file, &mut buffer)? else { break };
                // The log's events are that long at most; no Ethernet frame is longer.
                frames.push(buffer[..length.min(ftlog::MAX_EVENT_PAYLOAD)].to_vec());
            }
            self.inbox.push_frames(&mut frames, PATIENCE);
        }
    }

    fn look_again(&self) {
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN)], Some(&LOOK_AGAIN));
        match self.tap.attach_again(self.mtu) {
            Ok(()) => self.board.well(NET),
            Err(error) => self.tell_gone(&error.to_string()),
        }
    }

    fn tell_gone(&self, why: &str) {
        self.board.trouble(
            NET,
            format!("the guest is cut off from its network: TAP device {}: {why}", self.tap.name()),
        );
    }
}
