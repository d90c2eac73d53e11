//! Randomised: what goes in comes out, and what is random comes to no harm.
//!
//! Each test prints its seed; `FTVMM_SEED=… cargo test -p ftlog --test roundtrip NAME` runs that one again.

mod common;

use std::time::SystemTime;

use ftlog::*;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

fn config() -> ProptestConfig {
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos() as u64);
    let seed =
        std::env::var("FTVMM_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("FTVMM_SEED is a u64"));
    println!("FTVMM_SEED={seed}");
    ProptestConfig { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..ProptestConfig::default() }
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<u8>(), bytes(100)).prop_map(|(slot, frame)| Event::NetFrame { slot, frame }),
        bytes(20).prop_map(Event::ConsoleInput),
        (any::<u8>(), any::<u64>(), 0..=MAX_DISK_STATUS, bytes(100))
            .prop_map(|(slot, id, status, data)| Event::DiskDone { slot, id, status, data }),
        bytes(40).prop_map(|bytes| Event::Entropy { bytes }),
    ]
}

fn registers() -> impl Strategy<Value = [u64; REGISTER_COUNT]> {
    // Few values, so that some registers keep theirs from one step to the next.
    prop::array::uniform18(prop_oneof![Just(0), Just(u64::MAX), 0_u64..4])
}

fn step() -> impl Strategy<Value = Step> {
    let events = prop::collection::vec(event(), 0..4);
    let registers = prop::option::of(registers().prop_map(Box::new));
    (any::<u64>(), 1_u8..=4, any::<u32>(), prop::option::of(any::<u64>()), events, registers).prop_map(
        |(time_ns, exit, digest, entries, events, registers)| {
            let exit = ExitKind::try_from(exit).unwrap();
            let entries = entries.filter(|_| exit == ExitKind::Pio);
            Step { time_ns, exit, digest, entries, events, registers }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    (any::<bool>(), prop::collection::vec(step(), 1..12)).prop_map(|(forced, mut steps)| {
        if forced {
            (steps[0].exit, steps[0].entries) = (ExitKind::Forced, None);
        }
        steps
    })
}

fn kind() -> impl Strategy<Value = FrameKind> {
    prop::sample::select(FrameKind::ALL.to_vec())
}

fn shape() -> impl Strategy<Value = Shape> {
    let net = prop::option::of((any::<[u8; 6]>(), any::<u16>()).prop_map(|(mac, mtu)| NetShape { mac, mtu }));
    let disks = prop::collection::vec(disk(), 0..=MAX_DISKS);
    (".{0,15}", ".{0,15}", any::<u32>(), any::<u32>(), net, disks, ".{0,40}", ".{0,40}").prop_map(
        |(name, cpu, memory_mib, cpus, net, disks, kernel, cmdline)| Shape {
            name,
            cpu,
            memory_mib,
            cpus,
            net,
            disks,
            kernel,
            cmdline,
        },
    )
}

fn disk() -> impl Strategy<Value = DiskShape> {
    let mode = prop::sample::select(vec![DiskMode::Replicated, DiskMode::Shared]);
    (any::<u64>(), any::<bool>(), mode).prop_map(|(sectors, readonly, mode)| DiskShape {
        sectors,
        readonly,
        mode,
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn steps_come_back(first in 0..u64::MAX - 12, steps in steps()) {
        let body = common::steps_body(Position(first), &steps);
        prop_assert_eq!(decode_steps(&body).unwrap(), StepsFrame { first: Position(first), steps });
    }

    #[test]
    fn frames_come_back_in_any_pieces(
        parts in prop::collection::vec((kind(), bytes(300)), 0..8),
        pieces in prop::collection::vec(1_usize..200, 1..8),
    ) {
        let stream = common::encode(&parts).concat();
        let (mut decoder, mut rest, mut found) = (FrameDecoder::new(), stream.as_slice(), Vec::new());
        for piece in pieces.into_iter().cycle() {
            let taken = decoder.feed(&rest[..piece.min(rest.len())]);
            rest = &rest[taken..];
            while let Some(frame) = decoder.next().unwrap() {
                found.push((frame.kind, frame.body));
            }
            if rest.is_empty() {
                break;
            }
        }
        decoder.finish().unwrap();
        prop_assert_eq!(found, parts);
    }

    #[test]
    fn messages_come_back(
        shape in shape(), vm in any::<[u8; 16]>(), numbers in any::<[u64; 4]>(), text in ".{0,60}",
        memory in any::<u128>(), saved in prop::option::of(registers()),
    ) {
        let (vm, [a, b, c, d]) = (VmId(vm), numbers);
        let (generation, position) = (Generation(a), Position(b));
        let digests = StateDigests { memory, vcpu: c, platform: d, running: a };
        comes_back(Manifest {
            vm, generation, shape: shape.clone(), cpu_table: c, wall_base_ns: a, digest_key: d,
        });
        comes_back(Hello {
            software: text.clone(), vm, generation, purpose: Purpose::Query, shape, cpu_table: c, holder: text.clone(),
            arbiter: text.clone(), lease_ns: c, disks: vec![DiskLine { id: Some(DiskId(vm.0)), lacks: Some((generation, generation)) }],
        });
        comes_back(Welcome { software: text.clone(), window_bytes: a, cpu_table: b });
        comes_back(Refuse::new(text.clone()));
        comes_back(End { position, time_ns: c, digests });
        comes_back(Diverged::new(position, text.clone(), saved.unwrap_or_default()));
        comes_back(Registers { position, registers: saved });
        comes_back(Report { json: text });

        let condition = Condition { stalled_ns: b, health: Health(d) };
        let ack = Ack {
            received: position, executed: Position(a), executed_time_ns: c, executed_bytes: d, condition,
        };
        prop_assert_eq!(Ack::decode(&ack.encode()), Ok(ack));
        let heartbeat = Heartbeat { position, released: Position(a), time_ns: c, lease_ns: d, condition };
        prop_assert_eq!(Heartbeat::decode(&heartbeat.encode()), Ok(heartbeat));
    }

    #[test]
    fn any_bytes_are_harmless(data in bytes(600)) {
        fuzz::steps(&data);
        fuzz::frames(&data);
        fuzz::messages(&data);
    }

    /// Random bytes seldom get past a header; damaged real ones do.
    #[test]
    fn damaged_bodies_are_harmless(
        steps in steps(), which in any::<Index>(), damage in prop::collection::vec(any::<(Index, u8)>(), 0..4),
    ) {
        fuzz::steps(&spoil(common::steps_body(Position(5), &steps), &damage));

        let parts = [common::file(), common::primary(), common::secondary()].concat();
        let body = spoil(which.get(&parts).1.clone(), &damage);
        for message in 0..11 {
            fuzz::messages(&[&[message], body.as_slice()].concat());
        }

        let stream = spoil(common::encode(&common::small_file()).concat(), &damage);
        fuzz::frames(&[&[63], stream.as_slice()].concat());
    }
}

/// Puts random bytes at random places.
fn spoil(mut body: Vec<u8>, damage: &[(Index, u8)]) -> Vec<u8> {
    if !body.is_empty() {
        damage.iter().for_each(|(at, value)| *at.get_mut(&mut body) = *value);
    }
    body
}

fn comes_back<M: Message + PartialEq + std::fmt::Debug>(message: M) {
    assert_eq!(M::decode(&message.encode().unwrap()), Ok(message));
}
