//! The platform's devices, most of all virtio-net and its queues, under a hostile guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    devices::fuzz::virtio_net(data);
});
