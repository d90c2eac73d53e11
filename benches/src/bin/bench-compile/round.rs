//! One mode, measured once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::{
    Plan,
    guest::{Guest, MEMORY_MIB, Mode},
    memory,
    place::Place,
    window::Window,
};

/// The longest wait for a workload, beyond the time that it is to take.
const PATIENCE: Duration = Duration::from_secs(3600);
const WORKLOADS: &str = "/usr/lib/ftvmm/workloads";
/// The guest's file system writes until some seconds after the last change.
const SETTLE: &str = "sync; sleep 8; sync";

/// One mode in one round.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// In which round, counted from 0.
    pub round: u32,
    /// How the guest was run.
    pub mode: Mode,
    /// From the start of the monitor to the guest's init, by this machine's clock, s.
    pub start_s: f64,
    /// How long the guest had been up by then, by its own clock, s.
    pub up_s: f64,
    /// Files compiled.
    pub files: u32,
    /// The digest of the objects: what was compiled is the same in all modes.
    pub objects: String,
    /// The first files after power-on, which also read the compiler from the disk: a part of the compile's length.
    pub cold: Window,
    /// The compile.
    pub compile: Window,
    /// Its length by this machine's clock, s: until the digest of its objects is there as well.
    pub host_s: f64,
    /// CPU seconds in that time of the live side and of the other: of lab hosts, all that the host did.
    pub cpu_s: [Option<f64>; 2],
    /// Nothing to do.
    pub idle: Window,
    /// What the monitors of the live side and of the other have in memory beyond the guest's RAM, KiB.
    pub monitor_kib: [Option<u64>; 2],
}

/// Starts `mode`, has it compile, lets it idle, and ends it.
pub fn run(place: &dyn Place, plan: Plan, round: u32, mode: Mode) -> anyhow::Result<Measured> {
    let measured = measure(place, plan, round, mode);
    let measured = measured.with_context(|| format!("mode {}", mode.name()))?;
    if mode == Mode::Record {
        place.remove_log_file()?;
    }
    Ok(measured)
}

fn measure(place: &dyn Place, plan: Plan, round: u32, mode: Mode) -> anyhow::Result<Measured> {
    let begun = Instant::now();
    let mut guest = Guest::start(place, mode)?;
    let (up, up_s) = guest.await_shell()?;
    guest.await_protection()?;
    let (cold, _) = compile(&mut guest, Some(plan.warm))?;
    let cpu = guest.cpu_s()?;
    let (whole, compiled) = compile(&mut guest, plan.files)?;
    let cpu_after = guest.cpu_s()?;
    let smaps = guest.smaps()?;
    let idle = idle(&mut guest, plan.idle)?;
    guest.shut_down()?;
    let monitor =
        |smaps: Option<String>| smaps.map(|smaps| memory::beyond_guest_kib(&smaps, MEMORY_MIB)).transpose();
    let [live, other] = smaps;
    Ok(Measured {
        round,
        mode,
        start_s: up.duration_since(begun).as_secs_f64(),
        up_s,
        files: compiled.files,
        objects: compiled.objects,
        cold,
        compile: whole,
        host_s: compiled.host_s,
        cpu_s: [0, 1].map(|side: usize| Some(cpu_after[side]? - cpu[side]?)),
        idle,
        monitor_kib: [monitor(live)?, monitor(other)?],
    })
}

/// What a compile said of itself.
struct Compiled {
    files: u32,
    objects: String,
    host_s: f64,
}

/// Compiles the first `files`, or all.
fn compile(guest: &mut Guest<'_>, files: Option<u32>) -> anyhow::Result<(Window, Compiled)> {
    let before = guest.status()?;
    let files = files.map_or_else(String::new, |files| files.to_string());
    guest.type_line(&format!("{WORKLOADS}/compile 1 {files}"))?;
    let (_, begun) = guest.await_line("compile: ", PATIENCE)?;
    let (line, ended) = guest.await_line("WORKLOAD compile: ", PATIENCE)?;
    let after = guest.status()?;
    let seconds: f64 =
        value(&line, "seconds")?.parse().with_context(|| format!("the guest says {line:?}"))?;
    ensure!(seconds > 0.0, "a compile in no time at all: {line:?}");
    let files = value(&line, "files")?.parse().with_context(|| format!("the guest says {line:?}"))?;
    let objects = value(&line, "objects")?.to_owned();
    let host_s = ended.duration_since(begun).as_secs_f64();
    Ok((Window::between(&before, &after, seconds)?, Compiled { files, objects, host_s }))
}

/// Lets the guest do nothing.
fn idle(guest: &mut Guest<'_>, seconds: u32) -> anyhow::Result<Window> {
    guest.type_line(&format!("{SETTLE}; {WORKLOADS}/idle {seconds}"))?;
    guest.await_line("idle: ", PATIENCE)?;
    let before = guest.status()?;
    let (line, _) = guest.await_line("WORKLOAD idle: ", PATIENCE)?;
    let after = guest.status()?;
    ensure!(line.contains(": ok"), "the guest says {line:?}");
    Window::between(&before, &after, f64::from(seconds))
}

/// The value of `name=value` in a workload's last line, which must be a good one.
fn value<'a>(line: &'a str, name: &str) -> anyhow::Result<&'a str> {
    ensure!(line.contains(": ok "), "the guest says {line:?}");
    let mut words = line.split(' ').filter_map(|word| word.split_once('='));
    let found = words.find(|(key, _)| *key == name).map(|(_, value)| value);
    found.with_context(|| format!("the guest gives no {name}: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_believed_only_when_it_went_well() {
        let line = "WORKLOAD compile: ok seconds=12.34 files=12 jobs=1 objects=0123abcd";
        assert_eq!(value(line, "seconds").unwrap(), "12.34");
        assert_eq!(value(line, "objects").unwrap(), "0123abcd");
        assert!(value(line, "minutes").is_err());
        assert!(value("WORKLOAD compile: FAILED seconds=1", "seconds").is_err());
    }
}
