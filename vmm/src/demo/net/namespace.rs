//! Network namespaces without names: they end with the last process or descriptor that uses them.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    process::Command,
    thread,
};

use anyhow::{Context, anyhow};
use rustix::{
    system::sethostname,
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

/// A host as far as those who are started on it can tell: a network and a name of its own.
#[derive(Debug)]
pub struct Namespace {
    network: File,
    name: String,
}

impl Namespace {
    /// Makes one without interfaces; its host is called `name`.
    ///
    /// # Errors
    /// When the process lacks `CAP_SYS_ADMIN`.
    pub fn create(name: &str) -> anyhow::Result<Self> {
        // The thread takes the namespace and is gone; the descriptor keeps the namespace.
        let thread = thread::Builder::new().name("namespace".into()).spawn(|| {
            unshare_network()?;
            current_namespace().context("cannot open the new network namespace")
        })?;
        let network = thread.join().map_err(|_| anyhow!("the thread that makes a namespace panicked"))??;
        Ok(Self { network, name: name.to_owned() })
    }

    /// A path under which other processes can open it while this one lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.network.as_raw_fd())
    }

    /// Has `command` run in this namespace.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn enter_on_exec(&self, command: &mut Command) -> io::Result<()> {
        let (namespace, name) = (self.network.try_clone()?, self.name.clone());
        let enter = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            // SAFETY: only unsharing the table of open files is unsafe, and it stays shared.
            #[allow(unsafe_code)]
            unsafe { unshare_unsafe(UnshareFlags::NEWUTS) }?;
            Ok(sethostname(name.as_bytes())?)
        };
        // SAFETY: between fork and exec the closure makes three system calls, and allocates nothing.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(enter);
        }
        Ok(())
    }
}

/// Gives the calling thread, and all that it starts from now on, an empty network namespace.
///
/// # Errors
/// When the process lacks `CAP_SYS_ADMIN`.
pub fn unshare_network() -> anyhow::Result<()> {
    // SAFETY: only unsharing the table of open files is unsafe, and it stays shared.
    #[allow(unsafe_code)]
    let result = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    result.context("cannot make a network namespace (it takes CAP_SYS_ADMIN: run it as root)")?;
    disable_ipv6().context("cannot keep IPv6 out of the new network namespace")
}

/// IPv6 would have the kernel multicast on every new interface; those frames would be events of the guest's log.
fn disable_ipv6() -> io::Result<()> {
    let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => file.write_all(b"1"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The calling thread's network namespace.
fn current_namespace() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}
