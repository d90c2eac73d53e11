//! Postcard bodies.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{
    Diverged, End, Hello, MAX_CMDLINE, MAX_DISKS, MAX_KERNEL, MAX_NAME, MAX_REASON, MAX_REPORT, MAX_TEXT,
    MAX_VM_NAME, Manifest, Refuse, Registers, Report, Shape, Welcome,
};
use crate::frame::FrameKind;

/// Why a body is not the message that its frame's kind says, or a message cannot become a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// A text over its bound.
    #[error("{kind:?}: {field} of {len} bytes, at most {max} expected")]
    TooLong {
        /// The message.
        kind: FrameKind,
        /// Its field.
        field: &'static str,
        /// That field's length, in bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// A list over its bound.
    #[error("{kind:?}: {count} {field}, at most {max} expected")]
    TooMany {
        /// The message.
        kind: FrameKind,
        /// Its field.
        field: &'static str,
        /// That field's length.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Not an encoding of this message.
    #[error("{kind:?}: {error}")]
    Malformed {
        /// The message.
        kind: FrameKind,
        /// What postcard says.
        error: postcard::Error,
    },
    /// Bytes after the message.
    #[error("{kind:?}: {extra} bytes after the end of the message")]
    Trailing {
        /// The message.
        kind: FrameKind,
        /// How many.
        extra: usize,
    },
    /// A message of fixed layout with another length.
    #[error("{kind:?}: {len} bytes, {expected} expected")]
    Length {
        /// The message.
        kind: FrameKind,
        /// Its body's length.
        len: usize,
        /// The layout's length.
        expected: usize,
    },
}

/// A message whose body is postcard.
pub trait Message: Serialize + DeserializeOwned {
    /// The kind of frame it travels in.
    const KIND: FrameKind;

    /// Checks the bounds of its texts and lists.
    ///
    /// # Errors
    /// [`MessageError::TooLong`], [`MessageError::TooMany`].
    fn check(&self) -> Result<(), MessageError>;

    /// The body of a frame of kind [`Message::KIND`].
    ///
    /// # Errors
    /// Those of [`Message::check`].
    fn encode(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        postcard::to_stdvec(self).map_err(|error| MessageError::Malformed { kind: Self::KIND, error })
    }

    /// The message in the body of a frame of kind [`Message::KIND`].
    ///
    /// # Errors
    /// [`MessageError`], for every body that is not exactly one message within its bounds.
    fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let (message, rest): (Self, _) = postcard::take_from_bytes(body)
            .map_err(|error| MessageError::Malformed { kind: Self::KIND, error })?;
        if !rest.is_empty() {
            return Err(MessageError::Trailing { kind: Self::KIND, extra: rest.len() });
        }
        message.check()?;
        Ok(message)
    }
}

impl Message for Manifest {
    const KIND: FrameKind = FrameKind::Begin;

    fn check(&self) -> Result<(), MessageError> {
        check_shape(Self::KIND, &self.shape)
    }
}

impl Message for Hello {
    const KIND: FrameKind = FrameKind::Hello;

    fn check(&self) -> Result<(), MessageError> {
        check_text(Self::KIND, "software", &self.software, MAX_NAME)?;
        check_text(Self::KIND, "holder", &self.holder, MAX_NAME)?;
        check_text(Self::KIND, "arbiter", &self.arbiter, MAX_NAME)?;
        check_count(Self::KIND, "disks", self.disks.len())?;
        check_shape(Self::KIND, &self.shape)
    }
}

impl Message for Welcome {
    const KIND: FrameKind = FrameKind::Welcome;

    fn check(&self) -> Result<(), MessageError> {
        check_text(Self::KIND, "software", &self.software, MAX_NAME)
    }
}

impl Message for Refuse {
    const KIND: FrameKind = FrameKind::Refuse;

    fn check(&self) -> Result<(), MessageError> {
        check_text(Self::KIND, "reason", &self.reason, MAX_REASON)
    }
}

impl Message for End {
    const KIND: FrameKind = FrameKind::End;

    fn check(&self) -> Result<(), MessageError> {
        Ok(())
    }
}

impl Message for Diverged {
    const KIND: FrameKind = FrameKind::Diverged;

    fn check(&self) -> Result<(), MessageError> {
        check_text(Self::KIND, "text", &self.text, MAX_TEXT)
    }
}

impl Message for Registers {
    const KIND: FrameKind = FrameKind::Registers;

    fn check(&self) -> Result<(), MessageError> {
        Ok(())
    }
}

impl Message for Report {
    const KIND: FrameKind = FrameKind::Report;

    fn check(&self) -> Result<(), MessageError> {
        check_text(Self::KIND, "json", &self.json, MAX_REPORT)
    }
}

fn check_shape(kind: FrameKind, shape: &Shape) -> Result<(), MessageError> {
    check_count(kind, "disks", shape.disks.len())?;
    check_text(kind, "name", &shape.name, MAX_VM_NAME)?;
    check_text(kind, "cpu", &shape.cpu, MAX_NAME)?;
    check_text(kind, "kernel", &shape.kernel, MAX_KERNEL)?;
    check_text(kind, "cmdline", &shape.cmdline, MAX_CMDLINE)
}

fn check_count(kind: FrameKind, field: &'static str, count: usize) -> Result<(), MessageError> {
    if count > MAX_DISKS {
        return Err(MessageError::TooMany { kind, field, count, max: MAX_DISKS });
    }
    Ok(())
}

fn check_text(kind: FrameKind, field: &'static str, text: &str, max: usize) -> Result<(), MessageError> {
    if text.len() > max {
        return Err(MessageError::TooLong { kind, field, len: text.len(), max });
    }
    Ok(())
}
