//! What every decoder must stand: any bytes at all. The bodies of the fuzz targets and of the short runs in the tests.
//!
//! None of them may panic, and what is accepted must be the one encoding of what was decoded.

use crate::disks::{DiskBases, DiskBlock, DiskDigests, DiskRegions};
use crate::frame::{FrameDecoder, encode_frame};
use crate::message::{
    Ack, Diverged, End, Heartbeat, Hello, Manifest, Message, Refuse, Registers, Report, Welcome,
};
use crate::page_digests::PageDigests;
use crate::pages::{PagesEncoder, decode_pages};
use crate::step::{StepEncoder, decode_steps};

/// Bytes as the body of a `Steps` frame.
///
/// # Panics
/// When the decoder is broken.
pub fn steps(data: &[u8]) {
    let Ok(frame) = decode_steps(data) else {
        return;
    };
    let mut encoder = StepEncoder::new(frame.first);
    for step in &frame.steps {
        if encoder.push(step.as_ref()).is_err() {
            assert!(data.len() > crate::MAX_BODY, "decoded from {} bytes, does not encode", data.len());
            return;
        }
    }
    assert_eq!(encoder.body(), data, "two encodings of the same steps");
}

/// Bytes as a stream of frames. The first says in what pieces they arrive.
///
/// # Panics
/// When the decoder is broken.
pub fn frames(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let mut decoder = FrameDecoder::new();
    let mut again = Vec::new();
    for bytes in stream.chunks(usize::from(piece) + 1) {
        assert_eq!(decoder.feed(bytes), bytes.len(), "every frame was taken, so there is room");
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    encode_frame(frame.sequence, frame.kind, &frame.body, &mut again)
                        .expect("it was decoded");
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(stream.starts_with(&again), "two encodings of the same frames");
}

/// Bytes as the body of each other kind of frame. The first says which.
///
/// # Panics
/// When a decoder is broken.
pub fn messages(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else {
        return;
    };
    match kind % 16 {
        0 => message::<Manifest>(body),
        1 => message::<Hello>(body),
        2 => message::<Welcome>(body),
        3 => message::<Refuse>(body),
        4 => message::<End>(body),
        5 => message::<Diverged>(body),
        6 => message::<Registers>(body),
        7 => message::<Report>(body),
        8 => assert!(Ack::decode(body).is_ok_and(|ack| ack.encode() == body) || body.len() != Ack::LEN),
        9 => assert!(
            Heartbeat::decode(body).is_ok_and(|beat| beat.encode() == body) || body.len() != Heartbeat::LEN
        ),
        10 => pages(body),
        11 => assert!(DiskDigests::decode(body).map_or(true, |digests| digests.encode() == body)),
        12 => assert!(DiskBlock::decode(body).map_or(true, |block| block.encode() == body)),
        13 => assert!(DiskBases::decode(body).map_or(true, |bases| bases.encode() == body)),
        14 => assert!(PageDigests::decode(body).map_or(true, |digests| digests.encode() == body)),
        _ => assert!(DiskRegions::decode(body).map_or(true, |regions| regions.encode() == body)),
    }
}

fn message<M: Message + PartialEq + std::fmt::Debug>(body: &[u8]) {
    let Ok(message) = M::decode(body) else {
        return;
    };
    // Postcard reads more than one form of a number, so it is the value that has to survive, not the bytes.
    let again = message.encode().expect("it was decoded");
    assert_eq!(M::decode(&again), Ok(message));
}

fn pages(body: &[u8]) {
    let Ok(pages) = decode_pages(body) else { return };
    let mut again = PagesEncoder::default();
    pages.iter().take(crate::PAGES_PER_FRAME).for_each(|(gpa, page)| again.push(gpa, page));
    // There is more than one way to compress a page, so it is the pages that have to survive, not the bytes.
    let decoded = decode_pages(&again.take()).expect("it was encoded");
    assert!(decoded.iter().eq(pages.iter().take(crate::PAGES_PER_FRAME)));
}
