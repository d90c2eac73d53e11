//! A machine without log or secondary.

use devices::Output;
use ftlog::{Position, StepRef};

use super::Witness;
use crate::host::Outlets;

/// Lets everything out at once.
pub struct Unprotected(pub Outlets);

impl Witness for Unprotected {
    fn sync_point(&mut self, _: Position, _: StepRef<'_>, outputs: &mut Vec<Output>) -> anyhow::Result<()> {
        outputs.drain(..).for_each(|output| self.0.emit(output));
        Ok(())
    }
}
