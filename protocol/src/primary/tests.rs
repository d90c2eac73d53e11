use super::*;
use crate::{Violation, YIELD_NS, arbiter::ClaimOutcome};

const MS: u64 = 1_000_000;
const WINDOW_BYTES: u64 = 1000;

/// A primary, its clock, and what it asked for last.
struct Bench {
    core: Primary,
    now_ns: u64,
}

impl Bench {
    fn unprotected() -> Self {
        let mut effects = Vec::new();
        let core = Primary::create(config(), Generation(0), 0, &mut effects);
        assert_eq!(effects, [Effect::Claim { generation: Generation(1) }]);
        let mut bench = Self { core, now_ns: 0 };
        assert_eq!(
            bench.claimed(1, ClaimOutcome::Won),
            [
                Effect::EnterGeneration { generation: Generation(1) },
                Effect::OpenGate,
                Effect::SetPace(Pace::Full)
            ]
        );
        bench
    }

    /// With a secondary on link 1 that holds the seed of position 100.
    fn protected() -> Self {
        let mut bench = Self::unprotected();
        bench.arm(1);
        assert_eq!(bench.peer(1, PeerEvent::SeedHeld { position: Position(100) }), []);
        assert_eq!(bench.core.phase(), Phase::Protected);
        bench
    }

    /// Connects and sends a seed of position 100, up to the final frame.
    fn arm(&mut self, link: u32) {
        let ready = self.peer(link, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
        assert_eq!(ready, [Effect::StartSeed { link: Link(link) }]);
        assert_eq!(self.peer(link, PeerEvent::SeedStarted { position: Position(100) }), []);
        let armed = [Effect::CloseGate { after: Position(100) }, Effect::SendSeedDone { link: Link(link) }];
        assert_eq!(self.peer(link, PeerEvent::SeedSent), armed);
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.handle(event, self.now_ns, &mut effects);
        effects
    }

    fn peer(&mut self, link: u32, event: PeerEvent) -> Vec<Effect> {
        self.tell(Event::Peer { link: Link(link), event })
    }

    fn claimed(&mut self, generation: u64, outcome: ClaimOutcome) -> Vec<Effect> {
        self.tell(Event::Claimed { generation: Generation(generation), outcome })
    }

    fn shows(&mut self, generation: u64) -> Vec<Effect> {
        self.tell(Event::ArbiterShows { generation: Generation(generation), holder: "the other".into() })
    }

    fn append(&mut self, through: u64, bytes: u64) -> Vec<Effect> {
        let (through, since_ns) = (Position(through), self.now_ns);
        let mut effects = self.tell(Event::Recorded(Batch { through, bytes, since_ns }));
        effects.retain(|effect| !matches!(effect, Effect::SendLog { .. } | Effect::ForgetLog { .. }));
        effects
    }

    fn acknowledge(&mut self, received: u64, executed: u64, executed_bytes: u64) -> Vec<Effect> {
        let (received, executed) = (Position(received), Position(executed));
        self.peer(
            1,
            PeerEvent::Acknowledged { received, executed, executed_bytes, condition: Condition::default() },
        )
    }

    fn drop_reason(&mut self, effects: &[Effect]) -> LossReason {
        match effects {
            [Effect::DropPeer { reason, .. }, ..] => reason.clone(),
            other => panic!("the peer was not dropped: {other:?}"),
        }
    }
}

fn config() -> Config {
    Config { batch_bytes: 100, held_outputs: 10, ..Config::default() }
}

fn lost() -> ClaimOutcome {
    ClaimOutcome::Lost { holder: "the other".into() }
}

fn unavailable() -> ClaimOutcome {
    ClaimOutcome::Unavailable { reason: "away".into() }
}

#[test]
fn releases_on_receipt_and_only_then() {
    let mut bench = Bench::protected();
    assert_eq!(bench.append(105, 10), []);
    assert_eq!(bench.append(110, 10), []);
    assert_eq!(bench.acknowledge(105, 100, 0), [Effect::Release { through: Position(105) }]);
    assert_eq!(bench.acknowledge(105, 103, 0), [], "execution releases nothing");
    assert_eq!(bench.acknowledge(110, 110, 20), [Effect::Release { through: Position(110) }]);
    assert_eq!((bench.core.received(), bench.core.executed()), (Some(Position(110)), Some(Position(110))));
}

#[test]
fn acknowledgements_that_cannot_be_are_the_loss_of_the_peer() {
    type Expected = fn(&Violation) -> bool;
    let cases: [(&str, (u64, u64, u64), Expected); 6] = [
        ("never sent", (111, 100, 0), |violation| matches!(violation, Violation::AckAhead { .. })),
        ("received back", (104, 102, 5), |violation| matches!(violation, Violation::AckOrder { .. })),
        ("executed back", (110, 101, 5), |violation| matches!(violation, Violation::AckOrder { .. })),
        ("executed before received", (106, 107, 5), |violation| {
            matches!(violation, Violation::AckOrder { .. })
        }),
        ("bytes back", (110, 110, 4), |violation| matches!(violation, Violation::AckBytes { .. })),
        ("bytes never sent", (110, 110, 21), |violation| matches!(violation, Violation::AckBytes { .. })),
    ];
    for (what, (received, executed, executed_bytes), expected) in cases {
        let mut bench = Bench::protected();
        bench.append(110, 20);
        bench.acknowledge(105, 102, 5);
        let effects = bench.acknowledge(received, executed, executed_bytes);
        let reason = bench.drop_reason(&effects);
        assert!(
            matches!(&reason, LossReason::Violation(violation) if expected(violation)),
            "{what}: {reason}"
        );
        assert_eq!(bench.core.phase(), Phase::Arbitrating, "{what}");
    }
}

#[test]
fn an_acknowledgement_before_the_seed_is_held_is_a_violation() {
    let mut bench = Bench::unprotected();
    bench.arm(1);
    let effects = bench.acknowledge(100, 100, 0);
    assert!(matches!(bench.drop_reason(&effects), LossReason::Violation(Violation::AckEarly { .. })));
}

#[test]
fn a_seed_that_was_not_sent_cannot_be_held() {
    let held = |position| PeerEvent::SeedHeld { position: Position(position) };
    let mut asked = Bench::unprotected();
    asked.peer(1, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    let mut wrong = Bench::unprotected();
    wrong.arm(1);
    let mut twice = Bench::protected();
    for (bench, position) in [(&mut asked, 100), (&mut wrong, 99), (&mut twice, 100)] {
        let effects = bench.peer(1, held(position));
        assert!(matches!(bench.drop_reason(&effects), LossReason::Violation(Violation::Seed { .. })));
    }
}

#[test]
fn a_peer_lost_before_the_seed_is_whole_costs_nothing() {
    let mut bench = Bench::unprotected();
    bench.peer(1, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    bench.peer(1, PeerEvent::SeedStarted { position: Position(100) });
    let effects = bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    assert_eq!(effects, [Effect::DropPeer { link: Link(1), reason: LossReason::Closed }]);
    assert_eq!((bench.core.phase(), bench.core.generation()), (Phase::Unprotected, Generation(1)));
    bench.arm(2);
}

#[test]
fn a_peer_that_may_hold_the_seed_is_reckoned_with() {
    let mut bench = Bench::unprotected();
    bench.arm(1);
    let effects = bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    let expected = [
        Effect::DropPeer { link: Link(1), reason: LossReason::Closed },
        Effect::Claim { generation: Generation(2) },
    ];
    assert_eq!(effects, expected);
    assert_eq!(bench.core.phase(), Phase::Arbitrating);
}

#[test]
fn goes_on_alone_once_the_arbiter_says_so() {
    let mut bench = Bench::protected();
    bench.now_ns = 500 * MS;
    bench.peer(1, PeerEvent::Lost(LossReason::Damaged));
    assert_eq!(bench.append(110, 10), []);
    assert_eq!(bench.acknowledge(105, 105, 5), [], "too late");
    bench.now_ns = 510 * MS;
    let won = [Effect::EnterGeneration { generation: Generation(2) }, Effect::OpenGate];
    assert_eq!(bench.claimed(2, ClaimOutcome::Won), won);
    assert_eq!((bench.core.phase(), bench.core.generation()), (Phase::Unprotected, Generation(2)));
    let recovery = bench.core.recovery().unwrap();
    assert_eq!((recovery.detected_ns, recovery.won_ns), (500 * MS, Some(510 * MS)));
    bench.arm(2);
}

#[test]
fn halts_for_good_when_the_other_has_won() {
    let mut bench = Bench::protected();
    bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    let reason = HaltReason::ClaimLost { generation: Generation(2), holder: "the other".into() };
    assert_eq!(bench.claimed(2, lost()), [Effect::Halt { reason }, Effect::SetPace(Pace::Stopped)]);
    bench.now_ns = 3600 * 1000 * MS;
    for event in [Event::Tick, Event::Detach, Event::Held { outputs: 99, bytes: 0 }] {
        assert_eq!(bench.tell(event), []);
    }
    assert_eq!(bench.claimed(2, ClaimOutcome::Won), []);
    assert_eq!(bench.peer(2, PeerEvent::Ready { window_bytes: WINDOW_BYTES }), []);
    assert_eq!(bench.core.phase(), Phase::Halted);
}

/// Alone, seeding, protected, while it detaches and while it asks: who is told that the VM was started elsewhere
/// says nothing more.
#[test]
fn halts_wherever_it_is_when_the_vm_was_started_elsewhere() {
    type Stage = fn() -> Bench;
    let stages: [(Phase, Stage); 5] = [
        (Phase::Unprotected, Bench::unprotected),
        (Phase::Seeding, || {
            let mut bench = Bench::unprotected();
            bench.arm(1);
            bench
        }),
        (Phase::Protected, Bench::protected),
        (Phase::Detaching, || {
            let mut bench = Bench::protected();
            bench.tell(Event::Detach);
            bench
        }),
        (Phase::Arbitrating, || {
            let mut bench = Bench::protected();
            bench.peer(1, PeerEvent::Lost(LossReason::Closed));
            bench
        }),
    ];
    for (phase, stage) in stages {
        let mut bench = stage();
        assert_eq!(bench.core.phase(), phase);
        assert_eq!(bench.shows(1), [], "its own generation, and those before, are no news");
        let (generation, holder, ours) = (Generation(2), "the other".to_owned(), Generation(1));
        let reason = HaltReason::Overtaken { generation, holder, ours };
        let effects = bench.shows(2);
        assert_eq!(effects[0], Effect::Halt { reason }, "{phase}: before anything else");
        assert_eq!(effects.last(), Some(&Effect::SetPace(Pace::Stopped)));
        assert_eq!(bench.core.phase(), Phase::Halted);
        assert_eq!(bench.claimed(2, ClaimOutcome::Won), [], "nothing brings it back");
        assert_eq!(bench.append(200, 1), []);
    }
}

#[test]
fn whoever_may_still_run_the_vm_gets_time_to_see_that_it_is_not_his() {
    let mut effects = Vec::new();
    let core = Primary::create(config(), Generation(4), YIELD_NS, &mut effects);
    let mut bench = Bench { core, now_ns: 7 * MS };
    assert_eq!(bench.claimed(5, ClaimOutcome::Won), []);
    assert_eq!((bench.core.phase(), bench.core.generation()), (Phase::Yielding, Generation(5)));
    bench.now_ns += YIELD_NS - 1;
    let dropped = bench.peer(1, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    assert!(matches!(bench.drop_reason(&dropped), LossReason::Unwanted));
    assert_eq!(bench.tell(Event::Tick), [], "not yet");
    let mut overtaken = Bench { core: bench.core.clone(), now_ns: bench.now_ns };
    assert!(matches!(overtaken.shows(6)[..], [Effect::Halt { .. }]), "it never ran");
    bench.now_ns += 1;
    let enters = Effect::EnterGeneration { generation: Generation(5) };
    assert_eq!(bench.tell(Event::Tick), [enters, Effect::OpenGate, Effect::SetPace(Pace::Full)]);
    assert_eq!(bench.tell(Event::Tick), [], "once");
}

#[test]
fn without_an_answer_it_holds_and_asks_again() {
    let mut bench = Bench::protected();
    bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    assert_eq!(bench.tell(Event::Tick), [], "the question is out");
    assert_eq!(bench.claimed(2, unavailable()), []);
    assert_eq!(bench.claimed(2, ClaimOutcome::Won), [], "nothing is out");
    bench.now_ns += 20 * MS;
    assert_eq!(bench.tell(Event::Tick), [Effect::Claim { generation: Generation(2) }]);
    assert_eq!(bench.claimed(3, ClaimOutcome::Won), [], "that was not the question");
    assert_eq!(bench.core.phase(), Phase::Arbitrating);
    assert_eq!(bench.claimed(2, ClaimOutcome::Won).len(), 2);
}

#[test]
fn silence_is_a_loss_and_heartbeats_prevent_it() {
    let mut bench = Bench::protected();
    let mut heartbeats = 0;
    while bench.core.phase() == Phase::Protected {
        bench.now_ns += 10 * MS;
        if bench.now_ns < 1000 * MS {
            bench.peer(1, PeerEvent::Heard);
        }
        let effects = bench.tell(Event::Tick);
        heartbeats += effects.iter().filter(|effect| matches!(effect, Effect::SendHeartbeat { .. })).count();
    }
    assert_eq!((bench.now_ns / MS, heartbeats), (1200, 23), "one each 50 ms, the last before the loss");
    let recovery = bench.core.recovery().unwrap();
    assert_eq!((recovery.heard_ns / MS, recovery.detected_ns / MS), (990, 1200));
}

#[test]
fn what_an_old_connection_still_says_is_nothing() {
    let mut bench = Bench::protected();
    bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    bench.claimed(2, ClaimOutcome::Won);
    bench.arm(2);
    for event in [
        PeerEvent::SeedHeld { position: Position(100) },
        PeerEvent::Acknowledged {
            received: Position(100),
            executed: Position(100),
            executed_bytes: 0,
            condition: Condition::default(),
        },
        PeerEvent::Lost(LossReason::Closed),
        PeerEvent::Ready { window_bytes: WINDOW_BYTES },
    ] {
        assert_eq!(bench.peer(1, event), []);
    }
    assert_eq!((bench.core.phase(), bench.core.link()), (Phase::Seeding, Some(Link(2))));
}

#[test]
fn a_second_peer_and_a_peer_without_room_are_sent_away() {
    let mut bench = Bench::protected();
    let effects = bench.peer(2, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    assert_eq!(bench.drop_reason(&effects), LossReason::Unwanted);
    assert_eq!(bench.core.phase(), Phase::Protected);

    let mut bench = Bench::unprotected();
    let effects = bench.peer(1, PeerEvent::Ready { window_bytes: 399 });
    let window = Violation::Window { window_bytes: 399, least_bytes: 400 };
    assert_eq!(bench.drop_reason(&effects), LossReason::Violation(window));
    assert_eq!(bench.core.phase(), Phase::Unprotected);
}

#[test]
fn detaching_claims_first_and_tells_then() {
    let mut bench = Bench::protected();
    assert_eq!(bench.tell(Event::Detach), [Effect::Claim { generation: Generation(2) }]);
    assert_eq!(bench.tell(Event::Detach), [], "once is enough");
    bench.append(110, 10);
    assert_eq!(
        bench.acknowledge(110, 100, 0),
        [Effect::Release { through: Position(110) }],
        "still protected"
    );
    let done = [
        Effect::EnterGeneration { generation: Generation(2) },
        Effect::SendDetach { link: Link(1) },
        Effect::DropPeer { link: Link(1), reason: LossReason::Detached },
        Effect::OpenGate,
        Effect::Detached,
    ];
    assert_eq!(bench.claimed(2, ClaimOutcome::Won), done);
}

#[test]
fn detaching_survives_the_loss_of_the_peer() {
    let mut bench = Bench::protected();
    bench.tell(Event::Detach);
    let effects = bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    assert_eq!(effects.len(), 1, "the claim is out already: {effects:?}");
    assert_eq!(bench.core.phase(), Phase::Arbitrating);
    assert!(bench.claimed(2, ClaimOutcome::Won).contains(&Effect::Detached));
}

#[test]
fn detaching_without_a_seeded_peer_needs_no_arbiter() {
    let mut bench = Bench::unprotected();
    assert_eq!(bench.tell(Event::Detach), [Effect::Detached]);
    bench.peer(1, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    let told = Effect::SendDetach { link: Link(1) };
    let dropped = Effect::DropPeer { link: Link(1), reason: LossReason::Detached };
    assert_eq!(bench.tell(Event::Detach), [told, dropped, Effect::Detached]);
    assert_eq!(bench.core.generation(), Generation(1));
}

#[test]
fn a_lagging_secondary_slows_and_stops_the_vcpu() {
    let mut bench = Bench::protected();
    let tick = |bench: &mut Bench, now_ns| {
        bench.now_ns = now_ns;
        let mut effects = bench.peer(1, PeerEvent::Heard);
        effects.extend(bench.tell(Event::Tick));
        effects.into_iter().find_map(|effect| match effect {
            Effect::SetPace(pace) => Some(pace),
            _ => None,
        })
    };
    bench.append(110, 10);
    assert_eq!(tick(&mut bench, 1000 * MS), None);
    assert_eq!(tick(&mut bench, 1001 * MS), Some(Pace::Slow));
    assert_eq!(tick(&mut bench, 2001 * MS), Some(Pace::Stopped));
    assert_eq!(bench.core.lag_bytes(), 10);
    let effects = bench.acknowledge(110, 110, 10);
    assert_eq!(effects, [Effect::Release { through: Position(110) }, Effect::SetPace(Pace::Full)]);
}

#[test]
fn a_full_window_and_a_full_gate_stop_the_vcpu() {
    let mut bench = Bench::protected();
    assert_eq!(bench.append(101, 800), []);
    assert_eq!(bench.append(102, 1), [Effect::SetPace(Pace::Stopped)]);
    let effects = bench.acknowledge(102, 102, 801);
    assert_eq!(effects[1..], [Effect::SetPace(Pace::Full)]);
    assert_eq!(bench.tell(Event::Held { outputs: 10, bytes: 0 }), [Effect::SetPace(Pace::Stopped)]);
    let effects = bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    assert!(!effects.contains(&Effect::SetPace(Pace::Full)), "still held");
    let effects = bench.claimed(2, ClaimOutcome::Won);
    assert!(effects.contains(&Effect::SetPace(Pace::Full)), "{effects:?}");
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm() {
    let mut bench = Bench::protected();
    bench.now_ns = u64::MAX;
    bench.append(u64::MAX, 1);
    bench.acknowledge(u64::MAX, u64::MAX, 1);
    bench.tell(Event::Held { outputs: u64::MAX, bytes: u64::MAX });
    bench.tell(Event::Tick);
    assert_eq!(bench.core.received(), Some(Position(u64::MAX)));
}

#[test]
fn nothing_is_sent_past_the_window_and_all_of_it_once_there_is_room() {
    let mut bench = Bench::protected();
    let mut record = |through: u64, bytes| {
        let batch = Batch { through: Position(through), bytes, since_ns: 0 };
        bench.tell(Event::Recorded(batch))
    };
    let sent = |through: u64| Effect::SendLog { link: Link(1), through: Position(through) };
    assert_eq!(record(101, 700), [sent(101)]);
    assert_eq!(record(102, 300), [sent(102), Effect::SetPace(Pace::Stopped)]);
    assert_eq!(record(103, 600), [], "it waits here, in bytes and age like what was sent");
    assert_eq!(record(104, 600), []);
    assert_eq!(bench.core.lag_bytes(), 2200);
    let effects = bench.acknowledge(102, 101, 700);
    assert_eq!(effects, [Effect::Release { through: Position(102) }, sent(103)]);
    let reason = {
        let effects = bench.acknowledge(104, 102, 1000);
        bench.drop_reason(&effects)
    };
    assert!(matches!(reason, LossReason::Violation(Violation::AckAhead { .. })), "{reason}");
}

#[test]
fn log_of_no_peer_is_forgotten_also_before_the_seed_is_whole() {
    let mut bench = Bench::unprotected();
    let batch = |through| Event::Recorded(Batch { through: Position(through), bytes: 10, since_ns: 0 });
    let forgotten = |through| [Effect::ForgetLog { through: Position(through) }];
    assert_eq!(bench.tell(batch(99)), forgotten(99));
    bench.peer(1, PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    bench.peer(1, PeerEvent::SeedStarted { position: Position(100) });
    assert_eq!(bench.tell(batch(100)), forgotten(100));
    bench.peer(1, PeerEvent::SeedSent);
    assert_eq!(bench.tell(batch(101)), [Effect::SendLog { link: Link(1), through: Position(101) }]);
}

#[test]
fn a_peer_that_is_heard_and_does_not_move_is_lost_through_the_arbiter() {
    let stalled = |stalled_ns| Condition { stalled_ns, ..Condition::default() };
    let bound_ns = config().stall_ns();
    let mut bench = Bench::protected();
    assert_eq!(bench.peer(1, PeerEvent::Condition(stalled(bound_ns))), []);
    let effects = bench.peer(1, PeerEvent::Condition(stalled(bound_ns + 1)));
    assert_eq!(bench.drop_reason(&effects), LossReason::Stalled { stalled_ns: bound_ns + 1 });
    assert!(effects.contains(&Effect::Claim { generation: Generation(2) }));
}

#[test]
fn a_peer_that_says_it_moves_and_executes_nothing_is_lost_after_a_bound() {
    let mut bench = Bench::protected();
    bench.append(101, 10);
    let well = PeerEvent::Acknowledged {
        received: Position(101),
        executed: Position(100),
        executed_bytes: 0,
        condition: Condition::default(),
    };
    let bound_ns = config().standstill_ns();
    let mut effects = Vec::new();
    while effects.is_empty() && bench.now_ns < 2 * bound_ns {
        bench.now_ns += 40 * MS;
        bench.peer(1, well.clone());
        effects = bench.tell(Event::Tick);
        effects.retain(|effect| matches!(effect, Effect::DropPeer { .. }));
    }
    let LossReason::Stalled { stalled_ns } = bench.drop_reason(&effects) else { panic!("{effects:?}") };
    assert!((bound_ns..bound_ns + 100 * MS).contains(&stalled_ns), "{stalled_ns}");
}

#[test]
fn a_side_that_is_not_well_leaves_the_first_claim_to_the_other() {
    let mut bench = Bench::protected();
    bench.core.set_well(false);
    let effects = bench.peer(1, PeerEvent::Lost(LossReason::Closed));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Claim { .. })), "{effects:?}");
    bench.now_ns += 1900 * MS;
    assert_eq!(bench.tell(Event::Tick), []);
    bench.now_ns += 200 * MS;
    assert_eq!(
        bench.tell(Event::Tick),
        [Effect::Claim { generation: Generation(2) }],
        "nobody else may be there"
    );
    bench.claimed(2, ClaimOutcome::Won);
    assert_eq!(bench.core.phase(), Phase::Unprotected);
}
