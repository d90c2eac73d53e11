//! A secondary whose memory is damaged: it must be found out, shown, thrown away and replaced.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
};

use anyhow::{Context, ensure};
use ftvmm::{
    control::{Request, State},
    demo::client::{Action, Connection, Reply},
};
use ftvmm_tests::stage::{self, PATIENCE, Pair, guest};

use super::{SOON, TIMEOUT_MS, was_never_turned_away};

/// Where the embedded guests' code and data begin, and enough of it to matter (guest-images/micro/guest.ld).
const IMAGE: std::ops::Range<u64> = 2 << 20..4 << 20;
const GUEST_BYTES: u64 = 64 << 20;
const PAGE: usize = 4096;

#[test]
fn a_secondary_with_damaged_memory_is_found_out_and_seeded_again() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        let generation = primary.status()?.generation;

        damage_guest(secondary.process.id())?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));

        let told = |text: &str| text.contains("diverged at #") && text.contains("<-- differs");
        let status = primary.wait_status("told of the divergence", SOON, |status| {
            status.events.iter().any(|event| told(&event.text))
        })?;
        assert!(status.takeover.is_none());
        let again = primary.wait_status("protected again", SOON, |status| status.generation > generation)?;
        assert!(again.generation > generation, "a diverged secondary is let go of with a new generation");
        primary.wait_protected()?;
        let status = primary.status()?;
        was_never_turned_away(&status)?;
        let named = |text: &str| text.contains("pages of the secondary's memory differed: 0x");
        ensure!(status.events.iter().any(|event| named(&event.text)), "{status:?}");
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(3));
        Ok(())
    });
}

/// A host that damages it each time: what has to be looked at is not seeded for ever.
#[test]
fn a_secondary_that_is_found_out_again_and_again_waits_for_the_operator() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        for n in 1..=4 {
            let generation = primary.wait_protected()?.generation;
            damage_guest(secondary.process.id())?;
            assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(n));
            primary.wait_status("alone", SOON, |status| status.generation > generation)?;
        }
        let why = |loss: &String| loss.contains("diverged 4 times") && loss.contains("`resume`");
        let status =
            primary.wait_status("distrustful", SOON, |status| status.last_loss.as_ref().is_some_and(why))?;
        ensure!(status.state == State::Unprotected && status.peer.is_none(), "{status:?}");
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(5));

        primary.ask(&Request::Resume)?;
        primary.wait_protected()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(6));
        Ok(())
    });
}

/// A guest that cannot go on where the primary's does is as good a sign of a host that computes wrongly as one that goes on
/// differently: it is told and counted as that.
#[test]
fn a_secondary_whose_guest_cannot_go_on_has_diverged() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        // Nothing but undefined instructions, and no handler of them: a triple fault.
        let page: Vec<u8> = [0x0f, 0x0b].repeat(PAGE / 2);
        secondary.process.stop()?;
        overwrite_guest(secondary.process.id(), 0, &page)?;
        secondary.process.go_on()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        let told = |text: &str| text.contains("diverged at #") && text.contains("the replay cannot: ");
        primary.wait_status("told of the divergence", SOON, |status| {
            status.events.iter().any(|event| told(&event.text))
        })?;
        primary.wait_protected()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
        Ok(())
    });
}

/// The log goes on coming until the primary knows: what is told is the divergence, and not what came of that.
#[test]
fn a_secondary_that_has_diverged_says_so_whatever_else_was_on_its_way() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut clients: Vec<TcpStream> =
            (0..8).map(|_| TcpStream::connect(guest())).collect::<Result<_, _>>()?;
        secondary.process.stop()?;
        damage_guest(secondary.process.id())?;
        for client in &mut clients {
            // Its answer is a batch of its own, as the guest comes to rest behind it.
            let position = primary.status()?.position;
            client.write_all(b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n")?;
            primary.wait_status("a little further", SOON, |status| status.position > position)?;
        }
        secondary.process.go_on()?;
        let told = |text: &str| text.contains("divergence at sync point") && text.contains("<-- differs");
        let status = secondary.wait_status("told of the divergence", SOON, |status| {
            status.events.iter().any(|event| told(&event.text))
        })?;
        let other = status.events.iter().find(|event| event.text.contains("cannot go on"));
        ensure!(other.is_none(), "{other:?}");
        primary.wait_protected()?;
        Ok(())
    });
}

fn damage_guest(process: u32) -> anyhow::Result<()> {
    overwrite_guest(process, 100, &[0xcc; 8])
}

/// Overwrites some `bytes` of every used page of the guest's image, in the monitor's own mapping.
///
/// The secondary goes on replaying meanwhile: the first damaged page that matters may have it found out, and its
/// memory unmapped, before the last page is reached.
fn overwrite_guest(process: u32, at: u64, bytes: &[u8]) -> anyhow::Result<()> {
    let base = guest_memory(process)?;
    let memory: File = OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem"))?;
    let mut damaged = 0;
    for offset in IMAGE.step_by(PAGE) {
        match overwrite_page(&memory, base + offset, at, bytes) {
            Ok(used) => damaged += u32::from(used),
            Err(error) if damaged > 0 && is_unmapped(&error) => return Ok(()),
            Err(error) => return Err(error).context(format!("damaging the guest at {offset:#x}")),
        }
    }
    Ok(())
}

/// Whether the page was in use, and so is damaged now.
fn overwrite_page(memory: &File, address: u64, at: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut page = [0; PAGE];
    memory.read_exact_at(&mut page, address)?;
    let used = page.iter().any(|byte| *byte != 0);
    if used {
        memory.write_all_at(bytes, address + at)?;
    }
    Ok(used)
}

/// What `/proc/PID/mem` answers where nothing is mapped.
fn is_unmapped(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// The start of the one mapping that can be the guest's RAM.
fn guest_memory(process: u32) -> anyhow::Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mapping = |line: &str| -> Option<(u64, u64)> {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
    };
    let writable = maps.lines().filter(|line| line.contains(" rw-"));
    let found = writable.filter_map(mapping).find(|(start, end)| {
        // The kernel may have merged it with a neighbour.
        (GUEST_BYTES..GUEST_BYTES + (4 << 20)).contains(&(end - start))
    });
    found.map(|(start, _)| start).context("the guest's RAM is not among the process's mappings")
}
