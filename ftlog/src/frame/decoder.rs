//! Frames out of bytes, in whatever pieces they arrive.

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::FromBytes;

use super::{
    FORMAT_VERSION, Frame, FrameError, FrameKind, FrameProblem, HEADER_LEN, Header, MAGIC, MAX_BODY,
};

/// Bytes in which magic and version are, whatever the version.
const PREAMBLE_LEN: usize = 6;

/// Cuts a stream of bytes into verified frames, for sockets that do not block.
///
/// Feed it, then call [`FrameDecoder::next`] until it has no more. It never holds more than one longest frame of
/// bytes. An error is final: the position of the next frame is unknown, so `next` gives the same error again.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were handed out already.
    used: usize,
    /// The sequence number of the next frame.
    sequence: u64,
    /// Where the next frame starts in the stream.
    offset: u64,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that [`FrameDecoder::feed`] would take now; never 0 when `next` just gave `Ok(None)`.
    #[must_use]
    pub fn room(&self) -> usize {
        HEADER_LEN + MAX_BODY - self.pending().len()
    }

    /// Takes bytes off the stream, as many as there is room for, and returns how many.
    #[must_use = "bytes that were not taken have to be fed again"]
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.buffer.drain(..self.used);
        self.used = 0;
        let taken = bytes.len().min(self.room());
        self.buffer.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The next frame, or none before more bytes are fed.
    ///
    /// # Errors
    /// [`FrameError`] for the first frame that is not the one due here.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: `None` only means not yet")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        match self.parse() {
            Ok(Some((kind, body))) => {
                let frame = Frame { kind, sequence: self.sequence, offset: self.offset, body };
                let len = HEADER_LEN + frame.body.len();
                self.used += len;
                self.offset += len as u64;
                self.sequence += 1;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(problem) => Err(self.error(problem)),
        }
    }

    /// Says whether the stream may end here: it may between frames.
    ///
    /// # Errors
    /// [`FrameProblem::Truncated`] inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        let have = self.pending().len();
        if have == 0 {
            return Ok(());
        }
        let body_len =
            Header::read_from_prefix(self.pending()).map_or(0, |(header, _)| header.body_len.get() as usize);
        Err(self.error(FrameProblem::Truncated { have, needed: HEADER_LEN + body_len }))
    }

    /// An error at the place of the next frame.
    pub(crate) fn error(&self, problem: FrameProblem) -> FrameError {
        FrameError { sequence: self.sequence, offset: self.offset, problem }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn parse(&self) -> Result<Option<(FrameKind, Vec<u8>)>, FrameProblem> {
        let pending = self.pending();
        if let Some(preamble) = pending.first_chunk() {
            check_preamble(preamble)?;
        }
        let Ok((header, rest)) = Header::read_from_prefix(pending) else {
            return Ok(None);
        };
        let kind = self.check_header(&header)?;
        let Some(body) = rest.get(..header.body_len.get() as usize) else {
            return Ok(None);
        };
        let (expected, found) = (header.body_xxh3.get(), xxh3_64(body));
        if expected != found {
            return Err(FrameProblem::BodyChecksum { expected, found });
        }
        Ok(Some((kind, body.to_vec())))
    }

    fn check_header(&self, header: &Header) -> Result<FrameKind, FrameProblem> {
        let (expected, found) = (header.checksum(), header.header_xxh3.get());
        if expected != found {
            return Err(FrameProblem::HeaderChecksum { expected, found });
        }
        if header.reserved.get() != 0 {
            return Err(FrameProblem::Reserved { found: header.reserved.get() });
        }
        let found = header.kind.get();
        let kind = FrameKind::from_wire(found).ok_or(FrameProblem::UnknownKind { found })?;
        if header.body_len.get() as usize > MAX_BODY {
            return Err(FrameProblem::TooLong { len: header.body_len.get().into() });
        }
        let (expected, found) = (self.sequence, header.sequence.get());
        if expected != found {
            return Err(FrameProblem::Sequence { expected, found });
        }
        Ok(kind)
    }
}

/// Checks what every version of the format has in common.
fn check_preamble(preamble: &[u8; PREAMBLE_LEN]) -> Result<(), FrameProblem> {
    let [m0, m1, m2, m3, v0, v1] = *preamble;
    let found = [m0, m1, m2, m3];
    if found != MAGIC {
        return Err(FrameProblem::BadMagic { found });
    }
    match u16::from_le_bytes([v0, v1]) {
        FORMAT_VERSION => Ok(()),
        found => Err(FrameProblem::version(found)),
    }
}
