//! Getting a kernel to its first instruction: load the image, write what the 64-bit Linux boot protocol wants in
//! memory, set the registers. The layout is the one `guest-images/README.md` promises to guests.

mod entry;
mod error;
mod image;
pub(crate) mod layout;
mod params;

pub use error::BootError;
pub use image::{Image, builtin_names};

use crate::{kvm::Vcpu, memory::Memory};

/// Loads `image` with its command line and sets the vCPU to its entry.
pub fn load(memory: &Memory, vcpu: &mut Vcpu, image: &Image, command_line: &str) -> Result<(), BootError> {
    let (entry, kernel_end) = image.load(memory)?;
    let initrd = image.load_initrd(memory, kernel_end)?;
    params::write(memory, command_line, initrd)?;
    entry::prepare(memory, vcpu, entry)
}
