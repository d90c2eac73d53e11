//! Messages and pages: their bounds and what is wrong with bad ones.

mod common;

use ftlog::message::{MAX_CMDLINE, MAX_KERNEL, MAX_NAME, MAX_REASON, MAX_REPORT, MAX_TEXT, MAX_VM_NAME};
use ftlog::*;

/// Asserts that a message fits with a text at its bound and neither leaves nor arrives with a longer one.
fn assert_bound<M: Message + std::fmt::Debug + PartialEq>(
    field: &'static str,
    max: usize,
    make: impl Fn(String) -> M,
) {
    let fits = make("x".repeat(max));
    assert_eq!(M::decode(&fits.encode().unwrap()), Ok(fits));

    let too_long = make("x".repeat(max + 1));
    let error = MessageError::TooLong { kind: M::KIND, field, len: max + 1, max };
    assert_eq!(too_long.encode(), Err(error.clone()));
    assert_eq!(M::decode(&postcard::to_stdvec(&too_long).unwrap()), Err(error));
}

#[test]
fn texts_are_bounded_both_ways() {
    let (shape, hello) = (common::shape, common::hello);
    assert_bound("kernel", MAX_KERNEL, |kernel| Manifest {
        shape: Shape { kernel, ..shape() },
        ..common::manifest()
    });
    assert_bound("name", MAX_VM_NAME, |name| Hello { shape: Shape { name, ..shape() }, ..hello() });
    assert_bound("cpu", MAX_NAME, |cpu| Hello { shape: Shape { cpu, ..shape() }, ..hello() });
    assert_bound("cmdline", MAX_CMDLINE, |cmdline| Hello { shape: Shape { cmdline, ..shape() }, ..hello() });
    assert_bound("software", MAX_NAME, |software| Hello { software, ..hello() });
    assert_bound("holder", MAX_NAME, |holder| Hello { holder, ..hello() });
    assert_bound("arbiter", MAX_NAME, |arbiter| Hello { arbiter, ..hello() });
    assert_bound("software", MAX_NAME, |software| Welcome { software, ..common::welcome() });
    assert_bound("reason", MAX_REASON, |reason| Refuse { reason });
    assert_bound("text", MAX_TEXT, |text| Diverged { text, ..common::diverged() });
    assert_bound("json", MAX_REPORT, |json| Report { json });
}

#[test]
fn disks_are_bounded_both_ways() {
    let disk = DiskShape { sectors: 8, readonly: false, mode: DiskMode::Shared };
    let hello =
        |count| Hello { shape: Shape { disks: vec![disk; count], ..common::shape() }, ..common::hello() };
    assert_eq!(Hello::decode(&hello(MAX_DISKS).encode().unwrap()), Ok(hello(MAX_DISKS)));
    let many = hello(MAX_DISKS + 1);
    let error = MessageError::TooMany {
        kind: FrameKind::Hello,
        field: "disks",
        count: MAX_DISKS + 1,
        max: MAX_DISKS,
    };
    assert_eq!(many.encode(), Err(error.clone()));
    assert_eq!(Hello::decode(&postcard::to_stdvec(&many).unwrap()), Err(error.clone()));
    let many = Hello { disks: vec![DiskLine::default(); MAX_DISKS + 1], ..common::hello() };
    assert_eq!(many.encode(), Err(error));
}

#[test]
fn digests_and_blocks_of_disks_have_one_form_and_bounds() {
    let (digests, block) = (common::digests().encode(), common::block().encode());
    let len = digests.len();
    for wrong in [0, 15, 16, 17, len - 1] {
        DiskDigests::decode(&digests[..wrong]).unwrap_err();
    }
    for wrong in [0, 15, 16] {
        DiskBlock::decode(&block[..wrong]).unwrap_err();
    }
    for reserved in 1..8 {
        let (mut digests, mut block) = (digests.clone(), block.clone());
        (digests[reserved], block[reserved]) = (1, 1);
        assert_eq!(DiskDigests::decode(&digests), Err(DisksError::Reserved { kind: FrameKind::DiskDigests }));
        assert_eq!(DiskBlock::decode(&block), Err(DisksError::Reserved { kind: FrameKind::DiskBlock }));
    }
    let many = |count| DiskDigests { digests: vec![0; count], ..common::digests() }.encode();
    DiskDigests::decode(&many(DIGESTS_PER_FRAME)).unwrap();
    DiskDigests::decode(&many(DIGESTS_PER_FRAME + 1)).unwrap_err();
    let long = |len| DiskBlock { data: &vec![0; len], ..common::block() }.encode();
    DiskBlock::decode(&long(DISK_BLOCK)).unwrap();
    DiskBlock::decode(&long(DISK_BLOCK + 1)).unwrap_err();
}

#[test]
fn maps_of_disks_have_one_form_and_bounds() {
    let (bases, regions) = (common::bases().encode(), common::regions().encode());
    for wrong in [0, 15, 17, bases.len() - 1] {
        DiskBases::decode(&bases[..wrong]).unwrap_err();
    }
    DiskBases::decode(&bases[..16]).unwrap();
    for wrong in [0, 15, 16, regions.len() - 1] {
        DiskRegions::decode(&regions[..wrong]).unwrap_err();
    }
    for reserved in 1..8 {
        let (mut bases, mut regions) = (bases.clone(), regions.clone());
        (bases[reserved], regions[reserved]) = (1, 1);
        assert_eq!(DiskBases::decode(&bases), Err(DisksError::Reserved { kind: FrameKind::DiskBases }));
        assert_eq!(DiskRegions::decode(&regions), Err(DisksError::Reserved { kind: FrameKind::DiskRegions }));
    }
    let base = common::bases().bases.remove(0);
    let many = |count| DiskBases { bases: vec![base.clone(); count], ..common::bases() }.encode();
    DiskBases::decode(&many(MAX_BASES)).unwrap();
    DiskBases::decode(&many(MAX_BASES + 1)).unwrap_err();
    let long = |len| DiskRegions { map: vec![1; len], ..common::regions() }.encode();
    DiskRegions::decode(&long(MAX_REGIONS / 8)).unwrap();
    DiskRegions::decode(&long(MAX_REGIONS / 8 + 1)).unwrap_err();
    DiskRegions::decode(&long(0)).unwrap_err();
}

#[test]
fn a_disk_has_no_more_regions_than_fit_a_map() {
    let region = |bytes| blocks_in_region(bytes) * DISK_BLOCK as u64;
    assert_eq!((region(512), region(256 << 30), region((256 << 30) + 1)), (4 << 20, 4 << 20, 8 << 20));
    for bytes in [1, 3 << 30, 1 << 40, u64::MAX - 511] {
        assert!(bytes.div_ceil(region(bytes)) <= MAX_REGIONS as u64, "{bytes}");
    }
}

#[test]
fn explanations_are_cut_to_fit() {
    let euros = "€".repeat(MAX_TEXT);
    let refuse = Refuse::new(euros.clone());
    assert_eq!(refuse.reason, "€".repeat(MAX_REASON / 3), "at a character's edge");
    refuse.encode().unwrap();
    Diverged::new(Position(1), euros, [0; REGISTER_COUNT]).encode().unwrap();
}

#[test]
fn every_truncation_and_any_excess() {
    fn check<M: Message + std::fmt::Debug + PartialEq>(message: M) {
        let mut body = message.encode().unwrap();
        for len in 0..body.len() {
            let error = M::decode(&body[..len]).unwrap_err();
            assert!(
                matches!(error, MessageError::Malformed { kind, .. } if kind == M::KIND),
                "{len} bytes: {error}"
            );
        }
        body.push(0);
        assert_eq!(M::decode(&body), Err(MessageError::Trailing { kind: M::KIND, extra: 1 }));
    }
    check(common::manifest());
    check(common::hello());
    check(common::welcome());
    check(Refuse::new("busy"));
    check(common::end());
    check(common::diverged());
    check(common::registers());
    check(common::report());
}

#[test]
fn fixed_layouts_byte_by_byte() {
    let condition = Condition { stalled_ns: 6, health: Health(7) };
    let (received, executed) = (Position(1), Position(2));
    let ack = Ack { received, executed, executed_time_ns: 0x0304, executed_bytes: 5, condition };
    let mut bytes = [0; 48];
    (bytes[0], bytes[8], bytes[16], bytes[17], bytes[24], bytes[32], bytes[40]) = (1, 2, 4, 3, 5, 6, 7);
    assert_eq!(ack.encode(), bytes);
    let (position, released) = (Position(1), Position(2));
    let heartbeat = Heartbeat { position, released, time_ns: 0x0304, lease_ns: 5, condition };
    assert_eq!(heartbeat.encode(), bytes);

    let error = |kind, len, expected| MessageError::Length { kind, len, expected };
    assert_eq!(Ack::decode(&bytes[..47]), Err(error(FrameKind::Ack, 47, 48)));
    assert_eq!(Heartbeat::decode(&bytes[1..]), Err(error(FrameKind::Heartbeat, 47, 48)));
}

#[test]
fn what_ails_a_side_is_readable_also_what_is_not_known_here() {
    assert_eq!(Health::default().to_string(), "well");
    let both = Health::NETWORK.and(Health::DISK_STALLS);
    assert_eq!(both.to_string(), "its network device is gone or down, a disk does not answer");
    assert!(both.has(Health::NETWORK) && !both.has(Health::DISK_FAILS) && !both.is_well());
    assert_eq!(Health(1 << 40).to_string(), "something unknown ails it");
}

#[test]
fn names_are_readable() {
    assert_eq!(common::VM.to_string(), "1032547698badcfe0102030405060708");
    assert_eq!(Generation(3).next().to_string(), "4");
    assert_eq!(Generation(u64::MAX).next(), Generation(u64::MAX));
    let error = Welcome::decode(&[]).unwrap_err().to_string();
    assert!(error.starts_with("Welcome: "), "{error}");
}

fn body_of(coding: u8, entries: &[u64], contents: &[u8]) -> Vec<u8> {
    let mut body = vec![coding, 0, 0, 0];
    body.extend((entries.len() as u32).to_le_bytes());
    body.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    body.extend_from_slice(contents);
    body
}

fn addresses(entries: &[u64]) -> Result<Vec<u64>, PagesError> {
    let pages = decode_pages(&body_of(0, entries, &vec![0; entries.len() * PAGE_SIZE]))?;
    Ok(pages.iter().map(|(gpa, _)| gpa).collect())
}

#[test]
fn pages_are_aligned_and_rise() {
    assert_eq!(addresses(&[]), Ok(vec![]));
    assert_eq!(addresses(&[0, 0x1000, 0x9000]), Ok(vec![0, 0x1000, 0x9000]));
    assert_eq!(addresses(&[0, 0x1002, 0x2000]), Err(PagesError::Misaligned { index: 1, gpa: 0x1002 }));
    let order = |gpa, previous| Err(PagesError::Order { index: 1, gpa, previous });
    assert_eq!(addresses(&[0x1000, 0x1000]), order(0x1000, 0x1000));
    assert_eq!(addresses(&[0x2000, 0x1000]), order(0x1000, 0x2000));
}

#[test]
fn pages_that_are_not_whole_are_an_error() {
    let body = common::pages();
    for len in 0..body.len() {
        decode_pages(&body[..len]).expect_err("part of a body");
    }
    let mut longer = body.clone();
    longer.push(0);
    assert_eq!(decode_pages(&longer).unwrap_err(), PagesError::Contents { with_contents: 2 });
    assert_eq!(decode_pages(&body_of(9, &[], &[])).unwrap_err(), PagesError::Coding(9));
    let mut reserved = body;
    reserved[2] = 1;
    assert_eq!(decode_pages(&reserved).unwrap_err(), PagesError::Reserved);
}

#[test]
fn compressed_pages_are_as_many_as_are_named() {
    let compressed = lz4_flex::block::compress(&[7; 2 * PAGE_SIZE]);
    let of =
        |entries: &[u64]| decode_pages(&body_of(1, entries, &compressed)).map(|pages| pages.iter().count());
    assert_eq!(of(&[0, 0x1000]), Ok(2));
    assert_eq!(of(&[0, 0x1000, 0x2001]), Ok(3), "one is zeroes");
    assert_eq!(of(&[0]), Err(PagesError::Contents { with_contents: 1 }));
    assert_eq!(of(&[0, 0x1000, 0x2000]), Err(PagesError::Contents { with_contents: 3 }));
    assert_eq!(
        decode_pages(&body_of(1, &[0], b"rubbish")).unwrap_err(),
        PagesError::Contents { with_contents: 1 }
    );
}

#[test]
fn a_body_takes_a_bounded_number_of_pages() {
    let page = |number: usize| (number * PAGE_SIZE) as u64;
    let zeroes: Vec<u64> = (0..=ENTRIES_PER_FRAME).map(|number| page(number) | 1).collect();
    assert!(decode_pages(&body_of(0, &zeroes[1..], &[])).is_ok());
    let many = PagesError::TooMany { pages: ENTRIES_PER_FRAME + 1, with_contents: 0 };
    assert_eq!(decode_pages(&body_of(0, &zeroes, &[])).unwrap_err(), many);
    let pages: Vec<u64> = (0..=PAGES_PER_FRAME).map(page).collect();
    let with_contents = pages.len();
    let many = PagesError::TooMany { pages: with_contents, with_contents };
    assert_eq!(addresses(&pages), Err(many));
    // So little that nothing waits long behind it.
    let mut encoder = PagesEncoder::default();
    for number in 0..PAGES_PER_FRAME {
        encoder.push(page(number), &std::array::from_fn(|index| ((index * 7919) >> 3) as u8));
    }
    assert!(encoder.is_full());
    assert!(encoder.take().len() <= 128 << 10);
}

#[test]
fn digests_of_pages_name_pages_that_rise() {
    let right = common::page_digests();
    assert_eq!(PageDigests::decode(&right.encode()), Ok(right.clone()));
    let of = |gpas: &[u64]| {
        let pages = gpas.iter().map(|gpa| (*gpa, 0)).collect();
        PageDigests::decode(&PageDigests { last: false, boot: 0, pages }.encode())
            .map(|digests| digests.pages.len())
    };
    assert_eq!(of(&[]), Ok(0));
    assert_eq!(of(&[0, 0x1000]), Ok(2));
    assert_eq!(of(&[0, 0]), Err(PageDigestsError::Address { index: 1, gpa: 0 }));
    assert_eq!(of(&[8]), Err(PageDigestsError::Address { index: 0, gpa: 8 }));
    let many: Vec<u64> = (0..=PAGE_DIGESTS_PER_FRAME as u64).map(|page| page << 12).collect();
    assert_eq!(of(&many[1..]), Ok(PAGE_DIGESTS_PER_FRAME));
    assert!(matches!(of(&many), Err(PageDigestsError::Length { .. })));
    let body = right.encode();
    for len in (0..body.len()).filter(|len| len % 24 != 0 || *len == 0) {
        assert_eq!(PageDigests::decode(&body[..len]), Err(PageDigestsError::Length { len }));
    }
    let mut other = body;
    other[0] = 2;
    assert_eq!(PageDigests::decode(&other), Err(PageDigestsError::Last(2)));
}
