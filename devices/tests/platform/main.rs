//! The platform as its callers and its guests see it.

mod disk;
mod disk_driver;
mod disk_layouts;
mod disk_lifetimes;
mod disk_refusals;
mod disk_state;
mod disk_violations;
mod driver;
mod layout;
mod net;
mod net_violations;
mod ports;
mod random;
mod rings;
mod rng;
mod state;
mod transport;
