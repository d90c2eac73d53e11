//! A load of concurrent clients that remember every answer.
//!
//! Each client keeps one connection and one request under way. It keeps the connection across a takeover; only when
//! the connection breaks or stays silent too long does it connect again, and the request is then of unknown outcome.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::wait;

mod history;
mod plan;
mod resp;
#[cfg(test)]
mod stand_in;
mod worker;

pub use history::{Action, Answer, History, Operation, Reply};
pub use plan::{LoadPlan, Mix};
pub use resp::Connection;
use worker::{Log, Shared, Worker};

/// A load under way.
#[derive(Debug)]
pub struct Load {
    workers: Vec<JoinHandle<Log>>,
    shared: Arc<Shared>,
}

impl Load {
    /// Starts the clients. Their times count from `epoch`.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(plan: &LoadPlan, epoch: Instant) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { epoch, stop: AtomicBool::new(false), acknowledged: AtomicU64::new(0) });
        let mut load = Self { workers: Vec::new(), shared };
        for number in 0..plan.connections {
            let worker = Worker::new(plan, number, load.shared.clone());
            load.workers
                .push(thread::Builder::new().name(format!("client-{number}")).spawn(|| worker.run())?);
        }
        Ok(load)
    }

    /// How many good answers there have been.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for `more` good answers from now on.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn await_answers(&self, more: u64, timeout: Duration) -> anyhow::Result<()> {
        let goal = self.acknowledged() + more;
        wait::until("answers from the guest", timeout, || Ok((self.acknowledged() >= goal).then_some(())))
    }

    /// Has every client finish its request; gives what they did.
    ///
    /// # Errors
    /// When a client's thread panicked.
    pub fn stop(mut self) -> anyhow::Result<History> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut history = History { connections: self.workers.len() as u32, ..History::default() };
        for worker in self.workers.drain(..) {
            let Ok(log) = worker.join() else { bail!("a client's thread panicked") };
            history.operations.extend(log.operations);
            history.survived += u32::from(log.breaks == 0 && log.gave_up.is_none());
            history.gave_up.extend(log.gave_up);
        }
        history.operations.sort_by_key(|operation| operation.invoked_ns);
        Ok(history)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads every counter that `history` incremented, over a connection of its own.
///
/// # Errors
/// When the server does not answer, or not with a number.
pub fn read_counters(
    address: SocketAddr,
    history: &History,
    patience: Duration,
) -> anyhow::Result<BTreeMap<Arc<str>, u64>> {
    let counted = history.operations.iter().filter(|operation| operation.action == Action::Incr);
    let mut counters: BTreeMap<Arc<str>, u64> = counted.map(|operation| (operation.key.clone(), 0)).collect();
    let mut connection =
        Connection::open(address, patience).context("cannot connect to read the counters")?;
    for (key, count) in &mut counters {
        let reply = connection.request(key, &Action::Get).with_context(|| format!("cannot read {key}"))?;
        *count = match &reply {
            Reply::Value(None) => 0,
            Reply::Value(Some(digits)) => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .with_context(|| format!("the value of {key} is no count: {reply:?}"))?,
            _ => bail!("the value of {key} is no count: {reply:?}"),
        };
    }
    Ok(counters)
}

#[cfg(test)]
mod tests;
