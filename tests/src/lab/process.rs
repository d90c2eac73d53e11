//! A process on a lab host, as its host sees it.

use anyhow::{Context, bail, ensure};

use super::Host;

/// How much larger than the guest's RAM its mapping may be: the kernel may have merged it with a neighbour, KiB.
const NEIGHBOUR_KIB: u64 = 4 << 10;

/// A process that has a guest.
pub struct Process<'a> {
    host: &'a Host,
    id: u32,
    memory_kib: u64,
}

/// What a process has of its host.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads of its own.
    pub threads: u64,
    /// Resident memory but for the guest's RAM, KiB.
    pub own_kib: u64,
    /// What is resident of the guest's RAM, KiB.
    pub guest_kib: u64,
}

impl<'a> Process<'a> {
    /// The only ftvmm on `host`, whose guest has `memory_mib`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only(host: &'a Host, memory_mib: u32) -> anyhow::Result<Self> {
        let ids = host.succeed("pidof ftvmm")?;
        let id = ids.trim().parse().with_context(|| format!("host {}: ftvmm is {ids:?}", host.name()))?;
        Ok(Self { host, id, memory_kib: u64::from(memory_mib) << 10 })
    }

    /// What it has now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn footprint(&self) -> anyhow::Result<Footprint> {
        let Self { host, id, memory_kib } = self;
        let of_guest =
            format!("$1 == \"Size:\" {{ ram = $2 >= {memory_kib} }} $1 == \"Rss:\" && ram {{ sum += $2 }}");
        // The kernel's own workers for io_uring come and go with what disks are asked for.
        let said = host.succeed(&format!(
            "cd /proc/{id} && ls fd | wc -l && cat task/*/comm | grep -vc ^iou- && \
             awk '/^VmRSS/ {{ print $2 }}' status && awk '{of_guest} END {{ print sum + 0 }}' smaps"
        ))?;
        let numbers: Result<Vec<u64>, _> = said.split_whitespace().map(str::parse).collect();
        let Ok([descriptors, threads, resident_kib, guest_kib]) = numbers.as_deref() else {
            bail!("host {}: process {id} has {said:?}", host.name());
        };
        let own_kib = resident_kib.saturating_sub(*guest_kib);
        Ok(Footprint { descriptors: *descriptors, threads: *threads, own_kib, guest_kib: *guest_kib })
    }

    /// Changes a byte of its guest's memory behind its back.
    ///
    /// # Errors
    /// When it has ended, or has not the memory of just one guest.
    pub fn overwrite(&self, address: u64, byte: u8) -> anyhow::Result<()> {
        let at = self.guest_memory()? + address;
        let write = format!("dd of=/proc/{}/mem bs=1 seek={at} conv=notrunc", self.id);
        self.host.succeed(&format!("printf '\\{byte:03o}' | {write}")).map(drop)
    }

    /// Where the guest's RAM is among its own.
    fn guest_memory(&self) -> anyhow::Result<u64> {
        let maps = self.host.succeed(&format!("grep ' rw-' /proc/{}/maps", self.id))?;
        let sizes = self.memory_kib << 10..(self.memory_kib + NEIGHBOUR_KIB) << 10;
        let mappings = maps.lines().filter_map(range);
        let found: Vec<u64> =
            mappings.filter(|(start, end)| sizes.contains(&(end - start))).map(|it| it.0).collect();
        ensure!(found.len() == 1, "{} mappings can be the guest's RAM: {maps}", found.len());
        Ok(found[0])
    }
}

/// Where a mapping begins and ends, from its line.
fn range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}
