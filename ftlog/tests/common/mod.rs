//! A small log in which everything occurs, shared by the tests.
#![allow(dead_code, reason = "each test program uses its own part of it")]

use ftlog::*;

/// Frames as they are written, before they have a sequence number.
pub type Parts = Vec<(FrameKind, Vec<u8>)>;

pub const VM: VmId = VmId([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8]);

pub fn shape() -> Shape {
    Shape {
        name: "ledger".into(),
        cpu: "v2".into(),
        memory_mib: 64,
        cpus: 1,
        net: Some(NetShape { mac: [2, 0, 0, 0x4d, 0, 1], mtu: 1500 }),
        disks: vec![
            DiskShape { sectors: 1 << 24, readonly: false, mode: DiskMode::Replicated },
            DiskShape { sectors: 2048, readonly: true, mode: DiskMode::Shared },
        ],
        kernel: "builtin:kv".into(),
        cmdline: "ip=10.77.0.2/24 port=6379".into(),
    }
}

pub fn manifest() -> Manifest {
    Manifest {
        vm: VM,
        generation: Generation(3),
        shape: shape(),
        cpu_table: 0x0123_4567_89ab_cdef,
        wall_base_ns: 1_750_000_000_000_000_000,
        digest_key: 0xfeed_f00d_0123_4567,
    }
}

pub fn hello() -> Hello {
    Hello {
        software: "ftvmm 0.1.0".into(),
        vm: VM,
        generation: Generation(3),
        purpose: Purpose::Protect,
        shape: shape(),
        cpu_table: 0x0123_4567_89ab_cdef,
        holder: "host-a/4711".into(),
        arbiter: "0123456789abcdef0123456789abcdef".into(),
        lease_ns: 100_000_000,
        disks: vec![
            DiskLine { id: Some(DiskId([0xd1; 16])), lacks: Some((Generation(1), Generation(2))) },
            DiskLine::default(),
        ],
    }
}

pub fn welcome() -> Welcome {
    Welcome { software: "ftvmm 0.1.0".into(), window_bytes: 64 << 20, cpu_table: 0x0123_4567_89ab_cdef }
}

pub fn end() -> End {
    End {
        position: Position(1004),
        time_ns: 5_000_400_000,
        digests: StateDigests {
            memory: 0xfeed_f00d_0000_0000_0000_0000_dead_beef,
            vcpu: 0x1111,
            platform: 0x2222,
            running: u64::MAX,
        },
    }
}

pub fn diverged() -> Diverged {
    Diverged::new(Position(1003), "rax differs", std::array::from_fn(|index| index as u64 * 3))
}

pub fn registers() -> Registers {
    Registers { position: Position(1003), registers: Some(std::array::from_fn(|index| 1 << (index * 3))) }
}

pub fn report() -> Report {
    Report { json: r#"{"role":"secondary"}"#.into() }
}

pub fn digests() -> DiskDigests {
    DiskDigests { disk: 1, first: 0x0102_0304, digests: vec![7, u128::MAX - 1] }
}

pub fn bases() -> DiskBases {
    let base = |generation, map| DiskBase {
        vm: VmId([0x1d; 16]),
        generation: Generation(generation),
        position: Position(0x0a0b_0c0d),
        map,
    };
    DiskBases { disk: 1, map_len: 3, bases: vec![base(4, vec![1, 0, 0x80]), base(5, vec![0, 0, 3])] }
}

pub fn regions() -> DiskRegions {
    DiskRegions { disk: 1, map: vec![0xff, 0, 7] }
}

pub fn block() -> DiskBlock<'static> {
    DiskBlock { disk: 1, block: 0x0102_0305, data: b"what the block should hold" }
}

pub fn ack() -> Ack {
    Ack {
        received: Position(1004),
        executed: Position(1002),
        executed_time_ns: 5_000_200_000,
        executed_bytes: 0x0807_0605_0403_0201,
        condition: Condition { stalled_ns: 1_500_000_000, health: Health::DISK_STALLS },
    }
}

pub fn heartbeat() -> Heartbeat {
    Heartbeat {
        position: Position(1004),
        released: Position(1001),
        time_ns: 5_000_400_000,
        lease_ns: 100_000_000,
        condition: Condition { stalled_ns: 7, health: Health::NETWORK.and(Health::DISK_FAILS) },
    }
}

/// Every kind of exit, every kind of event, kernel entries, registers and changes of registers.
pub fn steps() -> Vec<Step> {
    let registers = |rax: u64, rflags: u64| {
        let mut registers = [0; REGISTER_COUNT];
        (registers[0], registers[16], registers[17]) = (rax, 0xffff_8000_0000_1000, rflags);
        Some(Box::new(registers))
    };
    let step = |time_ns, exit, digest| Step {
        time_ns,
        exit,
        digest,
        entries: None,
        events: vec![],
        registers: None,
    };
    vec![
        Step { entries: Some(0x0123_4567_89ab_cdef), ..step(5_000_000_100, ExitKind::Pio, 0xaabb_ccdd) },
        Step {
            events: vec![
                Event::NetFrame { slot: 0, frame: vec![0xff; 14] },
                Event::ConsoleInput(b"ls\n".to_vec()),
                Event::NetFrame { slot: 7, frame: vec![] },
                Event::DiskDone { slot: 2, id: 0x0102_0304_0506_0708, status: 0, data: vec![0x5a; 512] },
                Event::DiskDone { slot: 3, id: 9, status: 2, data: vec![] },
                Event::Entropy { bytes: vec![4; 16] },
            ],
            registers: registers(5, 0x202),
            ..step(5_000_100_000, ExitKind::Mmio, 1)
        },
        Step { registers: registers(6, 0x202), ..step(5_000_200_000, ExitKind::Halt, 2) },
        Step { registers: registers(6, 0x202), ..step(5_000_300_000, ExitKind::Msr, 3) },
    ]
}

/// A forced position, and what comes behind it.
pub fn forced() -> Vec<Step> {
    let [_, events, halt, _] = steps().try_into().unwrap();
    let time_ns = halt.time_ns;
    vec![Step { time_ns, exit: ExitKind::Forced, entries: None, ..events }, halt]
}

/// What leads to it.
pub fn delta() -> Delta {
    Delta { pages: vec![pages(), pages()], vcpu: b"opaque too".to_vec() }
}

pub fn steps_body(first: Position, steps: &[Step]) -> Vec<u8> {
    let mut encoder = StepEncoder::new(first);
    for step in steps {
        encoder.push(step.as_ref()).unwrap();
    }
    encoder.take()
}

pub fn page_digests() -> PageDigests {
    PageDigests { last: true, boot: 3 << 90, pages: vec![(0x1000, 1 << 100), (0x1_0000_0000, 7)] }
}

pub fn pages() -> Vec<u8> {
    let mut pages = PagesEncoder::default();
    pages.push(0x1000, &[0xa5; PAGE_SIZE]);
    pages.push_zeroes(0x5000);
    pages.push(0x7000, &std::array::from_fn(|index| index as u8));
    pages.take_plain()
}

/// A file without memory, so that every byte of it can be tried.
pub fn small_file() -> Parts {
    vec![
        (FrameKind::Begin, manifest().encode().unwrap()),
        (FrameKind::State, b"opaque".to_vec()),
        (FrameKind::Steps, steps_body(Position(1000), &steps())),
        (FrameKind::Steps, steps_body(Position(1004), &steps()[..1])),
        (FrameKind::Heartbeat, heartbeat().encode().to_vec()),
        (FrameKind::Steps, steps_body(Position(1005), &forced())),
        (FrameKind::End, end().encode().unwrap()),
    ]
}

/// A file.
pub fn file() -> Parts {
    let mut parts = small_file();
    parts.splice(5..5, delta().frames());
    parts.splice(1..1, [FrameKind::BootPages, FrameKind::Pages].map(|kind| (kind, pages())));
    parts
}

/// What a primary may send besides.
pub fn primary() -> Parts {
    vec![
        (FrameKind::Hello, hello().encode().unwrap()),
        (FrameKind::SeedRound, 2u64.to_le_bytes().to_vec()),
        (FrameKind::SeedDone, vec![]),
        (FrameKind::AskPages, 5u64.to_le_bytes().to_vec()),
        (FrameKind::Heartbeat, heartbeat().encode().to_vec()),
        (FrameKind::Registers, registers().encode().unwrap()),
        (FrameKind::Registers, Registers { position: Position(7), registers: None }.encode().unwrap()),
        (FrameKind::Query, vec![]),
        (FrameKind::Fail, vec![]),
        (FrameKind::DiskRegions, regions().encode()),
        (FrameKind::DiskBlock, block().encode()),
        (FrameKind::Detach, vec![]),
    ]
}

/// What a secondary may send.
pub fn secondary() -> Parts {
    vec![
        (FrameKind::Welcome, welcome().encode().unwrap()),
        (FrameKind::DiskBases, bases().encode()),
        (FrameKind::DiskDigests, digests().encode()),
        (FrameKind::PageDigests, page_digests().encode()),
        (FrameKind::SeedRound, 2u64.to_le_bytes().to_vec()),
        (FrameKind::SeedHeld, vec![]),
        (FrameKind::Ack, ack().encode().to_vec()),
        (FrameKind::Report, report().encode().unwrap()),
        (FrameKind::Diverged, diverged().encode().unwrap()),
        (FrameKind::Refuse, Refuse::new("busy with VM 1032").encode().unwrap()),
    ]
}

/// One piece of a stream for each frame.
pub fn encode(parts: &Parts) -> Vec<Vec<u8>> {
    let encode_one = |(sequence, (kind, body)): (usize, &(FrameKind, Vec<u8>))| {
        let mut bytes = Vec::new();
        encode_frame(sequence as u64, *kind, body, &mut bytes).unwrap();
        bytes
    };
    parts.iter().enumerate().map(encode_one).collect()
}

/// The frames up to the end or the first error.
pub fn read_all(bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = FrameReader::new(bytes);
    let mut frames = Vec::new();
    loop {
        match reader.read() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}
