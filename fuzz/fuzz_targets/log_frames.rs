//! A stream of frames, in pieces, from a file or a peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftlog::fuzz::frames(data));
