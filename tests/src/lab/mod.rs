//! Two lab hosts: QEMU machines with an ordinary `kvm_amd`, one of which can lose power.
//!
//! ```text
//!             the test's thread, in a network of its own
//!   10.77.0.1 on labclients ──┬── clients ═ br0 ═ vm0 ─ guest      host a
//!                             └── clients ═ br0 ═ vm0 ─ guest      host b
//!                labft ───────┬── ft0 10.78.0.1                    host a
//!                             └── ft0 10.78.0.2                    host b
//!   10.79.0.1 on labcontrol ──┬── control 10.79.0.11, the agent    host a
//!                             └── control 10.79.0.12, the agent    host b
//! ```
//!
//! Each host sees `/files` (what the lab was given, read-only), `/shared` (a directory both write: the arbiter, shared
//! disks) and, when the lab has a disk image, `/dev/vda`: a copy of its own. Its kernel and initramfs come from
//! `tests/lab-host`. Everything ends with the [`Lab`], and at the latest with the thread that made it.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context;
use tempfile::TempDir;

use crate::stage;

pub mod artefacts;
mod clock;
pub mod host;
pub mod member;
mod network;
mod plan;
pub mod process;
mod qemu;
pub mod remote;
#[allow(dead_code, reason = "one side writes what the other reads")]
pub mod wire;

pub use host::Host;
pub use network::Network;
pub use plan::Plan;
pub use remote::{Ended, Output, Running};

/// Two running hosts.
pub struct Lab {
    /// The first host.
    pub a: Host,
    /// The second.
    pub b: Host,
    /// What joins them, and the clients.
    pub network: Network,
    // Last, so that the hosts are gone when it is removed.
    directory: TempDir,
}

impl Lab {
    /// Moves the calling thread into a network of its own and starts both hosts in it. They end when it does.
    ///
    /// # Errors
    /// What is missing here, or what a host said instead of starting.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        let boot = artefacts::host()?;
        let directory = TempDir::with_prefix("ftvmm-lab-")?;
        let network = Network::enter()?;
        let at = directory.path();
        prepare(plan, at)?;
        let a = Host::new("a", &boot, at, plan)?;
        let b = Host::new("b", &boot, at, plan)?;
        let mut lab = Self { a, b, network, directory };
        if let Err(error) = lab.power_on() {
            lab.keep();
            return Err(error);
        }
        Ok(lab)
    }

    fn power_on(&mut self) -> anyhow::Result<()> {
        self.a.start()?;
        self.b.start()?;
        self.a.wait_up()?;
        self.b.wait_up()
    }

    /// The lab's directory: consoles, logs, `files`, `shared` and the disks.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What both hosts see as `/shared`.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.directory().join("shared")
    }

    /// Keeps consoles and logs, but not the large files.
    fn keep(&mut self) {
        self.directory.disable_cleanup(true);
        let at = self.directory.path();
        let _ = fs::remove_dir_all(at.join("files"));
        eprintln!("consoles and logs of the lab hosts are in {}", at.display());
    }
}

/// Makes the directories that the hosts see.
fn prepare(plan: &Plan, at: &Path) -> anyhow::Result<()> {
    for name in ["files", "shared", "shared/arbiter"] {
        fs::create_dir(at.join(name))?;
    }
    for (name, path) in &plan.files {
        let to = at.join("files").join(name);
        fs::copy(path, &to).with_context(|| format!("cannot copy {} to {}", path.display(), to.display()))?;
    }
    Ok(())
}

/// Runs `body` in a lab; alone, because of the few cores. When it fails, consoles and logs stay.
///
/// # Panics
/// When `body` fails, or when there can be no lab here although [`artefacts::WITHOUT_LAB`] is not set.
pub fn play(
    plan: impl FnOnce() -> anyhow::Result<Plan> + Send,
    body: impl FnOnce(&mut Lab) -> anyhow::Result<()> + Send,
) {
    if !artefacts::require_lab() {
        return;
    }
    let _alone = stage::alone();
    // A thread of its own: the network is the thread's, and the hosts die with it.
    let played = thread::scope(|scope| {
        let act = || {
            let mut lab = Lab::start(&plan()?)?;
            let result = catch_unwind(AssertUnwindSafe(|| body(&mut lab)));
            if !matches!(result, Ok(Ok(()))) {
                lab.keep();
            }
            result.unwrap_or_else(|panic| resume_unwind(panic))
        };
        scope.spawn(act).join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}
