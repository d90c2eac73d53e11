use std::{borrow::ToOwned, string::ToString, vec};

use ftlog::Condition;

use super::*;
use crate::{
    LossReason,
    arbiter::ClaimOutcome,
    fence::{LONGEST_LEASE_NS, takeover_wait_ns},
    primary::{Link, Pace, PeerEvent},
};

const MS: u64 = 1_000_000;
const WINDOW_BYTES: u64 = 32 << 20;

type Effects = Vec<Effect<&'static str, u32>>;

/// A controller, its clock, and how its side does.
struct Bench {
    core: Controller<&'static str, u32>,
    now_ns: u64,
    glance: Glance,
    asked: u64,
}

impl Bench {
    /// Unprotected, looking for a secondary at "a".
    fn alone(on_trouble: OnTrouble) -> Self {
        let setup = Setup {
            config: Config::default(),
            holder: "us".into(),
            origin: Origin::Starts { previous: Generation(0), after: None, yield_ns: 0 },
            peer: Some("a".into()),
            on_trouble,
            position: Position(0),
        };
        let mut effects = Vec::new();
        let core = Controller::new(setup, 0, &mut effects);
        let first = Effect::Claim { generation: Generation(1), after: None, yields: false };
        assert_eq!(effects, [first]);
        let glance = Glance { disks_idle: true, ..Glance::default() };
        let mut bench = Self { core, now_ns: 0, glance, asked: 0 };
        bench.won(1);
        assert_eq!(bench.core.phase(), Phase::Unprotected);
        bench
    }

    /// Protected by "a" on the first link, at position 10.
    fn protected() -> Self {
        let mut bench = Self::alone(OnTrouble::Handover);
        let attempt = bench.attempt("a");
        bench.connected(attempt);
        bench.seeded(0);
        assert_eq!(bench.core.phase(), Phase::Protected);
        bench
    }

    fn tell(&mut self, event: Event<&'static str, u32>) -> Effects {
        let mut effects = Vec::new();
        self.core.handle(event, self.now_ns, &mut effects);
        effects
    }

    fn tick(&mut self) -> Effects {
        self.tell(Event::Tick(self.glance))
    }

    /// Lets time pass, in which the peer is heard.
    fn pass(&mut self, ms: u64) -> Effects {
        let mut effects = Vec::new();
        for _ in 0..ms / 20 {
            self.now_ns += 20 * MS;
            if let Some(link) = self.core.role.link() {
                effects.extend(self.peer(link.0, PeerEvent::Heard));
            }
            effects.extend(self.tick());
        }
        effects
    }

    fn won(&mut self, generation: u64) -> Effects {
        self.tell(Event::Claimed { generation: Generation(generation), outcome: ClaimOutcome::Won })
    }

    fn peer(&mut self, link: u32, event: PeerEvent) -> Effects {
        self.tell(Event::Peer { link: Link(link), event })
    }

    /// The attempt that is begun next, within the longest wait; it goes to `to`.
    fn attempt(&mut self, to: &str) -> Attempt {
        for _ in 0..1000 {
            let effects = self.pass(20);
            let begun = effects.iter().find_map(|effect| match effect {
                Effect::Connect { attempt, to, .. } => Some((*attempt, to.clone())),
                _ => None,
            });
            if let Some((attempt, at)) = begun {
                assert_eq!(at, to);
                return attempt;
            }
        }
        panic!("no attempt is begun");
    }

    fn connected(&mut self, attempt: Attempt) -> Effects {
        self.tell(Event::Connected { attempt, result: Ok(WINDOW_BYTES) })
    }

    fn seeded(&mut self, link: u32) {
        let position = Position(10);
        self.peer(link, PeerEvent::SeedStarted { position });
        self.peer(link, PeerEvent::SeedSent);
        self.peer(link, PeerEvent::SeedHeld { position });
    }

    /// Asks; gives the answer, if it comes at once, and all else.
    fn ask(&mut self, command: Command) -> (Option<Answer>, Effects) {
        let asked = Asked(self.asked);
        self.asked += 1;
        let effects = self.tell(Event::Asked { asked, command });
        (answer_in(&effects), effects)
    }
}

fn answer_in(effects: &Effects) -> Option<Answer> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answer { answer, .. } => Some(answer.clone()),
        _ => None,
    })
}

fn refused(answer: Option<Answer>) -> String {
    match answer {
        Some(Answer::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn to(to: &str) -> String {
    to.to_owned()
}

#[test]
fn a_handshake_that_ends_after_a_turn_off_protects_nothing() {
    let mut bench = Bench::alone(OnTrouble::Handover);
    let attempt = bench.attempt("a");
    let (answer, _) = bench.ask(Command::TurnOff);
    assert!(matches!(answer, Some(Answer::Alone { peer: None, suspended: None, .. })), "{answer:?}");
    assert_eq!(bench.connected(attempt), [Effect::Reject { attempt }]);
    let effects = bench.pass(10_000);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Connect { .. })), "{effects:?}");
}

#[test]
fn who_is_asked_for_is_who_becomes_the_secondary() {
    let mut bench = Bench::alone(OnTrouble::Handover);
    let first = bench.attempt("a");
    let (answer, _) = bench.ask(Command::Protect { to: to("b") });
    assert_eq!(answer, Some(Answer::Seeks(to("b"))));
    let second = bench.attempt("b");
    assert_eq!(bench.connected(first), [Effect::Reject { attempt: first }]);
    let effects = bench.connected(second);
    assert!(effects.contains(&Effect::Adopt { attempt: second, link: Link(0) }), "{effects:?}");
    assert_eq!(bench.core.peer(), Some("b"));
}

#[test]
fn a_resume_that_is_refused_forgets_nothing() {
    let mut bench = Bench::protected();
    let (answer, effects) = bench.ask(Command::Suspend);
    assert_eq!(answer, None, "not before the arbiter has said so: {effects:?}");
    assert_eq!(refused(bench.ask(Command::Resume).0), "another command is being carried out");
    let answer = answer_in(&bench.won(2));
    let expected = Answer::Alone { peer: None, suspended: Some(to("a")), generation: Generation(2) };
    assert_eq!(answer, Some(expected));
    assert!(refused(bench.ask(Command::Suspend).0).contains("no secondary"));
    assert_eq!(bench.ask(Command::Resume).0, Some(Answer::Seeks(to("a"))));
    bench.attempt("a");
    assert_eq!(refused(bench.ask(Command::Resume).0), "protection is not suspended");
}

/// The secondary on this link diverges and gives up; what is told, once this side is alone in the next generation.
fn diverge(bench: &mut Bench, link: u32) -> Effects {
    let link = Link(link);
    assert_eq!(bench.tell(Event::PeerDiverged { link }), []);
    assert_eq!(bench.tell(Event::PeerDiverged { link }), [], "it says so twice");
    let mut effects = bench.tell(Event::PeerRefuses { link, reason: "it diverged".into() });
    effects.extend(bench.won(bench.core.generation().0 + 1));
    assert_eq!(bench.core.phase(), Phase::Unprotected);
    effects
}

fn seed_again(bench: &mut Bench, link: u32) {
    let attempt = bench.attempt("a");
    bench.connected(attempt);
    bench.seeded(link);
    assert_eq!(bench.core.phase(), Phase::Protected);
}

/// A secondary that has diverged as often as is healed, and whose next divergence is on the link that is given.
fn often_diverged() -> (Bench, u32) {
    let mut bench = Bench::protected();
    for link in 0..3 {
        let effects = diverge(&mut bench, link);
        assert!(!effects.iter().any(is_distrust), "{effects:?}");
        seed_again(&mut bench, link + 1);
    }
    (bench, 3)
}

fn is_distrust(effect: &Effect<&'static str, u32>) -> bool {
    matches!(effect, Effect::Tell(Notice::Distrusted { .. }))
}

fn looks_for_somebody(effects: &Effects) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Connect { .. }))
}

#[test]
fn a_secondary_that_diverges_again_and_again_is_left_to_the_operator() {
    for command in [Command::Resume, Command::Protect { to: to("a") }] {
        let (mut bench, link) = often_diverged();
        let effects = diverge(&mut bench, link);
        let loss =
            |effect: &&Effect<_, _>| is_distrust(effect) || matches!(effect, Effect::Tell(Notice::Lost(_)));
        let distrusted = Effect::Tell(Notice::Distrusted { peer: to("a"), times: 4 });
        assert_eq!(effects.iter().rfind(loss), Some(&distrusted), "the last that is told of it");
        assert!(!looks_for_somebody(&bench.pass(20_000)));
        assert_eq!((bench.core.phase(), bench.core.peer()), (Phase::Unprotected, None));
        assert!(refused(bench.ask(Command::Suspend).0).contains("no secondary"), "and nothing is forgotten");

        assert_eq!(bench.ask(command).0, Some(Answer::Seeks(to("a"))));
        for link in link + 1..=link + 3 {
            seed_again(&mut bench, link);
            assert!(!diverge(&mut bench, link).iter().any(is_distrust), "it begins anew");
        }
        seed_again(&mut bench, link + 4);
        assert!(diverge(&mut bench, link + 4).iter().any(is_distrust));
    }
}

#[test]
fn a_secondary_that_diverges_while_it_is_restarted_is_restarted_as_was_asked() {
    let (mut bench, link) = often_diverged();
    assert_eq!(bench.ask(Command::TestRestartSecondary).0, None);
    let effects = diverge(&mut bench, link);
    assert!(matches!(answer_in(&effects), Some(Answer::Alone { peer: Some(_), suspended: None, .. })));
    assert!(!effects.iter().any(is_distrust), "{effects:?}");
    seed_again(&mut bench, link + 1);
    assert!(diverge(&mut bench, link + 1).iter().any(is_distrust), "it counts all the same");
}

#[test]
fn a_secondary_that_is_distrusted_can_be_forgotten() {
    let (mut bench, link) = often_diverged();
    diverge(&mut bench, link);
    let off = Answer::Alone { peer: None, suspended: None, generation: bench.core.generation() };
    assert_eq!(bench.ask(Command::TurnOff).0, Some(off));
    assert_eq!(refused(bench.ask(Command::Resume).0), "protection is not suspended");
    assert!(!looks_for_somebody(&bench.pass(20_000)));
}

#[test]
fn divergences_of_long_ago_are_forgotten_and_other_losses_do_not_count() {
    let (mut bench, mut link) = often_diverged();
    for _ in 0..3 {
        bench.peer(link, PeerEvent::Lost(LossReason::Closed));
        bench.won(bench.core.generation().0 + 1);
        link += 1;
        seed_again(&mut bench, link);
    }
    bench.pass(600_000);
    for _ in 0..3 {
        assert!(!diverge(&mut bench, link).iter().any(is_distrust));
        link += 1;
        seed_again(&mut bench, link);
    }
    let stale = Link(0);
    assert_eq!(bench.tell(Event::PeerDiverged { link: stale }), []);
    bench.peer(link, PeerEvent::Lost(LossReason::Closed));
    bench.won(bench.core.generation().0 + 1);
    assert!(looks_for_somebody(&bench.pass(1000)), "what was lost now had not diverged");
}

#[test]
fn the_secondary_is_let_go_only_when_another_would_take_its_place() {
    let mut bench = Bench::protected();
    let (answer, effects) = bench.ask(Command::MigrateSecondary { to: to("nobody") });
    let attempt = Attempt(1);
    let probe = Effect::Probe { attempt, to: to("nobody"), generation: Generation(1) };
    assert_eq!((answer, effects), (None, vec![probe]));
    let effects = bench.tell(Event::Probed { attempt, result: Err("cannot connect".into()) });
    assert_eq!(refused(answer_in(&effects)), "the secondary stays where it is: cannot connect");
    assert_eq!((bench.core.phase(), bench.core.peer()), (Phase::Protected, Some("a")));

    bench.ask(Command::MigrateSecondary { to: to("b") });
    bench.tell(Event::Probed { attempt: Attempt(2), result: Ok(()) });
    assert_eq!(bench.core.phase(), Phase::Detaching);
    let answer = answer_in(&bench.won(2));
    assert!(matches!(answer, Some(Answer::Alone { peer: Some(peer), .. }) if peer == "b"));
    bench.attempt("b");
}

#[test]
fn every_command_is_answered_also_when_what_it_waits_for_does_not_come() {
    for (command, first) in
        [(Command::Suspend, Phase::Detaching), (Command::MigrateSecondary { to: to("b") }, Phase::Protected)]
    {
        let mut bench = Bench::protected();
        assert_eq!(bench.ask(command.clone()).0, None);
        assert_eq!(bench.core.phase(), first);
        let mut effects = bench.peer(0, PeerEvent::Lost(LossReason::Closed));
        let outcome = ClaimOutcome::Lost { holder: to("the other") };
        effects.extend(bench.tell(Event::Claimed { generation: Generation(2), outcome }));
        let answers = effects.iter().filter(|effect| matches!(effect, Effect::Answer { .. })).count();
        assert_eq!(answers, 1, "{command:?}: {effects:?}");
        assert_eq!(refused(bench.ask(Command::Suspend).0), "this side has halted");
    }
}

#[test]
fn a_failure_on_request_says_nothing_more_to_anybody() {
    let mut bench = Bench::alone(OnTrouble::Handover);
    assert!(refused(bench.ask(Command::TestFailover).0).contains("it is not protected (unprotected)"));
    let mut bench = Bench::protected();
    let (answer, effects) = bench.ask(Command::TestFailover);
    assert_eq!(answer, Some(Answer::Failed { peer: to("a"), generation: Generation(1) }));
    assert_eq!(
        effects[1..],
        [
            Effect::Fence(Fence::Shut),
            Effect::DropPeer { link: Link(0), reason: LossReason::Detached },
            Effect::Halt(Halt::OnRequest)
        ]
    );
    let stretch = Stretch {
        through: Position(11),
        bytes: 5,
        since_ns: 0,
        said_ns: 0,
        said: vec![(Position(11), Said::Output { bytes: 1, output: "late" }), (Position(11), Said::Write(7))],
    };
    assert_eq!(bench.tell(Event::Recorded(stretch)), []);
    assert_eq!(bench.pass(1000), []);
    assert!(!bench.core.is_done());
    bench.tell(Event::VcpuEnded);
    assert!(bench.core.is_done());
}

#[test]
fn a_side_whose_guest_reaches_nobody_leaves_it_to_one_that_is_well() {
    let ailing = |health| PeerEvent::Condition(Condition { health, ..Condition::default() });
    let hands_over = |effects: &Effects| effects.contains(&Effect::Halt(Halt::Unwell(Health::NETWORK)));
    let mut bench = Bench::protected();
    bench.glance.health = Health::NETWORK;
    assert!(!hands_over(&bench.pass(1900)), "not at once");
    bench.peer(0, ailing(Health::DISK_FAILS));
    assert!(!hands_over(&bench.pass(5000)), "the other is not well either");
    bench.peer(0, ailing(Health::default()));
    assert!(hands_over(&bench.tick()));

    let mut bench = Bench::alone(OnTrouble::Keep);
    let attempt = bench.attempt("a");
    bench.connected(attempt);
    bench.seeded(0);
    bench.glance.health = Health::NETWORK;
    assert!(!hands_over(&bench.pass(5000)), "it is not wanted");
}

#[test]
fn attempts_that_come_to_nothing_cost_the_running_machine_nothing_and_get_rarer() {
    let mut bench = Bench::alone(OnTrouble::Handover);
    let mut begun_ns = Vec::new();
    for link in 0..6 {
        let attempt = bench.attempt("a");
        begun_ns.push(bench.now_ns);
        bench.connected(attempt);
        bench.peer(link, PeerEvent::SeedStarted { position: Position(10) });
        let refuses = Event::PeerRefuses { link: Link(link), reason: "its disk is full".into() };
        let effects = bench.tell(refuses);
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::Claim { .. } | Effect::SetPace(Pace::Stopped))),
            "{effects:?}"
        );
        assert!(effects.iter().any(|effect| {
            matches!(effect, Effect::Tell(Notice::Lost(reason)) if reason.contains("its disk is full"))
        }));
    }
    let waits_ms: Vec<_> = begun_ns.windows(2).map(|pair| (pair[1] - pair[0]) / MS).collect();
    assert!(waits_ms.windows(2).all(|pair| pair[1] >= pair[0] * 3 / 2), "{waits_ms:?}");

    let attempt = bench.attempt("a");
    bench.connected(attempt);
    bench.seeded(6);
    bench.peer(6, PeerEvent::Lost(LossReason::Closed));
    bench.won(2);
    let before_ns = bench.now_ns;
    bench.attempt("a");
    assert!(bench.now_ns - before_ns <= 40 * MS, "after a secondary that was one it begins anew");
}

#[test]
fn outputs_and_writes_wait_for_the_acknowledgement_of_their_log() {
    let mut bench = Bench::protected();
    let said = vec![
        (Position(11), Said::Output { bytes: 3, output: "one" }),
        (Position(12), Said::Write(7)),
        (Position(13), Said::Output { bytes: 3, output: "two" }),
    ];
    let stretch = Stretch { through: Position(13), bytes: 50, since_ns: bench.now_ns, said_ns: 0, said };
    let sent = Effect::SendLog { link: Link(0), through: Position(13) };
    assert_eq!(bench.tell(Event::Recorded(stretch)), [sent]);
    let sent_ns = bench.now_ns;
    bench.now_ns += MS;
    let acknowledged = |received| PeerEvent::Acknowledged {
        received: Position(received),
        executed: Position(10),
        executed_bytes: 0,
        condition: Condition::default(),
    };
    let effects = bench.peer(0, acknowledged(12));
    assert_eq!(
        effects,
        [Effect::Write(7), Effect::Emit { output: "one", position: Position(11), waited_ns: bench.now_ns }],
        "the lease knows batches only"
    );
    let effects = bench.peer(0, acknowledged(13));
    let until_ns = sent_ns + Config::default().lease_ns();
    assert_eq!(
        effects,
        [
            Effect::Fence(Fence::Extend(until_ns)),
            Effect::Emit { output: "two", position: Position(13), waited_ns: bench.now_ns }
        ]
    );
}

#[test]
fn a_write_that_waits_wakes_an_idle_guest_once() {
    let mut bench = Bench::protected();
    bench.glance.write_waits = true;
    let nudges = |effects: &Effects| effects.iter().filter(|effect| **effect == Effect::Nudge).count();
    assert_eq!(nudges(&bench.pass(1000)), 1, "once, not at every look");
    bench.peer(0, PeerEvent::Lost(LossReason::Closed));
    bench.won(2);
    assert_eq!(nudges(&bench.pass(1000)), 0, "alone nothing has to be asked");
}

#[test]
fn what_people_are_told_says_what_is() {
    let mut bench = Bench::protected();
    let told = |effects: Effects| -> Vec<Notice> {
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Tell(notice) => Some(notice),
                _ => None,
            })
            .collect()
    };
    let ailing = PeerEvent::Condition(Condition { health: Health::NETWORK, ..Condition::default() });
    assert_eq!(told(bench.peer(0, ailing.clone())), [Notice::PeerHealth(Health::NETWORK)]);
    assert_eq!(told(bench.peer(0, ailing)), [], "once");
    let silent_ms = |bench: &mut Bench| {
        bench.pass(3000);
        bench.core.silent_ns(bench.now_ns) / MS
    };
    assert_eq!(silent_ms(&mut bench), 0, "it waits");
    bench.glance.vcpu_busy = true;
    assert_eq!(silent_ms(&mut bench), 3000);
    bench.glance.vcpu_steps += 1;
    assert_eq!(silent_ms(&mut bench), 2980, "it spoke at the first look");
    let lost = told(bench.peer(0, PeerEvent::Lost(LossReason::Closed)));
    assert_eq!(lost, [Notice::Lost("the secondary is lost: the connection was closed".to_string())]);
}

#[test]
fn log_is_a_sign_of_life_and_heartbeats_beside_it_say_what_only_they_can() {
    let mut bench = Bench::protected();
    bench.pass(60);
    let mut position = 10;
    // Log goes each 40 ms for two seconds; halfway something ails this side.
    let mut heartbeats = Vec::new();
    for n in 0..50 {
        if n == 25 {
            bench.glance.health = Health::DISK_FAILS;
        }
        position += 1;
        let through = Position(position);
        let (since_ns, said) = (bench.now_ns, Vec::new());
        let sent =
            bench.tell(Event::Recorded(Stretch { through, bytes: 100, since_ns, said_ns: since_ns, said }));
        assert!(sent.contains(&Effect::SendLog { link: Link(0), through }), "{sent:?}");
        let condition = Condition::default();
        let executed_bytes = 100 * (position - 10);
        bench.peer(
            0,
            PeerEvent::Acknowledged { received: through, executed: through, executed_bytes, condition },
        );
        heartbeats.extend(bench.pass(40).into_iter().filter_map(|effect| match effect {
            Effect::Send { message: Message::Heartbeat { health, .. }, .. } => Some((n, health)),
            _ => None,
        }));
    }
    let told: Vec<_> = heartbeats.iter().map(|(_, health)| *health).collect();
    assert_eq!(told, [Health::DISK_FAILS], "{heartbeats:?}");
    assert!(heartbeats[0].0 <= 26, "within a heartbeat: {heartbeats:?}");
    // Without log they are due again.
    bench.glance.health = Health::default();
    let effects = bench.pass(1000);
    let beats =
        |effect: &&Effect<_, _>| matches!(effect, Effect::Send { message: Message::Heartbeat { .. }, .. });
    assert!(effects.iter().filter(beats).count() >= 16, "{effects:?}");
}

/// A side that took over and writes from then on; when it looked for a secondary, and which lease it told.
fn told_leases(writes_from_ns: u64) -> Vec<(u64, u64)> {
    let setup = Setup {
        config: Config::default(),
        holder: "us".into(),
        origin: Origin::TookOver { generation: Generation(2), writes_from_ns },
        peer: Some("a".into()),
        on_trouble: OnTrouble::Keep,
        position: Position(0),
    };
    let core = Controller::new(setup, 0, &mut Vec::new());
    let mut bench = Bench { core, now_ns: 0, glance: Glance::default(), asked: 0 };
    let mut told = Vec::new();
    while bench.now_ns < 4000 * MS {
        let effects = bench.pass(20);
        let begun = effects.iter().find_map(|effect| match effect {
            Effect::Connect { attempt, lease_ns, .. } => Some((*attempt, *lease_ns)),
            _ => None,
        });
        if let Some((attempt, lease_ns)) = begun {
            told.push((bench.now_ns, lease_ns));
            bench.tell(Event::Connected { attempt, result: Err("not now".into()) });
        }
    }
    told
}

#[test]
fn who_waits_for_the_writes_of_another_has_its_secondary_wait_for_them_too() {
    let (writes_from_ns, least_ns) = (900 * MS, Config::default().lease_ns());
    let told = told_leases(writes_from_ns);
    assert!(told.len() > 2 && told[0].1 > least_ns, "{told:?}");
    for (now_ns, lease_ns) in told {
        assert_eq!(lease_ns, writes_from_ns.saturating_sub(now_ns).max(least_ns));
    }
}

/// A longer one would be refused, and whoever is told this one waits as long.
#[test]
fn the_longest_wait_is_passed_on_as_the_longest_lease() {
    let longest_wait_ns = takeover_wait_ns(LONGEST_LEASE_NS);
    let told = told_leases(longest_wait_ns);
    assert!(told.len() > 2);
    for (now_ns, lease_ns) in told {
        assert_eq!(lease_ns, LONGEST_LEASE_NS);
        assert!(now_ns + takeover_wait_ns(lease_ns) >= longest_wait_ns);
    }
}
