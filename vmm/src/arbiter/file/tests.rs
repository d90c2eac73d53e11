use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;

use tempfile::TempDir;

use super::*;

const VM: VmId = VmId([7; 16]);

fn arbiter() -> (TempDir, FileArbiter) {
    let directory = TempDir::new().unwrap();
    let arbiter = FileArbiter::open(&spec(directory.path())).unwrap();
    (directory, arbiter)
}

fn spec(directory: &Path) -> String {
    format!("file:{}", directory.display())
}

/// What the directory holds, litter included.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn the_first_claim_wins_for_ever() {
    let (directory, arbiter) = arbiter();
    assert_eq!(arbiter.holder(VM, Generation(2)).unwrap(), None);
    assert_eq!(arbiter.claim(VM, Generation(2), "a"), ClaimOutcome::Won);
    assert_eq!(arbiter.claim(VM, Generation(2), "b"), ClaimOutcome::Lost { holder: "a".into() });
    assert_eq!(arbiter.claim(VM, Generation(2), "a"), ClaimOutcome::Won, "again");
    assert_eq!(arbiter.claim(VM, Generation(3), "b"), ClaimOutcome::Won, "another generation");
    assert_eq!(arbiter.claim(VmId([8; 16]), Generation(2), "b"), ClaimOutcome::Won, "another VM");
    assert_eq!(arbiter.holder(VM, Generation(2)).unwrap(), Some("a".into()));
    assert_eq!(names(directory.path()).len(), 3, "no litter");
}

#[test]
fn of_many_threads_one_wins() {
    for round in 0..50 {
        let (directory, _) = arbiter();
        let start = Barrier::new(4);
        let claim = |name: String| {
            let arbiter = FileArbiter::open(&spec(directory.path())).unwrap();
            start.wait();
            (name.clone(), arbiter.claim(VM, Generation(2), &name))
        };
        let outcomes = thread::scope(|scope| {
            let claims = (0..4).map(|n| scope.spawn(move || claim(format!("thread {n}"))));
            let claims = claims.collect::<Vec<_>>();
            claims.into_iter().map(|claim| claim.join().unwrap()).collect::<Vec<_>>()
        });
        assert_one_winner(&outcomes, &format!("round {round}"));
        assert_eq!(names(directory.path()).len(), 1, "round {round}: no litter");
    }
}

fn assert_one_winner(outcomes: &[(String, ClaimOutcome)], when: &str) {
    let winners = outcomes.iter().filter(|(_, outcome)| *outcome == ClaimOutcome::Won).collect::<Vec<_>>();
    assert_eq!(winners.len(), 1, "{when}: {outcomes:?}");
    let lost = ClaimOutcome::Lost { holder: winners[0].0.clone() };
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == ClaimOutcome::Won || *outcome == lost), "{when}");
}

/// A process of this test; killed and reaped when the test fails.
struct Claimant(Child);

impl Drop for Claimant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CLAIMANT: &str = "FTVMM_TEST_CLAIMANT";
const CLAIMANT_TEST: &str = "arbiter::file::tests::what_a_claimant_process_does";

#[test]
fn of_many_processes_one_wins_each_generation() {
    const ROUNDS: usize = 20;
    let (directory, arbiter) = arbiter();
    let spawn = |number: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", CLAIMANT_TEST, "--nocapture"]);
        command.env(CLAIMANT, format!("{number} {ROUNDS} {}", directory.path().display()));
        Claimant(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    };
    let mut claimants = (0..3).map(spawn).collect::<Vec<_>>();
    // They begin together, when their input closes.
    claimants.iter_mut().for_each(|claimant| drop(claimant.0.stdin.take()));
    let wins = claimants.iter_mut().map(|claimant| {
        let text = io::read_to_string(claimant.0.stdout.take().unwrap()).unwrap();
        assert!(claimant.0.wait().unwrap().success(), "{text}");
        text.lines().filter(|line| line.ends_with(": won")).count()
    });
    assert_eq!(wins.sum::<usize>(), ROUNDS);
    for generation in 0..ROUNDS as u64 {
        assert!(arbiter.holder(VM, Generation(generation)).unwrap().is_some());
    }
    assert_eq!(names(directory.path()).len(), ROUNDS, "no litter");
}

/// Does nothing unless [`of_many_processes_one_wins_each_generation`] started this process.
#[test]
fn what_a_claimant_process_does() {
    let Ok(orders) = std::env::var(CLAIMANT) else { return };
    let mut orders = orders.splitn(3, ' ');
    let mut order = || orders.next().unwrap();
    let (name, rounds, directory) = (order(), order().parse::<u64>().unwrap(), order());
    let arbiter = FileArbiter::open(&format!("file:{directory}")).unwrap();
    io::read_to_string(io::stdin()).unwrap();
    for generation in (0..rounds).map(Generation) {
        // On a line of its own: the test harness writes to the same output.
        println!("\ngeneration {generation}: {}", arbiter.claim(VM, generation, name));
    }
}

#[test]
fn a_claim_cut_short_is_no_claim() {
    let (directory, arbiter) = arbiter();
    let litter = directory.path().join(format!(".claim-{}-0", std::process::id()));
    fs::write(litter, "half a na").unwrap();
    assert_eq!(arbiter.claim(VM, Generation(1), "a"), ClaimOutcome::Won);
}

#[test]
fn a_damaged_claim_decides_nothing() {
    let (directory, arbiter) = arbiter();
    for text in ["", "\n", "no newline", "two\nlines\n", &"x".repeat(10_000)] {
        fs::write(directory.path().join(format!("{VM}.1")), text).unwrap();
        let outcome = arbiter.claim(VM, Generation(1), "a");
        assert!(matches!(outcome, ClaimOutcome::Unavailable { .. }), "{text:?}: {outcome}");
        assert!(matches!(arbiter.holder(VM, Generation(1)), Err(ArbiterError::Damaged { .. })));
    }
}

#[test]
fn a_directory_that_is_gone_is_unavailable_until_it_is_back() {
    let (directory, arbiter) = arbiter();
    let path = directory.path().to_owned();
    fs::remove_dir(&path).unwrap();
    let outcome = arbiter.claim(VM, Generation(1), "a");
    assert!(
        matches!(&outcome, ClaimOutcome::Unavailable { reason } if reason.contains("create")),
        "{outcome}"
    );
    fs::create_dir(&path).unwrap();
    assert_eq!(arbiter.claim(VM, Generation(1), "a"), ClaimOutcome::Won);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let (_directory, arbiter) = arbiter();
    for name in ["", "a\nb", &"x".repeat(MAX_HOLDER + 1)] {
        let outcome = arbiter.claim(VM, Generation(1), name);
        assert!(matches!(outcome, ClaimOutcome::Unavailable { .. }), "{name:?}: {outcome}");
    }
    let longest = "x".repeat(MAX_HOLDER);
    assert_eq!(arbiter.claim(VM, Generation(1), &longest), ClaimOutcome::Won);
    assert_eq!(arbiter.holder(VM, Generation(1)).unwrap(), Some(longest));
}

#[test]
fn what_is_no_directory_is_refused_at_once() {
    let (directory, _) = arbiter();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(FileArbiter::open("/tmp"), Err(ArbiterError::Spec { .. })));
    assert!(matches!(FileArbiter::open("file:"), Err(ArbiterError::Spec { .. })));
    assert!(matches!(FileArbiter::open(&spec(&file)), Err(ArbiterError::Directory { .. })));
    let error = FileArbiter::open("file:/nonexistent/arbiter").unwrap_err();
    assert!(error.to_string().starts_with("arbiter directory /nonexistent/arbiter: "), "{error}");
}
