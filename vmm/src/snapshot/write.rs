//! From a machine to frames.

use ftlog::{FrameKind, Manifest, Message};

use crate::machine::Machine;

/// Hands the frames of the machine's state to `sink`, in order. The machine must stand between a sync point and the
/// next stretch, and `manifest` must be of this position.
pub fn write(
    machine: &mut Machine,
    manifest: &Manifest,
    sink: &mut dyn FnMut(FrameKind, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    debug_assert_eq!(manifest.position, machine.position());
    sink(FrameKind::Begin, &manifest.encode()?)?;
    for body in machine.power_on().frames() {
        sink(FrameKind::BootPages, body)?;
    }
    machine.memory().encode_pages(&mut |body| sink(FrameKind::Pages, body))?;
    sink(FrameKind::State, &machine.save()?.encode())
}
