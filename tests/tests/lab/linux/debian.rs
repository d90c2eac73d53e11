//! A stock Debian, as a cloud would start it, runs protected: its own systemd, cloud-init, firewall and containers' needs
//! find in the kernel what they look for, and it goes on when its host loses power. What it says of itself is the report
//! that `guest-images/linux/debian/seed/user-data` has it write.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddrV4, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{
    client::{Connection, Load, LoadPlan, Mix},
    net, wait,
};
use ftvmm_tests::{
    harness,
    lab::{self, Ended, Lab, artefacts, member::Setup},
    stage,
};

use super::{
    Journal, PATIENCE, SHARED_DISK, TIMEOUT_MS, check_file_system, console, copy_sparse, disk, end_of,
    plan_without_disks, redis, replay::ensure_runs,
};

/// systemd, cloud-init's Python programs and Redis, MiB.
const MEMORY_MIB: u32 = 448;
/// The longest wait for the report. A boot is half a minute on hardware, and cloud-init starts Python four times.
const BOOT_PATIENCE: Duration = Duration::from_secs(900);
/// Where the root file system begins on the disk, bytes.
const ROOT_OFFSET: u64 = 1 << 20;
/// How long a packet that the firewall drops is waited for.
const DROPPED: Duration = Duration::from_secs(3);
/// What Moby's check finds missing, and why that is no loss: realtime groups are off in Debian too, swap is always
/// accounted, and AUFS is not in Linux.
const NOT_IN_LINUX: [&str; 3] = ["CONFIG_MEMCG_SWAP", "CONFIG_RT_GROUP_SCHED", "CONFIG_AUFS_FS"];

#[test]
fn a_stock_debian_runs_protected_and_survives_a_power_failure() {
    let seed = harness::seed();
    lab::play(plan_without_disks, |lab| {
        let mut journal = Journal::open("debian")?;
        copy_sparse(&artefacts::debian()?, &lab.shared().join(SHARED_DISK))?;
        let begun = Instant::now();
        let setup =
            Setup { failure_timeout_ms: TIMEOUT_MS, guest: guest(), both: disk(DiskMode::Shared).to_vec() };
        let (secondary, address) = setup.secondary(&lab.b, "secondary")?;
        let primary = setup.primary(&lab.a, "primary", &address)?;
        let report = await_report(lab, "primary", || ensure_runs(&primary.running))?;
        primary.wait_protected(&lab.a)?;
        journal.line(&format!(
            "Debian is up, protected, after {:.1} s: {report:#?}",
            begun.elapsed().as_secs_f64()
        ))?;
        check(&report)?;
        firewall_drops()?;

        let load = Load::start(&clients(seed), Instant::now())?;
        load.await_answers(20, PATIENCE)?;
        lab.a.power_off_now()?;
        let takeover = secondary.wait_takeover(&lab.b)?;
        load.await_answers(20, PATIENCE)?;
        let history = stage::judge(load)?;
        journal.line(&format!(
            "host a lost power; Debian goes on after {:.0} ms, and has all {} acknowledged increments",
            takeover.total_ms,
            history.answered_ns().len()
        ))?;
        firewall_drops()?;
        ask("health")?;
        let report = await_report(lab, "secondary", || ensure_runs(&secondary.running))?;
        check_health(&report).context("after the takeover")?;

        ask("off")?;
        let ended = secondary.running.wait_end(PATIENCE)?;
        ensure!(ended == Ended::Status(0), "Debian ended with {ended:?}: {}", secondary.running.log());
        let root = format!("{}?offset={ROOT_OFFSET}", lab.shared().join(SHARED_DISK).display());
        check_file_system(Path::new(&root))
    });
}

/// The options of the guest, except for its disk.
fn guest() -> Vec<String> {
    let cmdline = "console=ttyS0 quiet root=/dev/vda1 ro panic=-1 systemd.show_status=false";
    let words = ["--kernel", "/files/vmlinux", "--memory", &MEMORY_MIB.to_string(), "--cmdline", cmdline];
    words.map(str::to_owned).to_vec()
}

fn clients(seed: u64) -> LoadPlan {
    LoadPlan {
        address: redis(),
        connections: 2,
        prefix: "debian".to_owned(),
        mix: Mix::Count,
        pause: Duration::from_millis(10),
        patience: PATIENCE,
        seed,
    }
}

/// What the guest says of itself, by subject.
type Report = BTreeMap<String, String>;

/// Waits for the end of the report that the guest writes while `member` is live.
fn await_report(lab: &Lab, member: &str, alive: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Report> {
    let report = || {
        let said = console(lab, member);
        let lines = said.lines().filter_map(|line| line.strip_prefix("REPORT ")?.split_once(':'));
        lines.map(|(subject, text)| (subject.to_owned(), text.trim().to_owned())).collect::<Report>()
    };
    wait::until("the guest's report", BOOT_PATIENCE, || {
        alive()?;
        Ok(Some(report()).filter(|report| report.contains_key("end")))
    })
    .with_context(|| format!("the end of the guest's console is: {}", end_of(&console(lab, member))))
}

/// All units are well.
fn check_health(report: &Report) -> anyhow::Result<()> {
    ensure!(report["failed"].is_empty(), "units failed: {}", report["failed"]);
    ensure!(report["system"] == "running", "systemd says that the system is {}", report["system"]);
    Ok(())
}

/// Everything is there that a distribution looks for.
fn check(report: &Report) -> anyhow::Result<()> {
    check_health(report)?;
    let is = |subject: &str, wanted: &str| {
        let found = report.get(subject).map_or("nothing", String::as_str);
        ensure!(found == wanted, "{subject}: {found} instead of {wanted}");
        Ok(())
    };
    let has = |subject: &str, wanted: &str| {
        let found: Vec<&str> =
            report.get(subject).map(|text| text.split_whitespace().collect()).unwrap_or_default();
        let missing: Vec<&str> = wanted.split_whitespace().filter(|word| !found.contains(word)).collect();
        ensure!(missing.is_empty(), "{subject}: {missing:?} is missing in {found:?}");
        Ok(())
    };
    is("cloud-init", "status: done")?;
    has("controllers", "cpuset cpu io memory hugetlb pids misc")?;
    is("swap", "/swap.img")?;
    is("overlay", "below above")?;
    has("nftables", "policy drop masquerade")?;
    has("links", "lo eth0 eth0.7@eth0 br7 wg0")?;
    has("modules", "wireguard ip_vs xt_bpf esp4 dm_thin_pool")?;
    has("filesystems", "ext4 xfs btrfs vfat iso9660 fuseblk")?;
    is("apparmor", "Y")?;
    let docker = report["docker"].split(" missing").map(|name| name.trim().trim_end_matches(':'));
    let missing: Vec<&str> = docker.filter(|name| !name.is_empty() && !NOT_IN_LINUX.contains(name)).collect();
    ensure!(missing.is_empty(), "Moby's check misses {missing:?}");
    Ok(())
}

/// A port that the guest's rules do not open does not even refuse.
fn firewall_drops() -> anyhow::Result<()> {
    let closed = SocketAddrV4::new(*net::GUEST.ip(), 6380);
    let error =
        TcpStream::connect_timeout(&closed.into(), DROPPED).err().context("the firewall lets all in")?;
    ensure!(error.kind() == io::ErrorKind::TimedOut, "the firewall does not drop: {error}");
    Ok(())
}

/// Tells the guest's report to go on.
fn ask(word: &str) -> anyhow::Result<()> {
    let mut connection = Connection::open(redis(), PATIENCE)?;
    connection.call(&[b"RPUSH", b"ask", word.as_bytes()]).context("Redis takes no word for the report")?;
    Ok(())
}
