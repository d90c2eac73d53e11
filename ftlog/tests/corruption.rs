//! Whatever happens to a log on its way is noticed, and the error says where.

mod common;

use ftlog::*;

/// Where each frame of the small file starts, and where it ends.
fn bounds(frames: &[Vec<u8>]) -> Vec<std::ops::Range<usize>> {
    let mut start = 0;
    let next = |frame: &Vec<u8>| {
        let range = start..start + frame.len();
        start = range.end;
        range
    };
    frames.iter().map(next).collect()
}

#[test]
fn every_value_of_every_byte() {
    let frames = common::encode(&common::small_file());
    let mut bytes = frames.concat();
    for (sequence, range) in bounds(&frames).into_iter().enumerate() {
        for at in range.clone() {
            for flip in 1..=u8::MAX {
                bytes[at] ^= flip;
                let (read, error) = common::read_all(&bytes);
                bytes[at] ^= flip;
                let error = error.unwrap_or_else(|| panic!("byte {at} xor {flip:#x} was accepted"));
                assert_eq!(read.len(), sequence, "byte {at} xor {flip:#x}: {error}");
                assert_eq!((error.sequence, error.offset), (sequence as u64, range.start as u64), "{error}");
                assert!(is_expected(&error.problem, at - range.start), "byte {at} xor {flip:#x}: {error}");
            }
        }
    }
}

/// Which check has to find a damaged byte at an offset in its frame.
fn is_expected(problem: &FrameProblem, offset: usize) -> bool {
    match offset {
        0..4 => matches!(problem, FrameProblem::BadMagic { .. }),
        4..6 => matches!(problem, FrameProblem::Version { supported: FORMAT_VERSION, .. }),
        6..HEADER_LEN => matches!(problem, FrameProblem::HeaderChecksum { .. }),
        _ => matches!(problem, FrameProblem::BodyChecksum { .. }),
    }
}

#[test]
fn every_truncation() {
    let frames = common::encode(&common::small_file());
    let bytes = frames.concat();
    let bounds = bounds(&frames);
    for len in 0..bytes.len() {
        let whole = bounds.iter().filter(|range| range.end <= len).count();
        let (read, error) = common::read_all(&bytes[..len]);
        assert_eq!(read.len(), whole, "{len} bytes");
        let have = len - bounds[whole].start;
        match error {
            // Between frames the missing End tells.
            None => {
                assert!(have == 0 && read.iter().all(|frame| frame.kind != FrameKind::End), "{len} bytes")
            }
            Some(error) => {
                assert_eq!((error.sequence, error.offset), (whole as u64, bounds[whole].start as u64));
                let needed = if have < HEADER_LEN { HEADER_LEN } else { bounds[whole].len() };
                assert_eq!(error.problem.to_string(), FrameProblem::Truncated { have, needed }.to_string());
            }
        }
    }
}

/// Asserts that a stream of these frames is read up to `due` and no further, because `found` comes there.
fn assert_out_of_sequence(frames: &[&[u8]], due: usize, found: usize) {
    let (read, error) = common::read_all(&frames.concat());
    assert_eq!(read.len(), due);
    let problem = error.expect("the wrong frame was accepted").problem;
    let (expected, found) = (due as u64, found as u64);
    assert_eq!(problem.to_string(), FrameProblem::Sequence { expected, found }.to_string());
}

#[test]
fn every_removed_frame() {
    let frames = common::encode(&common::small_file());
    let last = frames.len() - 1;
    for removed in 0..last {
        let mut rest: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        rest.remove(removed);
        assert_out_of_sequence(&rest, removed, removed + 1);
    }
    let (read, error) = common::read_all(&frames[..last].concat());
    assert!(
        error.is_none() && read.last().unwrap().kind != FrameKind::End,
        "without its End a file is not whole"
    );
}

#[test]
fn every_repeated_frame() {
    let frames = common::encode(&common::small_file());
    for repeated in 0..frames.len() {
        for at in 0..=frames.len() {
            let mut more: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            more.insert(at, &frames[repeated]);
            match at == repeated {
                // The copy takes the original's place, so it is the original that comes twice.
                true => assert_out_of_sequence(&more, at + 1, repeated),
                false => assert_out_of_sequence(&more, at, repeated),
            }
        }
    }
}

#[test]
fn every_swap() {
    let frames = common::encode(&common::small_file());
    for left in 0..frames.len() {
        for right in left + 1..frames.len() {
            let mut swapped: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            swapped.swap(left, right);
            assert_out_of_sequence(&swapped, left, right);
        }
    }
}

#[test]
fn a_body_behind_another_header() {
    let frames = common::encode(&common::small_file());
    let mixed = [&frames[0], &frames[1][..HEADER_LEN], &frames[2][HEADER_LEN..]].concat();
    let error = common::read_all(&mixed).1.unwrap();
    assert!(matches!(error.problem, FrameProblem::BodyChecksum { .. }), "{error}");
}
