//! Two copies with everything that can befall them, in any order: they are equal whenever they were made equal, however
//! little of them was compared for it.

use std::slice::from_ref;

use devices::{DiskOperation, DiskRequest, FIRST_DISK_SLOT};
use ftlog::{Generation, Position};

use super::{Side, VM, begin_pair, pair_up};
use crate::demo::random::Random;

const REGION: u64 = 4 << 20;
const REGIONS: u64 = 17;
/// The last region is short.
const BYTES: u64 = (REGIONS - 1) * REGION + 512;
const ROUNDS: u64 = 12;
/// Longer than from one base to the next, in virtual time, ns.
const AGE_NS: u64 = 40_000_000_000;

/// What the log says to the copies.
#[derive(Clone)]
enum Entry {
    Write {
        id: u64,
        offset: u64,
        byte: u8,
        len: usize,
    },
    /// This position is reached at this time.
    Reached(Position, u64),
}

struct Luck {
    random: Random,
    /// The live one first.
    sides: [Side; 2],
    generation: u64,
    position: u64,
    time_ns: u64,
    /// Where the guest writes for a while.
    region: u64,
    /// Recorded, and not executed by the other side yet; none when there is no pair.
    log: Option<Vec<Entry>>,
}

impl Luck {
    fn entry(&mut self) -> Entry {
        self.position += 1;
        if self.random.below(5) == 0 {
            self.time_ns += AGE_NS;
            return Entry::Reached(Position(self.position), self.time_ns);
        }
        let len = 512 * (1 + self.random.below(8) as usize);
        if self.random.below(3) == 0 {
            self.region = self.random.below(REGIONS);
        }
        let offset = self.region * REGION + 512 * self.random.below(REGION / 512);
        let offset = offset.min(BYTES - len as u64);
        Entry::Write { id: self.position, offset, byte: self.random.below(256) as u8, len }
    }

    /// The VM runs on the live side.
    fn run(&mut self) {
        for _ in 0..self.random.below(12) {
            let entry = self.entry();
            execute(&self.sides[0], &entry, true);
            self.log.iter_mut().for_each(|log| log.push(entry.clone()));
        }
    }

    /// The secondary executes some of what it has not.
    fn follow(&mut self) {
        let Some(log) = &mut self.log else { return };
        let some = self.random.below(log.len() as u64 + 1) as usize;
        for entry in log.drain(..some) {
            execute(&self.sides[1], &entry, false);
        }
    }

    fn lose_secondary(&mut self) {
        self.log = None;
        self.sides[0].disks.end_bases();
        self.sides[1].restart(false);
    }

    fn lose_link(&mut self) {
        self.log = None;
        self.sides.iter().for_each(|side| side.disks.end_bases());
    }

    /// The secondary has taken over with what it had; the primary comes back as the secondary that it now is.
    fn lose_primary(&mut self) {
        self.follow();
        self.log = None;
        self.sides.swap(0, 1);
        self.sides[0].disks.end_bases();
        self.sides[0].disks.go_live(0);
        self.sides[1].restart(false);
        self.generation += 1;
    }

    /// Both hosts are down, and the VM is started where it ran.
    fn lose_both(&mut self) {
        self.log = None;
        self.sides[0].restart(true);
        self.sides[1].restart(false);
        self.generation += 1;
    }

    /// The copies are being made equal, and the secondary is lost in the middle of it.
    fn half_pair(&mut self) {
        let (some, mut left) = (self.random.below(30), 0);
        self.sides[1].disks.replay(super::PATIENCE).unwrap();
        let pair = begin_pair(&self.sides[0], &self.sides[1], || {
            left += 1;
            left <= some
        });
        pair.break_off();
        self.lose_secondary();
    }

    /// Gives how many MiB were compared.
    fn pair(&mut self) -> f64 {
        self.sides[1].disks.replay(super::PATIENCE).unwrap();
        let said = if self.random.below(2) == 0 {
            pair_up(&self.sides[0], &self.sides[1], || {})
        } else {
            let pair = begin_pair(&self.sides[0], &self.sides[1], || true);
            // What is written at the last moment is in the last blocks.
            self.run();
            pair.finish(&self.sides[0])
        };
        let [live, follower] = &self.sides;
        assert!(live.contents() == follower.contents(), "the copies differ");
        for side in &self.sides {
            side.disks.begin_bases(VM, Generation(self.generation), self.time_ns);
        }
        self.log = Some(Vec::new());
        let mib = said.split(&[':', ' '][..]).find_map(|word| word.parse().ok().filter(|mib| *mib > 0.0));
        mib.unwrap_or(0.0)
    }
}

fn execute(side: &Side, entry: &Entry, live: bool) {
    match entry {
        Entry::Reached(position, time_ns) => side.disks.come_to(*position, *time_ns),
        Entry::Write { id, offset, byte, len } => {
            let operation = DiskOperation::Write { offset: *offset, data: vec![*byte; *len] };
            let request = DiskRequest { slot: FIRST_DISK_SLOT, id: *id, operation };
            if live { side.ask(request) } else { side.disks.copy(request, &replay::StopSwitch::default()) }
        }
    }
}

#[test]
fn copies_are_equal_whatever_befell_them_and_however_little_was_compared() {
    let seed = std::env::var("FTVMM_SEED")
        .map_or_else(|_| crate::host::clock::wall_ns(), |seed| seed.parse().unwrap());
    println!("FTVMM_SEED={seed}");
    let content = vec![0; BYTES as usize];
    let sides = [true, false].map(|live| Side::new(live, from_ref(&content), false));
    let random = Random::new(seed);
    let mut luck = Luck { random, sides, generation: 1, position: 0, time_ns: 0, region: 0, log: None };
    let whole = luck.pair();
    let mut parts = 0;
    for _ in 0..ROUNDS {
        luck.run();
        luck.follow();
        match luck.random.below(9) {
            0 | 1 => luck.lose_secondary(),
            2 | 3 => luck.lose_primary(),
            4 => luck.lose_both(),
            5 => {
                luck.lose_secondary();
                luck.half_pair();
            }
            6 => luck.lose_link(),
            _ => {}
        }
        if luck.log.is_none() {
            luck.run();
            parts += u32::from(luck.pair() < whole);
        }
    }
    println!("{parts} times not all was compared");
    assert!(parts > 0, "everything was compared each time");
}
