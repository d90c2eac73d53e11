//! One monitor, measured once.

use std::{thread, time::Duration};

use anyhow::Context;
use serde::Serialize;

use crate::{
    kind::Kind,
    load::{Clients, Seen, Window, Work},
    monitor::{Monitor, Passage},
    place::Place,
};

/// How long the clients are looked at before each passage.
const BEFORE: Duration = Duration::from_secs(5);
/// Until a guest has come to an even speed after the last passage; ftvmm's goes on to track pages for two seconds.
const SETTLE: Duration = Duration::from_secs(4);

/// One passage of a guest under load.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// In which round, counted from 0.
    pub round: u32,
    /// Whose guest it was.
    pub monitor: Kind,
    /// What it did.
    pub work: Work,
    /// What the monitor says.
    pub passage: Passage,
    /// What the clients saw before it.
    pub before: Seen,
    /// What they saw during it.
    pub during: Seen,
}

impl Measured {
    /// What is left of the guest's speed meanwhile.
    pub fn share(&self) -> f64 {
        self.during.rate / self.before.rate
    }
}

/// Starts a guest, sends it `passages` times under each load, and ends it.
pub fn run(place: &Place, round: u32, monitor: Kind, passages: u32) -> anyhow::Result<Vec<Measured>> {
    let name = format!("{}-{round}", monitor.name().to_lowercase());
    place.renew()?;
    let disk = place.make_disk(&name)?;
    let measured = measure(place, &name, &disk, monitor, passages).with_context(|| monitor.name())?;
    place.remove_disk(&name)?;
    let with_round =
        |(work, passage, before, during)| Measured { round, monitor, work, passage, before, during };
    Ok(measured.into_iter().map(with_round).collect())
}

type Figures = (Work, Passage, Seen, Seen);

fn measure(place: &Place, name: &str, disk: &str, kind: Kind, passages: u32) -> anyhow::Result<Vec<Figures>> {
    let mut monitor = kind.start(place, name, disk)?;
    monitor.guest().await_shell()?;
    monitor.guest().start_redis()?;
    let mut measured = Vec::new();
    for work in Work::ALL {
        if work == Work::Compile {
            monitor.guest().start_compile()?;
        }
        measured.extend(under(monitor.as_mut(), work, passages).with_context(|| work.name())?);
    }
    monitor.end()?;
    Ok(measured)
}

fn under(monitor: &mut dyn Monitor, work: Work, passages: u32) -> anyhow::Result<Vec<Figures>> {
    let clients = Clients::start(work)?;
    let mut windows = Vec::new();
    for _ in 0..passages {
        monitor.make_ready()?;
        thread::sleep(SETTLE);
        let (before, ()) = clients.during(|| {
            thread::sleep(BEFORE);
            Ok(())
        })?;
        let (during, passage) = clients.during(|| monitor.pass())?;
        eprintln!("    stood {:.1} ms, {:.1} s in all", passage.stop_ms, passage.total_ms / 1e3);
        monitor.let_go()?;
        windows.push((passage, before, during));
    }
    let history = clients.finish()?;
    let figures = |(passage, before, during): (Passage, Window, Window)| {
        (work, passage, before.seen(&history), during.seen(&history))
    };
    Ok(windows.into_iter().map(figures).collect())
}
