//! QEMU: a live migration from one host to the other, and back the next time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ftvmm::demo::wait;
use ftvmm_tests::lab::{Host, member::quote};
use serde_json::{Value, json};

use crate::{
    guest::{CMDLINE, Guest, MEMORY_MIB, PATIENCE},
    monitor::{Monitor, Passage, mib},
    place::{PEER, Place},
    qmp::Qmp,
};

/// On each host, at its address towards the benchmark.
const QMP_PORT: u16 = 7200;
/// The stops that are allowed in turn, ms, when a migration does not end by itself. The first is ftvmm's target, QEMU's own
/// default is 300.
const LIMITS_MS: [u64; 4] = [20, 100, 300, 2000];
/// For so long each of them.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// As often as `ftvmm protect --wait` does.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Bytes per second: more than there is.
const UNLIMITED: u64 = 1 << 40;

/// A guest on one of the hosts.
pub struct Qemu<'a> {
    place: &'a Place,
    disk: String,
    live: Process<'a>,
    /// Which host that is.
    side: usize,
    /// Who waits for it on the other, or was left there.
    other: Option<Process<'a>>,
}

struct Process<'a> {
    guest: Guest<'a>,
    qmp: Qmp,
}

impl<'a> Process<'a> {
    fn start(host: &'a Host, disk: &str, more: &str) -> anyhow::Result<Self> {
        let qmp = format!("{}:{QMP_PORT}", host.control_address());
        let cmdline = quote(CMDLINE);
        let command = format!(
            "{PEER}/qemu -M pc,accel=kvm -cpu host -smp 1 -m {MEMORY_MIB} -nodefaults -no-user-config -no-reboot \
             -display none -kernel {PEER}/vmlinuz -initrd {PEER}/initrd -append {cmdline} \
             -chardev stdio,id=console,signal=off -serial chardev:console -qmp tcp:{qmp},server=on,wait=off \
             -netdev tap,id=net,ifname=vm0,script=no,downscript=no,vhost=off \
             -device virtio-net-pci,netdev=net,romfile= \
             -drive file={disk},format=raw,if=none,id=disk,cache=writeback,file.locking=off \
             -device virtio-blk-pci,drive=disk {more}"
        );
        let guest = Guest::start(host, "qemu", &command)?;
        let qmp = wait::until("QEMU to listen", PATIENCE, || {
            guest.ensure_runs()?;
            Ok(Qmp::connect(&qmp).ok())
        })?;
        Ok(Self { guest, qmp })
    }
}

impl<'a> Qemu<'a> {
    /// Starts it on host a.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(place: &'a Place, disk: &str) -> anyhow::Result<Self> {
        let live = Process::start(place.hosts()[0], disk, "")?;
        Ok(Self { place, disk: disk.to_owned(), live, side: 0, other: None })
    }

    /// Where the other side listens.
    fn address(&mut self) -> anyhow::Result<String> {
        let other = self.other.as_mut().context("nobody waits for the guest")?;
        let said = other.qmp.execute("query-migrate", json!({}))?;
        let text =
            |name: &str| Some(said.pointer(&format!("/socket-address/0/{name}"))?.as_str()?.to_owned());
        let address =
            text("host").zip(text("port")).with_context(|| format!("it listens nowhere: {said}"))?;
        Ok(format!("tcp:{}:{}", address.0, address.1))
    }

    /// Waits for the end of the migration, with longer and longer stops; gives what QEMU says of it, and the limit.
    fn await_end(&mut self) -> anyhow::Result<(Value, u64)> {
        for limit in LIMITS_MS {
            self.live.qmp.execute("migrate-set-parameters", json!({ "downtime-limit": limit }))?;
            if let Some(said) = self.await_end_for(CONVERGENCE)? {
                return Ok((said, limit));
            }
        }
        bail!("the migration does not end")
    }

    fn await_end_for(&mut self, time: Duration) -> anyhow::Result<Option<Value>> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let said = self.live.qmp.execute("query-migrate", json!({}))?;
            match said["status"].as_str() {
                Some("completed") => return Ok(Some(said)),
                Some("failed" | "cancelled") => bail!("the migration ended with {said}"),
                _ => thread::sleep(ASK_EVERY),
            }
        }
        Ok(None)
    }
}

impl Monitor for Qemu<'_> {
    fn guest(&self) -> &Guest<'_> {
        &self.live.guest
    }

    fn make_ready(&mut self) -> anyhow::Result<()> {
        let host = self.place.hosts()[1 - self.side];
        let mut other = Process::start(host, &self.disk, "-incoming defer")?;
        other.qmp.execute("migrate-incoming", json!({ "uri": format!("tcp:{}:0", host.address()) }))?;
        self.other = Some(other);
        Ok(())
    }

    fn pass(&mut self) -> anyhow::Result<Passage> {
        let to = self.address()?;
        let limits = json!({ "max-bandwidth": UNLIMITED, "downtime-limit": LIMITS_MS[0] });
        self.live.qmp.execute("migrate-set-parameters", limits)?;
        self.live.qmp.execute("migrate", json!({ "uri": to }))?;
        let (said, limit) = self.await_end()?;
        let number = |path: &str| {
            let value = said.pointer(path).and_then(Value::as_f64);
            value.with_context(|| format!("QEMU gives no {path}: {said}"))
        };
        Ok(Passage {
            stop_ms: number("/downtime")?,
            stop: None,
            held_ms: None,
            slowed_percent: None,
            total_ms: number("/total-time")?,
            rounds: number("/ram/dirty-sync-count")?,
            sent_mib: mib(number("/ram/transferred")?),
            limit_ms: Some(limit),
        })
    }

    /// The source has nothing any more that the destination does not have.
    fn let_go(&mut self) -> anyhow::Result<()> {
        let other = self.other.take().context("the guest went nowhere")?;
        self.live.guest.end()?;
        self.live = other;
        self.side = 1 - self.side;
        Ok(())
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        self.live.guest.end()
    }
}
