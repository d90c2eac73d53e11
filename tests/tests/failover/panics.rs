//! A guest that panics while it is protected: both sides end, or its machine begins again on both.

use std::{io::Write, os::unix::net::UnixStream};

use anyhow::Context;
use ftvmm::{
    control::{self, Request, State, Status},
    demo::{process::Process, wait},
};
use ftvmm_tests::{
    elf::Guest,
    harness,
    stage::{self, Stage},
};

use super::{SOON, TIMEOUT_MS};

/// The exit status for a guest that panicked.
const PANICKED: i32 = 5;

/// Waits for a key, takes it, and says that it has panicked.
///
/// `wait: MOV DX, 0x3FD; IN AL, DX; TEST AL, 1; JZ wait; MOV DX, 0x3F8; IN AL, DX; MOV EDX, 0x544; MOV EAX, 1; OUT DX, EAX`
#[rustfmt::skip]
const PANICS: &[u8] = &[
    0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7,
    0x66, 0xba, 0xf8, 0x03, 0xec,
    0xba, 0x44, 0x05, 0, 0, 0xb8, 1, 0, 0, 0, 0xef,
];

/// One side, whose console is a socket.
struct Side {
    process: Process,
    name: &'static str,
}

impl Side {
    fn start(stage: &Stage, name: &'static str, options: &[&str]) -> anyhow::Result<Self> {
        let path = |kind| stage.directory().join(format!("{name}.{kind}")).display().to_string();
        let (console, control) = (format!("unix={}", path("socket")), path("control"));
        let arbiter = format!("file:{}", stage.setup.arbiter.display());
        let timeout = stage.setup.failure_timeout_ms.to_string();
        let mut arguments = [&[name, "--console", &console, "--control", &control], options].concat();
        arguments.extend(["--arbiter", &arbiter, "--failure-timeout", &timeout]);
        let program = harness::program()?;
        let process = stage.spawn(program.to_str().context("the program's path is no text")?, &arguments)?;
        Ok(Self { process, name })
    }

    fn wait(&mut self, stage: &Stage, what: &str, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<()> {
        let control = stage.directory().join(format!("{}.control", self.name));
        wait::until(&format!("the {} to be {what}", self.name), SOON, || {
            self.process.expect_alive()?;
            let Ok(answer) = control::request(&control, &Request::Status) else { return Ok(None) };
            Ok(wanted(&serde_json::from_value(answer)?).then_some(()))
        })
    }

    fn type_a_key(&self, stage: &Stage) -> anyhow::Result<UnixStream> {
        let mut console = UnixStream::connect(stage.directory().join(format!("{}.socket", self.name)))?;
        console.write_all(b"p")?;
        Ok(console)
    }
}

/// A protected guest that panics at a key, with what is to come of that.
fn pair(stage: &Stage, guest: &Guest, on_panic: &str) -> anyhow::Result<(Side, Side)> {
    let mut secondary = Side::start(stage, "secondary", &["--listen", "127.0.0.1:0"])?;
    let address = wait::until("the secondary to listen", SOON, || {
        secondary.process.expect_alive()?;
        let said = secondary.process.output();
        Ok(said.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)))
    })?;
    let kernel = guest.kernel();
    let options = ["--kernel", &kernel, "--memory", "4", "--peer", &address, "--on-panic", on_panic];
    let mut primary = Side::start(stage, "primary", &options)?;
    primary.wait(stage, "protected", |status| status.state == State::Protected)?;
    Ok((primary, secondary))
}

fn has_reset(status: &Status) -> bool {
    status.events.iter().any(|event| event.text.contains("the guest has panicked"))
}

#[test]
fn a_panic_ends_both_sides_when_it_is_to_halt() {
    let guest = Guest::of_code(PANICS);
    stage::play(TIMEOUT_MS, |stage| {
        let (primary, secondary) = pair(stage, &guest, "halt")?;
        let _typed = primary.type_a_key(stage)?;
        for mut side in [primary, secondary] {
            let status = side.process.wait_end(SOON)?;
            assert_eq!(status.code(), Some(PANICKED), "{}: {}", side.name, side.process.log());
        }
        Ok(())
    });
}

#[test]
fn a_panic_resets_both_sides_when_it_is_to_reboot_also_after_a_takeover() {
    let guest = Guest::of_code(PANICS);
    stage::play(TIMEOUT_MS, |stage| {
        let (mut primary, mut secondary) = pair(stage, &guest, "reboot")?;
        let _typed = primary.type_a_key(stage)?;
        let reset =
            |status: &Status| status.resets == 1 && status.state == State::Protected && has_reset(status);
        primary.wait(stage, "reset and protected", reset)?;
        secondary.wait(stage, "reset", |status| status.state == State::Following && has_reset(status))?;
        primary.process.kill()?;
        secondary.wait(stage, "alone", |status| status.state == State::Unprotected)?;
        let _typed = secondary.type_a_key(stage)?;
        secondary.wait(stage, "reset", |status| status.resets > 0)
    });
}
