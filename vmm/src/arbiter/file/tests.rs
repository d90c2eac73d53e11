use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Barrier,
    thread,
};

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

fn holder() -> Holder {
    Holder::this_process().unwrap()
}

/// A claim of `db`, after what `after` holds.
fn claim(arbiter: &FileArbiter, generation: u64, after: Option<&Holder>, holder: &Holder) -> ClaimOutcome {
    claim_of(arbiter, "db", generation, after, holder)
}

fn claim_of(
    arbiter: &FileArbiter,
    name: &str,
    generation: u64,
    after: Option<&Holder>,
    holder: &Holder,
) -> ClaimOutcome {
    let after = after.map(ToString::to_string);
    arbiter.claim(&Claim {
        name,
        vm: VM,
        generation: Generation(generation),
        after: after.as_deref(),
        holder,
        yields: false,
    })
}

fn lost_to(holder: &Holder) -> ClaimOutcome {
    ClaimOutcome::Lost { holder: holder.to_string() }
}

fn assert_unavailable(outcome: &ClaimOutcome, why: &str) {
    assert!(matches!(outcome, ClaimOutcome::Unavailable { reason } if reason.contains(why)), "{outcome}");
}

/// What the directory holds beside its identity, litter included.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    names.retain(|name| name != "ftvmm-arbiter");
    names.sort();
    names
}

#[test]
fn the_first_claim_wins() {
    let (directory, arbiter) = arbiter();
    let (a, b) = (holder(), holder());
    assert_eq!(arbiter.latest("db").unwrap(), None);
    assert_eq!(claim(&arbiter, 1, None, &a), ClaimOutcome::Won);
    assert_eq!(claim(&arbiter, 1, None, &b), lost_to(&a));
    assert_eq!(claim(&arbiter, 1, None, &a), ClaimOutcome::Won, "again");
    assert_eq!(claim(&arbiter, 2, Some(&a), &b), ClaimOutcome::Won, "the next");
    assert_eq!(claim(&arbiter, 2, Some(&a), &a), lost_to(&b));
    assert_eq!(claim_of(&arbiter, "web", 1, None, &b), ClaimOutcome::Won, "another VM");
    let latest = arbiter.latest("db").unwrap().unwrap();
    assert_eq!((latest.entry.generation, latest.entry.vm, &latest.entry.holder), (Generation(2), VM, &b));
    assert_eq!(names(directory.path()), ["db.1", "db.2", "web.1"], "no litter");
}

#[test]
fn of_many_threads_one_wins() {
    for round in 0..50 {
        let (directory, first) = arbiter();
        let before = holder();
        assert_eq!(claim(&first, 1, None, &before), ClaimOutcome::Won);
        let start = Barrier::new(4);
        let race = || {
            let (arbiter, ours) = (FileArbiter::open(&spec(directory.path())).unwrap(), holder());
            start.wait();
            let outcome = claim(&arbiter, 2, Some(&before), &ours);
            (ours, outcome)
        };
        let outcomes = thread::scope(|scope| {
            let claims = (0..4).map(|_| scope.spawn(race)).collect::<Vec<_>>();
            claims.into_iter().map(|claim| claim.join().unwrap()).collect::<Vec<_>>()
        });
        let winners =
            outcomes.iter().filter(|(_, outcome)| *outcome == ClaimOutcome::Won).collect::<Vec<_>>();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        let lost = lost_to(&winners[0].0);
        assert!(outcomes.iter().all(|(_, outcome)| *outcome == ClaimOutcome::Won || *outcome == lost));
        assert_eq!(names(directory.path()), ["db.1", "db.2"], "round {round}: no litter");
    }
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
    let spawn = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", CLAIMANT_TEST, "--nocapture"]);
        command.env(CLAIMANT, format!("{ROUNDS} {}", directory.path().display()));
        Claimant(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    };
    let mut claimants = (0..3).map(spawn).collect::<Vec<_>>();
    // They begin together, when their input closes.
    claimants.iter_mut().for_each(|claimant| drop(claimant.0.stdin.take()));
    let wins = claimants.iter_mut().map(|claimant| {
        let text = io::read_to_string(claimant.0.stdout.take().unwrap()).unwrap();
        assert!(claimant.0.wait().unwrap().success(), "{text}");
        text.lines().filter(|line| line.ends_with(": won")).map(str::to_owned).collect::<Vec<_>>()
    });
    let mut wins = wins.flatten().collect::<Vec<_>>();
    let count = wins.len();
    wins.sort();
    wins.dedup();
    assert_eq!(wins.len(), count, "a generation was won twice");
    assert!(count > 0);
    let latest = arbiter.latest("db").unwrap().unwrap();
    assert_eq!(latest.entry.generation, Generation(ROUNDS as u64));
    let kept = names(directory.path());
    assert!(kept.len() <= KEPT as usize && kept.iter().all(|name| name.starts_with("db.")), "{kept:?}");
}

/// Does nothing unless [`of_many_processes_one_wins_each_generation`] started this process.
#[test]
fn what_a_claimant_process_does() {
    let Ok(orders) = std::env::var(CLAIMANT) else { return };
    let (rounds, directory) = orders.split_once(' ').unwrap();
    let (arbiter, ours) = (FileArbiter::open(&format!("file:{directory}")).unwrap(), holder());
    io::read_to_string(io::stdin()).unwrap();
    loop {
        let latest = arbiter.latest("db").unwrap();
        let (generation, after) = match &latest {
            Some(latest) => (latest.entry.generation.0 + 1, Some(&latest.entry.holder)),
            None => (1, None),
        };
        if generation > rounds.parse().unwrap() {
            return;
        }
        // On a line of its own: the test harness writes to the same output.
        println!("\ngeneration {generation}: {}", claim(&arbiter, generation, after, &ours));
    }
}

#[test]
fn a_generation_comes_only_after_the_one_before_with_its_known_holder() {
    let (_directory, arbiter) = arbiter();
    let (a, b) = (holder(), holder());
    assert_unavailable(&claim(&arbiter, 2, Some(&a), &b), "there is no generation 1");
    assert_eq!(claim(&arbiter, 1, None, &a), ClaimOutcome::Won);
    assert_unavailable(&claim(&arbiter, 2, Some(&b), &b), "held by");
    assert_unavailable(&claim(&arbiter, 2, None, &b), "there is a generation 1");
    assert_unavailable(&claim(&arbiter, 3, Some(&a), &b), "there is no generation 2");
    assert_eq!(arbiter.latest("db").unwrap().unwrap().entry.generation, Generation(1));
}

#[test]
fn who_slept_through_many_generations_has_lost() {
    let (directory, arbiter) = arbiter();
    let (sleeper, survivor) = (holder(), holder());
    assert_eq!(claim(&arbiter, 1, None, &sleeper), ClaimOutcome::Won);
    assert_eq!(claim(&arbiter, 2, Some(&sleeper), &survivor), ClaimOutcome::Won);
    for generation in 3..100 {
        assert_eq!(claim(&arbiter, generation, Some(&survivor), &survivor), ClaimOutcome::Won);
        for slept in [1, 2, generation - 1, generation] {
            assert_eq!(claim(&arbiter, slept, Some(&sleeper), &sleeper), lost_to(&survivor), "{slept}");
        }
    }
    assert_eq!(names(directory.path()).len() as u64, KEPT, "it does not grow for ever");
}

/// The records between a claimant's look and its entry may be cleared away; what it enters then does not count.
#[test]
fn a_claim_that_slept_between_looking_and_entering_is_taken_back() {
    let (directory, arbiter) = arbiter();
    let (sleeper, survivor) = (holder(), holder());
    assert_eq!(claim(&arbiter, 1, None, &survivor), ClaimOutcome::Won);
    for generation in 2..=KEPT + 3 {
        assert_eq!(claim(&arbiter, generation, Some(&survivor), &survivor), ClaimOutcome::Won);
    }
    let late =
        Claim { name: "db", vm: VM, generation: Generation(2), after: None, holder: &sleeper, yields: false };
    let place = arbiter.directory.look().unwrap();
    assert!(!names(directory.path()).contains(&"db.2".to_owned()));
    place.create("db.2", &text_of(&late)).unwrap();
    assert_eq!(settle(&place, &late).unwrap(), ClaimOutcome::Lost { holder: survivor.to_string() });
    assert!(!names(directory.path()).contains(&"db.2".to_owned()));
}

#[test]
fn an_end_is_known_and_goes_with_its_generation() {
    let (directory, arbiter) = arbiter();
    let a = holder();
    assert_eq!(claim(&arbiter, 1, None, &a), ClaimOutcome::Won);
    let ended = Ended::now("the guest switched itself off");
    arbiter.end("db", Generation(1), &ended).unwrap();
    assert_eq!(arbiter.latest("db").unwrap().unwrap().ended, Some(ended));
    assert_eq!(claim(&arbiter, 2, Some(&a), &a), ClaimOutcome::Won);
    assert_eq!(arbiter.latest("db").unwrap().unwrap().ended, None);
    for generation in 3..20 {
        assert_eq!(claim(&arbiter, generation, Some(&a), &a), ClaimOutcome::Won);
    }
    assert!(!names(directory.path()).contains(&"db.1.ended".to_owned()));
}

#[test]
fn what_is_listed_can_be_forgotten_and_then_answers_nobody() {
    let (directory, arbiter) = arbiter();
    let a = holder();
    for name in ["db", "db.2", "web"] {
        assert_eq!(claim_of(&arbiter, name, 1, None, &a), ClaimOutcome::Won);
    }
    assert_eq!(claim(&arbiter, 2, Some(&a), &a), ClaimOutcome::Won);
    let listed = arbiter.list().unwrap();
    let listed: Vec<(&str, u64)> = listed
        .iter()
        .map(|(name, latest)| (name.as_str(), latest.as_ref().unwrap().entry.generation.0))
        .collect();
    assert_eq!(listed, [("db", 2), ("db.2", 1), ("web", 1)]);
    arbiter.forget("db").unwrap();
    assert_eq!(names(directory.path()), ["db.2.1", "web.1"]);
    assert_unavailable(&claim(&arbiter, 3, Some(&a), &a), "there is no generation 2");
    // Another VM of that name is no answer for the old one either.
    let b = holder();
    for generation in 1..4 {
        let after = (generation > 1).then_some(&b);
        assert_eq!(claim(&arbiter, generation, after, &b), ClaimOutcome::Won);
        assert!(claim(&arbiter, 3, Some(&a), &a) != ClaimOutcome::Won);
    }
}

#[test]
fn a_claim_cut_short_is_no_claim() {
    let (directory, arbiter) = arbiter();
    let litter = directory.path().join(format!(".claim-{}-0", std::process::id()));
    fs::write(&litter, "half a na").unwrap();
    assert_eq!(claim(&arbiter, 1, None, &holder()), ClaimOutcome::Won);
    assert!(litter.exists(), "it may be in use");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 3600);
    fs::File::options().write(true).open(&litter).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(claim_of(&arbiter, "web", 1, None, &holder()), ClaimOutcome::Won);
    assert!(!litter.exists());
}

#[test]
fn a_damaged_claim_decides_nothing() {
    let (directory, arbiter) = arbiter();
    let good = text_of(&Claim {
        name: "db",
        vm: VM,
        generation: Generation(1),
        after: None,
        holder: &holder(),
        yields: false,
    });
    let later = good.replace("\"generation\":1", "\"generation\":2");
    for text in
        ["", "\n", "{}\n", "no newline", "two\nlines\n", &good[..good.len() - 1], &later, &"x".repeat(10_000)]
    {
        fs::write(directory.path().join("db.1"), text).unwrap();
        assert_unavailable(&claim(&arbiter, 1, None, &holder()), "damaged");
        assert!(matches!(arbiter.latest("db"), Err(ArbiterError::Damaged { .. })), "{text:?}");
        assert!(matches!(&arbiter.list().unwrap()[..], [(name, Err(_))] if name == "db"));
    }
}

#[test]
fn a_path_that_leads_elsewhere_gives_no_answer_until_it_leads_back() {
    let (directory, _) = arbiter();
    let (path, away) = (directory.path().join("arbiter"), directory.path().join("away"));
    fs::create_dir(&path).unwrap();
    let arbiter = FileArbiter::open(&spec(&path)).unwrap();
    let a = holder();
    assert_eq!(claim(&arbiter, 1, None, &a), ClaimOutcome::Won);
    fs::rename(&path, &away).unwrap();
    assert_unavailable(&claim(&arbiter, 2, Some(&a), &a), "No such file");
    // What lies below a mount that is gone: an empty directory, or even one that looks the same.
    fs::create_dir(&path).unwrap();
    assert_unavailable(&claim(&arbiter, 2, Some(&a), &a), "still mounted");
    for name in ["ftvmm-arbiter", "db.1"] {
        fs::copy(away.join(name), path.join(name)).unwrap();
    }
    assert_unavailable(&claim(&arbiter, 2, Some(&a), &a), "still mounted");
    assert!(arbiter.latest("db").is_err() && arbiter.list().is_err() && arbiter.forget("db").is_err());
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert_eq!(claim(&arbiter, 2, Some(&a), &a), ClaimOutcome::Won);
    fs::remove_file(path.join("ftvmm-arbiter")).unwrap();
    assert_unavailable(&claim(&arbiter, 3, Some(&a), &a), "still mounted");
}

#[test]
fn all_who_open_a_directory_know_it_by_the_same_identity() {
    for _ in 0..20 {
        let directory = TempDir::new().unwrap();
        let open = || FileArbiter::open(&spec(directory.path())).unwrap().identity().to_owned();
        let identities = thread::scope(|scope| {
            let opened = (0..4).map(|_| scope.spawn(open)).collect::<Vec<_>>();
            opened.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(identities.iter().all(|one| *one == identities[0] && one.len() == 32), "{identities:?}");
    }
    assert_ne!(arbiter().1.identity(), arbiter().1.identity());
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
