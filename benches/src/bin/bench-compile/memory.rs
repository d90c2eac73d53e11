//! What a monitor needs beyond its guest's RAM, from the process's memory maps (proc(5), `smaps`).

use anyhow::Context;

/// Beside the guest's RAM the kernel may put smaller mappings of the same kind into the same entry: up to this, KiB.
const NEIGHBOURS_KIB: u64 = 1024;

/// Proportional set size of all mappings but that of the guest's RAM, KiB.
pub fn beyond_guest_kib(smaps: &str, guest_mib: u32) -> anyhow::Result<u64> {
    let ram_kib = u64::from(guest_mib) << 10;
    let (mut pss, mut size, mut ram) = (0, 0, None);
    for line in smaps.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = || value.trim().trim_end_matches(" kB").parse::<u64>().ok();
        match name {
            "Size" => size = value().context("a mapping has no size")?,
            "Pss" => {
                let this = value().context("a mapping has no proportional set size")?;
                pss += this;
                if (ram_kib..ram_kib + NEIGHBOURS_KIB).contains(&size) && ram.is_none() {
                    ram = Some(this);
                }
            }
            _ => {}
        }
    }
    let ram = ram.with_context(|| format!("no mapping is as large as the guest's {guest_mib} MiB"))?;
    Ok(pss - ram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(size: u64, pss: u64) -> String {
        format!(
            "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nSize: {size} kB\nRss: 9 kB\nPss: {pss} kB\nPss_Dirty: 7 kB\n"
        )
    }

    #[test]
    fn the_guests_ram_does_not_count() {
        let smaps = [mapping(4096, 100), mapping((64 << 10) + 4, 5000), mapping(80 << 10, 30)].concat();
        assert_eq!(beyond_guest_kib(&smaps, 64).unwrap(), 130);
        assert!(beyond_guest_kib(&smaps, 512).is_err());
    }
}
