//! How many VM exits a Linux guest makes for what it does: a tick, a system call, a reading of the clock, a packet, a
//! disk request, a process. Prints one table.
//!
//! Each thing is done a few times and then often; the difference tells what one of them costs, without what is around
//! it. The same in every mode: `ftvmm run` is measured.

use std::{collections::BTreeMap, net::Ipv4Addr, process::ExitCode, time::Duration};

use ftvmm::control::Status;
use ftvmm_benches::{
    end,
    host::Description,
    linux::{Guest, LabHosts, Mode},
    ping::{ANSWER_ALL, Ping},
    table::Table,
};

/// What is done, the shell command for N of them, and how often.
const WORK: [(&str, &str, [u32; 2]); 8] = [
    (
        "tick (of a busy processor, 100 a second)",
        "timeout $((N / 100)) dd if=/dev/zero of=/dev/null bs=1 2>&-",
        [100, 1100],
    ),
    (
        "system call (two for each byte copied)",
        "dd if=/dev/zero of=/dev/null bs=1 count=$((N / 2)) 2>&-",
        [2000, 402_000],
    ),
    (
        "reading of the clock, nothing else between",
        "for ((i = 0; i < N; i++)); do t=$EPOCHREALTIME; done",
        [1000, 51_000],
    ),
    (
        "4 KiB read from the disk, one at a time",
        "dd if=/dev/vda of=/dev/null bs=4k iflag=direct count=$N 2>&-",
        [10, 510],
    ),
    (
        "4 KiB written to the disk, one at a time",
        "dd if=/dev/zero of=/var/tmp/x bs=4k oflag=direct conv=notrunc count=$N 2>&-",
        [10, 510],
    ),
    (
        "4 KiB written and flushed (ext4: data, journal)",
        "dd if=/dev/zero of=/var/tmp/x bs=4k oflag=dsync count=$N 2>&-",
        [10, 210],
    ),
    ("process started and waited for", "for ((i = 0; i < N; i++)); do /bin/true; done", [10, 210]),
    ("second asleep", "sleep $N", [2, 32]),
];
/// The guest's network card, on a lab host and in the guest.
const TAP: &str = "vm0";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PINGS: [u32; 2] = [10, 210];

/// Exits by kind, for one of what was done, and the guest's seconds.
type Costs = BTreeMap<String, f64>;

fn main() -> ExitCode {
    end("bench-exits", measure().map(|text| print!("{text}")))
}

fn measure() -> anyhow::Result<String> {
    eprintln!("starting two lab hosts");
    let place = LabHosts::start()?;
    let mut guest = Guest::start(&place, Mode::Run, Some(TAP))?;
    guest.await_shell()?;
    guest.command(ANSWER_ALL)?;
    guest.command("sync; sleep 8; sync; dd if=/dev/zero of=/var/tmp/x bs=4k count=600 conv=fsync 2>&-")?;
    let mut table = Table::new(&["exits for one", "all", "of them"]);
    for (what, command, counts) in WORK {
        eprintln!("{what}");
        let run = |count: u32, guest: &mut Guest<'_>| guest.command(&format!("N={count}; {command}"));
        add(&mut table, what, &cost_of_one(counts, &mut guest, run)?);
    }
    let what = "datagram that the guest's kernel answers";
    eprintln!("{what}");
    add(&mut table, what, &cost_of_one(PINGS, &mut guest, ping)?);
    guest.shut_down()?;
    let host = Description::of_this_machine().lines().join("\n");
    Ok(format!("{host}\n\n{}", table.text()))
}

/// Does it a few times and often.
fn cost_of_one(
    [few, many]: [u32; 2],
    guest: &mut Guest<'_>,
    run: impl Fn(u32, &mut Guest<'_>) -> anyhow::Result<[Status; 2]>,
) -> anyhow::Result<Costs> {
    let [base, more] = [exits(&run(few, guest)?)?, exits(&run(many, guest)?)?];
    let one = |(kind, count): (String, f64)| {
        let cost = (count - base.get(&kind).unwrap_or(&0.0)) / f64::from(many - few);
        (kind, cost)
    };
    Ok(more.into_iter().map(one).collect())
}

/// Exits between two looks.
fn exits([before, after]: &[Status; 2]) -> anyhow::Result<Costs> {
    let counts = |status: &Status| -> anyhow::Result<Costs> {
        Ok(serde_json::from_value(serde_json::to_value(status.exits)?)?)
    };
    let before = counts(before)?;
    Ok(counts(after)?.into_iter().map(|(kind, count)| (kind.clone(), count - before[&kind])).collect())
}

fn add(table: &mut Table, what: &str, costs: &Costs) {
    let all: f64 = costs.values().sum();
    // What happens beside it comes to less.
    let named = costs.iter().filter(|(_, cost)| cost.abs() >= all / 50.0 && cost.abs() >= 0.000_05);
    let named: Vec<String> =
        named.map(|(kind, cost)| format!("{} {cost:.4}", kind.replace('_', " "))).collect();
    table.row(what, [format!("{all:.4}"), named.join(", ")]);
}

/// Sends datagrams, each when the one before was answered.
fn ping(count: u32, guest: &mut Guest<'_>) -> anyhow::Result<[Status; 2]> {
    let ping = Ping::to(GUEST, Duration::from_secs(10))?;
    let before = guest.status()?;
    for _ in 0..count {
        ping.once()?;
    }
    Ok([before, guest.status()?])
}
