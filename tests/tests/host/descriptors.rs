//! More clients than there are descriptors.

use std::{
    os::unix::{net::UnixStream, process::CommandExt},
    thread,
    time::Duration,
};

use ftvmm::demo::process::Process;
use ftvmm_tests::{cpu, harness};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Place, wait_running, wait_status};

/// Fewer than a machine and all the clients that it would let in need, and enough for the machine.
const DESCRIPTORS: u64 = 26;
/// While it can let nobody in. A listener that spins takes all of it.
const WATCHED: Duration = Duration::from_secs(2);

#[test]
fn a_machine_without_descriptors_does_not_spin_and_lets_clients_in_again() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let place = Place::new()?;
    let (control, console) = (place.path("control"), place.path("console"));
    let mut command = place.command(&["--control", "control", "--console", "unix=console"])?;
    let limit = || {
        let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
        setrlimit(Resource::Nofile, limit).map_err(Into::into)
    };
    // SAFETY: between fork and exec the closure makes one system call, and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(limit);
    }
    let mut machine = Process::start(command, "machine", place.0.path(), None)?;
    wait_running(&mut machine, &control)?;

    let connect = |path, count| (0..count).map(|_| UnixStream::connect(path)).collect::<Result<Vec<_>, _>>();
    let clients = [connect(&console, 20)?, connect(&control, 25)?];
    let before = cpu::of_process(machine.id())?;
    thread::sleep(WATCHED);
    let used = cpu::of_process(machine.id())? - before;
    assert!(used < WATCHED.as_secs_f64() / 4.0, "{used:.2} s of CPU time in {WATCHED:?}: it spins");
    machine.expect_alive()?;

    drop(clients);
    let status = wait_status(&mut machine, &control, "well again", |status| status.troubles.is_empty())?;
    let told = status.events.iter().any(|event| event.text.contains("nobody can be let in"));
    assert!(told, "{:?}", status.events);
    Ok(())
}
