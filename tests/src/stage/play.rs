//! One test at a time on a network of its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use ftlog::DiskMode;
use ftvmm::demo::net;

use super::{Stage, TAPS};
use crate::{harness, hosts::Hosts};

/// Runs `body` on a network of its own, behind one bridge; alone, because the tests are about time and there are few
/// cores. When the test fails, the logs stay.
///
/// # Panics
/// When `body` fails.
pub fn play(failure_timeout_ms: u64, body: impl FnOnce(&Stage) -> anyhow::Result<()> + Send) {
    perform(|| Stage::new(failure_timeout_ms), || net::enter(&TAPS), body);
}

/// As [`play`], with the ledger for a guest, which keeps its keys on a disk.
///
/// # Panics
/// When `body` fails.
pub fn play_with_disk(
    mode: DiskMode,
    failure_timeout_ms: u64,
    body: impl FnOnce(&Stage) -> anyhow::Result<()> + Send,
) {
    perform(|| Stage::new(failure_timeout_ms)?.with_disk(mode), || net::enter(&TAPS), body);
}

/// As [`play`], on two hosts with networks of their own, which live as long as the test.
///
/// # Panics
/// When `body` fails.
pub fn play_on_hosts(
    failure_timeout_ms: u64,
    body: impl FnOnce(&Stage, &Hosts) -> anyhow::Result<()> + Send,
) {
    perform_on_hosts(|| Stage::new(failure_timeout_ms), body);
}

/// As [`play_with_disk`], on two hosts with networks of their own, which live as long as the test.
///
/// # Panics
/// When `body` fails.
pub fn play_on_hosts_with_disk(
    mode: DiskMode,
    failure_timeout_ms: u64,
    body: impl FnOnce(&Stage, &Hosts) -> anyhow::Result<()> + Send,
) {
    perform_on_hosts(|| Stage::new(failure_timeout_ms)?.with_disk(mode), body);
}

fn perform_on_hosts(
    make: impl FnOnce() -> anyhow::Result<Stage> + Send,
    body: impl FnOnce(&Stage, &Hosts) -> anyhow::Result<()> + Send,
) {
    let hosts = OnceLock::new();
    let enter = || Hosts::enter().map(|made| drop(hosts.set(made)));
    perform(make, enter, |stage| body(stage, hosts.get().expect("the network is made")));
}

fn perform(
    make: impl FnOnce() -> anyhow::Result<Stage> + Send,
    enter: impl FnOnce() -> anyhow::Result<()> + Send,
    body: impl FnOnce(&Stage) -> anyhow::Result<()> + Send,
) {
    if !harness::require_kvm() {
        return;
    }
    let _alone = alone();
    // A thread of its own: the network is the thread's, and children die with it.
    let played = thread::scope(|scope| {
        let act = || {
            let mut stage = make()?;
            let result = catch_unwind(AssertUnwindSafe(|| enter().and_then(|()| body(&stage))));
            stage.close(!matches!(result, Ok(Ok(()))));
            result.unwrap_or_else(|panic| resume_unwind(panic))
        };
        scope.spawn(act).join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

/// Keeps the other tests of this program waiting.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
