//! The frames that tell where a station is.

use super::addresses::{Address, Addresses, Claim};

const BROADCAST: [u8; 6] = [0xff; 6];
/// All nodes of a link: ff02::1 (RFC 4291, section 2.7.1) and the group's Ethernet address (RFC 2464, section 7).
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;
/// Ethernet over which IPv4 addresses of 4 bytes are resolved: hardware type 1 (RFC 826).
const ARP_PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REVERSE_REQUEST: [u8; 2] = [0, 3];
/// A neighbour advertisement, and its flags: the sender routes; what is known is replaced.
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
/// The shortest frame there is.
const MIN_FRAME: usize = 60;

/// All frames that announce a station: one for each address that it claims, or a reverse ARP request (RFC 903), which
/// teaches switches the same, when none is known.
#[must_use]
pub fn of(addresses: &Addresses) -> Vec<Vec<u8>> {
    let mac = addresses.mac();
    if addresses.claims().is_empty() {
        return vec![arp(mac, &[], RARP, REVERSE_REQUEST, [0; 4], mac)];
    }
    addresses.claims().iter().map(|claim| of_claim(mac, claim)).collect()
}

fn of_claim(mac: [u8; 6], claim: &Claim) -> Vec<u8> {
    match claim.address {
        // Gratuitous ARP (RFC 5227, section 2.3): sender and target are the same.
        Address::V4(address) => arp(mac, &claim.tags, ARP, REQUEST, address, [0; 6]),
        Address::V6(address, router) => neighbour_advertisement(mac, &claim.tags, address, router),
    }
}

fn header(destination: [u8; 6], mac: [u8; 6], tags: &[u8], kind: u16) -> Vec<u8> {
    [&destination[..], &mac, tags, &kind.to_be_bytes()].concat()
}

fn arp(
    mac: [u8; 6],
    tags: &[u8],
    kind: u16,
    operation: [u8; 2],
    address: [u8; 4],
    target: [u8; 6],
) -> Vec<u8> {
    let mut frame = header(BROADCAST, mac, tags, kind);
    for part in [&ARP_PREFIX[..], &operation, &mac, &address, &target, &address] {
        frame.extend(part);
    }
    frame.resize(frame.len().max(MIN_FRAME), 0);
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861, section 7.2.6), with the station's address as its option.
fn neighbour_advertisement(mac: [u8; 6], tags: &[u8], address: [u8; 16], router: bool) -> Vec<u8> {
    let flags = OVERRIDE | if router { ROUTER } else { 0 };
    let mut discovery = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    discovery.extend(address);
    // Target link-layer address, in units of 8 bytes.
    discovery.extend([2, 1]);
    discovery.extend(mac);
    let sum = checksum(address, &discovery);
    discovery[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = header(ALL_NODES_MAC, mac, tags, IPV6);
    let length = (discovery.len() as u16).to_be_bytes();
    // Version 6, ICMPv6, and the hop limit that shows that no router has passed it on.
    for part in [&[0x60, 0, 0, 0][..], &length, &[58, u8::MAX], &address, &ALL_NODES, &discovery] {
        frame.extend(part);
    }
    frame
}

/// Of ICMPv6 to all nodes (RFC 4443, section 2.3), whose field for it is 0.
fn checksum(source: [u8; 16], message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    let all = [&source[..], &ALL_NODES, &length, &[0, 0, 0, 58], message].concat();
    let words = all.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
