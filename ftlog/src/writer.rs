//! Frames onto a byte stream.

use std::io::Write;

use crate::frame::{FrameError, FrameKind, FrameProblem, encode_frame};

/// Writes frames to a file or a connection, each with one `write_all`.
///
/// After an error the stream may end inside a frame: nothing more may be written to it.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    /// The frame being written; kept to be reused.
    buffer: Vec<u8>,
    sequence: u64,
    bytes: u64,
}

impl<W: Write> FrameWriter<W> {
    /// A writer at the start of a stream.
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: Vec::new(), sequence: 0, bytes: 0 }
    }

    /// Writes one frame and returns its sequence number. It does not flush `W`.
    ///
    /// # Errors
    /// [`FrameProblem::TooLong`] (nothing was written) or [`FrameProblem::Io`].
    pub fn write(&mut self, kind: FrameKind, body: &[u8]) -> Result<u64, FrameError> {
        let (sequence, offset) = (self.sequence, self.bytes);
        self.buffer.clear();
        encode_frame(sequence, kind, body, &mut self.buffer)
            .map_err(|error| FrameError { offset, ..error })?;
        self.inner.write_all(&self.buffer).map_err(|error| FrameError {
            sequence,
            offset,
            problem: FrameProblem::Io(error),
        })?;
        self.sequence += 1;
        self.bytes += self.buffer.len() as u64;
        Ok(sequence)
    }

    /// Flushes `W`.
    ///
    /// # Errors
    /// [`FrameProblem::Io`].
    pub fn flush(&mut self) -> Result<(), FrameError> {
        let (sequence, offset) = (self.sequence, self.bytes);
        self.inner.flush().map_err(|error| FrameError { sequence, offset, problem: FrameProblem::Io(error) })
    }

    /// Bytes written so far, headers included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.sequence
    }

    /// The stream, for example to sync a file.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Gives the stream back.
    pub fn into_inner(self) -> W {
        self.inner
    }
}
