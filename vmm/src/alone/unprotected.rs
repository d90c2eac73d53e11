//! A machine without log or secondary.

use devices::Output;
use ftlog::{Position, StepRef};
use replay::Witness;

use crate::host::Outlets;

/// Lets everything out at once.
pub struct Unprotected(pub Outlets);

impl Witness for Unprotected {
    fn sync_point(
        &mut self,
        _: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()> {
        self.0.emit_all(step.events, outputs);
        Ok(())
    }
}
