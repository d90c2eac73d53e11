//! The body of a `Steps` frame: its layout, its bounds and what is wrong with a bad one.

mod common;

use ftlog::*;

const QUIET: Step = Step {
    time_ns: 0x0102,
    exit: ExitKind::Halt,
    digest: 0xdd,
    entries: None,
    events: Vec::new(),
    registers: None,
};

fn with_registers(registers: [u64; REGISTER_COUNT]) -> Step {
    Step { registers: Some(Box::new(registers)), ..QUIET }
}

fn with_frames(count: usize, len: usize) -> Step {
    Step { events: vec![Event::NetFrame { slot: 0, frame: vec![1; len] }; count], ..QUIET }
}

fn with_disk_data(len: usize, status: u8) -> Step {
    Step { events: vec![Event::DiskDone { slot: 2, id: 1, status, data: vec![1; len] }], ..QUIET }
}

/// Where the first step, its first event and the event's payload start.
const STEP: usize = 12;
const EVENT: usize = STEP + 16;
const PAYLOAD: usize = EVENT + EVENT_LEN;
/// The length of an event before its payload.
const EVENT_LEN: usize = 6;

#[test]
fn layout_byte_by_byte() {
    let mut registers = [0; REGISTER_COUNT];
    (registers[1], registers[17]) = (0xb, 0x202);
    let events = vec![
        Event::NetFrame { slot: 7, frame: vec![0xaa, 0xbb] },
        Event::ConsoleInput(vec![b'x']),
        Event::DiskDone { slot: 2, id: 0x304, status: 1, data: vec![0xcc] },
        Event::Entropy { bytes: vec![0xee] },
    ];
    let step = Step { events, exit: ExitKind::Pio, entries: Some(0x506), ..with_registers(registers) };
    #[rustfmt::skip]
    let expected = [
        9, 0, 0, 0, 0, 0, 0, 0,                            // first position
        2, 0, 0, 0,                                        // count
        2, 1, 0, 0, 0, 0, 0, 0, 0xdd, 0, 0, 0, 1, 3, 4, 0, // time, digest, exit, flags, event count
        6, 5, 0, 0, 0, 0, 0, 0,                            // kernel entries
        1, 7, 2, 0, 0, 0, 0xaa, 0xbb,                      // network frame
        2, 0, 1, 0, 0, 0, b'x',                            // console input
        3, 2, 10, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 1, 0xcc, // a disk's answer: id, status, data
        4, 1, 1, 0, 0, 0, 0xee,                            // entropy
        2, 0, 2, 0,                                        // mask: rbx and rflags
        0xb, 0, 0, 0, 0, 0, 0, 0,
        2, 2, 0, 0, 0, 0, 0, 0,
        2, 1, 0, 0, 0, 0, 0, 0, 0xdd, 0, 0, 0, 3, 0, 0, 0, // a quiet step
    ];
    assert_eq!(common::steps_body(Position(9), &[step, QUIET]), expected);
}

#[test]
fn registers_are_stored_as_differences_within_one_body() {
    let mut encoder = StepEncoder::new(Position(1));
    let mut lengths = Vec::new();
    for registers in [[7; REGISTER_COUNT], [7; REGISTER_COUNT], [8; REGISTER_COUNT]] {
        let before = encoder.len();
        encoder.push(with_registers(registers).as_ref()).unwrap();
        lengths.push(encoder.len() - before);
    }
    assert_eq!(lengths, [16 + 4 + 18 * 8, 16 + 4, 16 + 4 + 18 * 8]);

    encoder.clear();
    encoder.push(with_registers([8; REGISTER_COUNT]).as_ref()).unwrap();
    let alone = decode_steps(encoder.body()).unwrap();
    assert_eq!(alone.steps, [with_registers([8; REGISTER_COUNT])], "a body stands alone");
}

#[test]
fn positions_go_on_from_body_to_body() {
    let mut encoder = StepEncoder::new(Position(100));
    assert!(encoder.is_empty() && encoder.len() == STEP && encoder.first_position() == Position(100));
    assert_eq!(encoder.push(QUIET.as_ref()), Ok(Position(100)));
    assert_eq!(encoder.push(QUIET.as_ref()), Ok(Position(101)));
    assert_eq!((encoder.count(), encoder.len(), encoder.next_position()), (2, STEP + 32, Position(102)));

    let taken = decode_steps(&encoder.take()).unwrap();
    assert_eq!((taken.first, taken.steps.len()), (Position(100), 2));
    assert!(encoder.is_empty());
    assert_eq!(encoder.push(QUIET.as_ref()), Ok(Position(102)));
    encoder.clear();
    assert_eq!((encoder.first_position(), encoder.is_empty()), (Position(103), true));
}

#[test]
fn a_grown_buffer_is_used_again() {
    let mut encoder = StepEncoder::new(Position(0));
    encoder.push(with_frames(3, 1000).as_ref()).unwrap();
    let buffer = encoder.body().as_ptr();
    for _ in 0..100 {
        encoder.clear();
        encoder.push(with_frames(3, 1000).as_ref()).unwrap();
        assert_eq!(encoder.body().as_ptr(), buffer);
    }
}

#[test]
fn what_does_not_fit_leaves_the_encoder_as_it_was() {
    let mut encoder = StepEncoder::new(Position(4));
    let position = Position(4);
    let refuse = |encoder: &mut StepEncoder, step: &Step| {
        let before = encoder.body().to_vec();
        let error = encoder.push(step.as_ref()).unwrap_err();
        assert_eq!(encoder.body(), before);
        error
    };
    assert_eq!(
        refuse(&mut encoder, &with_frames(1025, 0)),
        EncodeError::TooManyEvents { position, count: 1025 }
    );
    let error = refuse(&mut encoder, &with_frames(1, 65536));
    assert_eq!(error, EncodeError::EventTooLong { position, index: 0, len: 65536, max: 65535 });
    let error = refuse(&mut encoder, &with_disk_data(MAX_DISK_DATA + 1, 0));
    let (len, max) = (MAX_DISK_DATA + 1, MAX_DISK_DATA);
    assert_eq!(error, EncodeError::EventTooLong { position, index: 0, len, max });
    let error = refuse(&mut encoder, &with_disk_data(0, 3));
    assert_eq!(error, EncodeError::DiskStatus { position, index: 0, status: 3 });
    let error = refuse(&mut encoder, &Step { entries: Some(1), ..QUIET });
    assert_eq!(error, EncodeError::EntriesWithoutPort { position, exit: ExitKind::Halt });
    encoder.push(Step { exit: ExitKind::Forced, ..QUIET }.as_ref()).unwrap();
    let forced = Step { exit: ExitKind::Forced, ..QUIET };
    let error = refuse(&mut encoder, &forced);
    assert_eq!(error, EncodeError::ForcedBehindOthers { position: position.next() });
    let (mut encoder, _) = (StepEncoder::new(position), encoder);
    let len = STEP + 16 + 100 * (EVENT_LEN + 65535);
    assert_eq!(refuse(&mut encoder, &with_frames(100, 65535)), EncodeError::StepTooLong { position, len });

    while encoder.push(with_frames(1, 65535).as_ref()).is_ok() {}
    let (position, room) = (encoder.next_position(), MAX_BODY - encoder.len());
    let error = refuse(&mut encoder, &with_frames(1, 65535));
    assert_eq!(error, EncodeError::Full { position, len: 16 + EVENT_LEN + 65535, room });
    decode_steps(&encoder.take()).unwrap();
    assert_eq!(
        encoder.push(with_frames(1024, 4000).as_ref()),
        Ok(position),
        "the largest steps fit in a new frame"
    );
}

#[test]
fn a_body_can_be_filled_to_the_last_byte() {
    let mut encoder = StepEncoder::new(Position(0));
    let rest = (MAX_BODY - STEP - 16) % (EVENT_LEN + 60_000);
    let count = (MAX_BODY - STEP - 16) / (EVENT_LEN + 60_000);
    let mut step = with_frames(count, 60_000);
    step.events.push(Event::ConsoleInput(vec![0; rest - EVENT_LEN]));
    encoder.push(step.as_ref()).unwrap();
    assert_eq!(encoder.len(), MAX_BODY);
    assert_eq!(decode_steps(encoder.body()).unwrap().steps, [step]);
}

/// Decodes two steps (the first has one network frame and registers) with bytes replaced from `at` on.
fn decode_with(at: usize, bytes: &[u8]) -> Result<StepsFrame, DecodeError> {
    let mut registers = [0; REGISTER_COUNT];
    registers[2] = 5;
    let first =
        Step { events: vec![Event::NetFrame { slot: 0, frame: vec![1, 2] }], ..with_registers(registers) };
    let mut body = common::steps_body(Position(10), &[first, QUIET]);
    body[at..at + bytes.len()].copy_from_slice(bytes);
    decode_steps(&body)
}

fn problem_with(at: usize, bytes: &[u8]) -> (usize, StepProblem) {
    match decode_with(at, bytes) {
        Err(DecodeError::Step { position: Position(10), offset, problem }) => (offset, problem),
        other => panic!("an error in step #10 expected: {other:?}"),
    }
}

#[test]
fn bad_steps_are_named_with_their_place() {
    let mask = PAYLOAD + 2;
    decode_with(0, &[10]).unwrap();
    assert_eq!(problem_with(STEP + 12, &[9]), (STEP, StepProblem::Exit(UnknownExitKind(9))));
    assert_eq!(problem_with(STEP + 13, &[5]), (STEP, StepProblem::Flags(5)));
    let no_port = StepProblem::EntriesWithoutPort(ExitKind::Halt);
    assert_eq!(problem_with(STEP + 13, &[3]), (STEP, no_port));
    assert_eq!(problem_with(STEP + 14, &1025_u16.to_le_bytes()), (STEP, StepProblem::TooManyEvents(1025)));
    assert_eq!(problem_with(EVENT, &[5]), (EVENT, StepProblem::EventKind(5)));
    let slot = |kind, found, expected| StepProblem::Slot { kind, found, expected };
    assert_eq!(problem_with(EVENT, &[2, 6]), (EVENT, slot(2, 6, 0)));
    assert_eq!(problem_with(EVENT, &[4, 0]), (EVENT, slot(4, 0, 1)));
    assert_eq!(problem_with(EVENT, &[3]), (EVENT, StepProblem::DiskLength(2)));
    let too_long = StepProblem::TooLong { len: 65536, max: 65535 };
    assert_eq!(problem_with(EVENT + 2, &65536_u32.to_le_bytes()), (EVENT, too_long));
    let left = 2 + 4 + 8 + 16;
    assert_eq!(problem_with(EVENT + 2, &[0xff]), (PAYLOAD, StepProblem::Truncated { needed: 0xff, left }));
    let second = PAYLOAD + 2 + 4 + 8;
    let forced = decode_with(second + 12, &[5]);
    let problem = StepProblem::ForcedBehindOthers;
    assert_eq!(forced, Err(DecodeError::Step { position: Position(11), offset: second, problem }));
    let unknown = StepProblem::RegisterMask(1 << 18 | 4);
    assert_eq!(problem_with(mask, &(1_u32 << 18 | 4).to_le_bytes()), (mask, unknown));
    assert_eq!(problem_with(mask + 4, &[0]), (mask + 4, StepProblem::UnchangedRegister("rcx")));
}

#[test]
fn bad_answers_of_disks_are_named() {
    let body = |at: usize, bytes: &[u8]| {
        let mut body = common::steps_body(Position(10), &[with_disk_data(9, 2)]);
        body[at..at + bytes.len()].copy_from_slice(bytes);
        match decode_steps(&body) {
            Err(DecodeError::Step { offset, problem, .. }) => (offset, problem),
            other => panic!("an error expected: {other:?}"),
        }
    };
    let longest = (MAX_DISK_DATA + 9) as u32;
    assert_eq!(body(PAYLOAD + 8, &[3]), (PAYLOAD, StepProblem::DiskStatus(3)));
    assert_eq!(body(EVENT + 2, &[8]), (EVENT, StepProblem::DiskLength(8)));
    let truncated = StepProblem::Truncated { needed: MAX_DISK_DATA, left: 9 };
    assert_eq!(body(EVENT + 2, &longest.to_le_bytes()), (PAYLOAD + 9, truncated));
    let too_long = StepProblem::TooLong { len: MAX_DISK_DATA + 1, max: MAX_DISK_DATA };
    assert_eq!(body(EVENT + 2, &(longest + 1).to_le_bytes()), (PAYLOAD, too_long));
}

#[test]
fn every_part_of_an_event_counts_in_its_identity_or_payload() {
    let event = |slot, id, status, data: &[u8]| Event::DiskDone { slot, id, status, data: data.to_vec() };
    let all = [
        event(2, 1, 0, b"a"),
        event(3, 1, 0, b"a"),
        event(2, 2, 0, b"a"),
        event(2, 1, 1, b"a"),
        event(2, 1, 0, b"b"),
        Event::NetFrame { slot: 2, frame: b"a".to_vec() },
        Event::ConsoleInput(b"a".to_vec()),
        Event::Entropy { bytes: b"a".to_vec() },
    ];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index + 1..] {
            assert_ne!((one.identity(), one.payload()), (other.identity(), other.payload()));
        }
    }
}

#[test]
fn a_later_step_is_named_by_its_own_position() {
    let end = PAYLOAD + 2 + 4 + 8;
    let error = decode_with(end + 13, &[0x80]).unwrap_err();
    assert_eq!(error.to_string(), format!("step #11, body offset {end}: unknown flags in 0x80"));
}

#[test]
fn bad_bodies_are_named() {
    assert_eq!(decode_steps(&[0; 11]), Err(DecodeError::NoPrefix { len: 11 }));
    assert_eq!(decode_steps(&[0; 12]), Err(DecodeError::NoSteps { first: Position(0) }));
    let first = Position(u64::MAX - 1);
    assert_eq!(
        decode_with(0, &first.0.to_le_bytes()),
        Err(DecodeError::PositionOverflow { first, count: 2 })
    );
    let end = PAYLOAD + 2 + 4 + 8;
    assert_eq!(
        decode_with(8, &[1]),
        Err(DecodeError::Trailing { last: Position(10), offset: end, extra: 16 })
    );

    let problem = StepProblem::Truncated { needed: 16, left: 0 };
    let error = DecodeError::Step { position: Position(12), offset: end + 16, problem };
    assert_eq!(decode_with(8, &u32::MAX.to_le_bytes()), Err(error), "a count is not believed");
}

#[test]
fn every_truncation_of_a_body() {
    let body = common::steps_body(Position(1000), &common::steps());
    for len in 0..body.len() {
        assert!(decode_steps(&body[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn only_the_known_exits() {
    let known: Vec<u8> = (0..=u8::MAX).filter(|&value| ExitKind::try_from(value).is_ok()).collect();
    assert_eq!(known, [1, 2, 3, 4, 5]);
    assert!(known.iter().all(|&value| ExitKind::try_from(value).unwrap() as u8 == value));
}
