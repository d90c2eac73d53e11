//! What a server serves.

use core::convert::Infallible;

use crate::resp::{Reply, Request};

/// What is known when a request is executed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occasion {
    /// Time since power-on, in ns.
    pub now_ns: u64,
    /// Unix time, in ns.
    pub wall_ns: u64,
    /// Connections now.
    pub clients: usize,
    /// Commands executed since power-on.
    pub commands: u64,
}

/// How the connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After<W = Infallible> {
    /// With the next request.
    Continue,
    /// It is closed once the reply is sent.
    Close,
    /// With the next request once [`Service::finish`] has given the reply to this one, for which nothing was written.
    Wait(W),
}

/// Executes the requests of a server's clients.
pub trait Service {
    /// What a client waits for whose reply is not there yet.
    type Wait;

    /// Executes a request and writes its reply, unless the client has to wait for it.
    fn execute(&mut self, request: Request, occasion: &Occasion, reply: &mut Reply) -> After<Self::Wait>;

    /// Writes the reply that a client waits for; whether it was there. Each poll of the server asks once for each client
    /// that waits; one that has gone is not asked for again.
    fn finish(&mut self, wait: &Self::Wait, reply: &mut Reply) -> bool;
}
