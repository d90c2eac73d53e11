//! From a machine to frames.

use ftlog::{FrameKind, Manifest, Message, MessageError};

use crate::machine::{Machine, MachineError};

/// Hands the frames of the machine's state to `sink`, in order. The machine must stand between a sync point and the
/// next stretch.
///
/// # Errors
/// The sink's; or the machine's state cannot be read.
pub fn write<E: From<MachineError> + From<MessageError>>(
    machine: &mut Machine,
    manifest: &Manifest,
    mut sink: impl FnMut(FrameKind, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    sink(FrameKind::Begin, &manifest.encode()?)?;
    for body in machine.power_on().boot_pages().bodies() {
        sink(FrameKind::BootPages, body)?;
    }
    machine.memory().encode_pages(&mut |body| sink(FrameKind::Pages, body))?;
    sink(FrameKind::State, &machine.save()?.encode())
}
