//! Which crate may depend on which: each knows those below it only, and the protocol nothing but the log's words. And
//! within a crate, no files import each other.

#[path = "layers/imports.rs"]
mod imports;
#[path = "layers/words.rs"]
mod words;

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use serde_json::Value;

use imports::{Files, Module, circles};

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

/// Who imports whom in a circle.
fn told(circle: &BTreeSet<Module>, files: &Files) -> String {
    let (imports, mut told) = (files.imports(), String::new());
    let name = |module: &Module| if module.is_empty() { "the root".into() } else { module.join("/") };
    for module in circle {
        let imported: Vec<String> = imports[module].intersection(circle).map(name).collect();
        told += &format!("  {} imports {}\n", name(module), imported.join(", "));
    }
    told
}

#[test]
fn no_files_import_each_other() {
    let packages = packages();
    let mut found = String::new();
    for target in packages.iter().flat_map(|package| package["targets"].as_array().unwrap()) {
        let root = target["src_path"].as_str().unwrap();
        let files = Files::read(Path::new(root));
        for circle in circles(&files.imports()) {
            found += &format!("{root}:\n{}", told(&circle, &files));
        }
    }
    assert!(found.is_empty(), "files that import each other:\n{found}");
}

/// The circles of the files with these texts.
fn circles_of(texts: &[(&str, &str)]) -> Vec<String> {
    let files = Files::of(texts);
    circles(&files.imports()).iter().map(|circle| told(circle, &files)).collect()
}

#[test]
fn a_circle_is_found_however_its_files_name_each_other() {
    let one = "  one imports two\n  two imports one\n";
    for (in_one, in_two) in [
        ("use crate::two::Two;", "use super::one::One;"),
        ("use crate::{std, two::{self}}; type T = two::Two;", "use crate::{one::{A, One as B}};"),
        ("type T = crate::two::Two;", "fn f() { super::one::f() }"),
        ("use crate::Two;", "pub use super::one::One;"),
    ] {
        let root = "mod one; mod two; pub use two::Two;";
        assert_eq!(circles_of(&[("", root), ("one", in_one), ("two", in_two)]), [one], "{in_one} {in_two}");
    }
    let three = [
        ("", "mod a; mod b; mod c;"),
        ("a", "use crate::b::B;"),
        ("b", "use crate::c::C;"),
        ("c", "use crate::a::A;"),
    ];
    assert_eq!(circles_of(&three), ["  a imports b\n  b imports c\n  c imports a\n"]);
    let parent = [("", "mod a; pub use a::A; fn f() -> A { A }"), ("a", "use super::f; pub struct A;")];
    assert_eq!(circles_of(&parent), ["  the root imports a\n  a imports the root\n"]);
}

#[test]
fn declarations_reexports_and_tests_make_no_circle() {
    let passed_on = [("", "mod a; pub use a::A; const LEN: usize = 1;"), ("a", "use super::LEN;")];
    assert_eq!(circles_of(&passed_on), [""; 0]);
    let siblings =
        [("", "mod a; mod b; pub use a::A;"), ("a", "use std::a;"), ("b", "use super::A; use crate::a;")];
    assert_eq!(circles_of(&siblings), [""; 0]);
    let tests = "#[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] mod c;";
    assert_eq!(circles_of(&[("", "mod a; mod b;"), ("a", "use super::b::B;"), ("b", tests)]), [""; 0]);
}

#[test]
fn imports_of_a_crate_are_seen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../devices/src/lib.rs");
    let module = |path: &str| path.split('/').map(String::from).collect::<Module>();
    let imports = Files::read(&root).imports();
    assert!(imports[&module("clock")].contains(&module("state/error")), "{imports:?}");
    assert!(imports[&module("state")].contains(&module("virtio/slots")), "{imports:?}");
}
