//! The control socket: one line of JSON asks, one line of JSON answers.

mod address;
mod board;
mod client;
mod delta_report;
mod net;
mod reports;
mod request;
mod seed_report;
mod server;
mod session;
mod status;
mod trouble;

pub use address::{listen_address, peer_address};
pub use board::Board;
pub use client::request;
pub use delta_report::DeltaReport;
pub use reports::{BaseReport, ConsoleReport, DiskReport, NetReport, ResyncReport};
pub use request::{Pending, Request};
pub use seed_report::{SeedReport, SeedingReport, StopReport};
pub use server::Server;
pub use status::{CommitDelay, Notice, Role, State, Status, Takeover, Trouble};
