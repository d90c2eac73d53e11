//! What labs are made of: the program, the hosts' kernel, guests. And whether there can be a lab here.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use ftvmm::demo::net;

/// Set to 1 where there can be no lab, and where that is as it should be.
pub const WITHOUT_LAB: &str = "FTVMM_TEST_WITHOUT_LAB";

/// Before this version, QEMU computes wrong flags now and then, which crashes hosts and guests.
const OLDEST_QEMU: u32 = 9;

/// What is missing here for a lab, one sentence each.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut missing = net::missing_for_networks();
    match Command::new("qemu-system-x86_64").arg("--version").output() {
        Ok(output) => match qemu_major(&String::from_utf8_lossy(&output.stdout)) {
            Some(OLDEST_QEMU..) => {}
            _ => missing.push(format!("QEMU {OLDEST_QEMU} or later (docs/lab.md): scripts/setup lab")),
        },
        Err(error) => missing.push(format!("qemu-system-x86_64 ({error}): scripts/setup lab")),
    }
    missing
}

/// The first number of what it calls its version.
fn qemu_major(version: &str) -> Option<u32> {
    version.strip_prefix("QEMU emulator version ")?.split('.').next()?.parse().ok()
}

/// Whether a test that needs a lab can run; one that cannot says that it is skipped.
///
/// # Panics
/// When it cannot although it should: without [`WITHOUT_LAB`] in the environment.
#[must_use]
pub fn require_lab() -> bool {
    let allowed = env::var(WITHOUT_LAB).is_ok_and(|value| value == "1");
    if allowed {
        println!("skipped: {WITHOUT_LAB}=1");
        return false;
    }
    let missing = missing();
    assert!(missing.is_empty(), "this test lacks (set {WITHOUT_LAB}=1 to skip it): {missing:#?}");
    true
}

/// The ftvmm program for lab hosts, linked statically: `FTVMM_STATIC_BIN`, or the one beside the tests.
///
/// # Errors
/// When there is none, with what to do about it.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("FTVMM_STATIC_BIN") {
        return Ok(path.into());
    }
    // Somewhere below the target directory, where scripts/cargo-static has a directory of its own.
    let here = env::current_exe().context("cannot tell which program this is")?;
    let beside = |at: &Path| at.join("x86_64-unknown-linux-gnu/release/ftvmm");
    let found = here.ancestors().map(beside).find(|path| path.exists());
    found.context("there is no static ftvmm for lab hosts: run scripts/build-static, or set FTVMM_STATIC_BIN")
}

/// The directory with `vmlinux` and `initramfs` of a lab host: `FTVMM_LAB_HOST`, or what its recipe makes.
///
/// # Errors
/// When the recipe fails.
pub fn host() -> anyhow::Result<PathBuf> {
    made("FTVMM_LAB_HOST", "tests/lab-host/build-host")
}

/// The kernel of Linux guests: `FTVMM_LAB_KERNEL`, or what its recipe makes.
///
/// # Errors
/// When the recipe fails.
pub fn guest_kernel() -> anyhow::Result<PathBuf> {
    made("FTVMM_LAB_KERNEL", "guest-images/linux/build-kernel")
}

/// The root image of Linux guests: `FTVMM_LAB_ROOT`, or what its recipe makes.
///
/// # Errors
/// When the recipe fails.
pub fn guest_root() -> anyhow::Result<PathBuf> {
    made("FTVMM_LAB_ROOT", "guest-images/linux/build-rootfs")
}

/// The disk with a stock Debian: `FTVMM_LAB_DEBIAN`, or what its recipe makes.
///
/// # Errors
/// When the recipe fails.
pub fn debian() -> anyhow::Result<PathBuf> {
    made("FTVMM_LAB_DEBIAN", "guest-images/linux/build-debian")
}

/// QEMU for lab hosts and a stock kernel for its guest, an archive: `FTVMM_LAB_PEER`, or what its recipe makes.
///
/// # Errors
/// When the recipe fails.
pub fn peer() -> anyhow::Result<PathBuf> {
    made("FTVMM_LAB_PEER", "tests/lab-host/build-peer")
}

/// What `variable` names, or else the last line that `recipe` prints. A recipe whose result is kept is done at once.
fn made(variable: &str, recipe: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(recipe);
    let mut command = Command::new(&script);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "{recipe}: {} (or name what it makes in {variable})", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    let path = said.lines().last().with_context(|| format!("{recipe} names no path"))?;
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_qemu_is_what_it_says() {
        assert_eq!(qemu_major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"), Some(10));
        assert_eq!(qemu_major("QEMU emulator version 7.2.22"), Some(7));
        assert_eq!(qemu_major("qemu: command not found"), None);
    }
}
