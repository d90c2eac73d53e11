//! TAP devices and the rights to make them.

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{CapabilitySet, capabilities};

use super::Finding;
use crate::demo::net;

pub fn examine() -> Vec<Finding> {
    vec![tun(), net_admin(), namespaces(), ip()]
}

fn tun() -> Finding {
    match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Finding::ok("/dev/net/tun", "opens"),
        Err(error) => {
            Finding::missing("/dev/net/tun", error.to_string(), "modprobe tun, or be allowed to open it")
        }
    }
}

fn net_admin() -> Finding {
    let held = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    if held {
        return Finding::ok("CAP_NET_ADMIN", "held");
    }
    let remedy =
        "run as root, or have root make the TAP device for you: ip tuntap add dev NAME mode tap user YOU";
    Finding::warning("CAP_NET_ADMIN", "not held: only TAP devices made for this user can be used", remedy)
}

fn namespaces() -> Finding {
    // In a thread of its own, which takes the namespace with it when it ends.
    let made = thread::spawn(net::unshare_network).join();
    match made {
        Ok(Ok(())) => Finding::ok("network namespaces", "can be made"),
        _ => Finding::warning("network namespaces", "cannot be made", "run the demo and the tests as root"),
    }
}

fn ip() -> Finding {
    match Command::new("ip").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Finding::ok("ip", "installed"),
        Err(error) => Finding::warning("ip", error.to_string(), "apt-get install iproute2"),
    }
}
