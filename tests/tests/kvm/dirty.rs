//! A copy of RAM that is given nothing but what a transfer sends stays equal to it.

use std::convert::Infallible;

use ftlog::{Event, PageDigests, decode_pages};
use ftvmm::demo::random::Random;
use ftvmm_tests::{elf::Guest, harness};
use machine::{
    Machine,
    memory::Memory,
    transfer::{Theirs, Transfer},
};

use super::drive::{boot, boot_with, run, step};

/// RAM elsewhere, and how it is kept equal.
struct Copy {
    transfer: Transfer,
    memory: Memory,
    random: Random,
    /// Pages that have come.
    pages: usize,
}

impl Copy {
    /// With memory of an earlier session, which is right in some pages, and not in others.
    fn begin_again(machine: &Machine) -> Self {
        let mut random = Random::new(harness::seed());
        let memory = Memory::new(machine.memory().mib()).unwrap();
        let mut page = [0; 4096];
        for gpa in memory.ranges().flat_map(|range| range.step_by(4096)) {
            machine.memory().read_page(gpa, &mut page);
            match random.below(4) {
                0 => page.fill(0),
                1 => page[random.below(4096) as usize] ^= 1,
                _ => {}
            }
            assert!(memory.write_page(gpa, &page));
        }
        let mut theirs = Theirs { key: 7, pages: Vec::new() };
        let Ok(()) = memory.encode_digests(theirs.key, 0, &mut |body| -> Result<(), Infallible> {
            theirs.pages.extend(PageDigests::decode(&body).unwrap().pages);
            Ok(())
        });
        Self { transfer: machine.source().begin(theirs).unwrap(), memory, random, pages: 0 }
    }

    fn begin(machine: &Machine) -> Self {
        let (transfer, memory) = (
            machine.source().begin(Theirs::default()).unwrap(),
            Memory::new(machine.memory().mib()).unwrap(),
        );
        Self { transfer, memory, random: Random::new(harness::seed()), pages: 0 }
    }

    /// Begins a round, and comes this far with it.
    fn follow(&mut self) {
        self.transfer.look().unwrap();
        for _ in 0..self.random.below(4) {
            self.hear();
        }
    }

    /// A round to its end, with the guest out of its memory.
    fn catch_up(&mut self, machine: &Machine) {
        self.transfer.look().unwrap();
        while self.hear() {}
        assert_eq!(self.memory.digest(), machine.memory().digest(), "at {}", machine.position());
    }

    /// False when the round is over.
    fn hear(&mut self) -> bool {
        let Some(piece) = self.transfer.next_piece().unwrap() else { return false };
        let body = piece.body.unwrap_or_default();
        let pages = if body.is_empty() { return true } else { decode_pages(&body).unwrap() };
        assert_eq!(pages.iter().count() as u64, piece.pages);
        for (gpa, page) in pages.iter() {
            assert!(self.memory.write_page(gpa, page));
            self.pages += 1;
        }
        true
    }
}

fn check(kernel: &str, cmdline: &str, stride: usize, input: impl Fn(usize) -> Vec<Event>) {
    if !harness::require_kvm() {
        return;
    }
    let mut machine = boot(kernel, cmdline);
    let mut copy = Copy::begin(&machine);
    for count in 0.. {
        assert!(count < 100_000, "the guest does not end");
        step(&mut machine, &input(count)).unwrap();
        if machine.platform().powered_off().is_some() {
            break;
        }
        if count % stride == 0 {
            copy.catch_up(&machine);
        } else {
            copy.follow();
        }
    }
    copy.catch_up(&machine);
    println!("{kernel}: {} pages", copy.pages);
}

#[test]
fn of_a_guest_with_interrupts() {
    check("builtin:interrupts", "rounds=8", 5, |_| Vec::new());
}

#[test]
fn of_a_guest_with_many_exits() {
    check("builtin:exits", "rounds=50", 3, |_| Vec::new());
}

#[test]
fn of_a_guest_that_changes_its_code() {
    check("builtin:smc", "rounds=200", 7, |_| Vec::new());
}

#[test]
fn of_a_guest_that_computes() {
    check("builtin:compute", "rounds=2", 16, |_| Vec::new());
}

#[test]
fn of_a_guest_whose_copy_has_something_already() {
    if !harness::require_kvm() {
        return;
    }
    let mut machine = boot("builtin:compute", "rounds=6");
    let pages = machine.memory().page_count() as usize;
    let mut copy = Copy::begin_again(&machine);
    copy.catch_up(&machine);
    assert!(copy.pages > 0 && copy.pages < pages * 3 / 4, "{} of {pages} pages", copy.pages);
    for _ in 0..5 {
        step(&mut machine, &[]).unwrap();
        copy.follow();
        step(&mut machine, &[]).unwrap();
        copy.catch_up(&machine);
    }
}

/// The clock page is written by the monitor at every exit.
#[test]
fn of_a_guest_whose_clock_page_the_monitor_writes() {
    check("builtin:clocks", "rounds=8", 4, |_| Vec::new());
}

/// RAM is given back to the host then, and becomes zeroes.
#[test]
fn of_a_guest_that_is_reset() {
    check("builtin:resets", "rounds=2", 20, |_| Vec::new());
}

/// Each of two would take what the other has to see.
#[test]
fn there_is_one_at_a_time() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let guest = Guest::with_fault_handler(&[]);
    let mut machine = boot_with(64, &guest.kernel(), "");
    let begin = |machine: &Machine| machine.source().begin(Theirs::default());
    let first = begin(&machine)?;
    assert!(begin(&machine).is_err());
    drop(first);
    let mut second = begin(&machine)?;
    assert_eq!(second.look()?, machine.memory().page_count());
    assert_eq!(run(&mut machine)?, 0);
    Ok(())
}
