//! SIGKILL of either side while a copy is made equal, in every phase of it: the copy is a whole one or says that it is
//! none, what it was before comes back, and starting the pair again heals it.

use std::{net::TcpStream, thread, time::Duration};

use anyhow::{Context, bail, ensure};
use ftlog::FrameKind;
use ftvmm::{
    control::{ResyncReport, Role, State, Status},
    demo::{pair::Member, random::Random, wait},
};
use ftvmm_tests::{
    harness,
    stage::{self, guest},
};

use super::{
    SOON,
    disks_scene::{BYTES, Copied, EQUAL, Scene},
    wait_alone,
};

/// Silence is no loss here: who is stopped in a phase is still there.
const SILENCE_MS: u64 = 60_000;
/// Attempts to stop a secondary in a moment.
const ATTEMPTS: u32 = 20;
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

impl Scene<'_> {
    /// Waits for the moment, and stops the secondary in it; false when that came too late.
    fn reach(&mut self, moment: Moment, secondary: &mut Member) -> anyhow::Result<bool> {
        let differs = BYTES - EQUAL;
        let overwritten = match moment {
            Moment::Protected => return self.primary.wait_protected().map(|_| true),
            Moment::Seed => return self.reach_seed(secondary),
            Moment::Compared => 0,
            Moment::FirstBlocks => 1 << 16,
            Moment::Middle => differs / 2,
            Moment::LastBlocks => differs / 10 * 9,
        };
        if moment == Moment::Compared {
            let begun = |status: &Status| {
                status.state == State::Following
                    || resync(status).is_some_and(|resync| resync.compared_bytes > 0)
            };
            secondary.wait_status("comparing", SOON, begun)?;
        } else {
            wait::until(&format!("{moment:?}"), SOON, || {
                let far = self.overwritten() > overwritten || Copied::is_whole(self.copy());
                Ok(far.then_some(()))
            })?;
        }
        secondary.process.stop()?;
        if self.is_half() != (moment > Moment::Compared) || Copied::is_whole(self.copy()) {
            return Ok(false);
        }
        if moment == Moment::LastBlocks {
            let sent = |status: &Status| status.state == State::Seeding && resync(status).is_none();
            self.primary.wait_status("done with the copy", SOON, sent)?;
        }
        println!("{moment:?}: {} MiB of {} are overwritten", self.overwritten() >> 20, differs >> 20);
        Ok(true)
    }

    /// All of the seed is on the wire, and the end of it stays there.
    fn reach_seed(&mut self, secondary: &mut Member) -> anyhow::Result<bool> {
        // The gate is closed for whatever the guest says.
        self.primary.wait_status("done with the seed", SOON, |status| {
            let _ = TcpStream::connect_timeout(&guest(), Duration::from_millis(5));
            status.held_outputs > 0
        })?;
        secondary.process.stop()?;
        let status = self.primary.status()?;
        ensure!(status.state == State::Seeding && self.is_half(), "{status:?}");
        Ok(true)
    }

    /// A secondary that is stopped in this moment, and what its copy was before. The two sides do not wait for this test,
    /// so it may take more than one.
    fn catch(&mut self, moment: Moment) -> anyhow::Result<(Member, String, Copied)> {
        for _ in 0..ATTEMPTS {
            self.differ()?;
            let before = Copied::read(self.copy())?;
            let (mut secondary, address) = match moment {
                Moment::Seed => self.protect_until(FrameKind::SeedDone)?,
                _ => self.protect()?,
            };
            if self.reach(moment, &mut secondary)? {
                return Ok((secondary, address, before));
            }
            secondary.process.kill()?;
            wait_alone(&mut self.primary)?;
        }
        bail!("no secondary was stopped in time")
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
    fn primary_dies(
        &mut self,
        before: &Copied,
        mut secondary: Member,
        address: &str,
    ) -> anyhow::Result<&'static str> {
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
        // It listens again while the last that it has heard is still being written.
        let copy = wait::until("the copy to be at rest", SOON, || {
            Ok(match Copied::read(self.copy())? {
                _ if self.is_half() => Some("half made, and healed"),
                copied if copied == *before => Some("what it was"),
                _ => Copied::is_whole(self.copy()).then_some("the new one"),
            })
        })?;
        let name = self.stage.name("primary");
        self.primary = self.setup.primary(&name, self.place(self.live), address)?;
        self.primary.wait_protected()?;
        ensure!(!self.is_half(), "a secondary that follows has a mixture");
        let least = self.counted;
        self.count()?;
        secondary.process.kill()?;
        wait_alone(&mut self.primary)?;
        self.holds(least)?;
        Ok(copy)
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
            Victim::Primary => self.primary_dies(before, secondary, address),
        }
    }

    fn kill_at(&mut self, moment: Moment, victim: Victim) -> anyhow::Result<()> {
        let (secondary, address, before) = self.catch(moment)?;
        let copy = self.kill(victim, secondary, &address, &before)?;
        println!("{moment:?}, the {victim:?} dies; the copy is {copy}");
        let expected: &[&str] = match (moment, victim) {
            (Moment::Compared, Victim::Secondary) => &["what it was"],
            // What the primary has sent is still read by the secondary, which was stopped.
            (Moment::Compared, Victim::Primary) => &["what it was", "half made, and healed"],
            (Moment::Protected, Victim::Secondary) => &["the new one"],
            (Moment::Protected, Victim::Primary) => &["the new one, and live"],
            (_, Victim::Secondary) => &["half made, and restored"],
            // All that it needs may be on its way already.
            (Moment::LastBlocks | Moment::Seed, Victim::Primary) => {
                &["half made, and healed", "the new one", "the new one, and live"]
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
