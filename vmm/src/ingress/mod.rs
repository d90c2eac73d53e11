//! From the outside world to the guest: threads read what comes in and put it into the [`Inbox`], and the vCPU
//! thread takes it out at a sync point, where it becomes a logged event. A guest that runs is told to come to one by
//! the [`Doorbell`](machine::memory::Doorbell): the inbox rings it for what comes in, the [`Alarm`] for the timer.

mod alarm;
mod host;
mod inbox;
mod reader;

pub use alarm::{Alarm, Timer};
pub use host::HostInput;
pub use inbox::Inbox;
pub use reader::TapReader;
