//! What a primary needs of its host before its guest can run.

use std::io;

use super::messages::{FromVcpu, Message};
use crate::{
    host::bell::Bell,
    ingress::Timer,
    link::mailbox::{Letters, Mailbox, mailbox},
};

/// All descriptors that a primary is made of. A process makes them when it starts, so that a takeover does not fail for
/// want of them; the threads are [put aside](crate::host::reserve).
pub struct Means {
    pub(super) to_link: (Mailbox<Message>, Letters<Message>),
    pub(super) from_vcpu: (Mailbox<FromVcpu>, Letters<FromVcpu>),
    pub(super) timer: Timer,
    pub(super) reader_stop: Bell,
}

impl Means {
    /// Takes them.
    ///
    /// # Errors
    /// The host has no descriptors left.
    pub fn make() -> io::Result<Self> {
        let (to_link, from_vcpu) = (mailbox()?, mailbox()?);
        Ok(Self { to_link, from_vcpu, timer: Timer::new()?, reader_stop: Bell::new()? })
    }
}
