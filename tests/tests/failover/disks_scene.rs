//! A VM whose disk another host has a copy of, which is made equal again and again.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use ftlog::{DiskMode, FrameKind};
use ftvmm::demo::{
    client::{Action, Connection, Reply},
    pair::{Member, Place, Setup},
};
use ftvmm_tests::{
    disks, ledger,
    stage::{PATIENCE, Stage, guest},
    way::{Way, Wire},
};

use super::{ftvmm, wait_alone};

pub const BYTES: u64 = 40 << 20;
/// The copies are equal up to here, so that comparing and copying are two phases.
pub const EQUAL: u64 = 20 << 20;
const TAPS: [&str; 2] = ["tap-a", "tap-b"];
const NOBODY: &str = "127.0.0.1:1";
/// Keys that the guest writes after a takeover: in eight blocks or so.
const KEYS: usize = 1000;
const KEYS_AT_ONCE: usize = 50;

/// A copy of the disk with its stamp.
#[derive(PartialEq, Eq)]
pub struct Copied {
    image: Vec<u8>,
    pub stamp: Option<String>,
}

impl Copied {
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        Ok(Self { image: fs::read(file)?, stamp: fs::read_to_string(beside(file, ".ftvmm")).ok() })
    }

    /// The copy was made equal to the end.
    pub fn is_whole(file: &Path) -> bool {
        fs::read_to_string(beside(file, ".ftvmm")).is_ok_and(|stamp| stamp.contains("\"follower\""))
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A VM that runs on one of two hosts, and the other host's copy of its disk.
pub struct Scene<'a> {
    pub stage: &'a Stage,
    pub setup: Setup,
    pub files: [PathBuf; 2],
    options: [[String; 1]; 2],
    /// The host that the VM runs on.
    pub live: usize,
    pub primary: Member,
    /// The counter, as it was last acknowledged.
    pub counted: i64,
}

impl<'a> Scene<'a> {
    pub fn open(stage: &'a Stage) -> anyhow::Result<Self> {
        let files = ["a.disk", "b.disk"].map(|name| stage.directory().join(name));
        files.iter().try_for_each(|file| disks::create_empty(file, BYTES))?;
        let options = files.each_ref().map(|file| [disks::option(file, DiskMode::Replicated)]);
        let setup = Setup { kernel: "builtin:ledger".into(), ..stage.setup.clone() };
        let place = Place { disks: &options[0], ..Place::here(TAPS[0]) };
        let mut primary = setup.primary(&stage.name("primary"), place, NOBODY)?;
        wait_alone(&mut primary)?;
        let mut scene = Self { stage, setup, files, options, live: 0, primary, counted: 0 };
        scene.count()?;
        Ok(scene)
    }

    pub fn place(&self, host: usize) -> Place<'_> {
        Place { disks: &self.options[host], ..Place::here(TAPS[host]) }
    }

    /// The file of the host that the VM does not run on.
    pub fn copy(&self) -> &Path {
        &self.files[1 - self.live]
    }

    /// What was acknowledged is there.
    pub fn count(&mut self) -> anyhow::Result<()> {
        let mut client = Connection::open(guest(), PATIENCE)?;
        for _ in 0..3 {
            let reply = client.request("k", &Action::Incr)?;
            ensure!(reply == Reply::Integer(self.counted + 1), "{reply:?} after {}", self.counted);
            self.counted += 1;
        }
        Ok(())
    }

    /// Has the other host a copy that nobody knows, different in half of its blocks.
    pub fn differ(&self) -> anyhow::Result<()> {
        fs::copy(&self.files[self.live], self.copy())?;
        let mut garbage = vec![0; (BYTES - EQUAL) as usize];
        File::open("/dev/urandom")?.read_exact(&mut garbage)?;
        File::options().write(true).open(self.copy())?.write_all_at(&garbage, EQUAL)?;
        // One that has no stamp yet is as wanted.
        for suffix in [".ftvmm", ".ftvmm-undo"] {
            let _ = fs::remove_file(beside(self.copy(), suffix));
        }
        Ok(())
    }

    pub fn protect(&mut self) -> anyhow::Result<(Member, String)> {
        let (secondary, address) = self.secondary()?;
        self.primary.protect(&address)?;
        Ok((secondary, address))
    }

    /// The same, over a wire on which the first frame of this kind stays.
    pub fn protect_until(&mut self, kind: FrameKind) -> anyhow::Result<(Member, String)> {
        let (secondary, address) = self.secondary()?;
        let wire = Wire { delay: Duration::ZERO, bytes_per_second: u64::MAX };
        self.primary.protect(Way::open_until(&address, wire, kind)?.address())?;
        Ok((secondary, address))
    }

    fn secondary(&self) -> anyhow::Result<(Member, String)> {
        self.setup.secondary(&self.stage.name("secondary"), self.place(1 - self.live))
    }

    /// The VM goes on at the other host.
    pub fn take_over(&mut self) -> anyhow::Result<()> {
        let (mut secondary, _) = self.protect()?;
        self.primary.wait_protected()?;
        self.primary.process.kill()?;
        wait_alone(&mut secondary)?;
        (self.primary, self.live) = (secondary, 1 - self.live);
        self.count()
    }

    /// Writes into many blocks, which takes many keys, which takes many in one request.
    pub fn write_keys(&self) -> anyhow::Result<()> {
        let mut client = TcpStream::connect_timeout(&guest(), PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        for first in (0..KEYS).step_by(KEYS_AT_ONCE) {
            let set = |number| format!("SET key-{number} {}\r\n", self.counted);
            let sets: String = (first..first + KEYS_AT_ONCE).map(set).collect();
            client.write_all(sets.as_bytes())?;
            let mut replies = vec![0; KEYS_AT_ONCE * "+OK\r\n".len()];
            client.read_exact(&mut replies)?;
            let replies = String::from_utf8_lossy(&replies);
            ensure!(replies == "+OK\r\n".repeat(KEYS_AT_ONCE), "SET is answered with {replies}");
        }
        Ok(())
    }

    /// How much of the other host's copy is overwritten, by its journal, while it is a mixture.
    pub fn overwritten(&self) -> u64 {
        fs::metadata(beside(self.copy(), ".ftvmm-undo")).map_or(0, |journal| journal.len())
    }

    pub fn is_half(&self) -> bool {
        fs::read_to_string(beside(self.copy(), ".ftvmm")).is_ok_and(|stamp| stamp.contains("\"half\""))
    }

    /// The copy of a host that is down is a whole one, or refused until it is what it was.
    pub fn look_at_copy(&self, before: &Copied, least: i64) -> anyhow::Result<&'static str> {
        if !self.is_half() {
            if Copied::read(self.copy())? == *before {
                return Ok("what it was");
            }
            self.holds(least)?;
            return Ok("the new one");
        }
        let path = self.copy().display().to_string();
        let disk = format!("path={path}");
        let (code, said) = ftvmm(self.stage, &["run", "--kernel", "builtin:ledger", "--disk", &disk])?;
        ensure!(code == Some(4) && said.contains("mixture") && said.contains("disk restore"), "{said}");
        let (code, said) = ftvmm(self.stage, &["disk", "restore", &path])?;
        ensure!(code == Some(0), "{said}");
        ensure!(Copied::read(self.copy())? == *before, "the copy from before is not back");
        ensure!(self.overwritten() == 0, "the journal is left");
        Ok("half made, and restored")
    }

    /// The copy is a whole one with what was acknowledged when it became one.
    pub fn holds(&self, least: i64) -> anyhow::Result<()> {
        let ledger = ledger::read(self.copy())?;
        let value = &ledger.get("k").context("the counter is not there")?.value;
        let counted: i64 = std::str::from_utf8(value)?.parse()?;
        ensure!(counted >= least, "{counted} on the copy, {least} were acknowledged");
        Ok(())
    }
}
