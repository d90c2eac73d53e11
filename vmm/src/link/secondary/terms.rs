//! What must be so before a primary is let in.

use anyhow::{Context, bail, ensure};
use ftlog::{DiskShape, Hello};
use machine::{
    kvm::{Host, Template},
    memory,
};
use protocol::{Violation, fence::LONGEST_LEASE_NS};

use super::listener::Reception;
use crate::{arbiter::Latest, link::handshake::software};

impl Reception {
    /// Everything that must be the same on both sides, or reachable from both.
    pub(super) fn check(&self, hello: &Hello) -> anyhow::Result<()> {
        let ours = software();
        ensure!(hello.software == ours, "the primary is {}, this side is {ours}", hello.software);
        check_cpu(hello)?;
        let lease_ns = hello.lease_ns;
        ensure!(lease_ns <= LONGEST_LEASE_NS, Violation::Lease { lease_ns });
        ensure!(hello.shape.cpus == 1, "the VM has {} CPUs; lockstep protects one", hello.shape.cpus);
        ensure!(
            (memory::MIN_MIB..=memory::MAX_MIB).contains(&hello.shape.memory_mib),
            "the VM has {} MiB of memory",
            hello.shape.memory_mib
        );
        if let Some(net) = hello.shape.net {
            let tap = self.site.outlets.tap.as_ref();
            let tap = tap.context("the VM has a network card; start the secondary with --net tap=NAME")?;
            tap.suits(net.mtu)?;
        }
        check_disks(&hello.shape.disks, &self.site.outlets.disks.shapes())?;
        self.check_arbiter(hello)?;
        for lost in self.site.outlets.disks.may_follow(hello, self.force)? {
            self.site.board.notice(lost);
        }
        Ok(())
    }

    /// The primary must hold the newest generation, in the directory that we see.
    fn check_arbiter(&self, hello: &Hello) -> anyhow::Result<()> {
        let arbiter = &self.site.arbiter;
        ensure!(
            hello.arbiter == arbiter.identity(),
            "the sides have different arbiters ({} and {}); --arbiter must name the same directory on both",
            hello.arbiter,
            arbiter.identity()
        );
        let (name, generation) = (&hello.shape.name, hello.generation);
        let Some(Latest { entry, .. }) = arbiter.latest(name)? else {
            bail!("the arbiter knows nothing of a VM {name}");
        };
        ensure!(
            entry.generation == generation && entry.holder.to_string() == hello.holder,
            "generation {} of {name} belongs to {}, the primary has {generation} as {}",
            entry.generation,
            entry.holder,
            hello.holder
        );
        ensure!(entry.vm == hello.vm, "{name} is the VM {}, the primary has {}", entry.vm, hello.vm);
        Ok(())
    }
}

/// Both must mean the same by the CPU's name, and this host must be able to show it.
fn check_cpu(hello: &Hello) -> anyhow::Result<()> {
    let cpu = Template::named(&hello.shape.cpu)?;
    let (theirs, ours) = (hello.cpu_table, cpu.digest());
    ensure!(
        theirs == ours,
        "the primary shows its guest another CPU as {} (table {theirs:016x}, ours is {ours:016x})",
        cpu.name
    );
    Ok(Host::open()?.can_show(cpu)?)
}

/// Disks are the same when a guest and its log cannot tell one from the other.
fn check_disks(theirs: &[DiskShape], ours: &[DiskShape]) -> anyhow::Result<()> {
    ensure!(
        theirs.len() == ours.len(),
        "the VM has {} disks, the secondary was given {}; give it a --disk for each, in the same order",
        theirs.len(),
        ours.len()
    );
    for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
        ensure!(
            theirs == ours,
            "disk {index} is {} on the primary, {} on the secondary",
            describe_disk(theirs),
            describe_disk(ours)
        );
    }
    Ok(())
}

fn describe_disk(shape: &DiskShape) -> String {
    let DiskShape { sectors, readonly, mode } = shape;
    let access = if *readonly { ", readonly" } else { "" };
    format!("{mode}{access}, {sectors} sectors of 512 bytes")
}
