//! The control socket: one line of JSON asks, one line of JSON answers.

mod address;
mod board;
mod client;
mod net;
mod request;
mod server;
mod session;
mod status;
mod trouble;

pub use address::{listen_address, peer_address};
pub use board::Board;
pub use client::request;
pub use net::NetReport;
pub use request::{Pending, Request};
pub use server::Server;
pub use status::{
    BaseReport, CommitDelay, ConsoleReport, DiskReport, Notice, ResyncReport, Role, State, Status, Takeover,
};
pub use trouble::Trouble;
