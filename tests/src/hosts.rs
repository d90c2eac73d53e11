//! Two hosts, each with a network namespace of its own, whose channel can be cut.
//!
//! ```text
//!              client (the test's thread)
//!    ftbr0 10.77.0.1 ──┬── ga ═══ guest ── br0 ── tap-a   host A
//!                      └── gb ═══ guest ── br0 ── tap-b   host B
//!    ftch0 ────────────┬── ca ═══ chan 10.78.0.1          host A
//!                      └── cb ═══ chan 10.78.0.2          host B
//! ```
//!
//! `ftch0` is the wire between the two: with it down their links stay up and nothing arrives, as when a switch dies.

use ftvmm::demo::{
    net::{self, BRIDGE, CLIENT, Namespace},
    pair::Place,
};

const CHANNEL: &str = "ftch0";

/// The two hosts. Their networks end with this and the processes in them.
pub struct Hosts {
    a: Namespace,
    b: Namespace,
}

impl Hosts {
    /// Moves the calling thread into the clients' network, with the two hosts attached.
    ///
    /// # Errors
    /// When the network cannot be made.
    pub fn enter() -> anyhow::Result<Self> {
        net::unshare_network()?;
        let mut lines = vec!["link set lo up".to_owned()];
        lines.extend(net::bridge(BRIDGE));
        lines.push(format!("addr add {CLIENT} dev {BRIDGE}"));
        lines.extend(net::bridge(CHANNEL));
        net::ip(None, &lines)?;
        Ok(Self { a: host("a", "10.78.0.1/24")?, b: host("b", "10.78.0.2/24")? })
    }

    /// On host A.
    #[must_use]
    pub fn a(&self) -> Place<'_> {
        Place { address: "10.78.0.1", namespace: Some(&self.a), ..Place::here("tap-a") }
    }

    /// On host B.
    #[must_use]
    pub fn b(&self) -> Place<'_> {
        Place { address: "10.78.0.2", namespace: Some(&self.b), ..Place::here("tap-b") }
    }

    /// Cuts the hosts off from each other, silently. Both still reach the clients.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn cut(&self) -> anyhow::Result<()> {
        net::ip(None, &[format!("link set {CHANNEL} down")])
    }

    /// Joins them again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn heal(&self) -> anyhow::Result<()> {
        net::ip(None, &[format!("link set {CHANNEL} up")])
    }
}

/// A host's namespace with a TAP device on the guests' network and an address on the channel.
fn host(name: &str, address: &str) -> anyhow::Result<Namespace> {
    let host = Namespace::create(&format!("host-{name}"))?;
    let mut outside = Vec::new();
    for (end, inside, bridge) in [("g", "guest", BRIDGE), ("c", "chan", CHANNEL)] {
        outside.push(format!("link add {end}{name} type veth peer name {inside} netns {}", host.path()));
        outside.push(format!("link set {end}{name} master {bridge} up"));
    }
    net::ip(None, &outside)?;
    let mut inside = vec!["link set lo up".to_owned()];
    inside.extend(net::bridge("br0"));
    inside.extend(net::tap_on_bridge(&format!("tap-{name}"), "br0"));
    inside.push("link set guest master br0 up".to_owned());
    inside.push(format!("addr add {address} dev chan"));
    inside.push("link set chan up".to_owned());
    net::ip(Some(&host), &inside)?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        process::Command,
        thread,
        time::Duration,
    };

    use super::*;
    use crate::harness;

    fn pings(from: &Namespace, to: &str) -> bool {
        let script = format!("exec 3<>/dev/tcp/{to}/7777");
        let mut command = Command::new("timeout");
        command.args(["0.5", "bash", "-c", &script]).stderr(std::process::Stdio::null());
        from.enter_on_exec(&mut command).unwrap();
        command.status().unwrap().success()
    }

    /// A listener in `host`, made by a thread that lives there for a moment.
    fn listen(host: &Namespace) -> TcpListener {
        let path = host.path();
        let listen = move || {
            let namespace = std::fs::File::open(path).unwrap();
            let network = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), network).unwrap();
            TcpListener::bind("0.0.0.0:7777").unwrap()
        };
        thread::spawn(listen).join().unwrap()
    }

    #[test]
    fn a_cut_is_silent_and_can_be_healed() {
        if !harness::require_kvm() {
            return;
        }
        let on_hosts = || {
            let hosts = Hosts::enter().unwrap();
            let _listener = listen(&hosts.b);
            assert!(pings(&hosts.a, "10.78.0.2"));
            hosts.cut().unwrap();
            assert!(!pings(&hosts.a, "10.78.0.2"));
            hosts.heal().unwrap();
            assert!(pings(&hosts.a, "10.78.0.2"));
            let from_client =
                TcpStream::connect_timeout(&"10.78.0.2:7777".parse().unwrap(), Duration::from_millis(50));
            assert!(from_client.is_err(), "the channel is no way for clients");
        };
        thread::scope(|scope| scope.spawn(on_hosts).join().unwrap());
    }
}
