//! What clients did and what they were told.

use std::sync::Arc;

/// One request of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Which connection, numbered from 0.
    pub connection: u32,
    /// The key it was about.
    pub key: Arc<str>,
    /// What was asked.
    pub action: Action,
    /// When it was sent, in ns of the client's monotonic clock.
    pub invoked_ns: u64,
    /// The answer; `None` when the connection broke before it came, so that nobody knows whether it took effect.
    pub answer: Option<Answer>,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Add one and say the sum.
    Incr,
    /// Say the value.
    Get,
    /// Replace the value.
    Set(Vec<u8>),
    /// Add to the end of the value and say its length.
    Append(Vec<u8>),
    /// Remove the key and say how many there were.
    Delete,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Status(String),
    /// `-ERR …`: the server refused, and did nothing.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value, or that there is none.
    Value(Option<Vec<u8>>),
}

/// An answer and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// In ns of the client's monotonic clock.
    pub at_ns: u64,
    /// What the server said.
    pub reply: Reply,
}

/// All that a group of clients did.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every operation, ordered by the time it was sent.
    pub operations: Vec<Operation>,
    /// How many connections there were.
    pub connections: u32,
    /// How many of them never broke.
    pub survived: u32,
    /// Why clients gave up, for those that did.
    pub gave_up: Vec<String>,
}

impl History {
    /// When answers other than refusals came, in order, in ns.
    #[must_use]
    pub fn answered_ns(&self) -> Vec<u64> {
        let answers = self.operations.iter().filter_map(|operation| operation.answer.as_ref());
        let good = answers.filter(|answer| !matches!(answer.reply, Reply::Error(_)));
        let mut times: Vec<u64> = good.map(|answer| answer.at_ns).collect();
        times.sort_unstable();
        times
    }

    /// The longest time without any good answer between two of them, in ns.
    #[must_use]
    pub fn longest_gap_ns(&self) -> u64 {
        self.answered_ns().windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// How often the server refused.
    #[must_use]
    pub fn refusals(&self) -> Vec<&str> {
        let replies = self.operations.iter().filter_map(|operation| operation.answer.as_ref());
        replies
            .filter_map(|answer| match &answer.reply {
                Reply::Error(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }
}
