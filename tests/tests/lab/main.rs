//! Pairs on two lab hosts, of which one loses power.
//!
//! Needs root and QEMU. Where there can be no lab, `FTVMM_TEST_WITHOUT_LAB=1` skips these tests.

mod hosts;
mod kv;
mod linux;
