//! Builds the guests of `guest-images/micro` and lists them for embedding.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The guests that go into the program: the names after `builtin:`.
const GUESTS: [&str; 11] =
    ["kv", "ledger", "interrupts", "entries", "spins", "clocks", "smc", "echo", "exits", "compute", "resets"];
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../guest-images/micro");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    for watched in ["src", "Cargo.toml", "Cargo.lock", "build.rs", ".cargo"] {
        println!("cargo:rerun-if-changed={}", source.join(watched).display());
    }
    build(&source, &out.join("guests"));
    let binaries = out.join("guests").join(TARGET).join("release");
    let rows: Vec<String> = GUESTS
        .iter()
        .map(|name| format!("({name:?}, include_bytes!({:?})),", binaries.join(name).display().to_string()))
        .collect();
    fs::write(out.join("builtin.rs"), format!("&[{}]", rows.concat())).unwrap();
}

/// A cargo of its own: the guests are freestanding, so nothing of how this crate is built may reach them.
fn build(source: &Path, target_dir: &Path) {
    let mut cargo = Command::new(env::var("CARGO").unwrap());
    cargo.args(["build", "--release", "--locked", "--bins", "--target", TARGET]).current_dir(source);
    for (name, _) in env::vars() {
        let ours = name.starts_with("CARGO") && name != "CARGO_HOME"
            || name.starts_with("RUSTC_")
            || name == "RUSTFLAGS";
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", target_dir);
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the guests in {} do not build", source.display());
}
