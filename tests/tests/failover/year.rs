//! A year of an operator's bad luck: two hosts lose power in every order, their units restart by themselves, the operator
//! starts what should not be started, and now and then insists.
//!
//! At every moment: never two live machines; what was acknowledged is there, unless a start was forced that said
//! what it would lose.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::{Role, State, Status},
    demo::{
        client::{Action, Connection, Reply},
        net,
        pair::{Member, Place, Setup},
        random::Random,
        wait,
    },
};
use ftvmm_tests::{
    harness,
    hosts::Hosts,
    stage::{self, Stage, guest},
};
use rustix::process::Signal;

use super::{SOON, TIMEOUT_MS};

/// Strokes of luck, unless `FTVMM_YEAR` says how many.
const STROKES: u64 = 60;
const PORT: u16 = 7000;
/// How long a client waits for a machine that may not be there.
const PATIENCE: Duration = Duration::from_secs(5);
const HALTED: i32 = 3;
const REFUSED: i32 = 4;

#[test]
fn never_two_machines_and_never_an_older_copy_over_a_newer_one() {
    let seed = harness::seed();
    stage::play_on_hosts_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage, hosts| {
        Year::new(stage, hosts, seed).live()
    });
}

/// What a host's unit file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Primary,
    Secondary,
}

struct Host<'a> {
    place: Place<'a>,
    unit: Unit,
    powered: bool,
    process: Option<Member>,
}

struct Year<'a> {
    stage: &'a Stage,
    random: Random,
    hosts: [Host<'a>; 2],
    /// The counter as it was last acknowledged.
    acknowledged: i64,
    /// A request without an answer may have been carried out.
    unanswered: bool,
    /// What happened how often, for the record.
    happened: BTreeMap<&'static str, u32>,
}

impl<'a> Year<'a> {
    fn new(stage: &'a Stage, hosts: &'a Hosts, seed: u64) -> Self {
        let host = |place: Place<'a>, unit| Host {
            place: stage.equip(Place { port: PORT, ..place }),
            unit,
            powered: true,
            process: None,
        };
        let hosts = [host(hosts.a(), Unit::Primary), host(hosts.b(), Unit::Secondary)];
        let (random, happened) = (Random::new(seed), BTreeMap::new());
        Self { stage, random, hosts, acknowledged: 0, unanswered: false, happened }
    }

    fn live(&mut self) -> anyhow::Result<()> {
        self.restart_units()?;
        for stroke in 0..harness::number("FTVMM_YEAR").unwrap_or(STROKES) {
            let what = self.stroke()?;
            *self.happened.entry(what).or_default() += 1;
            self.restart_units()?;
            let live = self.settle().with_context(|| format!("stroke {stroke}: {what}"))?;
            println!("{stroke}: {what}; live: {live:?}, acknowledged: {}", self.acknowledged);
            if let Some(live) = live {
                self.count(live).with_context(|| format!("stroke {stroke}: {what}"))?;
            }
        }
        println!("{:?}, {} acknowledged", self.happened, self.acknowledged);
        ensure!(self.acknowledged > 0, "the machine never ran");
        Ok(())
    }

    fn stroke(&mut self) -> anyhow::Result<&'static str> {
        let (one, other) = if self.random.below(2) == 0 { (0, 1) } else { (1, 0) };
        Ok(match self.random.below(10) {
            0..=2 if self.hosts[one].powered => {
                self.power_off(one)?;
                "a host loses power"
            }
            3 => {
                self.power_off(one)?;
                self.power_off(other)?;
                (self.hosts[0].powered, self.hosts[1].powered) = (true, true);
                "both hosts lose power and come back"
            }
            4 => self.end_in_order(one)?,
            5..=7 => self.protect_again()?,
            8 => self.insist(one)?,
            _ => {
                (self.hosts[0].powered, self.hosts[1].powered) = (true, true);
                "whoever was off is on again"
            }
        })
    }

    fn power_off(&mut self, host: usize) -> anyhow::Result<()> {
        let host = &mut self.hosts[host];
        host.powered = false;
        if let Some(mut process) = host.process.take() {
            process.process.kill()?;
        }
        Ok(())
    }

    fn end_in_order(&mut self, host: usize) -> anyhow::Result<&'static str> {
        let Some(mut process) = self.hosts[host].process.take() else { return Ok("nothing") };
        if process.process.ended()?.is_none() {
            process.process.signal(Signal::TERM)?;
            process.process.wait_end(SOON)?;
        }
        Ok("a process is ended in order")
    }

    /// What the README says to do after a failure.
    fn protect_again(&mut self) -> anyhow::Result<&'static str> {
        let Some(live) = self.settle()? else {
            // There is none to protect: one has to be started first, where it may be.
            let host = self.random.below(2) as usize;
            return self.start_somewhere(host, false);
        };
        let other = 1 - live;
        if !self.hosts[other].powered {
            return Ok("nothing to protect with");
        }
        self.hosts[live].unit = Unit::Primary;
        self.restart_as(other, Unit::Secondary)?;
        let address = self.address(other);
        let primary = self.hosts[live].process.as_mut().context("it is live")?;
        let _ = primary.protect(&address);
        // It may be refused, with a reason; a copy that is wanted nowhere is not taken.
        let settled = |status: &Status| status.state == State::Protected || status.last_loss.is_some();
        primary.wait_status("protected or told why not", SOON, settled)?;
        Ok("the operator protects it again")
    }

    /// The operator switches a host on and insists that the VM starts there; if it lives, then on the other one.
    fn insist(&mut self, host: usize) -> anyhow::Result<&'static str> {
        let host = self.settle()?.map_or(host, |live| 1 - live);
        self.hosts[host].powered = true;
        self.start_somewhere(host, true)
    }

    /// The operator has the VM started on a host, which may not be the right one.
    fn start_somewhere(&mut self, host: usize, force: bool) -> anyhow::Result<&'static str> {
        if self.settle()?.is_some() || !self.hosts[host].powered {
            return self.try_what_is_wrong(host, force);
        }
        self.hosts[host].unit = Unit::Primary;
        if let Some(mut process) = self.hosts[host].process.take() {
            process.process.kill()?;
        }
        if !force {
            return Ok("the operator has it started");
        }
        let mut member = self.start(host, &["--force"])?;
        if self.settled_as_live(&mut member)? {
            self.forced(host, member)?;
        }
        Ok("the operator insists")
    }

    /// A start that was forced has come to run the VM; it says what is lost.
    fn forced(&mut self, host: usize, member: Member) -> anyhow::Result<()> {
        let told = member.status()?.events;
        let lost: Vec<_> = told.iter().filter(|event| event.text.contains("started although")).collect();
        println!("forced: {lost:?}");
        self.hosts[host].process = Some(member);
        let before = self.acknowledged;
        let now = self.read()?;
        // Only what it said may be lost.
        ensure!(now >= before || !lost.is_empty(), "{now} is left of {before}, and nothing was said");
        (self.acknowledged, self.unanswered) = (now, false);
        Ok(())
    }

    /// While the VM is live, another primary is refused, unless it is forced and the live side cannot be asked; then
    /// that halts before the other begins.
    fn try_what_is_wrong(&mut self, host: usize, force: bool) -> anyhow::Result<&'static str> {
        let live = self.settle()?;
        let Some(live) = live.filter(|live| *live != host && self.hosts[host].powered) else {
            return Ok("nothing");
        };
        if let Some(mut process) = self.hosts[host].process.take() {
            process.process.kill()?;
        }
        if force {
            return self.insist_on_what_is_wrong(host, live);
        }
        let mut member = self.start(host, &[])?;
        let what = "a second one to be refused, or to halt";
        let status = wait::until(what, SOON, || Ok(member.process.ended()?))?;
        ensure!(status.code() == Some(REFUSED), "{status}: {}", member.process.log());
        Ok("a second start is refused")
    }

    fn insist_on_what_is_wrong(&mut self, host: usize, live: usize) -> anyhow::Result<&'static str> {
        let mut member = self.start(host, &["--force"])?;
        if !self.settled_as_live(&mut member)? {
            return Ok("a second start is not made, for all the insisting");
        }
        let before = self.hosts[live].process.as_mut().context("it is live")?;
        let status = before.process.ended()?.context("two machines are live")?;
        ensure!(status.code() == Some(HALTED), "{status}: {}", before.process.log());
        self.hosts[host].unit = Unit::Primary;
        self.forced(host, member)?;
        Ok("the operator insists on a second one")
    }

    fn address(&self, host: usize) -> String {
        format!("{}:{PORT}", self.hosts[host].place.address)
    }

    fn start(&mut self, host: usize, options: &[&str]) -> anyhow::Result<Member> {
        let setup = Setup {
            primary_options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..self.stage.setup.clone()
        };
        setup.primary(&self.stage.name("primary"), self.hosts[host].place, &self.address(1 - host))
    }

    fn restart_as(&mut self, host: usize, unit: Unit) -> anyhow::Result<()> {
        self.hosts[host].unit = unit;
        if let Some(mut process) = self.hosts[host].process.take() {
            process.process.kill()?;
        }
        self.restart_units()
    }

    /// What systemd does: a process of a powered host that has ended is started again, once for each stroke.
    fn restart_units(&mut self) -> anyhow::Result<()> {
        for host in 0..2 {
            let ended = match &mut self.hosts[host].process {
                Some(member) => member.process.ended()?.is_some(),
                None => true,
            };
            if !self.hosts[host].powered || !ended {
                continue;
            }
            let name = self.stage.name("unit");
            let place = self.hosts[host].place;
            self.hosts[host].process = Some(match self.hosts[host].unit {
                Unit::Primary => self.start(host, &[])?,
                Unit::Secondary => self.stage.setup.secondary(&name, place)?.0,
            });
        }
        Ok(())
    }

    /// Waits until each process has made up its mind; gives the host that is live. Never are there two.
    fn settle(&mut self) -> anyhow::Result<Option<usize>> {
        let mut lives = Vec::new();
        for host in 0..2 {
            let Some(mut member) = self.hosts[host].process.take() else { continue };
            if self.settled_as_live(&mut member)? {
                lives.push(host);
            }
            self.hosts[host].process = Some(member);
        }
        ensure!(lives.len() < 2, "two machines are live");
        Ok(lives.first().copied())
    }

    fn settled_as_live(&self, member: &mut Member) -> anyhow::Result<bool> {
        let what = format!("{} to make up its mind", member.process.name());
        wait::until(&what, SOON, || {
            if member.process.ended()?.is_some() {
                return Ok(Some(false));
            }
            let Ok(status) = member.status() else { return Ok(None) };
            Ok(match (status.role, status.state) {
                (
                    _,
                    State::Starting
                    | State::Seeding
                    | State::Arbitrating
                    | State::Detaching
                    | State::Draining,
                ) => None,
                (Role::Primary, State::Unprotected | State::Protected) => Some(true),
                _ => Some(false),
            })
        })
        .with_context(|| member.process.log())
    }

    /// Counts up, and compares with what was acknowledged.
    fn count(&mut self, live: usize) -> anyhow::Result<()> {
        let mut client = self.connect()?;
        for _ in 0..3 {
            let reply = client.request("k", &Action::Incr)?;
            let Reply::Integer(now) = reply else { anyhow::bail!("{reply:?}") };
            let most = self.acknowledged + 1 + i64::from(self.unanswered);
            ensure!(
                (self.acknowledged + 1..=most).contains(&now),
                "host {live} counts {now} after {} was acknowledged",
                self.acknowledged
            );
            (self.acknowledged, self.unanswered) = (now, false);
        }
        Ok(())
    }

    fn read(&mut self) -> anyhow::Result<i64> {
        match self.connect()?.request("k", &Action::Get)? {
            Reply::Value(Some(bytes)) => Ok(String::from_utf8(bytes)?.parse()?),
            Reply::Value(None) => Ok(0),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// The VM may have been started anew elsewhere, with the same address.
    fn connect(&self) -> anyhow::Result<Connection> {
        net::ip(None, &["neigh flush all".to_owned()])?;
        Ok(Connection::open(guest(), PATIENCE)?)
    }
}
