//! Frames from a byte stream that blocks.

use std::io::{ErrorKind, Read};

use crate::frame::{Frame, FrameDecoder, FrameError, FrameProblem};

/// Bytes asked of the stream at once.
const CHUNK: usize = 64 << 10;

/// Reads frames from a file or a connection.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    decoder: FrameDecoder,
    chunk: Box<[u8]>,
    bytes: u64,
}

impl<R: Read> FrameReader<R> {
    /// A reader at the start of a stream. It buffers on its own.
    pub fn new(inner: R) -> Self {
        Self { inner, decoder: FrameDecoder::new(), chunk: vec![0; CHUNK].into(), bytes: 0 }
    }

    /// The next frame; none when the stream ends between frames. Whether it may end there, the frames say: a whole
    /// file ends with an `End` frame.
    ///
    /// # Errors
    /// [`FrameError`]. After an [`FrameProblem::Io`] that passes (a time-out, for example) reading can go on and
    /// loses nothing; the others are final.
    pub fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            let limit = self.decoder.room().min(CHUNK);
            let len = match self.inner.read(&mut self.chunk[..limit]) {
                Ok(0) => return self.decoder.finish().map(|()| None),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.decoder.error(FrameProblem::Io(error))),
            };
            self.bytes += len as u64;
            let taken = self.decoder.feed(&self.chunk[..len]);
            debug_assert_eq!(taken, len, "no more was read than there was room for");
        }
    }

    /// Bytes taken off the stream so far; it runs ahead of the frames.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The stream, for example to set a time-out.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }
}
