//! From the outside world to the guest: threads read what comes in and put it into the [`Inbox`], and the vCPU
//! thread takes it out at a sync point, where it becomes a logged event.

mod inbox;
mod reader;

pub use inbox::{Inbox, Room};
pub use reader::TapReader;
