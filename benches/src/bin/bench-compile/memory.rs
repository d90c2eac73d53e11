//! What a monitor has in memory, its guest's RAM and beyond, from the process's memory maps (proc(5), `smaps`).

use anyhow::Context;

/// Beside the guest's RAM the kernel may put smaller mappings of the same kind into the same entry: up to this, KiB.
const NEIGHBOURS_KIB: u64 = 1024;

/// What a monitor has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MonitorMemory {
    /// Proportional set size of all mappings but that of the guest's RAM, KiB.
    pub beyond_guest_kib: u64,
    /// The guest's RAM in memory, KiB.
    pub guest_kib: u64,
    /// Of it in huge pages, KiB.
    pub guest_huge_kib: u64,
}

impl MonitorMemory {
    /// Takes `smaps` apart; the guest has `guest_mib` of RAM.
    pub fn of(smaps: &str, guest_mib: u32) -> anyhow::Result<Self> {
        let ram_kib = u64::from(guest_mib) << 10;
        let (mut pss, mut size, mut is_ram, mut ram, mut huge) = (0, 0, false, None, 0);
        for line in smaps.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = || value.trim().trim_end_matches(" kB").parse::<u64>().ok();
            match name {
                "Size" => size = value().context("a mapping has no size")?,
                "Pss" => {
                    let this = value().context("a mapping has no proportional set size")?;
                    pss += this;
                    is_ram = (ram_kib..ram_kib + NEIGHBOURS_KIB).contains(&size) && ram.is_none();
                    if is_ram {
                        ram = Some(this);
                    }
                }
                "AnonHugePages" if is_ram => huge = value().context("no size of the huge pages")?,
                _ => {}
            }
        }
        let ram = ram.with_context(|| format!("no mapping is as large as the guest's {guest_mib} MiB"))?;
        Ok(Self { beyond_guest_kib: pss - ram, guest_kib: ram, guest_huge_kib: huge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(size: u64, pss: u64, huge: u64) -> String {
        format!(
            "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nSize: {size} kB\nRss: 9 kB\nPss: {pss} kB\nPss_Dirty: 7 kB\n\
             AnonHugePages: {huge} kB\n"
        )
    }

    #[test]
    fn the_guests_ram_does_not_count() {
        let smaps =
            [mapping(4096, 100, 7), mapping((64 << 10) + 4, 5000, 4096), mapping(80 << 10, 30, 9)].concat();
        let memory = MonitorMemory { beyond_guest_kib: 130, guest_kib: 5000, guest_huge_kib: 4096 };
        assert_eq!(MonitorMemory::of(&smaps, 64).unwrap(), memory);
        assert!(MonitorMemory::of(&smaps, 512).is_err());
    }
}
