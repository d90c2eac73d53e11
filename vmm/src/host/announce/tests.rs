use super::{addresses::*, *};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 10];
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 9];
const TAG: [u8; 4] = [0x81, 0, 0, 100];

fn v4(last: u8) -> Address {
    Address::V4([10, 77, 0, last])
}

/// The frames that announce exactly this.
fn announced(mac: [u8; 6], claims: &[(&[u8], Address)]) -> Vec<Vec<u8>> {
    let mut addresses = Addresses::of(mac);
    for &(tags, address) in claims.iter().rev() {
        addresses.learn(&announcement(mac, tags, address));
    }
    assert_eq!(addresses.claims().len(), claims.len());
    frames::of(&addresses)
}

/// One announcement, made by hand and not by what is tested.
fn announcement(mac: [u8; 6], tags: &[u8], address: Address) -> Vec<u8> {
    match address {
        Address::V4(address) => {
            let arp = [0, 1, 8, 0, 6, 4, 0, 2];
            [&[0xff; 6][..], &mac, tags, &[8, 6], &arp, &mac, &address, &[0; 6], &[10, 77, 0, 1]].concat()
        }
        Address::V6(address, router) => {
            let flags = if router { 0xe0 } else { 0x60 };
            let ip = [0x60, 0, 0, 0, 0, 24, 58, 255];
            let advertisement = [136, 0, 0, 0, flags, 0, 0, 0];
            let (to, all) = ([0x33, 0x33, 0, 0, 0, 1], [0xff; 16]);
            [&to[..], &mac, tags, &[0x86, 0xdd], &ip, &address, &all, &advertisement, &address].concat()
        }
    }
}

#[test]
fn an_announcement_tells_its_own_source() {
    let claims = [(&[][..], v4(2)), (&TAG[..], v4(3)), (&[], Address::V6(LINK_LOCAL, true))];
    let frames = announced(MAC, &claims);
    let mut heard = Addresses::of(MAC);
    frames.iter().rev().for_each(|frame| heard.learn(frame));
    let heard: Vec<_> = heard.claims().iter().map(|claim| (&claim.tags[..], claim.address)).collect();
    assert_eq!(heard, claims);
    let arp = &frames[0];
    assert_eq!((&arp[..6], &arp[6..12]), (&[0xff; 6][..], &MAC[..]));
    assert_eq!(arp[28..32], arp[38..42], "gratuitous: sender and target are the same");
    assert_eq!(arp.len(), 60);
}

/// RFC 4861, section 7.2.6, for fe80::ff:fe00:9; the sum was computed apart, by adding the words up.
#[test]
fn an_ipv6_address_is_advertised_to_all_nodes_and_overrides() {
    let frame = &announced(MAC, &[(&[], Address::V6(LINK_LOCAL, false))])[0];
    assert_eq!(&frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd]);
    assert_eq!(frame[18..22], [0, 32, 58, 255], "length, ICMPv6, hop limit");
    assert_eq!(frame[22..38], LINK_LOCAL);
    assert_eq!(frame[38..54], [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!((frame[54], frame[58]), (136, 0x20), "an advertisement that overrides, of no router");
    assert_eq!(frame[62..78], LINK_LOCAL);
    assert_eq!(frame[78..], [2, 1, 2, 0, 0, 0, 0, 9]);
    let words = frame[22..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>() + 32 + 58;
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "with its checksum the message adds up to ones");
}

#[test]
fn without_an_address_the_station_is_announced() {
    let frames = announced(MAC, &[]);
    assert_eq!(frames.len(), 1);
    assert_eq!((&frames[0][6..12], &frames[0][12..14]), (&MAC[..], &[0x80, 0x35][..]));
    assert_eq!(frames[0][20..22], [0, 3], "a reverse request");
}

#[test]
fn only_what_a_station_claims_of_itself_is_announced() {
    let mut addresses = Addresses::of(MAC);
    // Bridged for another.
    addresses.learn(&announcement(OTHER, &[], v4(2)));
    // Its own frame that speaks of another.
    let mut lie = announcement(MAC, &[], v4(2));
    lie[22..28].copy_from_slice(&OTHER);
    addresses.learn(&lie);
    // A packet that it routes.
    let mut packet = announcement(MAC, &[], v4(2));
    packet[12..14].copy_from_slice(&[8, 0]);
    addresses.learn(&packet);
    // Discovery that a router has passed on.
    let mut far = announcement(MAC, &[], Address::V6(LINK_LOCAL, false));
    far[21] = 64;
    addresses.learn(&far);
    // Probes, groups, loopback.
    for address in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        addresses.learn(&announcement(MAC, &[], Address::V4(address)));
    }
    for address in [[0; 16], [0xff; 16], std::array::from_fn(|at| u8::from(at == 15))] {
        addresses.learn(&announcement(MAC, &[], Address::V6(address, false)));
    }
    assert_eq!(addresses.claims(), []);
}

#[test]
fn what_is_announced_is_bounded_and_the_latest() {
    let mut addresses = Addresses::of(MAC);
    for last in 1..=200 {
        addresses.learn(&announcement(MAC, &[], v4(last)));
        addresses.learn(&announcement(MAC, &[], v4(1)));
    }
    assert_eq!(frames::of(&addresses).len(), 8);
    assert_eq!(addresses.claims()[0].address, v4(1), "what is heard again stays");
    assert_eq!(addresses.claims()[1].address, v4(200));
}

#[test]
fn short_frames_tell_nothing() {
    for address in [v4(2), Address::V6(LINK_LOCAL, false)] {
        let frame = announcement(MAC, &TAG, address);
        for length in 0..frame.len() {
            Addresses::of(MAC).learn(&frame[..length]);
        }
    }
}
