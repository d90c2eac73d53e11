//! A VM that nobody protects: what is done with its steps and with what it says.

mod observed;
mod recorded;
mod unprotected;

pub use observed::Observed;
pub use recorded::Recorded;
pub use unprotected::Unprotected;
