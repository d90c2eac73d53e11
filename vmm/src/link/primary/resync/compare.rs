//! The thread that compares this side's copies with the secondary's.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use crossbeam_channel::Receiver;
use ftlog::{DiskBlock, DiskDigests};

use super::Letter;
use crate::{disk::DiskCopy, link::mailbox::Mailbox};

/// With so few blocks left, of all disks, the VM is paused for them.
const FEW: u64 = 32;
/// A guest that writes faster than the network carries is paused after so many rounds.
const ROUNDS: u32 = 8;

/// Compares all blocks, in the order in which their digests come, and sends what differs; `mailbox` hears of the end.
/// Whoever holds `turn` is the only one to do so.
pub fn compare_all(
    turn: &Mutex<()>,
    mut copies: Vec<DiskCopy>,
    digests: &Receiver<DiskDigests>,
    mailbox: &Mailbox<Letter>,
) {
    // That of a session which was lost may not have noticed yet, and takes marks.
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    for copy in &copies {
        // Before anything is read: what is written from here on is sent in the end.
        copy.changes.clear();
        copy.progress.begin();
    }
    let compared = compare(&mut copies, digests, mailbox);
    copies.iter().for_each(|copy| copy.progress.end());
    mailbox.send(match compared {
        Ok(()) => Letter::Nearly,
        Err(error) => Letter::Failed(format!("{error:#}")),
    });
}

fn compare(
    copies: &mut [DiskCopy],
    digests: &Receiver<DiskDigests>,
    mailbox: &Mailbox<Letter>,
) -> anyhow::Result<()> {
    let mut send = |body| if mailbox.send(Letter::Block(body)) { Ok(()) } else { bail!("the peer is lost") };
    for copy in copies.iter_mut() {
        let mut next = 0;
        while next < copy.blocks.count() {
            let DiskDigests { first, digests, .. } = digests.recv().context("the peer is lost")?;
            for (block, theirs) in (first..).zip(&digests) {
                send_if_other(copy, block, *theirs, &mut send)?;
            }
            next = first + digests.len() as u64;
            copy.progress.compared(digests.len() as u64);
        }
    }
    for _ in 0..ROUNDS {
        if copies.iter().map(|copy| copy.changes.count()).sum::<u64>() <= FEW {
            return Ok(());
        }
        send_changes(copies, &mut send)?;
    }
    Ok(())
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
