//! SIGKILL of either side while a copy is made equal, in every phase of it: the copy is a whole one or says that it is
//! none, what it was before comes back, and starting the pair again heals it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::{ResyncReport, Role, State, Status},
    demo::{
        client::{Action, Connection, Reply},
        pair::{Member, Place, Setup},
        random::Random,
        wait,
    },
};
use ftvmm_tests::{
    disks, harness, ledger,
    stage::{self, PATIENCE, Stage, guest},
};

use super::{SOON, ftvmm, wait_alone};

const BYTES: u64 = 40 << 20;
/// The copies are equal up to here, so that comparing and copying are two phases.
const EQUAL: u64 = 20 << 20;
/// Silence is no loss here: who is stopped in a phase is still there.
const SILENCE_MS: u64 = 60_000;
const TAPS: [&str; 2] = ["tap-a", "tap-b"];
const NOBODY: &str = "127.0.0.1:1";
/// Keys that the guest writes after a takeover: in eight blocks or so.
const KEYS: usize = 1000;
const KEYS_AT_ONCE: usize = 50;
/// Takeovers of the second test, with a kill after each.
const ROUNDS: u32 = 6;
/// Each comes within this time after the secondary was asked for, µs.
const WITHIN_US: u64 = 200_000;

/// How far the copy is when somebody is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// Digests were sent, and nothing was overwritten.
    Compared,
    /// The first blocks were overwritten.
    FirstBlocks,
    /// Half of what differs was.
    Middle,
    /// The primary has sent all that differs, the secondary has not written all of it.
    LastBlocks,
    /// The primary has sent the seed, the secondary has not read it.
    Seed,
    /// The primary has just said so.
    Protected,
}

const MOMENTS: [Moment; 6] = [
    Moment::Compared,
    Moment::FirstBlocks,
    Moment::Middle,
    Moment::LastBlocks,
    Moment::Seed,
    Moment::Protected,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Secondary,
    Primary,
}

/// A copy of the disk with its stamp.
#[derive(PartialEq, Eq)]
struct Copied {
    image: Vec<u8>,
    stamp: Option<String>,
}

impl Copied {
    fn read(file: &Path) -> anyhow::Result<Self> {
        Ok(Self { image: fs::read(file)?, stamp: fs::read_to_string(beside(file, ".ftvmm")).ok() })
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A VM that runs on one of two hosts, and the other host's copy of its disk.
struct Scene<'a> {
    stage: &'a Stage,
    setup: Setup,
    files: [PathBuf; 2],
    options: [[String; 1]; 2],
    /// The host that the VM runs on.
    live: usize,
    primary: Member,
    /// The counter, as it was last acknowledged.
    counted: i64,
}

impl<'a> Scene<'a> {
    fn open(stage: &'a Stage) -> anyhow::Result<Self> {
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

    fn place(&self, host: usize) -> Place<'_> {
        Place { disks: &self.options[host], ..Place::here(TAPS[host]) }
    }

    /// The file of the host that the VM does not run on.
    fn copy(&self) -> &Path {
        &self.files[1 - self.live]
    }

    /// What was acknowledged is there.
    fn count(&mut self) -> anyhow::Result<()> {
        let mut client = Connection::open(guest(), PATIENCE)?;
        for _ in 0..3 {
            let reply = client.request("k", &Action::Incr)?;
            ensure!(reply == Reply::Integer(self.counted + 1), "{reply:?} after {}", self.counted);
            self.counted += 1;
        }
        Ok(())
    }

    /// Has the other host one that nobody knows, different in most of its blocks.
    fn differ(&self) -> anyhow::Result<()> {
        fs::copy(&self.files[self.live], self.copy())?;
        let mut garbage = vec![0; (BYTES - EQUAL) as usize];
        File::open("/dev/urandom")?.read_exact(&mut garbage)?;
        File::options().write(true).open(self.copy())?.write_all_at(&garbage, EQUAL)?;
        for suffix in [".ftvmm", ".ftvmm-undo"] {
            let _ = fs::remove_file(beside(self.copy(), suffix));
        }
        Ok(())
    }

    fn protect(&mut self) -> anyhow::Result<(Member, String)> {
        let place = self.place(1 - self.live);
        let (secondary, address) = self.setup.secondary(&self.stage.name("secondary"), place)?;
        self.primary.protect(&address)?;
        Ok((secondary, address))
    }

    /// The VM goes on at the other host.
    fn take_over(&mut self) -> anyhow::Result<()> {
        let (mut secondary, _) = self.protect()?;
        self.primary.wait_protected()?;
        self.primary.process.kill()?;
        wait_alone(&mut secondary)?;
        (self.primary, self.live) = (secondary, 1 - self.live);
        self.count()
    }

    /// Writes into many blocks, which takes many keys, which takes many in one request.
    fn write_keys(&self) -> anyhow::Result<()> {
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
    fn overwritten(&self) -> u64 {
        fs::metadata(beside(self.copy(), ".ftvmm-undo")).map_or(0, |journal| journal.len())
    }

    fn is_half(&self) -> bool {
        fs::read_to_string(beside(self.copy(), ".ftvmm")).is_ok_and(|stamp| stamp.contains("\"half\""))
    }

    /// Waits for the moment, and stops the secondary in it.
    fn reach(&mut self, moment: Moment, secondary: &mut Member) -> anyhow::Result<()> {
        let differs = BYTES - EQUAL;
        let overwritten = match moment {
            Moment::Protected => return self.primary.wait_protected().map(drop),
            Moment::Compared => 0,
            Moment::FirstBlocks => 1 << 16,
            Moment::Middle => differs / 2,
            Moment::LastBlocks | Moment::Seed => differs / 10 * 9,
        };
        if moment == Moment::Compared {
            let begun = |status: &Status| resync(status).is_some_and(|it| it.compared_bytes > 0);
            secondary.wait_status("comparing", SOON, begun)?;
        } else {
            let far = || Ok((self.overwritten() > overwritten).then_some(()));
            wait::until(&format!("{moment:?}"), SOON, far)?;
        }
        secondary.process.stop()?;
        ensure!(self.is_half() == (moment > Moment::Compared), "it was not stopped in time");
        if moment >= Moment::LastBlocks {
            let sent = |status: &Status| status.state == State::Seeding && resync(status).is_none();
            self.primary.wait_status("done with the copy", SOON, sent)?;
        }
        if moment == Moment::Seed {
            // The gate is closed for whatever the guest says.
            self.primary.wait_status("done with the seed", SOON, |status| {
                let _ = TcpStream::connect_timeout(&guest(), Duration::from_millis(5));
                status.held_outputs > 0
            })?;
        }
        println!("{moment:?}: {} MiB of {} are overwritten", self.overwritten() >> 20, differs >> 20);
        Ok(())
    }

    /// The copy of a host that is down is a whole one, or refused until it is what it was.
    fn look_at_copy(&self, before: &Copied, least: i64) -> anyhow::Result<&'static str> {
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
        ensure!(code == Some(3) && said.contains("mixture") && said.contains("disk restore"), "{said}");
        let (code, said) = ftvmm(self.stage, &["disk", "restore", &path])?;
        ensure!(code == Some(0), "{said}");
        ensure!(Copied::read(self.copy())? == *before, "the copy from before is not back");
        ensure!(self.overwritten() == 0, "the journal is left");
        Ok("half made, and restored")
    }

    /// The copy is a whole one with what was acknowledged when it became one.
    fn holds(&self, least: i64) -> anyhow::Result<()> {
        let ledger = ledger::read(self.copy())?;
        let value = &ledger.get("k").context("the counter is not there")?.value;
        let counted: i64 = std::str::from_utf8(value)?.parse()?;
        ensure!(counted >= least, "{counted} on the copy, {least} were acknowledged");
        Ok(())
    }

    /// The secondary dies: the VM goes on, and the copy is what it says.
    fn secondary_dies(&mut self, before: &Copied, mut secondary: Member) -> anyhow::Result<&'static str> {
        let least = self.counted;
        secondary.process.kill()?;
        wait_alone(&mut self.primary)?;
        self.count()?;
        self.look_at_copy(before, least)
    }

    /// The primary dies: its VM goes on with the whole copy, or starts again from its own and heals the other.
    fn primary_dies(&mut self, mut secondary: Member, address: &str) -> anyhow::Result<&'static str> {
        self.primary.process.kill()?;
        secondary.process.go_on()?;
        let taken = |status: &Status| status.role == Role::Primary && status.state == State::Unprotected;
        let status = secondary
            .wait_status("done with it", SOON, |status| taken(status) || status.state == State::Listening)?;
        if taken(&status) {
            self.live = 1 - self.live;
            self.primary = secondary;
            ensure!(!self.is_half(), "the VM runs from a mixture");
            self.count()?;
            return Ok("the new one, and live");
        }
        let half = self.is_half();
        let name = self.stage.name("primary");
        self.primary = self.setup.primary(&name, self.place(self.live), address)?;
        self.primary.wait_protected()?;
        ensure!(!self.is_half(), "a secondary that follows has a mixture");
        let least = self.counted;
        self.count()?;
        secondary.process.kill()?;
        wait_alone(&mut self.primary)?;
        self.holds(least)?;
        Ok(if half { "half made, and healed" } else { "what it was" })
    }

    fn kill(
        &mut self,
        victim: Victim,
        secondary: Member,
        address: &str,
        before: &Copied,
    ) -> anyhow::Result<&'static str> {
        match victim {
            Victim::Secondary => self.secondary_dies(before, secondary),
            Victim::Primary => self.primary_dies(secondary, address),
        }
    }

    fn kill_at(&mut self, moment: Moment, victim: Victim) -> anyhow::Result<()> {
        self.differ()?;
        let before = Copied::read(self.copy())?;
        let (mut secondary, address) = self.protect()?;
        self.reach(moment, &mut secondary)?;
        let copy = self.kill(victim, secondary, &address, &before)?;
        println!("{moment:?}, the {victim:?} dies; the copy is {copy}");
        let expected: &[&str] = match (moment, victim) {
            (Moment::Compared, _) => &["what it was"],
            (Moment::Protected, Victim::Secondary) => &["the new one"],
            (Moment::Protected, Victim::Primary) => &["the new one, and live"],
            (_, Victim::Secondary) => &["half made, and restored"],
            // All that it needs may be on its way already.
            (Moment::LastBlocks | Moment::Seed, Victim::Primary) => {
                &["half made, and healed", "the new one, and live"]
            }
            (_, Victim::Primary) => &["half made, and healed"],
        };
        ensure!(expected.contains(&copy), "the copy is {copy}, and not {expected:?}");
        Ok(())
    }
}

fn resync(status: &Status) -> Option<&ResyncReport> {
    status.disks.iter().find_map(|disk| disk.resync.as_ref())
}

/// The first pairing; then, on the host that the VM has gone on at, that host is protected again.
#[test]
fn a_copy_is_whole_or_marked_in_whatever_phase_a_side_dies() {
    stage::play(SILENCE_MS, |stage| {
        let mut scene = Scene::open(stage)?;
        for moment in MOMENTS {
            scene.kill_at(moment, Victim::Secondary).with_context(|| format!("at {moment:?}"))?;
        }
        scene.take_over()?;
        for moment in MOMENTS {
            scene.kill_at(moment, Victim::Primary).with_context(|| format!("at {moment:?}"))?;
        }
        Ok(())
    });
}

/// The host that comes back has an older copy of the same disk, and the guest has written since.
#[test]
fn whoever_dies_while_the_old_primary_is_made_equal_loses_nothing() {
    let seed = harness::seed();
    stage::play(SILENCE_MS, |stage| {
        let mut random = Random::new(seed);
        let mut scene = Scene::open(stage)?;
        for round in 0..ROUNDS {
            scene.take_over().and_then(|()| scene.write_keys()).with_context(|| format!("round {round}"))?;
            let before = Copied::read(scene.copy())?;
            ensure!(
                before.stamp.as_ref().is_some_and(|stamp| stamp.contains("\"live\"")),
                "{:?}",
                before.stamp
            );
            let (secondary, address) = scene.protect()?;
            // In real time: the test is about moments.
            thread::sleep(Duration::from_micros(random.below(WITHIN_US)));
            let victim = if random.below(2) == 0 { Victim::Secondary } else { Victim::Primary };
            let copy = scene.kill(victim, secondary, &address, &before);
            println!("the {victim:?} dies; the copy is {}", copy.with_context(|| format!("round {round}"))?);
        }
        Ok(())
    });
}
