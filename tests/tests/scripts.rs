//! What the scripts do to the machine of who runs them: nothing that was not asked for. They run here with stand-ins for
//! the programs that would change it.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

/// The user that `id` stands for.
const USER: u32 = 4242;

/// A directory with stand-ins, which are found before the programs of the system.
struct Stage {
    directory: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { directory: TempDir::with_prefix("ftvmm-scripts-").unwrap() };
        fs::create_dir(stage.at("bin")).unwrap();
        fs::create_dir_all(stage.at("cache/ftvmm")).unwrap();
        stage
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A program of this name that is the shell script `body`.
    fn stand_in(&self, name: &str, body: &str) {
        let path = self.at("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// A command that finds the stand-ins, and has a cache and a build directory of its own.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command
            .env("PATH", path)
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("CARGO_TARGET_DIR", self.at("target"));
        command.stdin(Stdio::null());
        command
    }
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(path)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn a_lab_leaves_old_kernels_in_the_users_cache() {
    let stage = Stage::new();
    let kernel = stage.at("cache/ftvmm/linux-0123456789abcdef");
    fs::create_dir(&kernel).unwrap();
    fs::write(kernel.join("vmlinux"), "a kernel that a VM boots").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(400 * 24 * 3600);
    File::open(&kernel).unwrap().set_modified(long_ago).unwrap();
    let mut command = stage.command(repository("scripts/with-lab"));
    command.arg("true").env_remove("FTVMM_TEST_WITHOUT_LAB");
    for artefact in ["STATIC_BIN", "LAB_HOST", "LAB_KERNEL", "LAB_ROOT", "LAB_DEBIAN"] {
        command.env(format!("FTVMM_{artefact}"), "/nowhere/else");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(kernel.join("vmlinux").exists(), "the kernel is gone");
}

#[test]
fn a_cache_is_cleaned_of_what_recipes_make_and_of_nothing_else() {
    let stage = Stage::new();
    for name in ["linux-1", "rootfs-1", "debian-1", "lab-host-1", "work-build-kernel.x", "mine"] {
        fs::create_dir(stage.at("cache/ftvmm").join(name)).unwrap();
    }
    let output = stage.command(repository("scripts/clean-cache")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let left = fs::read_dir(stage.at("cache/ftvmm")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["mine"]);
}

#[test]
fn setup_replaces_no_busybox() {
    let stage = Stage::new();
    let log = stage.at("installed");
    stage.stand_in("id", "echo 0");
    stage.stand_in("dpkg-query", "exit 1");
    stage.stand_in("apt-cache", "echo linux-image-6.12");
    stage.stand_in("qemu-system-x86_64", "echo 'QEMU emulator version 10.0.0'");
    stage.stand_in("apt-get", &format!("echo \"$@\" >>{}", log.display()));
    let output = stage.command(repository("scripts/setup")).arg("lab").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let installed = fs::read_to_string(log).unwrap_or_default();
    assert!(!installed.contains("busybox"), "{installed}");
}

/// A stage where the user is not root and sudo asks for nothing.
fn stage_with_sudo() -> Stage {
    assert!(rustix::process::geteuid().is_root(), "this test gives files away: run it as root");
    let stage = Stage::new();
    fs::create_dir(stage.at("target")).unwrap();
    stage.stand_in("id", &format!("echo {USER}"));
    stage.stand_in("sudo", "[ \"$1\" != --preserve-env ] || shift\nexec \"$@\"");
    stage
}

#[test]
fn what_ran_as_root_leaves_the_users_files_to_the_user() {
    let stage = stage_with_sudo();
    let body =
        "mkdir $CARGO_TARGET_DIR/tmp && touch $CARGO_TARGET_DIR/tmp/log $XDG_CACHE_HOME/ftvmm/image; exit 7";
    let output = stage.command(repository("scripts/as-root")).args(["sh", "-c", body]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    for path in ["target/tmp", "target/tmp/log", "cache/ftvmm/image"] {
        assert_eq!(fs::metadata(stage.at(path)).unwrap().uid(), USER, "{path}");
    }
}

#[test]
fn a_signal_and_standard_input_reach_what_runs_as_root() {
    let stage = stage_with_sudo();
    let body = "trap 'touch $CARGO_TARGET_DIR/ended; exit 9' TERM; read word; echo $word; read word";
    let mut command = stage.command(repository("scripts/as-root"));
    let mut child =
        command.args(["sh", "-c", body]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "ready").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(9), "{status}");
    assert_eq!(fs::metadata(stage.at("target/ended")).unwrap().uid(), USER);
}

/// A copy of the kernel's recipe with a source of one file, one patch to it, and a compiler that only has a version.
fn stage_with_kernel(source: &str) -> Stage {
    let stage = Stage::new();
    let recipe = stage.at("recipe");
    fs::create_dir_all(recipe.join("patches")).unwrap();
    for name in ["build-kernel", "recipe"] {
        fs::copy(repository("guest-images/linux").join(name), recipe.join(name)).unwrap();
    }
    fs::write(recipe.join("kernel.config"), "CONFIG_ONE=y\n").unwrap();
    let patch = "--- a/file\n+++ b/file\n@@ -1,5 +1,5 @@\n one\n two\n-three\n+THREE\n four\n five\n";
    fs::write(recipe.join("patches/0001.patch"), patch).unwrap();
    let tree = stage.at("linux-source");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), source).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(stage.directory.path()).arg("-cf").arg(stage.at("source.tar")).arg("linux-source");
    assert!(tar.status().unwrap().success());
    stage.stand_in("dpkg-query", "echo installed");
    stage.stand_in("ld", "echo linker");
    stage.stand_in("strip", "touch \"$3\"");
    // The output directory is what the argument O= names.
    let made = "mkdir -p \"$out/installed/lib/modules\" && touch \"$out/vmlinux\" && echo CONFIG_ONE=y >\"$out/.config\"";
    let body = format!("for word; do case $word in O=*) out=${{word#O=}} ;; esac; done\n{made}");
    stage.stand_in("make", &body);
    stage
}

fn build_kernel(stage: &Stage, compiler: &str) -> Output {
    stage.stand_in("gcc", &format!("echo {compiler}"));
    let mut command = stage.command(stage.at("recipe/build-kernel"));
    command.env("FTVMM_LINUX_SOURCE", stage.at("source.tar")).output().unwrap()
}

#[test]
fn a_patch_that_nearly_fits_the_kernel_is_refused() {
    let exact = build_kernel(&stage_with_kernel("one\ntwo\nthree\nfour\nfive\n"), "12");
    assert!(exact.status.success(), "{}", said(&exact));
    let near = build_kernel(&stage_with_kernel("another\ntwo\nthree\nfour\nfive\n"), "12");
    assert!(!near.status.success(), "{}", said(&near));
    assert!(said(&near).contains("0001.patch does not apply"), "{}", said(&near));
}

#[test]
fn kernels_of_two_compilers_are_two() {
    let stage = stage_with_kernel("one\ntwo\nthree\nfour\nfive\n");
    let kernels = ["12.2.0", "14.1.0", "12.2.0"].map(|compiler| {
        let output = build_kernel(&stage, compiler);
        assert!(output.status.success(), "{}", said(&output));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    });
    assert!(kernels.iter().all(|kernel| kernel.exists()), "{kernels:?}");
    assert_ne!(kernels[0], kernels[1]);
    assert_eq!(kernels[0], kernels[2]);
}
