//! What every part of the simulation may use: time, chance, the network, the arbiter, the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use ftlog::{FrameKind, Generation, Position};
use protocol::LossReason;
use protocol::arbiter::Arbiter as _;

use crate::arbiter::{Claim, Remote};
use crate::failure::Failure;
use crate::faults::{MS, Profile};
use crate::input::Input;
use crate::network::{Conn, Delivery, Network};
use crate::oracle::Oracle;
use crate::process::{Clock, Name};
use crate::random::Random;
use crate::stats::Stats;

/// Something that is going to happen.
pub enum Action {
    Input(Name, Input),
    Deliver(Conn, Delivery),
    /// The arbiter decides.
    Decide(Name, Claim),
    Fault,
    Resume(Name),
    Restart(usize),
    /// Is all well again?
    Settled,
}

pub struct Shared {
    pub now_ns: u64,
    pub random: Random,
    pub profile: Profile,
    pub network: Network,
    pub arbiter: Remote,
    pub oracle: Oracle,
    pub stats: Stats,
    /// The process on each host, unless it is down.
    pub up: Vec<Option<Name>>,
    pub slow_until_ns: Vec<u64>,
    /// The guest on this host waits for input; its network is not there.
    pub idle_until_ns: Vec<u64>,
    pub frozen_until_ns: Vec<u64>,
    pub cut_off_until_ns: Vec<u64>,
    pub threadless_until_ns: Vec<u64>,
    pub hard_of_hearing_until_ns: Vec<u64>,
    pub endless_until_ns: Vec<u64>,
    pub clocks: Vec<Clock>,
    /// The next frame from this host goes wrong.
    pub break_frame: Vec<bool>,
    /// The next step replayed on this host goes wrong.
    pub diverge: Vec<bool>,
    /// Connections on which somebody has lied, and on which log was lost before it was written.
    lied: BTreeSet<Conn>,
    gaps: BTreeSet<Conn>,
    queue: BTreeMap<(u64, u64), Action>,
    scheduled: u64,
    narrate: bool,
}

impl Shared {
    pub fn new(seed: u64, profile: Profile, narrate: bool, hosts: usize) -> Self {
        let mut random = Random::new(seed);
        let clocks = (0..hosts).map(|_| Clock {
            offset_ns: random.within(1 << 40..=1 << 41),
            parts_per_million: random.within(980_000..=1_020_000),
            stood_ns: 0,
        });
        let clocks = clocks.collect();
        Self {
            now_ns: 0,
            random,
            profile,
            network: Network::default(),
            arbiter: Remote::default(),
            oracle: Oracle::default(),
            stats: Stats::default(),
            up: vec![None; hosts],
            slow_until_ns: vec![0; hosts],
            idle_until_ns: vec![0; hosts],
            frozen_until_ns: vec![0; hosts],
            cut_off_until_ns: vec![0; hosts],
            threadless_until_ns: vec![0; hosts],
            hard_of_hearing_until_ns: vec![0; hosts],
            endless_until_ns: vec![0; hosts],
            clocks,
            break_frame: vec![false; hosts],
            diverge: vec![false; hosts],
            lied: BTreeSet::new(),
            gaps: BTreeSet::new(),
            queue: BTreeMap::new(),
            scheduled: 0,
            narrate,
        }
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.narrate {
            println!("{:>9.3} ms  {}", self.now_ns as f64 / MS as f64, text());
        }
    }

    pub fn schedule(&mut self, at_ns: u64, action: Action) {
        self.scheduled += 1;
        self.queue.insert((at_ns, self.scheduled), action);
    }

    pub fn next(&mut self) -> Option<(u64, Action)> {
        self.stats.events += 1;
        self.queue.pop_first().map(|((at_ns, _), action)| (at_ns, action))
    }

    pub fn later(&mut self, name: Name, delay_ns: RangeInclusive<u64>, input: Input) {
        let at_ns = self.now_ns + self.random.within(delay_ns);
        self.schedule(at_ns, Action::Input(name, input));
    }

    /// True with this probability while there are faults.
    pub fn faulty(&mut self, per_million: u64) -> bool {
        self.now_ns < self.profile.quiet_ns && self.random.chance(per_million)
    }

    /// When a fault that begins now ends: in the time of faults.
    pub fn end_of_fault(&mut self) -> u64 {
        let most_ns = self.random.pick(&[100 * MS, 400 * MS, 1500 * MS]);
        let end_ns = self.now_ns + self.random.within(10 * MS..=most_ns);
        end_ns.min(self.profile.quiet_ns)
    }

    pub fn is_slow(&self, host: usize) -> bool {
        self.now_ns < self.slow_until_ns[host]
    }

    pub fn is_idle(&self, host: usize) -> bool {
        self.now_ns < self.idle_until_ns[host]
    }

    pub fn is_frozen(&self, host: usize) -> bool {
        self.now_ns < self.frozen_until_ns[host]
    }

    pub fn is_cut_off(&self, host: usize) -> bool {
        self.now_ns < self.cut_off_until_ns[host]
    }

    pub fn is_threadless(&self, host: usize) -> bool {
        self.now_ns < self.threadless_until_ns[host]
    }

    pub fn is_hard_of_hearing(&self, host: usize) -> bool {
        self.now_ns < self.hard_of_hearing_until_ns[host]
    }

    pub fn is_endless(&self, host: usize) -> bool {
        self.now_ns < self.endless_until_ns[host]
    }

    /// Some host is, or was until a moment ago.
    pub fn is_any_endless(&self) -> bool {
        self.endless_until_ns.iter().any(|until_ns| self.now_ns < *until_ns + 2000 * MS)
    }

    /// What this host's clock shows.
    pub fn clock_ns(&self, host: usize) -> u64 {
        self.clocks[host].read_ns(self.now_ns)
    }

    /// What the arbiter shows, after a while.
    pub fn look(&mut self, name: Name) {
        if self.faulty(self.profile.arbiter_hangs) {
            return;
        }
        if let Some((generation, holder)) = self.arbiter.register.latest() {
            self.later(name, 0..=30 * MS, Input::Shown { generation, holder });
        }
    }

    pub fn diverges(&mut self, host: usize) -> bool {
        std::mem::take(&mut self.diverge[host]) || self.faulty(self.profile.divergence)
    }

    pub fn batch_is_lost(&mut self, conn: Option<Conn>) -> bool {
        let lost = self.faulty(self.profile.batch_lost);
        if lost {
            self.gaps.extend(conn);
        }
        lost
    }

    pub fn lost_batch_on(&self, conn: Conn) -> bool {
        self.gaps.contains(&conn)
    }

    /// What a secondary says that it received; now and then what nobody ever sent.
    pub fn perhaps_nonsense(&mut self, conn: Conn, received: Position) -> Position {
        if !self.faulty(self.profile.ack_nonsense) {
            return received;
        }
        self.lied.insert(conn);
        Position(received.0 + (1 << 40))
    }

    /// Whether somebody has lied on this connection.
    pub fn has_lied(&self, conn: Conn) -> bool {
        self.lied.contains(&conn)
    }

    /// What `host` says in place of the truth, if it lies.
    fn lie(&mut self, conn: Conn, host: usize, kind: FrameKind, body: &[u8]) -> Option<(FrameKind, Vec<u8>)> {
        let liar = self.profile.liar.clone().filter(|liar| liar.host == host)?;
        let said = liar.lie.tell(kind, body)?;
        if !self.faulty(liar.rate) {
            return None;
        }
        self.say(|| format!("host {host} lies: {liar:?}"));
        self.stats.lies += 1;
        self.lied.insert(conn);
        Some(said)
    }

    /// A peer that was honest must not be dropped for breaking the protocol.
    pub fn honest(&self, conn: Conn, reason: &LossReason) -> Result<(), Failure> {
        match reason {
            LossReason::Violation(violation) if !self.has_lied(conn) => {
                Err(Failure::accusation(None, format!("a primary drops its peer: {violation}")))
            }
            _ => Ok(()),
        }
    }

    pub fn some_other(&mut self, name: Name) -> Option<Name> {
        let others = self.up.iter().flatten().copied().filter(|other| *other != name).collect::<Vec<_>>();
        (!others.is_empty()).then(|| self.random.pick(&others))
    }

    pub fn send(&mut self, conn: Conn, from: Name, kind: FrameKind, body: &[u8]) {
        let faulty = std::mem::take(&mut self.break_frame[from.host]) || self.faulty(self.profile.frame);
        let fault = faulty.then(|| self.random.next());
        let lie = self.lie(conn, from.host, kind, body);
        let (kind, body) = lie.as_ref().map_or((kind, body), |(kind, body)| (*kind, body.as_slice()));
        let deliveries = self.network.send(conn, from, (kind, body), fault, self.now_ns, &mut self.random);
        self.deliver(deliveries);
    }

    pub fn close(&mut self, conn: Conn, from: Name) {
        let deliveries = self.network.close(conn, from, self.now_ns, &mut self.random);
        self.deliver(deliveries);
    }

    pub fn kill(&mut self, from: Name) {
        let deliveries = self.network.kill(from, self.now_ns, &mut self.random);
        self.deliver(deliveries);
    }

    fn deliver(&mut self, deliveries: Vec<(Conn, Delivery)>) {
        for (conn, delivery) in deliveries {
            self.schedule(delivery.at_ns, Action::Deliver(conn, delivery));
        }
    }

    pub fn ask_arbiter(&mut self, name: Name, generation: Generation, after: Option<String>) {
        let most_ns = self.random.pick(&[MS, 5 * MS, 100 * MS]);
        let at_ns = self.now_ns + self.random.within(0..=most_ns);
        self.schedule(at_ns, Action::Decide(name, Claim { generation, holder: name.to_string(), after }));
    }

    pub fn decide(&mut self, name: Name, claim: &Claim) {
        let generation = claim.generation;
        let outcome = self.arbiter.claim(claim, self.now_ns, &mut self.random);
        self.say(|| format!("the arbiter about {name} and generation {generation}: {outcome}"));
        if self.faulty(self.profile.arbiter_hangs) {
            return self.say(|| "… which is never heard".to_owned());
        }
        self.later(name, 0..=5 * MS, Input::Answer { generation, outcome });
    }

    /// Whether somebody could still go on with the VM.
    pub fn vm_may_live(&self) -> bool {
        self.arbiter.register.newest().is_some_and(|(generation, holder)| {
            let up = self.up.iter().flatten().any(|name| name.to_string() == holder);
            self.oracle.may_live(generation, up)
        })
    }
}
