//! The ledger as what a server serves.

use alloc::vec::Vec;

use super::{Ledger, Trouble, commands::COMMANDS};
use crate::command;
use crate::resp::{Reply, Request};
use crate::server::{After, Occasion, Service};

/// What a client waits for.
#[derive(Debug)]
pub enum Wait {
    /// The end of a batch.
    Change {
        /// The record that the reply depends on, and the change of it.
        record: u32,
        /// Which change of it.
        sequence: u64,
        /// Which batch.
        batch: u64,
        /// The reply, if all goes well.
        answer: Answer,
    },
    /// The read with this ticket.
    Read(u64),
    /// The end of everything.
    End,
}

/// A reply to be given.
#[derive(Debug)]
pub enum Answer {
    /// `+OK`
    Ok,
    /// No value.
    Null,
    /// A number.
    Integer(i64),
    /// A value.
    Value(Vec<u8>),
}

impl Answer {
    pub(super) fn give(&self, reply: &mut Reply) {
        match self {
            Self::Ok => reply.ok(),
            Self::Null => reply.null(),
            Self::Integer(value) => reply.integer(*value),
            Self::Value(bytes) => reply.bulk(bytes),
        }
    }
}

impl Service for Ledger {
    type Wait = Wait;

    fn execute(&mut self, request: Request, _: &Occasion, reply: &mut Reply) -> After<Wait> {
        if self.ending {
            refuse(Trouble::Ending, reply);
            return After::Continue;
        }
        let after = command::execute(&COMMANDS, self, request, reply);
        match (self.wait.take(), after) {
            (Some(wait), _) => After::Wait(wait),
            (None, After::Close) => After::Close,
            (None, _) => After::Continue,
        }
    }

    fn finish(&mut self, wait: &Wait, reply: &mut Reply) -> bool {
        match wait {
            Wait::Change { record, sequence, batch, answer } => {
                match self.records[*record as usize].lost {
                    Some((lost, trouble)) if lost >= *sequence => refuse(trouble, reply),
                    _ if *batch > self.batches.ended => return false,
                    _ => answer.give(reply),
                }
                true
            }
            Wait::Read(ticket) => self.finish_read(*ticket, reply),
            Wait::End => {
                let ended = self.is_ended();
                if ended {
                    reply.ok();
                }
                ended
            }
        }
    }
}

impl Ledger {
    fn finish_read(&mut self, ticket: u64, reply: &mut Reply) -> bool {
        let Some(at) = self.answers.iter().position(|(other, _)| *other == ticket) else {
            return false;
        };
        match self.answers.swap_remove(at).1 {
            Ok(value) => reply.bulk(&value),
            Err(trouble) => refuse(trouble, reply),
        }
        true
    }
}

pub(super) fn refuse(trouble: Trouble, reply: &mut Reply) {
    reply.error_with(format_args!("{trouble}"));
}
