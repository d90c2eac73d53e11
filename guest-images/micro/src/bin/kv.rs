//! The key-value server guest. Command line: `ip=10.77.0.2/24 port=6379` (the defaults), and `gateway=ADDRESS`.
#![no_std]
#![no_main]

use micro::frontend::Frontend;
use micro::kv::KeyValue;
use micro::println;

micro::guest!(main);

/// Exit status when the VM is not what the server needs.
const UNFIT: u32 = 3;

fn main() -> u32 {
    let mut frontend = match Frontend::start(KeyValue::new) {
        Ok(frontend) => frontend,
        Err(reason) => {
            println!("kv: {reason}");
            return UNFIT;
        }
    };
    let limit_kib = frontend.service().store().limit_bytes() / 1024;
    println!("kv: {} connections, {limit_kib} KiB for keys", frontend.most_connections());
    println!("kv: listening on {}", frontend.configuration());
    loop {
        frontend.serve();
        frontend.sleep(|| true);
    }
}
