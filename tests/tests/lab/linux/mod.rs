//! Linux guests on two lab hosts.

use std::{
    fs::{self, File},
    io::Write,
    net::{SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{net, wait};
use ftvmm_tests::lab::{
    Lab, Plan, artefacts,
    member::{self, Setup},
};

mod busy;
mod clients;
mod compute;
mod debian;
mod power;
mod reboot;
mod replay;
mod soak;

/// The longest wait for a guest, or of a client: two cores emulate two hosts, on which the guest runs.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Silence that counts as loss, ms.
const TIMEOUT_MS: u64 = 2500;
/// The disk in a directory that both hosts reach.
const SHARED_DISK: &str = "root.img";
/// The size of the guest's disk: a new secondary compares all of its copy with the primary's.
const DISK_SIZE: &str = "560M";

/// Redis in the guest.
fn redis() -> SocketAddr {
    net::GUEST.into()
}

/// The SQLite service in the guest.
fn sqlite() -> SocketAddr {
    SocketAddrV4::new(*net::GUEST.ip(), 7000).into()
}

/// Hosts that have the guest's kernel, and each a copy of its root file system.
fn plan() -> anyhow::Result<Plan> {
    let mut plan = plan_without_disks()?;
    plan.disk = Some(make_root()?);
    Ok(plan)
}

/// Hosts that have the guest's kernel; its disk is made by [`share_disk`].
fn plan_without_disks() -> anyhow::Result<Plan> {
    let mut plan = Plan::new()?;
    plan.files.push(("vmlinux".to_owned(), artefacts::guest_kernel()?));
    Ok(plan)
}

/// Makes the disk that both hosts reach.
fn share_disk(lab: &Lab) -> anyhow::Result<()> {
    copy_sparse(&make_root()?, &lab.shared().join(SHARED_DISK))
}

/// A small copy of the guest's root file system. There is one at a time, like labs.
fn make_root() -> anyhow::Result<PathBuf> {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lab-root.img");
    copy_sparse(&artefacts::guest_root()?, &root)?;
    let mut resize = Command::new("resize2fs");
    run(resize.arg("-f").arg(&root).arg(DISK_SIZE))?;
    check_file_system(&root)?;
    Ok(root)
}

/// Copies a file without filling its holes.
fn copy_sparse(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).args([from, to]))
}

/// Runs a command that must succeed.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    Ok(())
}

/// The options of a guest that runs `workload`, except for its disk.
fn guest(workload: &str, memory_mib: u32) -> Vec<String> {
    let cmdline =
        format!("console=ttyS0 panic=-1 root=/dev/vda ip=10.77.0.2/24,10.77.0.1 ftvmm.workload={workload}");
    let words = ["--kernel", "/files/vmlinux", "--memory", &memory_mib.to_string(), "--cmdline", &cmdline];
    words.map(str::to_owned).to_vec()
}

/// The option that gives the guest its disk.
fn disk(mode: DiskMode) -> [String; 2] {
    let value = match mode {
        DiskMode::Replicated => "path=/dev/vda,mode=replicated".to_owned(),
        DiskMode::Shared => format!("path=/shared/{SHARED_DISK},mode=shared"),
    };
    ["--disk".to_owned(), value]
}

/// A pair with this guest.
fn pair(workload: &str, memory_mib: u32, mode: DiskMode) -> Setup {
    Setup { failure_timeout_ms: TIMEOUT_MS, guest: guest(workload, memory_mib), both: disk(mode).to_vec() }
}

/// What the guest has written to its console while `member` was live.
fn console(lab: &Lab, member: &str) -> String {
    let path = lab.shared().join(format!("{member}.guest"));
    fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits until the guest has written `text` to its console while `member` was live; `alive` looks whether there is still
/// something to wait for.
fn await_console(
    lab: &Lab,
    member: &str,
    text: &str,
    timeout: Duration,
    alive: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    wait::until(&format!("{text:?} on the guest's console"), timeout, || {
        if console(lab, member).contains(text) {
            return Ok(Some(()));
        }
        alive()?;
        Ok(None)
    })
    .with_context(|| format!("the end of the guest's console is: {}", end_of(&console(lab, member))))
}

/// The last lines.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// `e2fsck -fn` must find nothing wrong with the file system in this file.
fn check_file_system(image: &Path) -> anyhow::Result<()> {
    run(Command::new("e2fsck").arg("-fn").arg(image))
}

/// Two files must be the same.
fn compare_files(one: &Path, other: &Path) -> anyhow::Result<()> {
    run(Command::new("cmp").args([one, other]))
}

/// The shell command that runs ftvmm with these arguments.
fn command(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| member::quote(word)).collect();
    format!("NO_COLOR=1 exec ftvmm {}", quoted.join(" "))
}

/// What a test found out, a line each: shown at once, whether the test is captured or not, and kept in a file.
struct Journal(File);

impl Journal {
    /// The journal of the test `name`: `target/tmp/lab-NAME.log`.
    fn open(name: &str) -> anyhow::Result<Self> {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-{name}.log"));
        Ok(Self(File::create(&path).with_context(|| format!("cannot create {}", path.display()))?))
    }

    /// Adds a line.
    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        // Not eprintln!, which the test harness keeps to itself when the test is good.
        writeln!(std::io::stderr(), "{text}")?;
        Ok(writeln!(self.0, "{text}")?)
    }
}
