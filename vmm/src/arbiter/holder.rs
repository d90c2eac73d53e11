//! Who claims: a process on a host, named so that others can tell whether it still runs.

use std::{fmt, fs, io, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};

use crate::identity::random;

/// A process that holds, or wants to hold, a generation of a VM. Never the same twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The host's name.
    pub host: String,
    /// The host's machine id; empty where it has none.
    machine: String,
    /// Changes each time the host starts.
    boot: String,
    /// The namespace in which `pid` is meant.
    pid_namespace: u64,
    /// The process.
    pub pid: u32,
    /// When the process started, in clock ticks since the host did: process ids are used again.
    started: u64,
    /// So that no two are the same.
    nonce: String,
}

/// What can be told of a holder from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It runs on this host.
    Running,
    /// It was a process of this host that has ended.
    Gone,
    /// It is, or was, on another host (or out of sight in another container of this one).
    Elsewhere,
}

impl Holder {
    /// This process.
    ///
    /// # Errors
    /// `/proc` or `/dev/urandom` cannot be read.
    pub fn this_process() -> io::Result<Self> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let pid = std::process::id();
        let started =
            running_since(pid).ok_or_else(|| io::Error::other("/proc does not show this process"))?;
        Ok(Self {
            host: host.chars().filter(|c| !c.is_control()).take(64).collect(),
            machine: fs::read_to_string("/etc/machine-id")
                .unwrap_or_default()
                .trim()
                .chars()
                .take(64)
                .collect(),
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            pid_namespace: fs::metadata("/proc/self/ns/pid")?.ino(),
            pid,
            started,
            nonce: format!("{:016x}", u64::from_le_bytes(random()?)),
        })
    }

    /// What `here`, a process of this host, can tell of it.
    #[must_use]
    pub fn whereabouts(&self, here: &Holder) -> Whereabouts {
        if (&self.host, &self.machine) != (&here.host, &here.machine) {
            return Whereabouts::Elsewhere;
        }
        if self.boot != here.boot {
            return Whereabouts::Gone;
        }
        if self.pid_namespace != here.pid_namespace {
            return Whereabouts::Elsewhere;
        }
        if running_since(self.pid) == Some(self.started) { Whereabouts::Running } else { Whereabouts::Gone }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.pid, self.nonce)
    }
}

/// When a process that has not ended started, in clock ticks since the host did; see proc_pid_stat(5).
fn running_since(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_running_until_it_has_ended_reaped_or_not() {
        let here = Holder::this_process().unwrap();
        assert_eq!(here.whereabouts(&here), Whereabouts::Running);
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let other = Holder { pid: child.id(), started: running_since(child.id()).unwrap(), ..here.clone() };
        assert_eq!(other.whereabouts(&here), Whereabouts::Running);
        child.kill().unwrap();
        // Killed and perhaps not reaped: what it held is nobody's.
        while other.whereabouts(&here) == Whereabouts::Running {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(other.whereabouts(&here), Whereabouts::Gone);
    }

    #[test]
    fn a_number_that_is_used_again_and_a_host_that_started_again_do_not_mislead() {
        let here = Holder::this_process().unwrap();
        let earlier = Holder { started: here.started - 1, ..here.clone() };
        assert_eq!(earlier.whereabouts(&here), Whereabouts::Gone);
        let before_restart = Holder { boot: "another".into(), ..here.clone() };
        assert_eq!(before_restart.whereabouts(&here), Whereabouts::Gone);
        for elsewhere in [
            Holder { host: "b".into(), ..here.clone() },
            Holder { machine: "b".into(), ..here.clone() },
            Holder { pid_namespace: 1, ..here.clone() },
        ] {
            assert_eq!(elsewhere.whereabouts(&here), Whereabouts::Elsewhere);
        }
    }

    #[test]
    fn no_two_are_the_same() {
        let (a, b) = (Holder::this_process().unwrap(), Holder::this_process().unwrap());
        assert_ne!(a.to_string(), b.to_string());
        assert!(a.to_string().len() < ftlog::message::MAX_NAME);
    }
}
