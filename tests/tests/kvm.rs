//! The machine on a real KVM: what it does with a guest that misbehaves, what CPU a guest sees, and that a machine
//! that was saved and restored, or given the same steps, is the same machine.
//!
//! Needs root. Where KVM is missing, `FTVMM_TEST_WITHOUT_KVM=1` skips these tests.

#[path = "kvm/broken.rs"]
mod broken;
#[path = "kvm/cpu.rs"]
mod cpu;
#[path = "kvm/dirty.rs"]
mod dirty;
#[path = "kvm/disk.rs"]
mod disk;
#[path = "kvm/drive.rs"]
mod drive;
#[path = "kvm/entries.rs"]
mod entries;
#[path = "kvm/forced.rs"]
mod forced;
#[path = "kvm/high.rs"]
mod high;
#[path = "kvm/options.rs"]
mod options;
#[path = "kvm/reset.rs"]
mod reset;
#[path = "kvm/restore.rs"]
mod restore;
#[path = "kvm/same.rs"]
mod same;
