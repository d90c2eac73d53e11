//! One mode under both loads.

use std::path::Path;

use anyhow::Context;
use ftvmm::demo::pair::Setup;
use ftvmm_tests::cpu;
use serde::Serialize;

use crate::{
    load::{self, Outcome, PIPELINE},
    modes::{Mode, Server},
    plan::Plan,
    replayed::{self, Replayed},
};

/// One mode under one load.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// In which round, counted from 0.
    pub round: u32,
    /// Requests sent together on each connection.
    pub pipeline: u32,
    /// How the guest was run.
    pub mode: Mode,
    /// What the client saw.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// CPU seconds of the process that runs the VM.
    pub vm_cpu_s: f64,
    /// Those of the other side.
    pub peer_cpu_s: Option<f64>,
    /// Log written or sent, bytes.
    pub log_bytes: Option<u64>,
    /// Sync points.
    pub sync_points: Option<u64>,
    /// How long outputs waited since protection began, µs: half of them, and 99 of 100, at most. Only of the first load
    /// of a process, because the figures of the next would have this one's in them.
    pub commit_delay_us: Option<[f64; 2]>,
}

/// What is read before and after a load.
struct Reading {
    vm_cpu_s: f64,
    peer_cpu_s: Option<f64>,
    log_bytes: Option<u64>,
    position: Option<u64>,
}

impl Reading {
    fn of(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            vm_cpu_s: cpu::of_process(server.vm.id())?,
            peer_cpu_s: server.peer.as_ref().map(|peer| cpu::of_process(peer.id())).transpose()?,
            log_bytes: server.log_bytes()?,
            position: server.status()?.map(|status| status.position),
        })
    }
}

/// Starts `mode`, puts both loads on it, ends it, and replays it where it was recorded.
pub fn run(
    plan: Plan,
    setup: &Setup,
    ack_peer: &Path,
    round: u32,
    mode: Mode,
    measured: &mut Vec<Measured>,
) -> anyhow::Result<Option<Replayed>> {
    let server = Server::start(mode, setup, ack_peer)?;
    for pipeline in [1, PIPELINE] {
        let loaded = put_load(plan, setup, &server, pipeline);
        let (outcome, before, after) =
            loaded.with_context(|| format!("mode {}, -P {pipeline}", mode.name()))?;
        let delay = server.status()?.filter(|_| pipeline == 1).map(|status| status.commit_delay_us);
        measured.push(Measured {
            round,
            pipeline,
            mode,
            outcome,
            vm_cpu_s: after.vm_cpu_s - before.vm_cpu_s,
            peer_cpu_s: after.peer_cpu_s.zip(before.peer_cpu_s).map(|(after, before)| after - before),
            log_bytes: after.log_bytes.zip(before.log_bytes).map(|(after, before)| after - before),
            sync_points: after.position.zip(before.position).map(|(after, before)| after - before),
            commit_delay_us: delay.map(|delay| [delay.p50, delay.p99]),
        });
    }
    let busy_s = cpu::of_main_thread(server.vm.id())?;
    let Some(log) = server.stop()? else { return Ok(None) };
    replayed::run(setup, &log, busy_s).map(Some)
}

fn put_load(
    plan: Plan,
    setup: &Setup,
    server: &Server,
    pipeline: u32,
) -> anyhow::Result<(Outcome, Reading, Reading)> {
    // Pipelined requests are answered so fast that few of them would be over before the figures are worth anything.
    let requests = if pipeline == 1 { plan.requests } else { plan.requests.saturating_mul(8) };
    let before = Reading::of(server)?;
    let outcome = load::run(&setup.directory, requests, pipeline)?;
    Ok((outcome, before, Reading::of(server)?))
}
