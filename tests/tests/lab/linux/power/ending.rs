//! How a scene ends: with the guest switched off, disks without fault, and a start from them.

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm_tests::lab::{Ended, Lab};

use super::{
    super::{
        Journal, PATIENCE, SHARED_DISK, await_console, check_file_system,
        clients::{self, Verdict},
        command, compare_files, disk, guest,
        replay::ensure_runs,
    },
    scene::{MEMORY_MIB, Scene},
};

impl Scene<'_> {
    /// Switches the guest off in order, looks at its disks, and starts it again from them.
    pub fn end(self, verdict: &Verdict, journal: &mut Journal) -> anyhow::Result<()> {
        clients::shut_down()?;
        for member in [&self.primary, &self.secondary] {
            let ended = member.running.wait_end(PATIENCE)?;
            ensure!(ended == Ended::Status(0), "a member ended with {ended:?}: {}", member.running.log());
        }
        let (lab, mode) = (self.lab, self.mode);
        check_disks(lab, mode)?;
        journal.line("the guest was switched off in order; e2fsck -fn finds nothing wrong")?;

        let mut words = vec!["run".to_owned()];
        words.extend(guest("services", MEMORY_MIB));
        words.extend(disk(mode));
        words.extend(["--net", "tap=vm0", "--console", "file=/shared/cold.guest"].map(str::to_owned));
        let cold = lab.b.spawn("cold", &command(&words))?;
        await_console(lab, "cold", "services: ready", PATIENCE, || ensure_runs(&cold))?;
        verdict.check().context("the guest started again from its disk")?;
        clients::shut_down()?;
        let ended = cold.wait_end(PATIENCE)?;
        ensure!(ended == Ended::Status(0), "the guest ended with {ended:?}: {}", cold.log());
        lab.b.succeed("sync")?;
        journal.line("started again from the disk, without protection, it has all that was acknowledged")
    }
}

/// File systems without fault; and replicated disks that are the same on both hosts.
fn check_disks(lab: &Lab, mode: DiskMode) -> anyhow::Result<()> {
    if mode == DiskMode::Shared {
        return check_file_system(&lab.shared().join(SHARED_DISK));
    }
    for host in [&lab.a, &lab.b] {
        host.succeed("sync")?;
        check_file_system(&host.disk()).with_context(|| format!("the disk of host {}", host.name()))?;
    }
    compare_files(&lab.a.disk(), &lab.b.disk())
}
