//! The rest of the host: its clock, CPUs and memory.

use std::{fs, num::NonZero, thread};

use super::Finding;
use crate::host::clock::monotonic_ns;

const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// The clock is read at every sync point; above this it shows, ns.
const SLOW_CLOCK_NS: u64 = 500;
const CLOCK_READS: u32 = 1000;
/// A VM of the default size, twice over: one to run and one to seed.
const LEAST_MIB: u64 = 256;

pub fn examine() -> Vec<Finding> {
    vec![clock(), cpus(), memory()]
}

fn clock() -> Finding {
    let source = fs::read_to_string(CLOCK_SOURCE).unwrap_or_else(|_| "unknown".to_owned());
    let begun_ns = monotonic_ns();
    for _ in 0..CLOCK_READS {
        std::hint::black_box(monotonic_ns());
    }
    let each_ns = (monotonic_ns() - begun_ns) / u64::from(CLOCK_READS);
    let found = format!("{}, {each_ns} ns a read", source.trim());
    if each_ns <= SLOW_CLOCK_NS {
        return Finding::ok("clock source", found);
    }
    let remedy = format!("choose a faster one, such as tsc or kvm-clock, in {CLOCK_SOURCE}");
    Finding::warning("clock source", found, &remedy)
}

fn cpus() -> Finding {
    let count = thread::available_parallelism().map_or(1, NonZero::get);
    if count > 1 {
        return Finding::ok("CPUs", count.to_string());
    }
    Finding::warning("CPUs", "1: the vCPU and the link to the peer take turns", "give the host two CPUs")
}

fn memory() -> Finding {
    let Some(mib) = available_mib() else { return Finding::ok("free memory", "unknown") };
    let found = format!("{mib} MiB");
    if mib >= LEAST_MIB {
        return Finding::ok("free memory", found);
    }
    Finding::warning(
        "free memory",
        found,
        "a guest takes its --memory, 64 MiB unless told otherwise: free some",
    )
}

fn available_mib() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}
