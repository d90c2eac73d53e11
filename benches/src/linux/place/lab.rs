//! Two lab hosts.

use anyhow::{Context, ensure};
use ftvmm::control::Status;
use ftvmm_tests::{
    cpu,
    lab::{Ended, Host, Lab, Plan, Running, artefacts, member::quote},
};

use super::{Place, Side, Started};

/// Two QEMU machines, joined by networks. One ftvmm at a time on each.
pub struct LabHosts(Lab);

impl LabHosts {
    /// Starts them; they end with the calling thread, which stays in a network of its own.
    ///
    /// # Errors
    /// What is missing here, or what a host said instead of starting.
    pub fn start() -> anyhow::Result<Self> {
        let missing = artefacts::missing();
        ensure!(missing.is_empty(), "lab hosts lack:\n  - {}", missing.join("\n  - "));
        let mut plan = Plan::new()?;
        plan.files.push(("vmlinux".to_owned(), artefacts::guest_kernel()?));
        plan.disk = Some(artefacts::guest_root()?);
        Ok(Self(Lab::start(&plan)?))
    }

    fn host(&self, side: Side) -> &Host {
        match side {
            Side::Live => &self.0.a,
            Side::Shadow => &self.0.b,
        }
    }
}

impl Place for LabHosts {
    fn describe(&self) -> String {
        "two lab hosts, emulated on this machine: QEMU (TCG) with nested AMD SVM".to_owned()
    }

    fn start(&self, side: Side, arguments: &[String]) -> anyhow::Result<Box<dyn Started + '_>> {
        let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
        let host = self.host(side);
        // Open for reading and writing, a fifo waits for nobody and has no end.
        let command = format!(
            "rm -f {INPUT} {CONTROL}; mkfifo {INPUT}; \
             NO_COLOR=1 exec ftvmm {} --control {CONTROL} --console stdio <>{INPUT}",
            words.join(" ")
        );
        let running = host.spawn("bench", &command)?;
        Ok(Box::new(OnHost { host, running }))
    }

    fn kernel(&self) -> String {
        "/files/vmlinux".to_owned()
    }

    fn disk(&self, _: Side) -> String {
        "/dev/vda".to_owned()
    }

    fn log_file(&self) -> String {
        LOG.to_owned()
    }

    fn remove_log_file(&self) -> anyhow::Result<()> {
        self.host(Side::Live).succeed(&format!("rm {LOG}")).map(drop)
    }

    fn arbiter(&self) -> String {
        "/shared/arbiter".to_owned()
    }

    fn listen(&self) -> String {
        format!("{}:0", self.host(Side::Shadow).address())
    }

    fn failure_timeout_ms(&self) -> u64 {
        3000
    }
}

const INPUT: &str = "/tmp/bench.input";
const CONTROL: &str = "/tmp/bench.control";
/// In the host's memory: its disk is the guest's.
const LOG: &str = "/tmp/bench.ftlog";

/// An ftvmm on a lab host.
struct OnHost<'a> {
    host: &'a Host,
    running: Running,
}

impl Started for OnHost<'_> {
    fn output(&self) -> String {
        self.running.output()
    }

    fn log(&self) -> String {
        self.running.log()
    }

    fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.running.ended().map(|ended| match ended {
            Ended::Status(0) => String::new(),
            Ended::Status(status) => format!("exit status {status}"),
            Ended::Lost => "its host is lost".to_owned(),
        }))
    }

    fn type_line(&self, line: &str) -> anyhow::Result<()> {
        self.host.succeed(&format!("echo {} >{INPUT}", quote(line))).map(drop)
    }

    fn status(&self) -> anyhow::Result<Status> {
        let said = self.host.succeed(&format!("ftvmm status --json --control {CONTROL}"))?;
        serde_json::from_str(&said).with_context(|| format!("the status is {said}"))
    }

    fn restart_secondary(&self) -> anyhow::Result<()> {
        self.host.succeed(&format!("ftvmm test-restart-secondary --control {CONTROL}")).map(drop)
    }

    fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu::of_process(self.host.process_id().context("the host is off")?)
    }

    fn smaps(&self) -> anyhow::Result<String> {
        self.host.succeed("cat /proc/$(pidof ftvmm)/smaps")
    }
}
