//! The key-value guest's request parser and commands, under a hostile client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| micro::fuzz::resp(data));
