//! Which of the two sides goes on after they have lost each other.

use anyhow::ensure;
use ftvmm::control::{Role, State, Status};

/// Whether the primary goes on, once both sides have made up their minds. `primary` is its state,
/// [`State::Halted`] if it has ended; `heir` is what its secondary says.
///
/// # Errors
/// When both go on, or neither.
pub fn primary_goes_on(primary: State, heir: &Status) -> anyhow::Result<Option<bool>> {
    let lives = match primary {
        State::Unprotected => true,
        State::Halted => false,
        _ => return Ok(None),
    };
    let heir_lives = match (heir.role, heir.state) {
        (Role::Primary, State::Unprotected) => true,
        (Role::Secondary, State::Listening) => false,
        _ => return Ok(None),
    };
    ensure!(lives != heir_lives, "the primary lives: {lives}; the secondary lives: {heir_lives}");
    Ok(Some(lives))
}
