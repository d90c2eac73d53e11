//! Which pages were written: a copy of RAM that is given nothing but what the tracker takes stays equal.

use ftlog::Event;
use ftvmm::demo::random::Random;
use ftvmm_tests::{elf::Guest, harness};
use machine::{Machine, Tracker, memory::Memory};

use super::drive::{boot, boot_with, run, step};

/// RAM elsewhere, and how it is kept equal.
struct Copy {
    tracker: Tracker,
    memory: Memory,
    random: Random,
    /// Pages taken so far.
    taken: usize,
}

impl Copy {
    fn begin(machine: &Machine) -> Self {
        let memory = Memory::new(machine.memory().mib()).unwrap();
        Self { tracker: machine.track().unwrap(), memory, random: Random::new(harness::seed()), taken: 0 }
    }

    /// Takes some of what was written, as a round does that the guest runs beside.
    fn follow(&mut self, machine: &Machine) {
        self.tracker.look().unwrap();
        for _ in 0..self.random.below(4) {
            self.take(machine, 2);
        }
    }

    /// Takes all of it: the guest is out of its pages.
    fn catch_up(&mut self, machine: &Machine) {
        self.tracker.look().unwrap();
        while !self.tracker.pending().is_empty() {
            self.take(machine, 64);
        }
        assert_eq!(self.memory.digest(), machine.memory().digest(), "at {}", machine.position());
    }

    fn take(&mut self, machine: &Machine, most: usize) {
        let pages = self.tracker.take(most).unwrap();
        if self.random.below(4) == 0 {
            self.tracker.give_back(&pages);
            return;
        }
        self.taken += pages.len();
        let mut page = [0; 4096];
        for gpa in pages {
            machine.memory().read_page(gpa, &mut page);
            assert!(self.memory.write_page(gpa, &page));
        }
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
            copy.follow(&machine);
        }
    }
    copy.catch_up(&machine);
    println!("{kernel}: {} pages", copy.taken);
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
    let first = machine.track()?;
    assert!(machine.track().is_err());
    drop(first);
    let mut second = machine.track()?;
    assert_eq!(second.look()?, machine.memory().page_count());
    assert_eq!(run(&mut machine)?, 0);
    Ok(())
}
