//! From a machine to frames.

use ftlog::{FrameKind, Manifest, Message, PAGES_PER_FRAME, encode_page};

use crate::{
    machine::Machine,
    memory::{PAGE_SIZE, is_zero},
};

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
    write_pages(machine, sink)?;
    sink(FrameKind::State, &machine.save()?.encode())
}

fn write_pages(
    machine: &Machine,
    sink: &mut dyn FnMut(FrameKind, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut body, mut pages) = (Vec::new(), 0);
    let mut page = [0; PAGE_SIZE];
    for number in machine.memory().populated() {
        machine.memory().read_page(number, &mut page);
        if is_zero(&page) {
            continue;
        }
        encode_page(number * PAGE_SIZE as u64, &page, &mut body);
        pages += 1;
        if pages == PAGES_PER_FRAME {
            sink(FrameKind::Pages, &body)?;
            body.clear();
            pages = 0;
        }
    }
    if pages > 0 { sink(FrameKind::Pages, &body) } else { Ok(()) }
}
