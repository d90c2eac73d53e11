//! The platform's devices, most of all virtio-blk and virtio-rng, under a hostile guest and wrong answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    devices::fuzz::virtio_blk(data);
});
