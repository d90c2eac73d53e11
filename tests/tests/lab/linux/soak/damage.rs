//! Where one byte makes a difference that is found out.

use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use ftvmm::demo::random::Random;

/// Where the kernel has physical memory, as it was linked: it is started without moving.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// The instruction that ends a stretch where the log does not have it end.
const HLT: u8 = 0xf4;
/// What the guest's kernel reads or executes all the time and never writes, so that neither it nor a delta mends it: the
/// beginnings of functions, and the number of a port, 0x550.
const PLACES: [(&str, u8); 5] = [
    ("ftvmm_tick", HLT),
    ("ftvmm_tick_port", 0x58),
    ("ftvmm_timer_interrupt", HLT),
    ("ftvmm_next_event", HLT),
    ("ftvmm_clock_ns", HLT),
];

/// A byte that will differ.
#[derive(Clone, Debug)]
pub struct Place {
    /// What the kernel calls it.
    pub name: &'static str,
    /// Its guest-physical address.
    pub address: u64,
    /// What will be there.
    pub byte: u8,
}

/// All of them.
pub struct Places(Vec<Place>);

impl Places {
    /// In a guest with this kernel.
    ///
    /// # Errors
    /// When it does not have them all.
    pub fn of(kernel: &Path) -> anyhow::Result<Self> {
        let output = Command::new("nm").arg(kernel).output().context("cannot run nm")?;
        ensure!(output.status.success(), "nm {}: {}", kernel.display(), output.status);
        let symbols = String::from_utf8_lossy(&output.stdout);
        let place = |(name, byte)| Ok(Place { name, address: find(&symbols, name)? - KERNEL_MAP, byte });
        PLACES.into_iter().map(place).collect::<anyhow::Result<_>>().map(Self)
    }

    /// One of them.
    pub fn any(&self, random: &mut Random) -> Place {
        self.0[random.below(self.0.len() as u64) as usize].clone()
    }
}

/// The address of `name` among lines of the form `ffffffff8187e4f0 T ftvmm_tick`.
fn find(symbols: &str, name: &str) -> anyhow::Result<u64> {
    let mut words = symbols.lines().map(|line| line.split(' '));
    let found = words.find_map(|mut words| {
        let address = words.next()?;
        (words.nth(1) == Some(name)).then(|| u64::from_str_radix(address, 16))
    });
    found.with_context(|| format!("the guest's kernel has no {name}"))?.context("no address")
}
