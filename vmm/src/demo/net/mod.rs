//! A private network: a namespace with a bridge and TAP devices, which ends with the processes in it.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    net::{Ipv4Addr, SocketAddrV4},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use rustix::thread::CapabilitySet;

mod namespace;

pub use namespace::{Namespace, unshare_network};

/// Where the kv guest answers unless its command line says otherwise.
pub const GUEST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 6379);
/// The bridge that joins the client and the TAP devices.
pub const BRIDGE: &str = "ftbr0";
/// The client's address, with the length of the network's prefix.
pub const CLIENT: &str = "10.77.0.1/24";

/// What this process lacks for a private network with VMs in it, one sentence each.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut missing = missing_for_networks();
    missing.extend(missing_device("/dev/kvm", "load the kvm module"));
    missing
}

/// What this process lacks for a private network, one sentence each.
#[must_use]
pub fn missing_for_networks() -> Vec<String> {
    let mut missing = Vec::new();
    let held =
        rustix::thread::capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    for (capability, name, use_of_it) in [
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "make a network namespace"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "make a bridge and TAP devices"),
    ] {
        if !held.contains(capability) {
            missing.push(format!("{name}, to {use_of_it}: run it as root"));
        }
    }
    missing.extend(missing_device("/dev/net/tun", "load the tun module"));
    if let Err(error) = Command::new("ip").arg("-V").stdout(Stdio::null()).status() {
        missing.push(format!("the command ip ({error}): install the package iproute2"));
    }
    missing
}

/// What to do about a device that cannot be used.
fn missing_device(device: &str, remedy: &str) -> Option<String> {
    let error = OpenOptions::new().read(true).write(true).open(device).err()?;
    Some(format!("{device} ({error}): {remedy}, or be allowed to use it"))
}

/// Moves the calling thread, and all that it starts from now on, into a new network with the bridge at
/// [`CLIENT`] and one TAP device per name.
///
/// # Errors
/// What is missing, or what `ip` complained about.
pub fn enter(taps: &[&str]) -> anyhow::Result<()> {
    unshare_network()?;
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(bridge(BRIDGE));
    lines.push(format!("addr add {CLIENT} dev {BRIDGE}"));
    lines.extend(taps.iter().flat_map(|tap| tap_on_bridge(tap, BRIDGE)));
    ip(None, &lines)
}

/// The `ip` commands for a bridge that is up, says nothing of its own, and forwards from the first frame on.
#[must_use]
pub fn bridge(name: &str) -> [String; 2] {
    [
        format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
        format!("link set {name} up"),
    ]
}

/// The `ip` commands for a TAP device that is a port of `bridge`.
#[must_use]
pub fn tap_on_bridge(tap: &str, bridge: &str) -> [String; 2] {
    [format!("tuntap add dev {tap} mode tap"), format!("link set {tap} master {bridge} up")]
}

/// Runs `ip` with these commands, in `namespace` or in the caller's.
///
/// # Errors
/// Names the commands and what `ip` said.
pub fn ip(namespace: Option<&Namespace>, lines: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(namespace) = namespace {
        namespace.enter_on_exec(&mut command)?;
    }
    let mut child = command.spawn().map_err(no_ip)?;
    let script = lines.join("\n") + "\n";
    let written = child.stdin.take().context("ip has no input")?.write_all(script.as_bytes());
    let output = child.wait_with_output()?;
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip failed: {} (commands: {})", said.trim(), lines.join("; "));
    }
    Ok(())
}

/// How many frames the process behind TAP device `tap` has emitted so far.
///
/// # Errors
/// When `ip` fails or its answer is not understood.
pub fn frames_emitted(namespace: Option<&Namespace>, tap: &str) -> anyhow::Result<u64> {
    let mut command = Command::new("ip");
    command.args(["-json", "-statistics", "link", "show", "dev", tap]).stdin(Stdio::null());
    if let Some(namespace) = namespace {
        namespace.enter_on_exec(&mut command)?;
    }
    let output = command.output().map_err(no_ip)?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("ip says about {tap}: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    answer
        .pointer("/0/stats64/rx/packets")
        .and_then(serde_json::Value::as_u64)
        .with_context(|| format!("ip gives no statistics of {tap}: {answer}"))
}

fn no_ip(error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot run the command ip (package iproute2)")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// In a thread of its own, because the namespace is the thread's.
    #[test]
    fn the_network_has_a_bridge_and_taps_and_is_private() {
        if !missing().is_empty() {
            assert!(std::env::var_os("FTVMM_TEST_WITHOUT_KVM").is_some(), "missing: {:?}", missing());
            eprintln!("skipped: {:?}", missing());
            return;
        }
        let in_network = || {
            enter(&["tap-a", "tap-b"]).unwrap();
            assert_eq!(frames_emitted(None, "tap-a").unwrap(), 0);
            frames_emitted(None, "tap-b").unwrap();
            let error = frames_emitted(None, "tap-c").unwrap_err();
            assert!(format!("{error:#}").contains("tap-c"), "{error:#}");
            let error = ip(None, &["link set tap-x up".to_owned()]).unwrap_err();
            assert!(format!("{error:#}").contains("tap-x"), "{error:#}");
        };
        thread::scope(|scope| scope.spawn(in_network).join().unwrap());
        assert!(frames_emitted(None, "tap-a").is_err(), "the test's own network must not have it");
    }
}
