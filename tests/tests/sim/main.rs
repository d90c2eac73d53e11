//! A seeded simulation of the protocol cores: three hosts, one VM, an arbiter, and everything that can go wrong.
//!
//! Controller, follower, gates, lease, fence and the log's framing are the production code; the network, the clocks, the
//! guest, the shared disk and the operator are models, and so are the threads, which carry and decide nothing. `FTVMM_SIM_SEEDS=n` sets how many seeds run, `FTVMM_SIM_SEED=s` runs
//! exactly one and tells what happens in it.

mod arbiter;
mod commands;
mod failure;
mod faults;
mod guest;
mod host;
mod input;
mod lies;
mod network;
mod oracle;
mod primary_io;
mod process;
mod random;
mod secondary_io;
mod shared;
mod stats;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use failure::Failure;
use faults::Profile;
use protocol::sabotage::{self, Check};
use stats::Stats;
use world::World;

/// Seeds run when nothing else is asked for; a debug build is some ten times slower.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 4000 };
/// Seeds within which a disabled check must be noticed.
const MUTATION_SEEDS: u64 = 1500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is not a number")))
}

fn run(seed: u64, profile: fn(u64) -> Profile, narrate: bool) -> Result<Stats, Failure> {
    World::new(seed, profile(seed), narrate).run()
}

/// Runs seeds on two threads and reports the first failure with how to see it again.
fn run_all(what: &str, profile: fn(u64) -> Profile) -> Stats {
    if let Some(seed) = number("FTVMM_SIM_SEED") {
        return run(seed, profile, true).unwrap_or_else(|failure| panic!("{what}, seed {seed}: {failure}"));
    }
    let seeds = number("FTVMM_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let worker = || {
        let mut total = Stats::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return total;
            }
            match run(seed, profile, false) {
                Ok(stats) => total.add(&stats),
                Err(failure) => panic!("{what}: {failure}\nsee it again: FTVMM_SIM_SEED={seed}"),
            }
        }
    };
    let total = thread::scope(|scope| {
        let other = scope.spawn(worker);
        let mut total = worker();
        total.add(&other.join().expect("the other half of the seeds"));
        total
    });
    println!("{what}: {seeds} seeds, {total}");
    total
}

#[test]
fn safety_and_liveness_in_chaos() {
    let total = run_all("chaos", Profile::chaos);
    if number("FTVMM_SIM_SEED").is_none() && total.seeds >= 100 {
        let rare = [
            total.takeovers,
            total.detaches,
            total.halts,
            total.handovers,
            total.writes,
            total.lost_claims,
            total.divergences,
            total.stops,
            total.vms_lost,
        ];
        assert!(rare.iter().all(|count| *count > 0), "the chaos is too tame: {total}");
    }
}

#[test]
fn one_fault_at_a_time_never_loses_the_vm() {
    run_all("single faults", Profile::single_faults);
}

#[test]
fn a_host_that_lies_harms_nobody_else() {
    let total = run_all("lies", Profile::lies);
    if number("FTVMM_SIM_SEED").is_none() && total.seeds >= 100 {
        assert!(total.lies > 0 && total.takeovers > 0 && total.divergences > 0, "{total}");
    }
}

/// Disables one check on this thread and looks for a seed that notices.
fn must_be_noticed(check: Check) {
    let _guard = sabotage::disable(check);
    for seed in 0..MUTATION_SEEDS {
        let runs = [("chaos", run(seed, Profile::chaos, false)), ("lies", run(seed, Profile::lies, false))];
        for (what, outcome) in runs {
            match outcome {
                // The cores may accuse each other or get stuck as well, but it is the oracle that must notice.
                Err(failure) if failure.is_safety() => {
                    return println!("without {}: {what}, seed {seed}: {failure}", check.name());
                }
                _ => {}
            }
        }
    }
    panic!("{MUTATION_SEEDS} seeds do not notice that {} is disabled", check.name());
}

macro_rules! mutations {
    ($($name:ident: $check:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                must_be_noticed(Check::$check);
            }
        )*

        /// A new switch needs a mutation here; the digest is not the cores' business but the replayer's.
        #[test]
        fn every_check_has_a_mutation() {
            let tested = [$(Check::$check),*];
            let untested = |check: &Check| !tested.contains(check) && *check != Check::Digest;
            assert_eq!(Check::ALL.into_iter().filter(untested).collect::<Vec<_>>(), []);
        }
    };
}

mutations! {
    notices_a_gate_that_is_open: Gate,
    notices_a_lost_claim_that_counts_as_won: Arbiter,
    notices_a_missing_answer_that_counts_as_won: Unavailable,
    notices_release_without_acknowledgement: Ack,
    notices_acknowledgements_of_what_was_never_sent: AckBound,
    notices_a_primary_that_forgets_a_seeded_peer: Armed,
    notices_an_incomplete_seed_going_live: Seed,
    notices_acknowledgement_before_receipt: Receipt,
    notices_a_gap_in_the_log: Gap,
    notices_a_damaged_log_going_live: Corrupt,
    notices_a_diverged_secondary_going_live: Divergence,
    notices_a_peer_that_does_not_move: Stall,
    notices_a_peer_that_seems_to_move: Standstill,
    notices_outputs_let_out_that_nobody_holds: Released,
    notices_a_primary_that_would_write_for_ever: Lease,
    notices_going_live_before_the_log_is_executed: Drain,
}

#[test]
fn a_seed_says_the_same_every_time() {
    for seed in 0..20 {
        let once = run(seed, Profile::chaos, false).unwrap_or_else(|failure| panic!("{failure}"));
        let again = run(seed, Profile::chaos, false).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(once, again, "seed {seed}");
    }
}
