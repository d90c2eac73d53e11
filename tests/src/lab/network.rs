//! The wires of a lab.

use ftvmm::demo::net;

/// The bridge of the clients, with the address that the test has on it.
const CLIENTS: (&str, Option<&str>) = ("labclients", Some(net::CLIENT));
/// The wire between the hosts.
const FT: (&str, Option<&str>) = ("labft", None);
/// How the harness reaches the agents.
const CONTROL: (&str, Option<&str>) = ("labcontrol", Some("10.79.0.1/24"));

/// The networks, all in one namespace, which ends with the threads and processes in it.
#[derive(Debug)]
pub struct Network(());

/// What a host has on the networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Its TAP devices: towards the other host, the clients, the harness. In the order of their hardware addresses.
    pub taps: [&'static str; 3],
    /// Its address towards the other host.
    pub ft: &'static str,
    /// Its agent's address.
    pub control: &'static str,
}

/// Those of host a and b.
pub(super) const PORTS: [Ports; 2] = [
    Ports { taps: ["lab-ft-a", "lab-clients-a", "lab-control-a"], ft: "10.78.0.1", control: "10.79.0.11" },
    Ports { taps: ["lab-ft-b", "lab-clients-b", "lab-control-b"], ft: "10.78.0.2", control: "10.79.0.12" },
];

impl Network {
    /// Moves the calling thread into the clients' network.
    ///
    /// # Errors
    /// When the network cannot be made.
    pub(super) fn enter() -> anyhow::Result<Self> {
        net::unshare_network()?;
        let mut lines = vec!["link set lo up".to_owned()];
        for (index, (bridge, address)) in [FT, CLIENTS, CONTROL].into_iter().enumerate() {
            lines.extend(net::bridge(bridge));
            lines.extend(address.map(|address| format!("addr add {address} dev {bridge}")));
            lines.extend(PORTS.iter().flat_map(|ports| net::tap_on_bridge(ports.taps[index], bridge)));
        }
        net::ip(None, &lines)?;
        Ok(Self(()))
    }

    /// Cuts the hosts off from each other, silently. Both still reach the clients.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn cut_ft(&self) -> anyhow::Result<()> {
        net::ip(None, &[format!("link set {} down", FT.0)])
    }

    /// Joins them again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn mend_ft(&self) -> anyhow::Result<()> {
        net::ip(None, &[format!("link set {} up", FT.0)])
    }
}
