//! What a secondary does with a primary that is slow, gives up, or goes in the wrong moment.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use ftlog::{FrameKind, Message, PAGE_SIZE, PagesEncoder, Refuse};
use ftvmm::{arbiter::FileArbiter, control::State, demo::pair::Member, link::connection::ReceiveError};
use ftvmm_tests::{
    cpu,
    stage::{self, Stage},
};

use super::{
    SOON, TIMEOUT_MS,
    stand_in::{NAME, StandIn},
};

/// As few exits as the guest makes.
const ROUNDS: &str = "rounds=40";
/// CPU time that it takes to execute what waits, seconds.
const BACKLOG_S: f64 = 4.0;

fn greet(stage: &Stage, kernel: &str, cmdline: &str) -> anyhow::Result<(Member, StandIn)> {
    let (secondary, address) = stage.secondary(&[])?;
    let primary = StandIn::greet(&stage.setup.arbiter, &address, kernel, cmdline)?;
    Ok((secondary, primary))
}

/// A secondary that has executed all of a guest's life, of whose last words none was released.
fn switched_off(stage: &Stage) -> anyhow::Result<(Member, StandIn)> {
    let (secondary, mut primary) = greet(stage, "builtin:exits", ROUNDS)?;
    primary.seed_whole()?;
    while primary.machine.platform().powered_off().is_none() {
        let step = primary.record()?;
        primary.connection.send(FrameKind::Steps, &step);
    }
    primary.await_executed()?;
    Ok((secondary, primary))
}

fn console(secondary: &Member) -> anyhow::Result<String> {
    Ok(fs::read_to_string(secondary.control().with_extension("console"))?)
}

/// Who holds the newest generation of the VM, and whether it has ended.
fn newest(stage: &Stage) -> anyhow::Result<(u64, bool)> {
    let arbiter = FileArbiter::open(&format!("file:{}", stage.setup.arbiter.display()))?;
    let latest = arbiter.latest(NAME)?.expect("the VM is known");
    Ok((latest.entry.generation.0, latest.ended.is_some()))
}

#[test]
fn the_last_words_of_a_guest_are_said_by_who_takes_it_over() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut secondary, primary) = switched_off(stage)?;
        secondary.process.expect_alive()?;
        assert_eq!(console(&secondary)?, "", "the primary may have said it");
        drop(primary);
        let ended = secondary.process.wait_end(SOON)?;
        assert_eq!(ended.code(), Some(0), "{}", secondary.process.log());
        assert!(console(&secondary)?.contains("checksum"));
        assert_eq!(newest(stage)?, (2, true));
        Ok(())
    });
}

#[test]
fn the_last_words_of_a_guest_that_have_left_are_not_said_again() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut secondary, mut primary) = switched_off(stage)?;
        primary.connection.send(FrameKind::End, &[]);
        primary.connection.close();
        let ended = secondary.process.wait_end(SOON)?;
        assert_eq!(ended.code(), Some(0), "{}", secondary.process.log());
        assert_eq!(console(&secondary)?, "");
        assert_eq!(newest(stage)?, (1, false), "to say that it has ended is the primary's");
        Ok(())
    });
}

#[test]
fn what_waits_to_be_executed_ends_with_the_session() {
    // Nothing is said while the guest computes.
    stage::play(10 * TIMEOUT_MS, |stage| {
        // Long stretches, which are interrupted too, and more of them than are recorded.
        let (secondary, mut primary) = greet(stage, "builtin:compute", "rounds=10000")?;
        primary.seed_whole()?;
        let began = cpu::of_this_thread();
        let mut backlog = Vec::new();
        while cpu::of_this_thread() - began < BACKLOG_S {
            backlog.push(primary.record()?);
            primary.keep_up()?;
        }
        let before = cpu::of_process(secondary.process.id())?;
        backlog.iter().for_each(|step| primary.connection.send(FrameKind::Steps, step));
        let received = |frame: &ftlog::Frame| frame.kind == FrameKind::Ack;
        primary.await_frame("some of it to be received", received)?;
        primary.connection.send(FrameKind::Detach, &[]);
        primary.await_free()?;
        let used = cpu::of_process(secondary.process.id())? - before;
        assert!(used < BACKLOG_S / 2.0, "free after {used:.2} s of CPU time, with {BACKLOG_S} s to execute");
        Ok(())
    });
}

#[test]
fn a_reason_arrives_although_the_seed_is_on_its_way() {
    stage::play(TIMEOUT_MS, |stage| {
        let (_secondary, mut primary) = greet(stage, "builtin:exits", ROUNDS)?;
        let seed = primary.seed()?;
        primary.connection.send(seed[0].0, &seed[0].1);
        let mut outside = PagesEncoder::default();
        outside.push(1 << 40, &[1; PAGE_SIZE]);
        primary.connection.send(FrameKind::Pages, &outside.take());
        // More than waits in a socket.
        for _ in 0..12 {
            primary.connection.send(FrameKind::Pages, &vec![7; 1 << 20]);
        }
        let refused = primary.await_frame("a reason", |frame| frame.kind == FrameKind::Refuse)?;
        let reason = Refuse::decode(&refused.body)?.reason;
        assert!(reason.contains("lies outside"), "{reason}");
        Ok(())
    });
}

#[test]
fn a_slow_way_is_no_silence() {
    let timeout = Duration::from_millis(200);
    stage::play(timeout.as_millis() as u64, |stage| {
        let (mut secondary, address) = stage.secondary(&[])?;
        let way = slow_way(address, timeout / 4)?;
        let mut primary = StandIn::greet(&stage.setup.arbiter, &way, "builtin:exits", ROUNDS)?;
        // One frame, for as long as this goes on.
        primary.connection.send(FrameKind::Begin, &vec![0; 4 << 20]);
        let end = Instant::now() + 10 * timeout;
        let mut signs_of_life = 0;
        while Instant::now() < end {
            match primary.connection.receive_within(timeout / 4) {
                Ok(frame) => {
                    assert_eq!(frame.kind, FrameKind::Heartbeat, "{}", secondary.process.log());
                    signs_of_life += 1;
                }
                Err(ReceiveError::Timeout(_)) => {}
                Err(error) => anyhow::bail!("{error}: {}", secondary.process.log()),
            }
        }
        assert!(signs_of_life > 10, "{signs_of_life}");
        assert_eq!(secondary.status()?.state, State::Seeding);
        secondary.process.expect_alive()
    });
}

/// The way to `to` that carries little now and then; the way back is a good one. Gives where it begins.
fn slow_way(to: String, pause: Duration) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || -> anyhow::Result<()> {
        let (mut near, _) = listener.accept()?;
        let mut far = TcpStream::connect(to)?;
        let (mut back_from, mut back_to) = (far.try_clone()?, near.try_clone()?);
        thread::spawn(move || io::copy(&mut back_from, &mut back_to));
        let mut piece = [0; 64 << 10];
        loop {
            let count = near.read(&mut piece)?;
            far.write_all(&piece[..count])?;
            thread::sleep(pause);
        }
    });
    Ok(address)
}
