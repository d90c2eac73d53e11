//! What a load is to be.

use std::{net::SocketAddr, time::Duration};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Each counts with INCR, in turn on a counter that all share and on one of its own.
    Count,
    /// Counting, and GET, SET, APPEND and DEL on a few shared keys.
    Mixed,
}

/// A load to put on a server.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The server.
    pub address: SocketAddr,
    /// How many clients.
    pub connections: u32,
    /// What every key begins with, so that two loads do not share keys.
    pub prefix: String,
    /// What they do.
    pub mix: Mix,
    /// How long each waits between an answer and the next request.
    pub pause: Duration,
    /// How long each waits for an answer, or for a server to connect to.
    pub patience: Duration,
    /// Decides what [`Mix::Mixed`] does.
    pub seed: u64,
}
