//! Which crate may depend on which: each knows those below it only, and the protocol nothing but the log's words.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use serde_json::Value;

/// Each crate with all of ours that it may depend on, for whatever purpose.
const LAYERS: [(&str, &[&str]); 8] = [
    ("ftlog", &[]),
    ("devices", &[]),
    ("protocol", &["ftlog"]),
    ("machine", &["devices", "ftlog"]),
    ("replay", &["devices", "ftlog", "machine", "protocol"]),
    ("ftvmm", &["devices", "ftlog", "machine", "protocol", "replay"]),
    ("ftvmm-tests", &["devices", "ftlog", "ftvmm", "machine", "micro", "protocol", "replay"]),
    ("ftvmm-benches", &["devices", "ftlog", "ftvmm", "ftvmm-tests", "machine", "protocol", "replay"]),
];

/// What cargo says of the workspace's own crates.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata["packages"].as_array().expect("a workspace has packages").clone()
}

/// The dependencies that are crates of this repository: those named by a path.
fn ours(package: &Value) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().expect("a list, be it empty");
    dependencies
        .iter()
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| dependency["name"].as_str().expect("it has a name"))
        .collect()
}

#[test]
fn no_crate_depends_on_one_above_it() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "every crate of the workspace has a layer");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = LAYERS.iter().find(|(known, _)| *known == name).unwrap();
        let forbidden: Vec<&str> =
            ours(package).into_iter().filter(|other| !allowed.contains(other)).collect();
        assert!(forbidden.is_empty(), "{name} depends on {forbidden:?}, it may on {allowed:?}");
    }
}

/// What ships of the protocol is built without `std`, so it can do no I/O; here is to be seen that this stays so, and
/// that nothing it stands on brings it in again.
#[test]
fn the_protocol_can_do_no_io() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol");
    let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    assert!(lib.contains(r#"#![cfg_attr(not(any(test, feature = "sabotage")), no_std)]"#));
    let packages = packages();
    let protocol = packages.iter().find(|package| package["name"] == "protocol").unwrap();
    let used: BTreeSet<&str> = protocol["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect();
    assert_eq!(used, BTreeSet::from(["ftlog", "serde", "thiserror"]));
}

/// The first of these tests would pass if it saw no dependencies at all.
#[test]
fn dependencies_are_seen() {
    let packages = packages();
    let monitor = packages.iter().find(|package| package["name"] == "ftvmm").unwrap();
    assert_eq!(ours(monitor), BTreeSet::from(["devices", "ftlog", "machine", "protocol", "replay"]));
}
