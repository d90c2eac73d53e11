//! What the core asks for, done.

use std::{thread, time::Duration};

use ftlog::{Condition, FrameKind, Generation, Heartbeat};
use hdrhistogram::Histogram;
use protocol::{
    LossReason,
    arbiter::ClaimOutcome,
    commit::Held,
    primary::{Effect, Link},
};

use super::{messages::Message, orders::Halted, thread::LinkThread};
use crate::{
    control::{Board, Role},
    disk::stamp::StampState,
    host::{clock::monotonic_ns, reserve},
};

/// When stamps that could not be written are tried again.
const STAMP_AGAIN: Duration = Duration::from_secs(1);

/// Commit delays up to ten seconds, to three digits, ns.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(10_000_000_000, 3).expect("constant bounds are valid")
}

/// Lags up to an hour, to one digit, µs.
pub fn new_lags() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 1).expect("constant bounds are valid")
}

/// Does what the core asks, in the order in which it asks.
pub fn carry_out(thread: &mut LinkThread, effects: Vec<Effect>) {
    for effect in effects {
        carry_out_one(thread, effect);
    }
}

fn carry_out_one(thread: &mut LinkThread, effect: Effect) {
    match effect {
        Effect::Claim { generation } => claim(thread, generation),
        Effect::EnterGeneration { generation } => enter(thread, generation),
        Effect::OpenGate => {
            thread.open_fence();
            thread.let_writes_leave(|gate, left| gate.open(left));
            let_leave(thread, |thread, left| thread.gate.open(left));
        }
        Effect::CloseGate { after } => {
            thread.close_fence();
            thread.write_gate.close(after);
            thread.gate.close(after);
        }
        Effect::Release { through } => {
            thread.extend_lease(through);
            thread.let_writes_leave(|gate, left| gate.release(through, left));
            let_leave(thread, |thread, left| thread.gate.release(through, left));
        }
        Effect::StartSeed { link } => thread.start_seed(link),
        Effect::SendSeedDone { link } => finish_seed(thread, link),
        Effect::SendHeartbeat { link } => send_heartbeat(thread, link),
        Effect::SendDetach { link } => send(thread, link, FrameKind::Detach, &[]),
        Effect::DropPeer { link, reason } => drop_peer(thread, link, &reason),
        Effect::SetPace(pace) => thread.orders.set_pace(pace),
        Effect::Detached => detached(thread),
        Effect::Halt { reason } => thread.halt(Halted::Elsewhere(reason.to_string())),
    }
}

/// On a thread of its own: a shared directory may take long to answer.
fn claim(thread: &LinkThread, generation: Generation) {
    let (site, identity, mailbox) = (thread.site.clone(), thread.identity.clone(), thread.mailbox.clone());
    let (after, yields) = (thread.predecessor.clone(), thread.core.yields());
    reserve::spend();
    let spawned = reserve::spawn("claim", move || {
        let outcome = site.claim(&identity, generation, after.as_deref(), yields);
        mailbox.send(Message::Claimed(generation, outcome));
    });
    if let Err(error) = spawned {
        // It was not asked, so it is asked again.
        let outcome = ClaimOutcome::Unavailable { reason: format!("no thread to ask it: {error}") };
        thread.mailbox.send(Message::Claimed(generation, outcome));
    }
}

fn enter(thread: &mut LinkThread, generation: Generation) {
    let ours = thread.site.holder.to_string();
    let begins = thread.predecessor.as_ref() != Some(&ours);
    thread.predecessor = Some(ours);
    stamp_disks(thread, generation, begins);
    thread.site.board.update(|status| {
        status.role = Role::Primary;
        status.generation = generation.0;
    });
    thread.site.board.notice(format!("running as the primary, generation {generation}"));
}

/// The disks say that they are of this generation. Only a start waits for that, and once: as long as they do not, they
/// look older than they are, which is safe.
fn stamp_disks(thread: &LinkThread, generation: Generation, wait: bool) {
    let (disks, board) = (thread.site.outlets.disks.clone(), thread.site.board.clone());
    let (mark, stop) = (thread.identity.mark(generation, StampState::Live), thread.site.stop.clone());
    let stamped = move || match disks.stamp(&mark) {
        Ok(()) => {
            board.well("stamp");
            true
        }
        Err(error) => {
            let why = format!("the disks do not say that they are of generation {generation}: {error}");
            board.trouble("stamp", why);
            false
        }
    };
    if wait && stamped() {
        return;
    }
    let again = move || {
        while !stamped() && !stop.is_thrown() {
            thread::sleep(STAMP_AGAIN);
        }
    };
    if let Err(error) = reserve::spawn("stamp", again) {
        tracing::warn!(%error, "the disks do not say that they are of generation {generation}");
    }
}

fn let_leave(thread: &mut LinkThread, leave: impl FnOnce(&mut LinkThread, &mut Vec<Held<devices::Output>>)) {
    let mut left = Vec::new();
    leave(thread, &mut left);
    if left.is_empty() {
        return;
    }
    for held in left {
        thread.let_out(held);
    }
    thread.tell_held();
}

fn finish_seed(thread: &mut LinkThread, link: Link) {
    send(thread, link, FrameKind::SeedDone, &[]);
    if let Some(stream) = &mut thread.stream {
        stream.streaming = true;
    }
    thread.log_bytes = 0;
    thread.commit_delay = new_histogram();
    thread.lags = new_lags();
    thread.orders.end_seed();
}

fn send_heartbeat(thread: &mut LinkThread, link: Link) {
    let (position, released, time_ns) = (thread.recorded, thread.released, thread.time_ns);
    send(
        thread,
        link,
        FrameKind::Heartbeat,
        &Heartbeat { position, released, time_ns, lease_ns: 0, condition: Condition::default() }.encode(),
    );
}

fn send(thread: &mut LinkThread, link: Link, kind: FrameKind, body: &[u8]) {
    if let Some(stream) = thread.stream.as_mut().filter(|stream| stream.link == link) {
        stream.connection.send(kind, body);
    }
}

fn drop_peer(thread: &mut LinkThread, link: Link, reason: &LossReason) {
    if let Some(mut stream) = thread.stream.take_if(|stream| stream.link == link) {
        // What was queued for it, such as Detach, is worth one attempt.
        let _ = stream.connection.flush();
    }
    thread.resync = None;
    thread.orders.end_seed();
    thread.site.outlets.disks.end_bases();
    // Of the one the operator knows, of the other the reason was told before.
    if !matches!(reason, LossReason::Detached | LossReason::Unwanted) {
        thread.note_loss(format!("the secondary is lost: {reason}"));
    }
}

fn detached(thread: &mut LinkThread) {
    let Some((pending, peer)) = thread.detaching.take() else { return };
    thread.connector.set_peer(peer);
    thread.site.board.notice("the secondary was let go");
    thread.answer_detached(pending);
}

/// The VM has said the first thing after it went live.
pub fn note_first_output(board: &Board, live_ns: u64) {
    let after_ms = (monotonic_ns() - live_ns) as f64 / 1e6;
    board.update(|status| {
        if let Some(takeover) = &mut status.takeover {
            takeover.first_output_ms = Some(after_ms);
        }
    });
}
