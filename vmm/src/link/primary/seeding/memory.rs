//! The thread that sends memory, and what is written to memory and disks meanwhile.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use crossbeam_channel::Receiver;
use ftlog::{DISK_BLOCK, FrameKind, Manifest, Message, PAGE_SIZE};
use machine::transfer::{Differing, Source, Theirs, Transfer};
use protocol::seeding::{Degree, Next, Rounds};

use super::{
    disks::send_changes,
    letters::{Heard, Letter},
};
use crate::{
    disk::DiskCopy,
    host::clock::boot_ns,
    link::{Channel, mailbox::Mailbox},
};

/// How often it says how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(50);
/// What a block of a disk counts among pages.
const PAGES_IN_BLOCK: u64 = (DISK_BLOCK / PAGE_SIZE) as u64;

/// Of a seed's thread.
pub struct Ends {
    /// How the way to the secondary is to be used.
    pub channel: Channel,
    /// What the secondary says.
    pub heard: Receiver<Heard>,
    /// What the link thread is told.
    pub mailbox: Mailbox<Letter>,
}

/// Sends rounds until what is left is for the stop; the mailbox hears of the end. Whoever holds `turn` is the only one to
/// do so.
pub fn send(turn: &Mutex<()>, source: &Source, copies: Vec<DiskCopy>, manifest: &Manifest, ends: &Ends) {
    // That of a session which was lost may not have noticed yet, and takes marks.
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let sent = ends.begin(source, manifest).and_then(|(theirs, round_trip_ns)| {
        let mut sender = Sender::new(source.begin(theirs)?, copies, round_trip_ns, ends)?;
        sender.send_rounds().map(|()| sender.transfer)
    });
    ends.mailbox.send(match sent {
        Ok(transfer) => Letter::Nearly(Box::new(transfer)),
        Err(error) => Letter::Failed(format!("{error:#}")),
    });
}

impl Ends {
    /// Gives what the secondary's memory holds, and the time that a word takes there and back, ns.
    fn begin(&self, source: &Source, manifest: &Manifest) -> anyhow::Result<(Theirs, u64)> {
        self.tell(Letter::Frame(FrameKind::Begin, manifest.encode()?))?;
        let (theirs, boot) = self.learn(manifest.digest_key, source.page_count())?;
        if boot != source.boot_pages().digest() {
            for body in source.boot_pages().bodies() {
                self.tell(Letter::Frame(FrameKind::BootPages, body.clone()))?;
            }
        }
        self.await_receipt(0)?;
        let asked_ns = boot_ns();
        self.await_receipt(0)?;
        Ok((theirs, boot_ns() - asked_ns))
    }

    /// What its memory holds, and a digest of what it has of RAM at power-on.
    fn learn(&self, key: u64, page_count: u64) -> anyhow::Result<(Theirs, u128)> {
        let mut theirs = Theirs { key, pages: Vec::new() };
        loop {
            let Heard::Pages(digests) = self.heard.recv().context("the peer is lost")? else {
                bail!("the secondary says something else than what its memory holds");
            };
            let (last, boot) = (digests.last, digests.boot);
            ensure!(theirs.add(digests, page_count), "the secondary says what it holds where no memory is");
            if last {
                return self.tell_of(&theirs).map(|()| (theirs, boot));
            }
        }
    }

    fn tell_of(&self, theirs: &Theirs) -> anyhow::Result<()> {
        if theirs.pages.is_empty() {
            return Ok(());
        }
        let mib = (theirs.pages.len() * PAGE_SIZE) as f64 / f64::from(1 << 20);
        self.tell(Letter::Notice(format!(
            "the secondary has {mib:.1} MiB of an earlier session: what differs is sent"
        )))
    }

    /// Waits until the secondary has received all that was said.
    fn await_receipt(&self, round: u64) -> anyhow::Result<()> {
        self.tell(Letter::Frame(FrameKind::SeedRound, round.to_le_bytes().to_vec()))?;
        match self.heard.recv().context("the peer is lost")? {
            Heard::Round(number) if number == round => Ok(()),
            _ => bail!("the secondary says something else than that it has received round {round}"),
        }
    }

    fn tell(&self, letter: Letter) -> anyhow::Result<()> {
        ensure!(self.mailbox.send(letter), "the peer is lost");
        Ok(())
    }
}

struct Sender<'a> {
    transfer: Transfer,
    copies: Vec<DiskCopy>,
    rounds: Rounds,
    ends: &'a Ends,
    begun: Instant,
    sent_bytes: u64,
    told: Instant,
}

impl<'a> Sender<'a> {
    fn new(
        mut transfer: Transfer,
        copies: Vec<DiskCopy>,
        round_trip_ns: u64,
        ends: &'a Ends,
    ) -> anyhow::Result<Self> {
        let rounds = Rounds::begin(ends.channel.target, round_trip_ns, transfer.look()?, boot_ns());
        let begun = Instant::now();
        Ok(Self { transfer, copies, rounds, ends, begun, sent_bytes: 0, told: begun })
    }

    fn send_rounds(&mut self) -> anyhow::Result<()> {
        let mut slowed = Degree::default();
        for number in 1.. {
            self.send_pages()?;
            if number == 1 {
                self.name_differing()?;
            }
            self.send_blocks()?;
            self.ends.await_receipt(number)?;
            let written = self.transfer.look()? + self.blocks_written() * PAGES_IN_BLOCK;
            match self.rounds.ended(written, boot_ns()) {
                Next::Stop => break,
                Next::Round(degree) if degree == slowed => {}
                Next::Round(degree) => {
                    slowed = degree;
                    self.ends.tell(Letter::Slow(degree))?;
                }
            }
        }
        self.tell_progress()
    }

    /// After a divergence the page that caused it is likely to be among them.
    fn name_differing(&self) -> anyhow::Result<()> {
        let differing = self.transfer.differing().filter(|differing| differing.count > 0);
        let Some(Differing { count, first }) = differing else { return Ok(()) };
        let first: Vec<String> = first.iter().map(|gpa| format!("{gpa:#x}")).collect();
        let more = if *count > first.len() as u64 { ", …" } else { "" };
        let text = format!("{count} pages of the secondary's memory differed: {}{more}", first.join(", "));
        self.ends.tell(Letter::Notice(text))
    }

    fn send_pages(&mut self) -> anyhow::Result<()> {
        while let Some(piece) = self.transfer.next_piece()? {
            let bytes = piece.body.as_ref().map_or(0, |body| body.len() as u64);
            if let Some(body) = piece.body {
                self.ends.tell(Letter::Frame(FrameKind::Pages, body))?;
            }
            self.count(piece.looked_at, piece.pages, bytes)?;
        }
        Ok(())
    }

    fn send_blocks(&mut self) -> anyhow::Result<()> {
        let mut copies = std::mem::take(&mut self.copies);
        let sent = send_changes(&mut copies, &mut |body| {
            let bytes = body.len() as u64;
            self.ends.tell(Letter::Frame(FrameKind::DiskBlock, body))?;
            self.count(PAGES_IN_BLOCK, PAGES_IN_BLOCK, bytes)
        });
        self.copies = copies;
        sent
    }

    fn blocks_written(&self) -> u64 {
        self.copies.iter().map(|copy| copy.changes.count()).sum()
    }

    fn count(&mut self, looked_at: u64, pages: u64, bytes: u64) -> anyhow::Result<()> {
        self.rounds.sent(looked_at, pages, bytes);
        self.sent_bytes += bytes;
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            self.tell_progress()?;
        }
        if let Some(limit) = self.ends.channel.limit {
            let due = Duration::from_secs_f64(self.sent_bytes as f64 / limit.max(1) as f64);
            thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
        Ok(())
    }

    fn tell_progress(&self) -> anyhow::Result<()> {
        self.ends.tell(Letter::Progress(self.rounds.progress(boot_ns())))
    }
}
