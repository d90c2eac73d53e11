use ftlog::{Ack, Delta, ExitKind, Health, Heartbeat, Refuse, Registers, StepEncoder, StepRef};

use super::*;
use crate::Violation;
use crate::arbiter::ClaimOutcome;
use crate::fence::LONGEST_LEASE_NS;
use crate::secondary::DiscardReason;

const MS: u64 = 1_000_000;
const WINDOW_BYTES: u64 = 4000;

struct Bench {
    follower: Follower,
    now_ns: u64,
}

impl Bench {
    fn receiving(has_copies: bool) -> Self {
        let introduction =
            Introduction { generation: Generation(1), lease_ns: 100, has_copies, memory_mib: 4 };
        Self { follower: Follower::new(&Config::default(), introduction, WINDOW_BYTES, 0), now_ns: 0 }
    }

    fn loading() -> Self {
        let mut bench = Self::receiving(false);
        bench.frame(FrameKind::Begin, &[]);
        assert!(matches!(bench.frame(FrameKind::SeedDone, &[])[..], [Action::Load]));
        bench
    }

    /// Has a machine at position 100.
    fn following() -> Self {
        let mut bench = Self::loading();
        let actions = bench.tell(Input::Loaded { position: Position(100) });
        assert!(matches!(
            actions[..],
            [Action::Following { position: Position(100) }, Action::Send { kind: FrameKind::SeedHeld, .. },]
        ));
        bench
    }

    /// Its guest has switched itself off at 110.
    fn off() -> Self {
        let mut bench = Self::following();
        bench.steps(101, 10);
        bench.heartbeat(105, 0, 0);
        assert!(bench.tell(Input::PoweredOff { position: Position(110) }).is_empty());
        bench.tell(Input::Executed { through: Position(110), bytes: 0, time_ns: 0 });
        bench
    }

    fn tell(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.follower.handle(input, self.now_ns, &mut actions);
        actions
    }

    fn tick(&mut self, sample: Sample) -> Vec<Action> {
        self.now_ns += 50 * MS;
        let mut actions = self.tell(Input::Seen(sample));
        actions.extend(self.tell(Input::Tick));
        actions
    }

    fn frame(&mut self, kind: FrameKind, body: &[u8]) -> Vec<Action> {
        self.tell(Input::Frame(ftlog::Frame { kind, sequence: 0, offset: 0, body: body.to_vec() }))
    }

    fn steps(&mut self, first: u64, count: u32) -> Vec<Action> {
        self.frame(FrameKind::Steps, &steps(first, count))
    }

    fn heartbeat(&mut self, released: u64, lease_ns: u64, stalled_ns: u64) -> Vec<Action> {
        let (position, released) = (Position(150), Position(released));
        let condition = Condition { stalled_ns, ..Condition::default() };
        let beat = Heartbeat { position, released, time_ns: 0, lease_ns, condition };
        self.frame(FrameKind::Heartbeat, &beat.encode())
    }
}

const WELL: Sample =
    Sample { vcpu: Work { busy: false, done: 0 }, copies: Work { busy: false, done: 0 }, health: Health(0) };

fn steps(first: u64, count: u32) -> Vec<u8> {
    let mut steps = StepEncoder::new(Position(first));
    for time_ns in 0..u64::from(count) {
        let exit = ExitKind::Halt;
        let step = StepRef { time_ns, exit, digest: 0, entries: None, events: &[], registers: None };
        steps.push(step).unwrap();
    }
    steps.body().to_vec()
}

fn diverged(position: u64) -> Input {
    let registers = [0; ftlog::REGISTER_COUNT];
    Input::Diverged(Box::new(Diverged { position: Position(position), text: "all".into(), registers }))
}

/// What was sent, of each frame its kind.
fn sent(actions: &[Action]) -> Vec<FrameKind> {
    let kind = |action: &Action| match action {
        Action::Send { kind, .. } => Some(*kind),
        _ => None,
    };
    actions.iter().filter_map(kind).collect()
}

fn discarded(actions: &[Action]) -> &DiscardReason {
    match actions {
        [.., Action::Discard { reason }] => reason,
        other => panic!("not discarded: {other:?}"),
    }
}

#[test]
fn the_machine_is_made_when_all_blocks_are_safe() {
    let mut bench = Bench::receiving(true);
    assert!(matches!(bench.frame(FrameKind::DiskBlock, &[])[..], [Action::Copy(_)]));
    assert!(matches!(bench.frame(FrameKind::SeedDone, &[])[..], [Action::FinishCopies]));
    assert!(bench.tell(Input::Loaded { position: Position(1) }).is_empty(), "of what?");
    assert!(matches!(bench.tell(Input::Copied)[..], [Action::Load]));
    assert!(bench.tell(Input::Copied).is_empty());
}

#[test]
fn a_round_of_memory_is_answered_when_it_is_received() {
    let mut bench = Bench::receiving(false);
    let number = 7u64.to_le_bytes();
    match &bench.frame(FrameKind::SeedRound, &number)[..] {
        [Action::Send { kind: FrameKind::SeedRound, body }] => assert_eq!(*body, number),
        other => panic!("{other:?}"),
    }
    let damage = DiscardReason::SeedIncomplete(LossReason::Damaged);
    assert_eq!(*discarded(&bench.frame(FrameKind::SeedRound, &number[1..])), damage);
    assert_eq!(
        *discarded(&Bench::loading().frame(FrameKind::SeedRound, &number)),
        damage,
        "there is no round more"
    );
}

#[test]
fn what_has_no_place_is_damage() {
    let damage = DiscardReason::SeedIncomplete(LossReason::Damaged);
    for kind in
        [FrameKind::DiskBlock, FrameKind::Ack, FrameKind::Hello, FrameKind::Delta, FrameKind::AskPages]
    {
        assert_eq!(*discarded(&Bench::receiving(false).frame(kind, &[])), damage, "{kind:?}");
    }
    for kind in [FrameKind::SeedDone, FrameKind::State, FrameKind::DiskBlock] {
        assert_eq!(*discarded(&Bench::loading().frame(kind, &[])), damage, "{kind:?}");
    }
}

#[test]
fn log_that_comes_while_the_machine_is_made_waits_up_to_the_window() {
    let bytes = steps(101, 1).len() as u64;
    let most = WINDOW_BYTES / bytes;
    assert!(most > 50, "many short frames");
    let mut bench = Bench::loading();
    for position in 101..101 + most {
        assert!(bench.steps(position, 1).is_empty());
    }
    let mut full = Bench::loading();
    (101..101 + most).for_each(|position| drop(full.steps(position, 1)));
    assert_eq!(*discarded(&full.steps(101 + most, 1)), DiscardReason::SeedIncomplete(LossReason::Damaged));

    let actions = bench.tell(Input::Loaded { position: Position(100) });
    let executes = actions.iter().filter(|action| matches!(action, Action::Execute { .. })).count() as u64;
    assert_eq!(executes, most);
    assert_eq!(sent(&actions)[..2], [FrameKind::SeedHeld, FrameKind::Ack]);
    assert_eq!(bench.follower.role().received_through(), Position(100 + most));
}

fn delta() -> Delta {
    Delta { pages: vec![vec![1; 3000], vec![2; 2000]], vcpu: vec![3; 20] }
}

/// The step that it leads to, at `position`.
fn forced(position: u64) -> Vec<u8> {
    let exit = ExitKind::Forced;
    let mut steps = StepEncoder::new(Position(position));
    steps.push(StepRef { time_ns: 0, exit, digest: 0, entries: None, events: &[], registers: None }).unwrap();
    steps.take()
}

fn acknowledged(actions: &[Action]) -> Option<Position> {
    let ack = |action: &Action| match action {
        Action::Send { kind: FrameKind::Ack, body } => Some(Ack::decode(body).unwrap().received),
        _ => None,
    };
    actions.iter().find_map(ack)
}

#[test]
fn a_delta_is_acknowledged_and_given_to_the_machine_when_all_of_it_is_here() {
    let mut bench = Bench::following();
    for (kind, body) in delta().frames() {
        assert!(bench.frame(kind, &body).is_empty());
    }
    let actions = bench.frame(FrameKind::Steps, &forced(101));
    assert_eq!(acknowledged(&actions), Some(Position(101)));
    let bytes = delta().bytes() + forced(101).len() as u64;
    assert!(bytes > WINDOW_BYTES, "one that is alone may be larger");
    match &actions[..] {
        [_, Action::Execute { delta: Some(given), bytes: counted, .. }] => {
            assert_eq!((given, *counted), (&delta(), bytes));
        }
        other => panic!("{other:?}"),
    }
    // Behind it nothing fits until it is installed.
    let reason = &discarded(&bench.steps(102, 1)).to_string();
    assert!(reason.contains("window"), "{reason}");
}

#[test]
fn a_forced_position_without_a_whole_delta_ends_the_session_and_is_not_acknowledged() {
    let frames: Vec<_> = delta().frames().collect();
    for come in 0..frames.len() {
        let mut bench = Bench::following();
        for (kind, body) in &frames[..come] {
            bench.frame(*kind, body);
        }
        let actions = bench.frame(FrameKind::Steps, &forced(101));
        assert_eq!(*discarded(&actions), DiscardReason::LogBroken(LossReason::Damaged), "{come}");
        assert_eq!(acknowledged(&actions), None);
    }
}

/// The primary is lost in the midst of one: what is acknowledged is executed, without it.
#[test]
fn half_a_delta_is_no_part_of_a_takeover() {
    let frames: Vec<_> = delta().frames().collect();
    for come in 0..=frames.len() {
        let mut bench = Bench::following();
        bench.steps(101, 2);
        for (kind, body) in &frames[..come] {
            bench.frame(*kind, body);
        }
        bench.tell(Input::Lost(LossReason::Closed));
        let actions = bench.tell(Input::Executed { through: Position(102), bytes: 0, time_ns: 0 });
        let [Action::Claim { generation }] = actions[..] else { panic!("{come}: {actions:?}") };
        let actions = bench.tell(Input::Claimed { generation, outcome: ClaimOutcome::Won });
        assert!(matches!(actions[..], [Action::GoLive { from: Position(102), .. }]), "{come}: {actions:?}");
    }
}

#[test]
fn what_memory_holds_is_told_in_its_place_and_not_twice_at_once() {
    let asks = |bench: &mut Bench| bench.frame(FrameKind::AskPages, &7u64.to_le_bytes());
    let mut bench = Bench::loading();
    bench.steps(101, 1);
    assert!(asks(&mut bench).is_empty());
    let actions = bench.tell(Input::Loaded { position: Position(100) });
    assert!(matches!(actions[..], [.., Action::Execute { .. }, Action::TellPages { key: 7 }]), "{actions:?}");
    bench.tell(Input::Told);
    assert!(matches!(asks(&mut bench)[..], [Action::TellPages { key: 7 }]));
    assert_eq!(*discarded(&asks(&mut bench)), DiscardReason::LogBroken(LossReason::Damaged));
}

#[test]
fn a_seed_can_be_given_up_while_it_is_loaded() {
    let given_up = Refuse::new("no more").encode().unwrap();
    for loading in [Bench::loading, || {
        let mut bench = Bench::receiving(true);
        bench.frame(FrameKind::SeedDone, &[]);
        bench
    }] {
        let mut bench = loading();
        bench.steps(101, 1);
        let actions = bench.frame(FrameKind::Refuse, &given_up);
        assert!(matches!(&actions[0], Action::GivenUp { reason } if reason == "no more"));
        assert_eq!(*discarded(&actions), DiscardReason::SeedIncomplete(LossReason::Closed));
        assert!(bench.tell(Input::Loaded { position: Position(100) }).is_empty(), "nothing comes of it");

        assert_eq!(*discarded(&loading().frame(FrameKind::Detach, &[])), DiscardReason::Detached);
        let lost = loading().tell(Input::Lost(LossReason::Closed));
        assert_eq!(*discarded(&lost), DiscardReason::SeedIncomplete(LossReason::Closed));
    }
}

#[test]
fn bytes_are_a_sign_of_life() {
    let mut bench = Bench::receiving(false);
    for _ in 0..100 {
        assert_eq!(sent(&bench.tick(WELL)), [FrameKind::Heartbeat]);
        bench.tell(Input::Bytes);
    }
    let silent = (0..10).map(|_| bench.tick(WELL)).find(|actions| sent(actions).is_empty());
    assert!(matches!(discarded(&silent.unwrap()), DiscardReason::SeedIncomplete(LossReason::Silent { .. })));
}

#[test]
fn a_primary_is_not_silent_while_it_is_not_heard_and_copies_that_take_nothing_end_it() {
    let mut bench = Bench::receiving(true);
    let full = |done| Sample { copies: Work { busy: true, done }, ..WELL };
    for done in 0..100 {
        assert_eq!(sent(&bench.tick(full(done))), [FrameKind::Heartbeat]);
    }
    for _ in 0..COPIES_PATIENCE_NS / (50 * MS) {
        assert_eq!(sent(&bench.tick(full(99))), [FrameKind::Heartbeat]);
    }
    assert!(matches!(discarded(&bench.tick(full(99))), DiscardReason::Unusable { .. }));
}

#[test]
fn every_sign_of_life_says_how_this_side_is() {
    let sample = Sample { vcpu: Work { busy: true, done: 0 }, health: Health::NETWORK, ..WELL };
    let ails = |condition: Condition| condition.stalled_ns == 100 * MS && condition.health == Health::NETWORK;

    let mut seeding = Bench::receiving(false);
    seeding.tick(sample);
    let actions = seeding.tick(sample);
    let [Action::Send { kind: FrameKind::Heartbeat, body }] = &actions[..] else { panic!("{actions:?}") };
    assert!(ails(Heartbeat::decode(body).unwrap().condition));

    let mut following = Bench::following();
    following.tick(sample);
    following.tick(sample);
    let actions = following.steps(101, 1);
    let [Action::Send { kind: FrameKind::Ack, body }, Action::Execute { .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(ails(Ack::decode(body).unwrap().condition));
}

#[test]
fn a_takeover_waits_for_the_longest_lease_that_was_told() {
    for (told, expected) in [([0, 70], 100), ([300, 200], 300)] {
        let mut bench = Bench::following();
        told.into_iter().for_each(|lease_ns| drop(bench.heartbeat(100, lease_ns, 0)));
        bench.tell(Input::Lost(LossReason::Closed));
        let outcome = ClaimOutcome::Won;
        let actions = bench.tell(Input::Claimed { generation: Generation(2), outcome });
        let [Action::GoLive { lease_ns, loss, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((*lease_ns, loss.as_str()), (expected, "the connection was closed"));
    }
}

#[test]
fn a_divergence_waits_for_the_primarys_registers_and_acknowledges_nothing() {
    let registers = Some([7; ftlog::REGISTER_COUNT]);
    let answer = |position| Registers { position: Position(position), registers }.encode().unwrap();
    let mut bench = Bench::following();
    bench.steps(101, 5);
    assert_eq!(sent(&bench.tell(diverged(103))), [FrameKind::Diverged]);
    assert!(bench.steps(106, 1).is_empty(), "no acknowledgement of what will not be executed");
    bench.now_ns += 200 * MS;
    assert!(bench.tell(Input::Tick).is_empty());
    let actions = bench.frame(FrameKind::Registers, &answer(103));
    assert!(matches!(&actions[0], Action::Explained { registers: Some(told) } if told[0] == 7));
    assert_eq!(*discarded(&actions), DiscardReason::Diverged { position: Position(103) });
    assert!(bench.tell(Input::Lost(LossReason::Closed)).is_empty());
}

#[test]
fn a_divergence_does_not_wait_for_ever() {
    let ways: [fn(&mut Bench) -> Vec<Action>; 3] = [
        |bench| {
            bench.now_ns += EXPLANATION_NS;
            bench.tell(Input::Tick)
        },
        |bench| bench.tell(Input::Lost(LossReason::Closed)),
        |bench| bench.frame(FrameKind::Detach, &[]),
    ];
    for way in ways {
        let mut bench = Bench::following();
        bench.steps(101, 5);
        bench.tell(diverged(103));
        let actions = way(&mut bench);
        assert!(matches!(actions[0], Action::Explained { registers: None }));
        assert_eq!(*discarded(&actions), DiscardReason::Diverged { position: Position(103) });
    }
    let mut draining = Bench::following();
    draining.steps(101, 5);
    draining.tell(Input::Lost(LossReason::Closed));
    let actions = draining.tell(diverged(103));
    assert!(matches!(actions[..], [Action::Explained { .. }, Action::Discard { .. }]), "nobody to ask");
}

#[test]
fn a_guest_that_is_off_ends_this_side_when_its_last_words_have_left() {
    let ways: [fn(&mut Bench) -> Vec<Action>; 3] = [
        |bench| bench.heartbeat(110, 0, 0),
        |bench| bench.frame(FrameKind::End, &[]),
        |bench| bench.frame(FrameKind::Detach, &[]),
    ];
    for way in ways {
        let mut bench = Bench::off();
        assert!(!bench.heartbeat(109, 0, 0).iter().any(|action| matches!(action, Action::End)));
        assert!(matches!(way(&mut bench)[..], [.., Action::End]));
        assert!(bench.tell(Input::Lost(LossReason::Closed)).is_empty(), "it is over");
    }
    let mut behind = Bench::following();
    behind.steps(101, 10);
    behind.frame(FrameKind::End, &[]);
    behind.tell(Input::Lost(LossReason::Closed));
    assert!(matches!(behind.tell(Input::PoweredOff { position: Position(110) })[..], [Action::End]));
}

#[test]
fn a_guest_that_is_off_is_taken_over_when_its_last_words_may_not_have_left() {
    let mut bench = Bench::off();
    let actions = bench.tell(Input::Lost(LossReason::Closed));
    assert!(matches!(actions[..], [Action::DropPeer { .. }, Action::Claim { generation: Generation(2) }]));
    let actions = bench.tell(Input::Claimed { generation: Generation(2), outcome: ClaimOutcome::Won });
    assert!(matches!(actions[..], [Action::GoLive { from: Position(110), .. }]));
}

#[test]
fn a_reason_reaches_the_one_who_tells_it() {
    let mut bench = Bench::receiving(true);
    let actions = bench.tell(Input::Unusable { reason: "the disk is full".into() });
    assert_eq!(discarded(&actions).to_string(), "the seed cannot be used: the disk is full");
    let mut bench = Bench::following();
    let reason = "this side's copy is broken".to_owned();
    let actions = bench.tell(Input::Failed { position: Position(101), reason });
    assert_eq!(discarded(&actions).to_string(), "the VM failed at #101: this side's copy is broken");
}

#[test]
fn a_primary_that_would_write_for_longer_than_anybody_may_breaks_the_protocol() {
    let mut bench = Bench::following();
    assert!(matches!(bench.heartbeat(100, LONGEST_LEASE_NS, 0)[..], [Action::Released { .. }]));
    let lease_ns = LONGEST_LEASE_NS + 1;
    match &bench.heartbeat(100, lease_ns, 0)[..] {
        [Action::Discard { reason }] => {
            let broken = LossReason::Violation(Violation::Lease { lease_ns });
            assert_eq!(*reason, DiscardReason::LogBroken(broken));
        }
        other => panic!("{other:?}"),
    }
}
