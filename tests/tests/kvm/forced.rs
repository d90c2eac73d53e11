//! A machine that is stopped where it is, at any instruction, and one that follows it by steps and deltas, are the same at
//! every position.

use std::{cell::Cell, convert::Infallible, time::Duration};

use ftlog::{Delta, Event, PageDigests, Step, StepRef, decode_pages};
use ftvmm::demo::random::Random;
use ftvmm_tests::harness;
use machine::{
    EntryClock, KickTimer, Machine, Reached,
    transfer::{Theirs, Transfer},
};
use replay::{Deltas, StopSwitch, replayed};
use vm_memory::{Bytes, GuestAddress};

use super::drive::{boot, copy};

/// Who follows may be compared whole at one position in so many.
const COMPARED: u64 = 4;

/// The two, and what is known here of the one that follows.
struct Pair {
    machine: Machine,
    follower: Machine,
    deltas: Deltas,
    /// What somebody else has of them.
    lent: Option<(Transfer, Theirs)>,
    timer: KickTimer,
    random: Random,
    forced: u64,
    asked: u64,
}

impl Pair {
    fn of(mut machine: Machine) -> Self {
        let follower = copy(&mut machine);
        let timer = KickTimer::on_time().unwrap();
        let random = Random::new(harness::seed());
        // As after a seed.
        let mut transfer = machine.source().begin(Theirs::default()).unwrap();
        transfer.rest().unwrap();
        let deltas = Deltas::after(transfer, machine.time_ns());
        Self { machine, follower, deltas, lent: None, timer, random, forced: 0, asked: 0 }
    }

    /// Comes to the next position, wherever that is.
    fn advance(&mut self) -> (Reached, Option<Delta>) {
        let interval = match self.random.below(3) {
            0 => Duration::from_millis(5),
            1 => Duration::from_micros(40 + self.random.below(160)),
            _ => Duration::from_micros(60 + self.random.below(3000)),
        };
        self.timer.set(interval).unwrap();
        loop {
            if let Some(reached) = self.machine.run_stretch(EntryClock::Live).unwrap() {
                return (reached, None);
            }
            if self.random.below(3) == 0 || !self.machine.is_between_instructions().unwrap() {
                continue;
            }
            if let Some(delta) = self.deltas.take(&mut self.machine).unwrap() {
                self.forced += 1;
                return (self.machine.force(delta.digest()), Some(delta));
            }
            // What was lent comes back, or the guest comes to a position before that.
            if self.random.below(2) == 0 {
                self.compare_lent();
            }
            if !self.deltas.is_kept() {
                self.deltas.begin(&self.machine.source()).unwrap();
            }
            if self.random.below(2) == 0 {
                self.ask();
            }
        }
    }

    /// The follower is asked what it holds.
    fn ask(&mut self) {
        let Some(transfer) = self.deltas.lend() else { return };
        self.asked += 1;
        self.follower.reset_if_wanted().unwrap();
        let theirs = digests_of(&self.follower, self.random.below(1 << 40));
        self.lent = Some((transfer, theirs));
    }

    /// What was lent is compared, all of it or until something else happens, and comes back.
    fn compare_lent(&mut self) {
        let Some((mut transfer, theirs)) = self.lent.take() else { return };
        let left = Cell::new(self.random.below(10));
        let is_off = || left.replace(left.get().saturating_sub(1)) == 1;
        transfer.settle(&theirs, &is_off).unwrap();
        self.deltas.take_back(transfer);
    }

    /// One position further on both sides.
    fn step(&mut self, events: &[Event]) {
        let (reached, delta) = self.advance();
        // Who follows might never come to an end, where an entry takes longer than this.
        self.timer.set(Duration::ZERO).unwrap();
        let time_ns = self.time(&reached);
        let mut outputs = Vec::new();
        self.machine.finish_sync_point(&reached, time_ns, events, &mut outputs);
        let step = StepRef {
            time_ns,
            exit: reached.kind,
            digest: reached.digest.short(),
            entries: reached.entries,
            events,
            registers: Some(&reached.registers),
        };
        self.follow(&step, delta.as_ref(), &outputs);
        self.deltas.come_to_position(time_ns).unwrap();
        if self.random.below(COMPARED) == 0 {
            self.compare();
        }
        // As if none had been needed for long.
        if self.random.below(20) == 0 {
            (self.deltas, self.lent) = (Deltas::default(), None);
        }
    }

    fn time(&mut self, reached: &Reached) -> u64 {
        let soon = self.machine.time_ns() + 20_000 + self.random.below(2_000_000);
        match self.machine.is_idle_at(reached) {
            true => self.machine.platform().next_deadline_ns().unwrap_or(soon).max(soon),
            false => soon,
        }
    }

    fn follow(&mut self, step: &StepRef<'_>, delta: Option<&Delta>, outputs: &[devices::Output]) {
        let StepRef { time_ns, exit, digest, entries, events, registers } = *step;
        let (events, registers) = (events.to_vec(), registers.map(|registers| Box::new(*registers)));
        let step = Step { time_ns, exit, digest, entries, events, registers };
        let (position, mut said) = (self.machine.position(), Vec::new());
        replayed::step(&mut self.follower, position, &step, delta, &mut said, &StopSwitch::default())
            .unwrap_or_else(|error| panic!("at {position}: {error:#}"));
        assert_eq!(said, outputs, "at {position}");
    }

    fn compare(&mut self) {
        if !self.machine.is_at_rest().unwrap() {
            return;
        }
        let (ours, theirs) = (self.machine.digests().unwrap(), self.follower.digests().unwrap());
        assert_eq!(ours, theirs, "at {}", self.machine.position());
    }
}

/// Runs a guest to its end. How often it was stopped where it was.
fn check(kernel: &str, cmdline: &str, input: impl Fn(u64) -> Vec<Event>) -> Option<u64> {
    if !harness::require_kvm() {
        return None;
    }
    let mut pair = Pair::of(boot(kernel, cmdline));
    for count in 0.. {
        assert!(count < 100_000, "the guest does not end");
        pair.step(&input(count));
        if pair.machine.platform().powered_off().is_some() {
            break;
        }
    }
    assert_eq!(pair.machine.platform().powered_off(), Some(devices::Off::Status(0)));
    pair.compare();
    println!("{kernel}: {} forced of {}, {} times asked", pair.forced, pair.machine.position(), pair.asked);
    Some(pair.forced)
}

#[test]
fn of_a_guest_that_only_computes() {
    let forced = check("builtin:spins", "rounds=30", |_| Vec::new());
    assert!(forced.is_none_or(|forced| forced >= 30), "no interrupt comes otherwise: {forced:?}");
}

#[test]
fn of_a_guest_that_computes_between_exits() {
    let forced = check("builtin:compute", "rounds=4 passes=400", |_| Vec::new());
    assert!(forced.is_none_or(|forced| forced > 0), "never");
}

#[test]
fn of_a_guest_with_interrupts() {
    check("builtin:interrupts", "rounds=200", |_| Vec::new());
}

#[test]
fn of_a_guest_with_a_kernel_entry_clock() {
    check("builtin:entries", "rounds=60", |_| Vec::new());
}

#[test]
fn of_a_guest_that_changes_its_code() {
    check("builtin:smc", "rounds=3000", |_| Vec::new());
}

#[test]
fn of_a_guest_whose_clock_page_the_monitor_writes() {
    check("builtin:clocks", "rounds=60", |_| Vec::new());
}

#[test]
fn of_a_guest_that_is_typed_to() {
    let text = b"one\ntwo and some more\nbye\n";
    check("builtin:echo", "", |count| match text.get(count as usize / 2) {
        Some(byte) if count % 2 == 0 => vec![Event::ConsoleInput(vec![*byte])],
        _ => Vec::new(),
    });
}

/// A reset writes all of RAM, on either side.
#[test]
fn of_a_guest_that_is_reset() {
    check("builtin:resets", "rounds=3", |_| Vec::new());
}

fn digests_of(machine: &Machine, key: u64) -> Theirs {
    let mut theirs = Theirs { key, pages: Vec::new() };
    let Ok(()) = machine.memory().encode_digests(key, 0, &mut |body| -> Result<(), Infallible> {
        assert!(theirs.add(PageDigests::decode(&body).unwrap(), machine.memory().page_count()));
        Ok(())
    });
    theirs
}

/// The guest may have written it between the position and the comparison.
#[test]
fn what_was_compared_when_the_guest_had_come_to_a_position_counts_for_nothing() {
    if !harness::require_kvm() {
        return;
    }
    let machine = boot("builtin:spins", "");
    let mut deltas = Deltas::default();
    deltas.begin(&machine.source()).unwrap();
    let mut transfer = deltas.lend().unwrap();
    deltas.come_to_position(1).unwrap();
    transfer.settle(&digests_of(&machine, 7), &|| false).unwrap();
    deltas.take_back(transfer);
    assert!(!deltas.lend().unwrap().rest().unwrap().is_empty());
}

#[test]
fn what_is_the_same_and_not_written_since_is_not_sent() {
    if !harness::require_kvm() {
        return;
    }
    let machine = boot("builtin:spins", "");
    let mut transfer = machine.source().begin_unknown().unwrap();
    transfer.settle(&digests_of(&machine, 7), &|| false).unwrap();
    machine.memory().guest().write_obj(1u8, GuestAddress(0x30_0000)).unwrap();
    assert_eq!(pages_of(&transfer.rest().unwrap()), [0x30_0000]);
}

/// Whoever executes the same has written them too.
#[test]
fn pages_that_were_zeroes_at_the_seed_and_are_again_are_sent() {
    if !harness::require_kvm() {
        return;
    }
    let machine = boot("builtin:spins", "");
    let mut transfer = machine.source().begin(Theirs::default()).unwrap();
    transfer.rest().unwrap();
    let mut account = transfer.into_account();
    for byte in [1u8, 0] {
        machine.memory().guest().write_obj(byte, GuestAddress(0x30_0000)).unwrap();
    }
    assert_eq!(pages_of(&account.rest().unwrap()), [0x30_0000]);
}

fn pages_of(bodies: &[Vec<u8>]) -> Vec<u64> {
    let pages = bodies.iter().map(|body| decode_pages(body).unwrap());
    pages.flat_map(|pages| pages.iter().map(|(gpa, _)| gpa).collect::<Vec<_>>()).collect()
}
