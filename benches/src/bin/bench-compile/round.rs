//! One mode, measured once.

use std::time::Instant;

use anyhow::Context;
use ftvmm_benches::linux::{Compiled, Guest, MEMORY_MIB, Mode, Place};
use serde::Serialize;

use crate::{memory::MonitorMemory, plan::Plan, window::Window};

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
    /// What the monitors of the live side and of the other have in memory.
    pub memory: [Option<MonitorMemory>; 2],
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
    let mut guest = Guest::start(place, mode, None)?;
    let (up, up_s) = guest.await_shell()?;
    guest.await_protection()?;
    let (cold, _) = compile(&mut guest, Some(plan.warm))?;
    let cpu = guest.cpu_s()?;
    let (whole, compiled) = compile(&mut guest, plan.files)?;
    let cpu_after = guest.cpu_s()?;
    let smaps = guest.smaps()?;
    let [before, after] = guest.idle(plan.idle)?;
    let idle = Window::between(&before, &after, f64::from(plan.idle))?;
    guest.shut_down()?;
    let memory = |smaps: Option<String>| smaps.map(|smaps| MonitorMemory::of(&smaps, MEMORY_MIB)).transpose();
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
        memory: [memory(live)?, memory(other)?],
    })
}

/// Compiles, and looks what happened meanwhile.
fn compile(guest: &mut Guest<'_>, files: Option<u32>) -> anyhow::Result<(Window, Compiled)> {
    let before = guest.status()?;
    let compiled = guest.compile(files)?;
    Ok((Window::between(&before, &guest.status()?, compiled.seconds)?, compiled))
}
