//! Input that is as it should be, to be changed.

use ftlog::{
    Ack, Condition, DiskBase, DiskBases, DiskBlock, DiskDigests, DiskId, DiskLine, DiskMode, DiskRegions,
    DiskShape, Diverged, End, Event, ExitKind, FrameKind, FrameWriter, Generation, Health, Heartbeat, Hello,
    Manifest, Message, NetShape, PAGE_SIZE, PagesEncoder, Position, Purpose, REGISTER_COUNT, Refuse,
    Registers, Report, Shape, StateDigests, StepEncoder, StepRef, VmId, Welcome,
};

/// The body of a `Steps` frame.
pub fn steps() -> Vec<u8> {
    let mut encoder = StepEncoder::new(Position(7));
    let events = [
        Event::NetFrame { slot: 0, frame: vec![0xab; 60] },
        Event::ConsoleInput(b"typed".to_vec()),
        Event::NetFrame { slot: 1, frame: Vec::new() },
        Event::DiskDone { slot: 2, id: 5, status: 0, data: vec![0x5a; 40] },
        Event::Entropy { bytes: vec![9; 8] },
    ];
    for (step, exit) in
        [ExitKind::Forced, ExitKind::Pio, ExitKind::Halt, ExitKind::Msr].into_iter().enumerate()
    {
        let registers = [step as u64 * 3; REGISTER_COUNT];
        let registers = (step % 2 == 1).then_some(&registers);
        let events = &events[step..step + 2];
        let entries = (exit == ExitKind::Pio).then_some(77);
        let time_ns = 1000 * step as u64;
        let step = StepRef { time_ns, exit, digest: 0xdead_beef, entries, events, registers };
        encoder.push(step).expect("the step keeps its bounds");
    }
    encoder.take()
}

/// The length of the pieces, and a small file.
pub fn frames() -> Vec<u8> {
    let mut writer = FrameWriter::new(vec![20]);
    for (kind, body) in [
        (FrameKind::Begin, manifest().encode().expect("it keeps its bounds")),
        (FrameKind::Pages, pages()),
        (FrameKind::State, vec![1; 100]),
        (FrameKind::Steps, steps()),
        (FrameKind::End, end().encode().expect("it keeps its bounds")),
    ] {
        writer.write(kind, &body).expect("a vector takes everything");
    }
    writer.into_inner()
}

/// Each message, behind the number that [`ftlog::fuzz::messages`] has for it.
pub fn messages() -> Vec<Vec<u8>> {
    let hello = Hello {
        software: "ftvmm".into(),
        vm: VmId([3; 16]),
        generation: Generation(9),
        purpose: Purpose::Protect,
        shape: shape(),
        cpu_table: 0x1234,
        holder: "somebody".into(),
        arbiter: "an arbiter".into(),
        lease_ns: 5,
        disks: vec![DiskLine::default(), DiskLine { id: Some(DiskId([4; 16])), lacks: None }],
    };
    let welcome = Welcome { software: "ftvmm".into(), window_bytes: 1 << 26, cpu_table: 0x1234 };
    let registers = Some([5; REGISTER_COUNT]);
    let condition = Condition { stalled_ns: 3, health: Health::NETWORK };
    let (received, executed) = (Position(9), Position(8));
    let ack = Ack { received, executed, executed_time_ns: 77, executed_bytes: 1 << 33, condition };
    let heartbeat = Heartbeat { position: received, released: executed, time_ns: 78, lease_ns: 5, condition };
    let base =
        DiskBase { vm: VmId([3; 16]), generation: Generation(2), position: Position(9), map: vec![1, 2] };
    let bodies = [
        encode(&manifest()),
        encode(&hello),
        encode(&welcome),
        encode(&Refuse::new("busy")),
        encode(&end()),
        encode(&Diverged::new(Position(4), "registers differ", [6; REGISTER_COUNT])),
        encode(&Registers { position: Position(4), registers }),
        encode(&Report { json: "{}".into() }),
        ack.encode().to_vec(),
        heartbeat.encode().to_vec(),
        pages(),
        DiskDigests { disk: 1, first: 5, digests: vec![3; 4] }.encode(),
        DiskBlock { disk: 1, block: 5, data: &[4; 40] }.encode(),
        DiskBases { disk: 1, map_len: 2, bases: vec![base] }.encode(),
        DiskRegions { disk: 1, map: vec![3; 2] }.encode(),
    ];
    (0..).zip(bodies).map(|(number, body)| [vec![number], body].concat()).collect()
}

/// Requests of a Redis client, in both forms.
pub fn requests() -> Vec<u8> {
    b"PING\r\nSET k 12\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n*4\r\n$6\r\nAPPEND\r\n$1\r\nk\r\n$2\r\nxy\r\n\
      MSET a 1 b 2\r\n*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\nINCRBY a -5\r\n*5\r\n$3\r\nSET\r\n$1\r\nk\r\n\
      $1\r\nv\r\n$2\r\nEX\r\n$2\r\n10\r\nEXISTS a b\r\nDEL a\r\nDBSIZE\r\nINFO\r\nTIME\r\nCONFIG GET save\r\n\
      COMMAND\r\nSELECT 0\r\nECHO hello\r\nFLUSHALL\r\nQUIT\r\n"
        .to_vec()
}

fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.encode().expect("it keeps its bounds")
}

fn shape() -> Shape {
    Shape {
        name: "kv".into(),
        cpu: "v2".into(),
        memory_mib: 64,
        cpus: 1,
        net: Some(NetShape { mac: [2, 0, 0, 0, 0, 1], mtu: 1500 }),
        disks: vec![DiskShape { sectors: 64, readonly: true, mode: DiskMode::Shared }],
        kernel: "builtin:kv".into(),
        cmdline: "port=1".into(),
    }
}

fn manifest() -> Manifest {
    Manifest {
        vm: VmId([3; 16]),
        generation: Generation(1),
        shape: shape(),
        cpu_table: 0x1234,
        wall_base_ns: 1 << 60,
        digest_key: 0,
    }
}

fn end() -> End {
    let digests = StateDigests { memory: 1 << 100, vcpu: 2, platform: 3, running: 4 };
    End { position: Position(10), time_ns: 3000, digests }
}

fn pages() -> Vec<u8> {
    let mut pages = PagesEncoder::default();
    for number in [0, 1, 5] {
        pages.push(number * PAGE_SIZE as u64, &[number as u8 + 1; PAGE_SIZE]);
    }
    pages.push_zeroes(6 * PAGE_SIZE as u64);
    pages.take()
}
