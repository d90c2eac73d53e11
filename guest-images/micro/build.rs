//! Links the guests, and only them, with the guest linker script and without a C library.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=guest.ld");
    println!("cargo:rustc-link-arg-bins=-T{directory}/guest.ld");
    for argument in
        ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--gc-sections", "-Wl,--build-id=none"]
    {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
