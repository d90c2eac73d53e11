//! Frames: every check of the header, the bounds of the decoder, reader and writer.

mod common;

use std::io::{self, Cursor, ErrorKind, Read, Write};

use ftlog::*;
use xxhash_rust::xxh3::xxh3_64;

/// A header written by hand, so that the checks behind its checksum can be reached.
#[derive(Clone, Copy)]
struct Raw {
    magic: [u8; 4],
    version: u16,
    kind: u16,
    sequence: u64,
    body_len: u32,
    reserved: u32,
}

const QUERY: Raw = Raw { magic: *b"FTLG", version: 7, kind: 16, sequence: 0, body_len: 0, reserved: 0 };

impl Raw {
    fn bytes(self, body: &[u8]) -> Vec<u8> {
        let mut bytes = [
            &self.magic[..],
            &self.version.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.sequence.to_le_bytes(),
            &self.body_len.to_le_bytes(),
            &self.reserved.to_le_bytes(),
            &xxh3_64(body).to_le_bytes(),
        ]
        .concat();
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }
}

fn message(bytes: &[u8]) -> String {
    common::read_all(bytes).1.expect("an error").to_string()
}

#[test]
fn layout_by_hand() {
    let mut bytes = Vec::new();
    encode_frame(258, FrameKind::State, b"abc", &mut bytes).unwrap();
    assert_eq!(bytes, Raw { kind: 3, sequence: 258, body_len: 3, ..QUERY }.bytes(b"abc"));
    assert_eq!(bytes.len(), HEADER_LEN + 3);
}

#[test]
fn kinds_keep_their_numbers() {
    for (index, kind) in FrameKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index + 1, "{kind:?}");
        let (frames, error) = common::read_all(&Raw { kind: kind as u16, ..QUERY }.bytes(b""));
        assert!(error.is_none() && frames[0].kind == kind);
    }
    for kind in [0, 28, u16::MAX] {
        let text = format!("frame 0 at byte 0: unknown kind {kind}");
        assert_eq!(message(&Raw { kind, ..QUERY }.bytes(b"")), text);
    }
}

#[test]
fn bad_headers_are_named() {
    let bad = |raw: Raw| message(&raw.bytes(b""));
    assert_eq!(
        bad(Raw { magic: *b"\x7fELF", ..QUERY }),
        "frame 0 at byte 0: magic [7f, 45, 4c, 46], [46, 54, 4c, 47] expected"
    );
    assert_eq!(
        bad(Raw { version: 8, ..QUERY }),
        "frame 0 at byte 0: format version 8, this program reads version 7"
    );
    assert_eq!(bad(Raw { reserved: 5, ..QUERY }), "frame 0 at byte 0: reserved field 0x5, 0 expected");
    assert_eq!(bad(Raw { sequence: 3, ..QUERY }), "frame 0 at byte 0: sequence 3, 0 expected");
    let body_len = MAX_BODY as u32 + 1;
    assert_eq!(
        bad(Raw { body_len, ..QUERY }),
        "frame 0 at byte 0: body of 4194305 bytes, at most 4194304 expected"
    );
    assert!(bad(Raw { body_len: u32::MAX, ..QUERY }).contains("body of 4294967295 bytes"));
}

#[test]
fn another_version_is_named_whatever_its_layout() {
    let text = "frame 0 at byte 0: format version 1025, this program reads version 7";
    assert_eq!(message(b"FTLG\x01\x04"), text, "before there is a whole header");
    assert_eq!(message(&[&b"FTLG\x01\x04"[..], &[0xee; 200]].concat()), text, "before its checksum");
}

#[test]
fn errors_name_the_frame_and_its_place() {
    let mut stream = common::encode(&common::small_file()).concat();
    let start = stream.len();
    stream.extend(Raw { sequence: 4, ..QUERY }.bytes(b""));
    assert_eq!(message(&stream), format!("frame 7 at byte {start}: sequence 4, 7 expected"));
}

#[test]
fn a_decoder_fed_byte_by_byte_gives_the_same_frames() {
    let stream = common::encode(&common::file()).concat();
    let (mut decoder, mut frames) = (FrameDecoder::new(), Vec::new());
    for byte in &stream {
        assert_eq!(decoder.feed(&[*byte]), 1);
        frames.extend(decoder.next().unwrap());
    }
    decoder.finish().unwrap();
    assert_eq!(frames, common::read_all(&stream).0);
    let offsets: Vec<u64> = frames.iter().map(|frame| frame.offset).collect();
    assert!(offsets.is_sorted() && offsets[0] == 0);
    assert!(frames.iter().enumerate().all(|(index, frame)| frame.sequence == index as u64));
}

#[test]
fn a_decoder_holds_one_longest_frame_and_no_more() {
    let mut stream = Vec::new();
    encode_frame(0, FrameKind::State, &vec![7; MAX_BODY], &mut stream).unwrap();
    encode_frame(1, FrameKind::Query, &[], &mut stream).unwrap();

    let mut decoder = FrameDecoder::new();
    assert_eq!(decoder.feed(&stream), HEADER_LEN + MAX_BODY);
    assert_eq!((decoder.room(), decoder.feed(&stream)), (0, 0));
    assert_eq!(decoder.next().unwrap().unwrap().body.len(), MAX_BODY);
    assert!(decoder.next().unwrap().is_none());
    assert_eq!(decoder.feed(&stream[HEADER_LEN + MAX_BODY..]), HEADER_LEN);
    assert_eq!(decoder.next().unwrap().unwrap().kind, FrameKind::Query);
}

#[test]
fn an_error_is_final() {
    let mut decoder = FrameDecoder::new();
    let bad = Raw { sequence: 1, ..QUERY }.bytes(b"");
    assert_eq!(decoder.feed(&bad), bad.len());
    let first = decoder.next().unwrap_err().to_string();
    let good = QUERY.bytes(b"");
    assert_eq!(decoder.feed(&good), good.len());
    assert_eq!(decoder.next().unwrap_err().to_string(), first);
}

#[test]
fn a_body_over_the_bound_is_not_written() {
    let mut writer = FrameWriter::new(Vec::new());
    writer.write(FrameKind::Query, &[]).unwrap();
    let error = writer.write(FrameKind::State, &vec![0; MAX_BODY + 1]).unwrap_err();
    let text = "frame 1 at byte 40: body of 4194305 bytes, at most 4194304 expected";
    assert_eq!(error.to_string(), text);
    writer.write(FrameKind::Query, &[]).unwrap();
    let (frames, error) = common::read_all(&writer.into_inner());
    assert!(frames.len() == 2 && error.is_none());
}

#[test]
fn a_writer_counts() {
    let mut writer = FrameWriter::new(Vec::new());
    for (sequence, (kind, body)) in common::file().iter().enumerate() {
        assert_eq!(writer.write(*kind, body).unwrap(), sequence as u64);
    }
    writer.flush().unwrap();
    assert_eq!((writer.frames(), writer.bytes()), (12, writer.get_ref().len() as u64));
    assert_eq!(writer.into_inner(), common::encode(&common::file()).concat());
}

/// A stream that fails with each kind of error in turn between pieces of three bytes.
struct Faltering {
    stream: Cursor<Vec<u8>>,
    errors: Vec<ErrorKind>,
    calls: usize,
}

impl Read for Faltering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls.is_multiple_of(2) {
            true => Err(self.errors[self.calls / 2 % self.errors.len()].into()),
            false => self.stream.read(&mut buffer[..3]),
        }
    }
}

#[test]
fn a_reader_goes_on_after_errors_that_pass() {
    let stream = common::encode(&common::small_file()).concat();
    let expected = common::read_all(&stream).0;
    let errors = vec![ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::TimedOut];
    let bytes = stream.len() as u64;
    let mut reader = FrameReader::new(Faltering { stream: Cursor::new(stream), errors, calls: 0 });
    let mut found = Vec::new();
    loop {
        match reader.read() {
            Ok(Some(frame)) => found.push(frame),
            Ok(None) => break,
            Err(FrameError { sequence, problem: FrameProblem::Io(error), .. }) => {
                assert_eq!(sequence, found.len() as u64);
                assert_ne!(error.kind(), ErrorKind::Interrupted);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(found, expected);
    assert_eq!(reader.bytes(), bytes);
}

/// A stream that takes a number of bytes, then none.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_says_where_it_failed() {
    let mut writer = FrameWriter::new(Full(HEADER_LEN + 10));
    writer.write(FrameKind::Query, &[]).unwrap();
    let error = writer.write(FrameKind::Query, &[]).unwrap_err();
    assert_eq!((error.sequence, error.offset), (1, 40));
    assert!(matches!(error.problem, FrameProblem::Io(error) if error.kind() == ErrorKind::StorageFull));
}
