//! The messages of handshake, seeding and acknowledgement, from a peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftlog::fuzz::messages(data));
