//! `ftvmm demo`, as a user runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use ftvmm::demo::{process::Process, wait};
use ftvmm_tests::{harness, stage};

/// The demo makes a network of its own, so this needs none. One that fails leaves its logs in `directory`.
fn demo(directory: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(harness::program()?).arg("demo").args(arguments).env("TMPDIR", directory).output()?)
}

#[test]
fn the_demo_passes_and_prints_its_verdict_last() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let _alone = stage::alone();
    let output = demo(&std::env::temp_dir(), &["--json", "--seconds", "6"])?;
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{told}");
    let verdict: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    let number = |key: &str| verdict[key].as_f64().unwrap_or_else(|| panic!("no {key}: {verdict}"));
    assert!(number("acknowledged") > 0.0);
    assert_eq!((number("lost"), number("repeated")), (0.0, 0.0));
    assert!(number("longest_gap_ms") > 0.0 && number("log_bytes_per_s") > 0.0);
    assert_eq!(number("connections_survived"), number("connections"));
    assert_eq!(verdict["takeovers"].as_array().map(Vec::len), Some(2), "{verdict}");
    assert_eq!(verdict["verdict"], "passed");
    assert!(told.contains("SIGKILL"), "the story goes to standard error: {told}");
    assert!(!told.contains('\x1b'), "no colours where nobody sees them");
    Ok(())
}

#[test]
fn without_a_secondary_the_demo_fails_soon_and_says_why() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let _alone = stage::alone();
    let begun = Instant::now();
    let directory = tempfile::tempdir()?;
    let output = demo(directory.path(), &["--without-secondary"])?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("never protected") && told.contains("nothing listens"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    Ok(())
}

#[test]
fn a_demo_that_is_killed_leaves_no_processes() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let _alone = stage::alone();
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(harness::program()?);
    command.arg("demo").env("TMPDIR", directory.path());
    let mut demo = Process::start(command, "demo", directory.path(), None)?;
    let id = demo.id();
    let children = wait::until("the demo to start its pair", Duration::from_secs(10), || {
        demo.expect_alive()?;
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let children: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        Ok((children.len() == 2 && children.iter().all(|child| is_ftvmm(child))).then_some(children))
    })?;
    demo.kill()?;
    wait::until("the pair to end", Duration::from_secs(10), || {
        Ok((!children.iter().any(|child| is_ftvmm(child))).then_some(()))
    })
}

/// Whether this process is the program and not yet dead. A process that became a zombie has no command line.
fn is_ftvmm(id: &str) -> bool {
    fs::read_to_string(Path::new("/proc").join(id).join("cmdline"))
        .is_ok_and(|line| line.contains("--arbiter"))
}
