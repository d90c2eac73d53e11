//! The two lab hosts, and a disk that both reach.

use std::fs;

use anyhow::ensure;
use ftvmm_tests::lab::{Host, Lab, Plan, artefacts, host::copy_sparse};

/// Where each host has QEMU, its guest's kernel and initrd.
pub const PEER: &str = "/tmp/peer";

/// Makes the TAP device anew. QEMU leaves one that takes packets without checksums, which ftvmm would hand to its guest.
const RENEW_TAP: &str = "tunctl -d vm0 && tunctl -t vm0 && brctl addif br0 vm0 && ip link set vm0 up";

/// Two lab hosts with both monitors.
pub struct Place(Lab);

impl Place {
    /// Starts them; they end with the calling thread, which stays in a network of its own.
    ///
    /// # Errors
    /// What is missing here, or what a host said instead of starting.
    pub fn start() -> anyhow::Result<Self> {
        let missing = artefacts::missing();
        ensure!(missing.is_empty(), "lab hosts lack:\n  - {}", missing.join("\n  - "));
        let mut plan = Plan::new()?;
        plan.files.push(("vmlinux".to_owned(), artefacts::guest_kernel()?));
        plan.files.push(("peer.tar".to_owned(), artefacts::peer()?));
        let place = Self(Lab::start(&plan)?);
        for host in place.hosts() {
            host.succeed("tar -xf /files/peer.tar -C /tmp")?;
        }
        Ok(place)
    }

    /// Host a, where a guest starts, and host b.
    pub fn hosts(&self) -> [&Host; 2] {
        [&self.0.a, &self.0.b]
    }

    /// Makes both hosts as if no guest had been there.
    ///
    /// # Errors
    /// When a monitor is still there.
    pub fn renew(&self) -> anyhow::Result<()> {
        self.hosts().into_iter().try_for_each(|host| host.succeed(RENEW_TAP).map(drop))
    }

    /// A new copy of the Linux guest's root image in the directory that both hosts share: its path there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_disk(&self, name: &str) -> anyhow::Result<String> {
        copy_sparse(&artefacts::guest_root()?, &self.0.shared().join(name))?;
        Ok(format!("/shared/{name}"))
    }

    /// Removes that copy, which nobody uses any more.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove_disk(&self, name: &str) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.0.shared().join(name))?)
    }
}
