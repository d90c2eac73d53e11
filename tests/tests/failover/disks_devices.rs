//! Disks that are block devices: what is known of them outlives processes and the numbers of devices, and nobody has one
//! that somebody else has, by whatever name.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{
    client::{Action, Connection, Reply},
    pair::{Place, Setup},
    process::Process,
    wait,
};
use ftvmm_tests::{
    disks,
    outlets::wrapper,
    stage::{self, PATIENCE, Stage, guest},
};
use rustix::process::Signal;

use super::{SOON, TIMEOUT_MS, ftvmm, wait_alone};

/// A loop device of the test's, which is gone with it.
struct Loop(String);

impl Loop {
    /// None where there can be none, which is said.
    fn over(file: &Path) -> anyhow::Result<Option<Self>> {
        if let Err(error) = File::open("/dev/loop-control") {
            println!("skipped: this test needs loop devices: /dev/loop-control: {error}");
            return Ok(None);
        }
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "losetup: {said}");
        Ok(Some(Self(String::from_utf8(output.stdout)?.trim().to_owned())))
    }

    fn two(files: &[PathBuf; 2]) -> anyhow::Result<Option<[Self; 2]>> {
        let (Some(one), Some(other)) = (Self::over(&files[0])?, Self::over(&files[1])?) else {
            return Ok(None);
        };
        Ok(Some([one, other]))
    }

    fn option(&self) -> [String; 1] {
        [disks::option(Path::new(&self.0), DiskMode::Replicated)]
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Two images, and a program that keeps the stamps of devices in the test's directory.
fn images(stage: &Stage) -> anyhow::Result<([PathBuf; 2], Setup)> {
    let files = ["a.img", "b.img"].map(|name| stage.directory().join(name));
    files.iter().try_for_each(|file| disks::create_empty(file, disks::DISK_BYTES))?;
    let state = stage.directory().join("state");
    let script = format!("export STATE_DIRECTORY='{}'\nexec \"$@\"", state.display());
    let setup =
        Setup { program: wrapper(stage, &script)?, kernel: "builtin:ledger".into(), ..stage.setup.clone() };
    Ok((files, setup))
}

fn count(to: i64) -> anyhow::Result<()> {
    let mut client = Connection::open(guest(), PATIENCE)?;
    let reply = client.request("k", &Action::Incr)?;
    ensure!(reply == Reply::Integer(to), "{reply:?} and not {to}");
    Ok(())
}

/// A dies, B goes on alone and ends; then A's older device neither starts nor is B's overwritten, also when the devices
/// have each other's numbers after a restart of the host.
#[test]
fn what_is_known_of_a_device_outlives_its_processes_and_its_number() {
    stage::play(TIMEOUT_MS, |stage| {
        let (files, setup) = images(stage)?;
        let Some(loops) = Loop::two(&files)? else { return Ok(()) };
        let options = loops.each_ref().map(Loop::option);
        let place = |side: usize| Place { disks: &options[side], ..Place::here(["tap-a", "tap-b"][side]) };
        let (mut secondary, at_b) = setup.secondary("b1", place(1))?;
        let mut primary = setup.primary("a1", place(0), &at_b)?;
        primary.wait_protected()?;
        count(1)?;
        // At once, as a unit does it.
        secondary.process.kill()?;
        let (mut secondary, at_b) = setup.secondary("b2", place(1))?;
        primary.protect(&at_b)?;
        primary.wait_protected()?;
        primary.process.kill()?;
        wait_alone(&mut secondary)?;
        count(2)?;
        secondary.process.signal(Signal::TERM)?;
        secondary.process.wait_end(SOON)?;

        let numbers = loops.each_ref().map(|device| device.0.clone());
        drop(loops);
        let [b, a] = &files;
        let Some(loops) = Loop::two(&[a.clone(), b.clone()])? else { return Ok(()) };
        println!("{numbers:?} are {:?} now", [&loops[1].0, &loops[0].0]);
        let options = loops.each_ref().map(Loop::option);
        let place =
            |side: usize| Place { disks: &options[1 - side], ..Place::here(["tap-a", "tap-b"][side]) };
        let (follower, at_b) = setup.secondary("b3", place(1))?;
        let mut again = setup.primary("a2", place(0), &at_b)?;
        let status = again.process.wait_end(SOON)?;
        let said = again.process.log();
        ensure!(status.code() == Some(4) && said.contains("would be lost"), "{status}: {said}");
        drop(follower);
        let (_follower, at_a) = setup.secondary("a3", place(0))?;
        let mut newest = setup.primary("b4", place(1), &at_a)?;
        newest.wait_protected()?;
        count(3)
    });
}

/// A VM that nobody protects, serving from this disk.
fn serve(stage: &Stage, setup: &Setup, disk: &str) -> anyhow::Result<Process> {
    let name = stage.name("served");
    let console = format!("file={}", stage.directory().join(&name).display());
    let mut command = Command::new(&setup.program);
    command.args(["run", "--kernel", "builtin:ledger", "--net", "tap=tap-a", "--console", &console]);
    command.args(["--disk", &format!("path={disk}")]);
    let mut vm = Process::start(command, &name, stage.directory(), None)?;
    wait::until("the guest to serve", SOON, || {
        vm.expect_alive()?;
        Ok(Connection::open(guest(), PATIENCE / 50).ok())
    })?;
    Ok(vm)
}

/// Neither in one VM nor in two, whichever is first.
#[test]
fn a_loop_device_and_the_file_behind_it_are_one_disk() {
    stage::play(TIMEOUT_MS, |stage| {
        let (files, setup) = images(stage)?;
        let Some([one, _]) = Loop::two(&files)? else { return Ok(()) };
        let file = files[0].display().to_string();
        let refused = |disks: &[&str], word: &str| -> anyhow::Result<()> {
            let disks: Vec<_> = disks.iter().map(|disk| format!("--disk=path={disk}")).collect();
            let mut command = Command::new(&setup.program);
            command.args(["run", "--kernel", "builtin:ledger"]).args(&disks);
            let output = command.output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(3) && said.contains(word), "{disks:?}: {said}");
            Ok(())
        };
        let Some(other) = Loop::over(&files[0])? else { return Ok(()) };
        refused(&[&one.0, &file], "are the same")?;
        refused(&[&one.0, &other.0], "are the same")?;
        refused(&[&file, &one.0], "the file behind")?;

        let mut vm = serve(stage, &setup, &one.0)?;
        refused(&[&file], "the file behind")?;
        refused(&[&one.0], "another VM")?;
        refused(&[&other.0], "another process")?;
        vm.kill()?;
        // At once, as a unit does it.
        let vm = serve(stage, &setup, &one.0)?;
        drop((vm, one, other));

        let _vm = serve(stage, &setup, &file)?;
        let Some(late) = Loop::over(&files[0])? else { return Ok(()) };
        refused(&[&late.0], "another process")
    });
}

/// Whoever wants it, and whatever for: alone, as a primary's disk or as a secondary's copy.
#[test]
fn a_device_that_the_host_uses_is_refused() {
    stage::play(TIMEOUT_MS, |stage| {
        let small = disks::SmallFileSystem::enter(&stage.directory().join("small"), 16 << 10)?;
        let (image, mount) = (stage.directory().join("small/fs.img"), stage.directory().join("mount"));
        disks::create_empty(&image, 8 << 20)?;
        fs::create_dir(&mount)?;
        let Some(device) = Loop::over(&image)? else { return Ok(()) };
        run("mkfs.ext4", &["-q", &device.0])?;
        let target = mount.to_str().context("the path is no text")?;
        run("mount", &[&device.0, target])?;
        let refused = |path: &str, words: &[&str]| -> anyhow::Result<()> {
            let disk = format!("path={path}");
            let arbiter = format!("file:{}", stage.setup.arbiter.display());
            let pair = ["--arbiter", &arbiter];
            for arguments in [
                [&["run", "--disk", &disk][..], &[]].concat(),
                [&["run", "--disk", &format!("{disk},readonly")][..], &[]].concat(),
                [&["primary", "--disk", &disk, "--peer", "127.0.0.1:1"][..], &pair].concat(),
                [&["secondary", "--disk", &disk, "--listen", "127.0.0.1:0"][..], &pair].concat(),
            ] {
                let (code, said) = ftvmm(stage, &arguments)?;
                ensure!(
                    code == Some(3) && words.iter().all(|word| said.contains(word)),
                    "{arguments:?}: {said}"
                );
            }
            Ok(())
        };
        let mounted = refused(&device.0, &["used by the host", &device.0]);
        let unmounted = run("umount", &[target]);
        mounted?;
        unmounted?;
        let file = image.display().to_string();
        refused(&file, &["used by the host", &device.0["/dev/".len()..]])?;
        run("e2fsck", &["-fn", &device.0])?;
        drop((device, small));
        Ok(())
    });
}
