//! The commands that talk to a running primary or secondary.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::seed::{describe_seed, describe_seeding, mib};
use crate::control::{
    BaseReport, ConsoleReport, DeltaReport, DiskReport, NetReport, Request, Status, Takeover, request,
};

/// Which process to talk to, and how to show its answer.
#[derive(Args)]
pub struct Target {
    /// The control socket of the process (its --control)
    #[arg(long, value_name = "SOCKET")]
    pub(super) control: PathBuf,
    /// Print the answer as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl Target {
    /// Sends a command and prints what came of it.
    pub fn command(&self, command: &Request) -> anyhow::Result<u8> {
        let answer = request(&self.control, command)?;
        show(&if self.json { format!("{answer}\n") } else { describe_fields(&answer) });
        Ok(0)
    }

    /// Asks for the status and prints it.
    pub fn status(&self) -> anyhow::Result<u8> {
        let answer = request(&self.control, &Request::Status)?;
        if self.json {
            show(&format!("{answer}\n"));
        } else {
            show(&describe_status(&understand(answer)?));
        }
        Ok(0)
    }
}

/// What a process says of itself.
pub fn understand(answer: Value) -> anyhow::Result<Status> {
    serde_json::from_value(answer).context("the process is of another version")
}

/// In UTC, because the two hosts of a pair are compared.
fn time_of_day(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// A reader that has gone away (`status | head`) is no error.
pub fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn describe_vm(status: &Status) -> String {
    match (&status.name, &status.vm) {
        (Some(name), Some(vm)) => format!("{name} ({vm})"),
        (name, vm) => name.clone().or(vm.clone()).unwrap_or_else(|| "none yet".to_owned()),
    }
}

fn describe_fields(answer: &Value) -> String {
    let mut text = "done\n".to_owned();
    for (name, value) in answer.as_object().into_iter().flatten() {
        let value = match value {
            Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()),
            Value::String(value) => value.clone(),
            other => other.to_string(),
        };
        text.push_str(&format!("  {name:<18}{value}\n"));
    }
    text
}

fn describe_status(status: &Status) -> String {
    let role = format!("{:?}, {:?}", status.role, status.state).to_lowercase();
    let delay = &status.commit_delay_us;
    let mut lines = vec![
        format!("{role}, generation {}", status.generation),
        row("VM", describe_vm(status)),
        row("position", format!("#{}, guest time {:.3} s", status.position, status.guest_time_ms / 1e3)),
        row("peer", status.peer.as_deref().unwrap_or("none")),
        row("lag", format!("{:.1} ms, {} records", status.lag_ms, status.lag_records)),
        row("log", format!("{} bytes, {:.0} bytes/s", status.log_bytes, status.log_bytes_per_s)),
        row(
            "commit delay",
            format!("p50 {:.0} µs, p99 {:.0} µs ({} outputs)", delay.p50, delay.p99, delay.count),
        ),
        row("held outputs", status.held_outputs),
        row("pace", &status.pace),
    ];
    let exits = status.exits.total();
    let named = || named(&status.exits).join(", ");
    lines.extend((exits > 0).then(|| row("exits", format!("{exits}: {}", named()))));
    lines.extend((status.resets > 0).then(|| row("resets", status.resets)));
    lines.extend(status.disks.iter().enumerate().map(|(index, disk)| describe_disk(index, disk)));
    let ConsoleReport { target, dropped_bytes } = &status.console;
    let dropped =
        if *dropped_bytes == 0 { String::new() } else { format!(", {dropped_bytes} bytes dropped") };
    lines.push(row("console", format!("{target}{dropped}")));
    lines.extend(status.net.iter().map(describe_net));
    if status.deltas.count > 0 {
        lines.push(row("deltas", describe_deltas(&status.deltas)));
    }
    lines.extend(status.seeding.iter().map(|seeding| row("seed", describe_seeding(seeding))));
    lines.extend(status.seed.iter().map(|seed| row("last seed", describe_seed(seed))));
    lines.extend(status.last_loss.iter().map(|loss| row("last loss", loss)));
    lines.extend(
        status
            .troubles
            .iter()
            .map(|it| row("trouble", format!("{} since {}: {}", it.what, time_of_day(it.since_ms), it.text))),
    );
    lines.extend(status.takeover.iter().flat_map(describe_takeover));
    lines.extend(status.events.iter().map(|event| row(&time_of_day(event.time_ms), &event.text)));
    lines.join("\n") + "\n"
}

fn describe_deltas(deltas: &DeltaReport) -> String {
    let DeltaReport { count, pages, bytes, asked, .. } = deltas;
    let (stood, stood_p99) = (deltas.stop_p50_ms, deltas.stop_p99_ms);
    let (waited, waited_p99, longest) = (deltas.waited_p50_ms, deltas.waited_p99_ms, deltas.waited_most_ms);
    format!(
        "{count}, of {pages} pages, {:.1} MiB; the guest stood p50 {stood:.1} ms, p99 {stood_p99:.1} ms, what waited for it p50 \
         {waited:.1} ms, p99 {waited_p99:.1} ms, at most {longest:.1} ms; asked {asked}",
        mib(*bytes)
    )
}

/// The counts that are not 0.
fn named(counts: &impl Serialize) -> Vec<String> {
    let fields = serde_json::to_value(counts).unwrap_or_default();
    let fields = fields.as_object().into_iter().flatten().filter(|(_, count)| count.as_u64() > Some(0));
    fields.map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect()
}

fn describe_net(net: &NetReport) -> String {
    let NetReport { tap, attached, drops, untaken } = net;
    let mut dropped = named(drops);
    dropped.extend((*untaken > 0).then(|| format!("not taken by the host {untaken}")));
    let dropped = if dropped.is_empty() { "none".to_owned() } else { dropped.join(", ") };
    let gone = if *attached { "" } else { ", gone" };
    row("network", format!("{tap}{gone}, dropped frames: {dropped}"))
}

fn describe_disk(index: usize, disk: &DiskReport) -> String {
    let DiskReport { path, mode, readonly, bytes, in_flight, errors, resync, base } = disk;
    let access = if *readonly { ", readonly" } else { "" };
    let resync = resync.as_ref().map_or_else(String::new, |resync| {
        let (compared, moved) = (mib(resync.compared_bytes), mib(resync.moved_bytes));
        let total = mib(resync.total_bytes);
        format!(", {compared:.1} of {total:.1} MiB compared with the other copy, {moved:.1} MiB copied")
    });
    let base = base.as_ref().map_or_else(String::new, |BaseReport { generation, position }| {
        format!(", changes known since generation {generation} at #{position}")
    });
    let size = mib(*bytes);
    let text = format!(
        "{path}, {mode}{access}, {size:.1} MiB, {in_flight} in flight, {errors} errors{base}{resync}"
    );
    row(&format!("disk {index}"), text)
}

fn describe_takeover(takeover: &Takeover) -> [String; 2] {
    let Takeover { reason, generation, detection_ms, drain_ms, arbitration_ms, resume_ms, .. } = takeover;
    let first = takeover.first_output_ms.map_or("none yet".to_owned(), |ms| format!("{ms:.1} ms"));
    let parts = format!(
        "detection {detection_ms:.1} ms, drain {drain_ms:.1} ms, arbitration {arbitration_ms:.1} ms, \
         resume {resume_ms:.1} ms, first output {first}"
    );
    [row("takeover", format!("generation {generation} because: {reason}")), row("", parts)]
}

fn row(name: &str, value: impl std::fmt::Display) -> String {
    format!("  {name:<15} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_event_is_told_in_utc() {
        assert_eq!(time_of_day(0), "00:00:00.000Z");
        // date -u -d @1795309268 says 2026-11-22 01:01:08.
        assert_eq!(time_of_day(1_795_309_268_185), "01:01:08.185Z");
    }
}
