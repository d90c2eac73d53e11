use super::*;
use crate::{Violation, arbiter::ClaimOutcome};

const MS: u64 = 1_000_000;

struct Bench {
    core: Secondary,
    now_ns: u64,
}

impl Bench {
    fn seeding() -> Self {
        Self { core: Secondary::new(&Config::default(), Generation(1), 100, 0), now_ns: 0 }
    }

    /// Holds the seed of position 100.
    fn following() -> Self {
        let mut bench = Self::seeding();
        let held = [Effect::SendSeedHeld { position: Position(100) }];
        assert_eq!(bench.tell(Event::SeedHeld { position: Position(100) }), held);
        bench
    }

    /// Lost its primary at 110 and has executed up to 105.
    fn draining() -> Self {
        let mut bench = Self::following();
        bench.receive(101, 110, 10);
        bench.execute(105, 0);
        let dropped = [Effect::DropPeer { reason: LossReason::Closed }];
        assert_eq!(bench.tell(Event::Lost(LossReason::Closed)), dropped);
        assert_eq!(bench.core.phase(), Phase::Draining);
        bench
    }

    fn arbitrating() -> Self {
        let mut bench = Self::draining();
        assert_eq!(bench.execute(110, 10), [Effect::Claim { generation: Generation(2) }]);
        bench
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.handle(event, self.now_ns, &mut effects);
        effects
    }

    fn receive(&mut self, first: u64, through: u64, bytes: u64) -> Vec<Effect> {
        self.tell(Event::Received { first: Position(first), through: Position(through), bytes })
    }

    fn execute(&mut self, through: u64, bytes: u64) -> Vec<Effect> {
        self.tell(Event::Executed { through: Position(through), bytes })
    }

    fn claimed(&mut self, outcome: ClaimOutcome) -> Vec<Effect> {
        self.tell(Event::Claimed { generation: Generation(2), outcome })
    }
}

fn heartbeat(released: u64) -> Event {
    Event::Heartbeat { released: Position(released), condition: Condition::default() }
}

fn discarded(effects: &[Effect]) -> &DiscardReason {
    match effects {
        [Effect::Discard { reason }] => reason,
        other => panic!("not discarded: {other:?}"),
    }
}

#[test]
fn acknowledges_on_receipt_before_execution() {
    let mut bench = Bench::following();
    let ack = |received, executed, executed_bytes| Effect::SendAck {
        received: Position(received),
        executed: Position(executed),
        executed_bytes,
    };
    assert_eq!(bench.receive(101, 105, 10), [ack(105, 100, 0), Effect::Replay { through: Position(105) }]);
    assert_eq!(bench.execute(105, 10), [], "told with the next one");
    assert_eq!(bench.receive(106, 106, 5), [ack(106, 105, 10), Effect::Replay { through: Position(106) }]);
    bench.now_ns = 50 * MS;
    bench.execute(106, 5);
    assert_eq!(bench.tell(Event::Tick), [ack(106, 106, 15)], "a heartbeat says as much");
}

#[test]
fn drains_claims_and_goes_live() {
    let mut bench = Bench::following();
    bench.receive(101, 110, 10);
    bench.now_ns = 10 * MS;
    bench.tell(Event::Lost(LossReason::Closed));
    bench.now_ns = 12 * MS;
    assert_eq!(bench.execute(109, 0), []);
    assert_eq!(bench.execute(110, 10), [Effect::Claim { generation: Generation(2) }]);
    bench.now_ns = 15 * MS;
    let live = [Effect::GoLive { generation: Generation(2), from: Position(110) }];
    assert_eq!(bench.claimed(ClaimOutcome::Won), live);
    assert_eq!((bench.core.phase(), bench.core.generation()), (Phase::Live, Generation(2)));
    let recovery = bench.core.recovery().unwrap();
    let parts = (recovery.heard_ns, recovery.detected_ns, recovery.drained_ns, recovery.won_ns);
    assert_eq!(parts, (0, 10 * MS, Some(12 * MS), Some(15 * MS)));
}

#[test]
fn with_nothing_to_drain_it_claims_at_once() {
    let mut bench = Bench::following();
    let effects = bench.tell(Event::Lost(LossReason::Closed));
    assert_eq!(effects[1..], [Effect::Claim { generation: Generation(2) }]);
}

#[test]
fn an_incomplete_seed_never_goes_live() {
    for reason in [LossReason::Closed, LossReason::Silent { silent_ns: 1 }, LossReason::Damaged] {
        let mut bench = Bench::seeding();
        let effects = bench.tell(Event::Lost(reason.clone()));
        assert_eq!(*discarded(&effects), DiscardReason::SeedIncomplete(reason));
    }
}

#[test]
fn a_log_that_cannot_be_trusted_never_goes_live() {
    let violation = LossReason::Violation(Violation::AckEarly { acknowledged: Position(1) });
    for reason in [LossReason::Damaged, violation, LossReason::Detached, LossReason::Unwanted] {
        let mut bench = Bench::following();
        let effects = bench.tell(Event::Lost(reason.clone()));
        assert_eq!(*discarded(&effects), DiscardReason::LogBroken(reason));
    }
}

#[test]
fn a_gap_a_repetition_and_a_batch_that_ends_before_it_begins_are_refused() {
    for (first, through) in [(107, 108), (105, 108), (101, 105), (106, 104), (0, u64::MAX)] {
        let mut bench = Bench::following();
        bench.receive(101, 105, 1);
        let effects = bench.receive(first, through, 1);
        assert!(matches!(discarded(&effects), DiscardReason::LogGap { .. }), "{first} to {through}");
    }
}

#[test]
fn what_diverges_is_discarded_in_every_phase_but_live() {
    let diverged = Event::Diverged { position: Position(104) };
    for mut bench in [Bench::following(), Bench::draining(), Bench::arbitrating()] {
        let effects = bench.tell(diverged.clone());
        assert_eq!(*discarded(&effects), DiscardReason::Diverged { position: Position(104) });
        assert_eq!(bench.claimed(ClaimOutcome::Won), [], "for good");
    }
    let mut live = Bench::arbitrating();
    live.claimed(ClaimOutcome::Won);
    assert_eq!(live.tell(diverged), []);
}

#[test]
fn a_vm_that_failed_is_discarded() {
    let mut bench = Bench::following();
    let (position, reason) = (Position(101), "the disk is full".to_owned());
    let effects = bench.tell(Event::Failed { position, reason: reason.clone() });
    assert_eq!(*discarded(&effects), DiscardReason::Failed { position, reason });
}

#[test]
fn a_vm_that_ran_ahead_of_the_log_is_discarded() {
    let mut bench = Bench::following();
    let effects = bench.execute(101, 0);
    assert!(matches!(discarded(&effects), DiscardReason::RanAhead { .. }));
}

#[test]
fn messages_out_of_place_are_refused() {
    let mut bench = Bench::seeding();
    assert!(matches!(
        discarded(&bench.receive(1, 1, 1)),
        DiscardReason::OutOfPlace { phase: Phase::Seeding }
    ));
    let mut bench = Bench::following();
    let effects = bench.tell(Event::SeedHeld { position: Position(100) });
    assert!(matches!(discarded(&effects), DiscardReason::OutOfPlace { phase: Phase::Following }));
}

#[test]
fn the_window_bounds_the_log() {
    let mut bench = Bench::following();
    bench.receive(101, 101, 100);
    bench.execute(101, 40);
    assert_eq!(bench.core.lag_bytes(), 60);
    bench.receive(102, 102, 40);
    let effects = bench.receive(103, 103, 1);
    let exceeded = DiscardReason::WindowExceeded { unexecuted_bytes: 101, window_bytes: 100 };
    assert_eq!(*discarded(&effects), exceeded);
}

#[test]
fn a_primary_that_released_too_much_is_not_followed() {
    let mut bench = Bench::following();
    bench.receive(101, 105, 1);
    assert_eq!(bench.tell(heartbeat(105)), []);
    let effects = bench.tell(heartbeat(106));
    assert!(matches!(discarded(&effects), DiscardReason::ReleasedAhead { .. }));
}

#[test]
fn a_primary_that_is_heard_and_does_not_move_is_lost_after_a_bound() {
    let stall_ns = Config::default().stall_ns();
    let stalled = |stalled_ns| Event::Heartbeat {
        released: Position(100),
        condition: Condition { stalled_ns, ..Condition::default() },
    };
    let mut bench = Bench::following();
    assert_eq!(bench.tell(stalled(stall_ns)), []);
    let effects = bench.tell(stalled(stall_ns + 1));
    let reason = LossReason::Stalled { stalled_ns: stall_ns + 1 };
    assert_eq!(effects, [Effect::DropPeer { reason }, Effect::Claim { generation: Generation(2) }]);
    let mut seeding = Bench::seeding();
    assert_eq!(seeding.tell(stalled(u64::MAX)), [], "a guest that is paused for its seed does not move");
}

#[test]
fn a_detached_secondary_is_discarded() {
    for mut bench in [Bench::seeding(), Bench::following()] {
        assert_eq!(*discarded(&bench.tell(Event::Detached)), DiscardReason::Detached);
    }
}

#[test]
fn who_loses_the_claim_is_discarded() {
    let mut bench = Bench::arbitrating();
    let effects = bench.claimed(ClaimOutcome::Lost { holder: "the other".into() });
    let reason = DiscardReason::ClaimLost { generation: Generation(2), holder: "the other".into() };
    assert_eq!(*discarded(&effects), reason);
    assert_eq!(bench.claimed(ClaimOutcome::Won), []);
}

#[test]
fn without_an_answer_it_asks_again() {
    let mut bench = Bench::arbitrating();
    assert_eq!(bench.claimed(ClaimOutcome::Unavailable { reason: "away".into() }), []);
    bench.now_ns = 19 * MS;
    assert_eq!(bench.tell(Event::Tick), []);
    bench.now_ns = 20 * MS;
    assert_eq!(bench.tell(Event::Tick), [Effect::Claim { generation: Generation(2) }]);
    assert_eq!(bench.claimed(ClaimOutcome::Won).len(), 1);
}

#[test]
fn silence_is_a_loss() {
    let mut bench = Bench::following();
    let mut acks = 0;
    while bench.core.phase() == Phase::Following {
        bench.now_ns += 10 * MS;
        let effects = bench.tell(Event::Tick);
        acks += effects.iter().filter(|effect| matches!(effect, Effect::SendAck { .. })).count();
    }
    assert_eq!((bench.now_ns / MS, acks), (210, 4));
    assert_eq!(bench.core.phase(), Phase::Arbitrating);
}

#[test]
fn what_was_still_queued_changes_nothing_after_the_loss() {
    let mut bench = Bench::draining();
    assert_eq!(bench.receive(111, 120, 1), []);
    assert_eq!(bench.tell(heartbeat(999)), []);
    assert_eq!(bench.tell(Event::Lost(LossReason::Damaged)), []);
    assert_eq!(bench.tell(Event::Detached), []);
    assert_eq!((bench.core.phase(), bench.core.received_through()), (Phase::Draining, Position(110)));
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm() {
    let mut bench = Bench::seeding();
    bench.now_ns = u64::MAX;
    bench.tell(Event::SeedHeld { position: Position(u64::MAX) });
    bench.execute(u64::MAX, u64::MAX);
    bench.receive(u64::MAX, u64::MAX, u64::MAX);
    bench.tell(Event::Tick);
}

#[test]
fn what_left_before_the_seed_was_whole_must_be_in_it() {
    let mut bench = Bench::seeding();
    assert!(bench.tell(heartbeat(101)).is_empty(), "the seed may be of a later position");
    let effects = bench.tell(Event::SeedHeld { position: Position(100) });
    let reason = DiscardReason::ReleasedAhead { released: Position(101), received: Position(100) };
    assert_eq!(discarded(&effects), &reason);
    let mut bench = Bench::seeding();
    assert!(bench.tell(heartbeat(100)).is_empty());
    assert_eq!(
        bench.tell(Event::SeedHeld { position: Position(100) }),
        [Effect::SendSeedHeld { position: Position(100) }]
    );
}
