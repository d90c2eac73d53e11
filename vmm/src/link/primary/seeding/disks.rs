//! The thread that compares this side's copies with the secondary's.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use crossbeam_channel::Receiver;
use ftlog::{DISK_BLOCK, DiskBases, DiskBlock, DiskRegions, FrameKind};

use super::letters::{Heard, Letter};
use crate::{
    disk::{DiskCopy, Regions},
    link::mailbox::Mailbox,
};

/// Compares all blocks that may differ, in the order in which their digests come, and sends what differs; `mailbox`
/// hears of the end. Whoever holds `turn` is the only one to do so.
pub fn compare_all(
    turn: &Mutex<()>,
    mut copies: Vec<DiskCopy>,
    heard: &Receiver<Heard>,
    mailbox: &Mailbox<Letter>,
) {
    // That of a session which was lost may not have noticed yet, and takes marks.
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    for copy in &copies {
        // Before anything is read: what is written from here on is sent in the end.
        copy.changes.clear();
        copy.progress.begin(0);
    }
    let compared = compare(&mut copies, heard, mailbox);
    copies.iter().for_each(|copy| copy.progress.end());
    mailbox.send(match compared {
        Ok(()) => Letter::Compared,
        Err(error) => Letter::Failed(format!("{error:#}")),
    });
}

fn compare(
    copies: &mut [DiskCopy],
    heard: &Receiver<Heard>,
    mailbox: &Mailbox<Letter>,
) -> anyhow::Result<()> {
    let mut regions = Vec::new();
    for copy in copies.iter() {
        let Heard::Bases(bases) = heard.recv().context("the peer is lost")? else {
            bail!("the secondary does not say where its copies are known");
        };
        regions.push(choose(copy, &bases, mailbox)?);
    }
    let mut send = |body| {
        ensure!(mailbox.send(Letter::Frame(FrameKind::DiskBlock, body)), "the peer is lost");
        Ok(())
    };
    for (copy, regions) in copies.iter_mut().zip(&regions) {
        let mut expected = regions.next_block(0);
        while let Some(first) = expected {
            let digests = digests_of(copy, regions, first, heard)?;
            for (block, theirs) in (first..).zip(&digests) {
                send_if_other(copy, block, *theirs, &mut send)?;
            }
            copy.progress.compared(digests.len() as u64);
            expected = regions.next_block(first + digests.len() as u64);
        }
    }
    Ok(())
}

/// What is to be compared, of which the secondary is told. The marks of what is written from here on were cleared
/// before: what is not among these is among those.
fn choose(copy: &DiskCopy, theirs: &DiskBases, mailbox: &Mailbox<Letter>) -> anyhow::Result<Regions> {
    let (disk, bytes) = (copy.disk, copy.blocks.bytes());
    ensure!(theirs.disk == disk, "the secondary tells of disk {} instead of {disk}", theirs.disk);
    let common = copy.intents.common(theirs);
    let since = common.as_ref().map_or_else(String::new, |(base, _)| {
        format!("; the rest has not changed since generation {} at {}", base.generation, base.position)
    });
    let regions = common.map_or_else(|| Regions::all(bytes), |(_, regions)| regions);
    let blocks = regions.blocks();
    copy.progress.begin(blocks);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let compared = (blocks * DISK_BLOCK as u64).min(bytes);
    let what = format!("disk {disk}: {:.1} of {:.1} MiB are compared{since}", mib(compared), mib(bytes));
    let body = DiskRegions { disk, map: regions.map().to_vec() }.encode();
    let told =
        mailbox.send(Letter::Notice(what)) && mailbox.send(Letter::Frame(FrameKind::DiskRegions, body));
    ensure!(told, "the peer is lost");
    Ok(regions)
}

/// The next digests, which begin with that of `first` and are of blocks to be compared.
fn digests_of(
    copy: &DiskCopy,
    regions: &Regions,
    first: u64,
    heard: &Receiver<Heard>,
) -> anyhow::Result<Vec<u128>> {
    let Heard::Digests(found) = heard.recv().context("the peer is lost")? else {
        bail!("the secondary says twice where its copies are known");
    };
    let count = found.digests.len() as u64;
    let fits = (found.disk, found.first) == (copy.disk, first) && regions.run(first, count) == count;
    ensure!(fits, "digests of disk {} from block {} on, which are not expected", found.disk, found.first);
    Ok(found.digests)
}

fn send_if_other(
    copy: &mut DiskCopy,
    block: u64,
    theirs: u128,
    send: &mut dyn FnMut(Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let disk = copy.disk;
    let ours = copy.blocks.digest(block).with_context(|| format!("disk {disk}, block {block}"))?;
    if ours == theirs {
        return Ok(());
    }
    if copy.readonly {
        bail!(
            "the two copies of the read-only disk {disk} differ in block {block} of 64 KiB; copy one to the other"
        );
    }
    send_block(copy, block, send)
}

/// Sends what was written since the marks were last taken.
pub fn send_changes(
    copies: &mut [DiskCopy],
    send: &mut dyn FnMut(Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for copy in copies {
        let mut next = 0;
        while let Some(block) = copy.changes.take(next) {
            send_block(copy, block, send)?;
            next = block + 1;
        }
    }
    Ok(())
}

fn send_block(
    copy: &mut DiskCopy,
    block: u64,
    send: &mut dyn FnMut(Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let disk = copy.disk;
    let data = copy.blocks.read(block).with_context(|| format!("disk {disk}, block {block}"))?;
    send(DiskBlock { disk, block, data }.encode())?;
    copy.progress.moved();
    Ok(())
}
