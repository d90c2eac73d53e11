//! A peer that lies: in one field of one kind of message, whenever it sends that.
//!
//! Not among the lies is what nobody could tell from the truth: a secondary that says that it holds log which it has
//! been sent and has lost, and a primary that says that it has let out a little more than it has, that its lease is shorter
//! than it is, or that its seed is whole; what a seed says is not checked in the model.

use ftlog::FrameKind;

use crate::random::Random;

/// The fields, each 8 bytes: the kind of message, and which of them.
const FIELDS: [(FrameKind, usize); 17] = [
    (FrameKind::Welcome, 0),
    (FrameKind::SeedHeld, 0),
    (FrameKind::Ack, 0),
    (FrameKind::Ack, 1),
    (FrameKind::Ack, 2),
    (FrameKind::Ack, 3),
    (FrameKind::Ack, 4),
    (FrameKind::Ack, 5),
    (FrameKind::Heartbeat, 0),
    (FrameKind::Heartbeat, 1),
    (FrameKind::Heartbeat, 2),
    (FrameKind::Heartbeat, 3),
    (FrameKind::Heartbeat, 4),
    (FrameKind::Heartbeat, 5),
    (FrameKind::Steps, 0),
    (FrameKind::Steps, 1),
    (FrameKind::Steps, 2),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Zero,
    Less,
    More,
    FarAhead,
    Most,
}

const VALUES: [Value; 5] = [Value::Zero, Value::Less, Value::More, Value::FarAhead, Value::Most];

/// What another kind of message is said to be.
const KINDS: [FrameKind; 14] = [
    FrameKind::Steps,
    FrameKind::End,
    FrameKind::Hello,
    FrameKind::Welcome,
    FrameKind::Refuse,
    FrameKind::Heartbeat,
    FrameKind::Detach,
    FrameKind::Diverged,
    FrameKind::Registers,
    FrameKind::Query,
    FrameKind::Fail,
    FrameKind::DiskDigests,
    FrameKind::DiskBlock,
    FrameKind::DiskBases,
];
/// The messages for which that is said.
const SAID_OF: [FrameKind; 5] =
    [FrameKind::Welcome, FrameKind::SeedHeld, FrameKind::Ack, FrameKind::Heartbeat, FrameKind::Steps];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Field(usize, Value),
    Kind(FrameKind),
}

/// One lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie {
    of: FrameKind,
    what: What,
}

impl Lie {
    /// All that can be noticed.
    pub fn all() -> Vec<Self> {
        let fields = FIELDS.into_iter().flat_map(|(of, field)| {
            VALUES.into_iter().map(move |value| Self { of, what: What::Field(field, value) })
        });
        let kinds = SAID_OF
            .into_iter()
            .flat_map(|of| KINDS.into_iter().map(move |kind| Self { of, what: What::Kind(kind) }));
        fields.chain(kinds).filter(Self::can_be_noticed).collect()
    }

    fn can_be_noticed(&self) -> bool {
        match (self.of, self.what) {
            (FrameKind::Ack, What::Field(0, Value::More))
            | (
                FrameKind::Heartbeat,
                What::Field(1, Value::More) | What::Field(3, Value::Zero | Value::Less),
            ) => false,
            (of, What::Kind(kind)) => of != kind,
            _ => true,
        }
    }

    /// What is sent in place of a message; none if it does not concern that.
    pub fn tell(&self, kind: FrameKind, body: &[u8]) -> Option<(FrameKind, Vec<u8>)> {
        if kind != self.of {
            return None;
        }
        match self.what {
            What::Kind(other) => Some((other, body.to_vec())),
            What::Field(field, value) => {
                let mut body = body.to_vec();
                let bytes = body.get_mut(field * 8..)?.first_chunk_mut::<8>()?;
                let truth = u64::from_le_bytes(*bytes);
                let said = value.in_place_of(truth);
                *bytes = said.to_le_bytes();
                (said != truth).then_some((kind, body))
            }
        }
    }
}

impl Value {
    fn in_place_of(self, truth: u64) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Less => truth.saturating_sub(1),
            Self::More => truth.saturating_add(1),
            Self::FarAhead => truth.saturating_add(1 << 40),
            Self::Most => u64::MAX,
        }
    }
}

/// A host that lies.
#[derive(Debug, Clone)]
pub struct Liar {
    pub host: usize,
    pub lie: Lie,
    /// At each message that the lie concerns.
    pub rate: u64,
}

impl Liar {
    /// One for each seed, and with as many seeds as there are lies and hosts each of them.
    pub fn of(seed: u64, hosts: usize) -> Self {
        let (lies, mut random) = (Lie::all(), Random::new(seed ^ 0x11e5));
        let lie = lies[seed as usize % lies.len()];
        let host = seed as usize / lies.len() % hosts;
        Self { host, lie, rate: random.pick(&[3_000, 30_000, 500_000]) }
    }
}
