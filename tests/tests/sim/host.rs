//! One host: a clock, a process, and what waits for it.

use std::collections::VecDeque;

use crate::input::Input;
use crate::primary_io::PrimaryIo;
use crate::process::Name;
use crate::secondary_io::SecondaryIo;

pub enum Role {
    Down,
    /// Listens for a primary.
    Idle,
    Primary(Box<PrimaryIo>),
    Secondary(Box<SecondaryIo>),
}

pub struct Host {
    pub name: Name,
    pub role: Role,
    pub paused: bool,
    /// What its clock showed when it fell asleep, if it stands meanwhile.
    pub clock_stands_at_ns: Option<u64>,
    /// What happened while it was paused.
    pub inbox: VecDeque<Input>,
}
