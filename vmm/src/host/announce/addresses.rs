//! Which addresses the guest says are its own.

/// More are forgotten, the oldest first: a guest has no say in how much is announced for it.
const MAX_ADDRESSES: usize = 8;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// The tags of VLANs (IEEE 802.1Q, 802.1ad).
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The flag of an advertisement that its sender routes.
const ROUTER: u8 = 0x80;

/// An address that the guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Of IPv4.
    V4([u8; 4]),
    /// Of IPv6, and whether the guest says that it is a router's.
    V6([u8; 16], bool),
}

/// An address and the tags of the VLANs in which it is, as they stand in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// None, one or two tags of 4 bytes.
    pub tags: Vec<u8>,
    /// The address.
    pub address: Address,
}

/// What a station has claimed in frames of its own, last first. Only what it says of itself in ARP and neighbour
/// discovery counts: the sources of its packets may be those of others, for which it routes.
#[derive(Clone, Debug)]
pub struct Addresses {
    mac: [u8; 6],
    claims: Vec<Claim>,
}

impl Addresses {
    /// The station `mac`, of which nothing is known.
    #[must_use]
    pub fn of(mac: [u8; 6]) -> Self {
        Self { mac, claims: Vec::new() }
    }

    /// The station.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What it claims.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Takes in a frame that the guest sent.
    pub fn learn(&mut self, frame: &[u8]) {
        let Some(claim) = claim(frame, self.mac) else { return };
        self.claims.retain(|known| !known.is_about_the_same(&claim));
        self.claims.insert(0, claim);
        self.claims.truncate(MAX_ADDRESSES);
    }
}

impl Claim {
    fn is_about_the_same(&self, other: &Self) -> bool {
        let same = match (self.address, other.address) {
            (Address::V6(one, _), Address::V6(two, _)) => one == two,
            (one, two) => one == two,
        };
        same && self.tags == other.tags
    }
}

/// What a frame of station `mac` claims.
fn claim(frame: &[u8], mac: [u8; 6]) -> Option<Claim> {
    if frame.get(6..12)? != mac {
        return None;
    }
    let mut at = 12;
    while at < 20 && TAGS.contains(&u16_at(frame, at)?) {
        at += 4;
    }
    let (tags, payload) = (frame[12..at].to_vec(), frame.get(at + 2..)?);
    let address = match u16_at(frame, at)? {
        ARP => claimed_by_arp(payload, mac),
        IPV6 => claimed_by_discovery(payload),
        _ => None,
    }?;
    Some(Claim { tags, address })
}

/// RFC 826: the sender's addresses, of which the network's is none in a probe.
fn claimed_by_arp(packet: &[u8], mac: [u8; 6]) -> Option<Address> {
    let sender: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
    let own = packet.get(8..14)? == mac;
    let unicast = !matches!(sender[0], 0 | 127 | 224..);
    (own && unicast).then_some(Address::V4(sender))
}

/// RFC 4861, sections 4.2 to 4.4: an advertisement's target, or the source of what else a node says of itself.
fn claimed_by_discovery(packet: &[u8]) -> Option<Address> {
    let discovery = packet.get(40..)?;
    // What a router has passed on has a smaller hop limit.
    if packet[6] != ICMPV6 || packet[7] != u8::MAX {
        return None;
    }
    let source: [u8; 16] = packet[8..24].try_into().ok()?;
    let (address, router) = match *discovery.first()? {
        NEIGHBOUR_ADVERTISEMENT => (discovery.get(8..24)?.try_into().ok()?, discovery[4] & ROUTER != 0),
        NEIGHBOUR_SOLICITATION => (source, false),
        ROUTER_ADVERTISEMENT => (source, true),
        _ => return None,
    };
    let unicast = address[0] != 0xff && address[..15] != [0; 15];
    unicast.then_some(Address::V6(address, router))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
