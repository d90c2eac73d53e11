//! The body of a log's `Steps` frame, from a file or a peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftlog::fuzz::steps(data));
