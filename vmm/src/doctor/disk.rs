//! What the host has for disks.

use super::Finding;
use crate::disk;

pub fn examine() -> Finding {
    match disk::probe() {
        Ok(()) => Finding::ok("io_uring", "there"),
        Err(error) => Finding::warning(
            "io_uring",
            format!("{error}: no VM with a --disk can run here"),
            "set /proc/sys/kernel/io_uring_disabled to 0, or let the container or service use it",
        ),
    }
}
