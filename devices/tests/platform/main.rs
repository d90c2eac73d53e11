//! The platform as its callers and its guests see it.

mod driver;
mod net;
mod net_violations;
mod ports;
mod random;
mod state;
mod transport;
