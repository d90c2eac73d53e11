//! This host, for both sides.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ftvmm::{
    control::{Request, Status, request},
    demo::process::Process,
};
use ftvmm_tests::{cpu, lab::artefacts};
use tempfile::TempDir;

use super::{Place, Side, Started};
use crate::neighbour;

/// The host that this program runs on.
pub struct ThisHost {
    program: PathBuf,
    kernel: PathBuf,
    directory: TempDir,
}

impl ThisHost {
    /// Makes what the machines need: a copy of the disk for each side.
    ///
    /// # Errors
    /// What is missing here.
    pub fn new() -> anyhow::Result<Self> {
        let (program, kernel, image) =
            (neighbour("ftvmm")?, artefacts::guest_kernel()?, artefacts::guest_root()?);
        let directory = TempDir::with_prefix("ftvmm-bench-")?;
        fs::create_dir(directory.path().join("arbiter"))?;
        let place = Self { program, kernel, directory };
        for side in [Side::Live, Side::Shadow] {
            let mut copy = Command::new("cp");
            copy.args(["--sparse=always", "--reflink=auto"]).arg(&image).arg(place.disk(side));
            let status = copy.status().context("cannot run cp")?;
            ensure!(status.success(), "cannot copy {}: {status}", image.display());
        }
        Ok(place)
    }

    fn at(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

/// What a side's files are called.
fn name(side: Side) -> &'static str {
    match side {
        Side::Live => "live",
        Side::Shadow => "shadow",
    }
}

/// Makes a fifo and goes on as the program, which reads from it. Open for reading and writing, it waits for nobody and
/// has no end.
const WITH_INPUT: &str = r#"rm -f "$1" "$2"; mkfifo "$1" && exec 0<>"$1" && shift 2 && exec "$@""#;

impl Place for ThisHost {
    fn describe(&self) -> String {
        "this machine, both sides of the pair on it".to_owned()
    }

    fn start(&self, side: Side, arguments: &[String]) -> anyhow::Result<Box<dyn Started + '_>> {
        let at = |end: &str| self.at(&format!("{}.{end}", name(side)));
        let (input, control) = (at("input"), at("control"));
        let mut command = Command::new("sh");
        command.args(["-c", WITH_INPUT, "sh"]).args([&input, &control]).arg(&self.program).args(arguments);
        command.args(["--console", "stdio", "--control"]).arg(&control).env("NO_COLOR", "1");
        let process = Process::start(command, name(side), self.directory.path(), None)?;
        Ok(Box::new(OnThisHost { process, input, control }))
    }

    fn kernel(&self) -> String {
        text(&self.kernel)
    }

    fn disk(&self, side: Side) -> String {
        text(&self.at(&format!("{}.disk", name(side))))
    }

    fn log_file(&self) -> String {
        text(&self.at("recording"))
    }

    fn remove_log_file(&self) -> anyhow::Result<()> {
        fs::remove_file(self.at("recording")).context("cannot remove the recording")
    }

    fn arbiter(&self) -> String {
        text(&self.at("arbiter"))
    }

    fn listen(&self) -> String {
        "127.0.0.1:0".to_owned()
    }

    fn failure_timeout_ms(&self) -> u64 {
        1000
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// An ftvmm on this host.
struct OnThisHost {
    process: Process,
    input: PathBuf,
    control: PathBuf,
}

impl Started for OnThisHost {
    fn output(&self) -> String {
        self.process.output()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn ended(&mut self) -> anyhow::Result<Option<String>> {
        let ended = self.process.ended()?;
        Ok(ended.map(|status| if status.success() { String::new() } else { status.to_string() }))
    }

    fn type_line(&self, line: &str) -> anyhow::Result<()> {
        fs::write(&self.input, format!("{line}\n"))
            .with_context(|| format!("cannot write to {}", self.input.display()))
    }

    fn status(&self) -> anyhow::Result<Status> {
        let answer = request(&self.control, &Request::Status)?;
        serde_json::from_value(answer).context("the status is of another version")
    }

    fn restart_secondary(&self) -> anyhow::Result<()> {
        request(&self.control, &Request::TestRestartSecondary).map(drop)
    }

    fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu::of_process(self.process.id())
    }

    fn smaps(&self) -> anyhow::Result<String> {
        let path = format!("/proc/{}/smaps", self.process.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}
