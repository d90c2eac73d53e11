//! The key-value server guest. Command line: `ip=10.77.0.2/24 port=6379` (the defaults), and `gateway=ADDRESS`.
#![no_std]
#![no_main]

use micro::platform::alarm::Alarm;
use micro::platform::{boot_params, clock, heap, interrupts, timer};
use micro::server::{Configuration, Server};
use micro::virtio::net::Net;
use micro::{arch, println};

micro::guest!(main);

/// Exit status when the VM is not what the server needs.
const UNFIT: u32 = 3;

fn main() -> u32 {
    clock::start();
    let configuration = match Configuration::parse(boot_params::command_line()) {
        Ok(configuration) => configuration,
        Err(error) => return give_up(error),
    };
    let Some(mut net) = Net::start(0) else {
        return give_up("no virtio-net device in slot 0");
    };
    let mac = net.mac();
    let Ok(mut server) = Server::new(&configuration, &mut net, mac, clock::wall_ns(), heap::bytes()) else {
        return give_up("not enough memory");
    };
    interrupts::enable(interrupts::TIMER);
    interrupts::enable(interrupts::VIRTIO_0);
    println!(
        "kv: {} connections, {} KiB for keys",
        server.most_connections(),
        server.store().limit_bytes() / 1024
    );
    println!("kv: listening on {}:{}", configuration.address.address(), configuration.port);
    run(&mut server, &mut net)
}

fn give_up(reason: impl core::fmt::Display) -> u32 {
    println!("kv: {reason}");
    UNFIT
}

/// Serves until the VM ends.
fn run(server: &mut Server, net: &mut Net) -> ! {
    let mut alarm = Alarm::default();
    loop {
        if arch::take_pending() & 1 << interrupts::TIMER != 0 {
            alarm.fired();
        }
        server.poll(net, clock::now_ns(), clock::wall_ns());
        net.flush();
        // The exit for the notification often brought the next frames already.
        if net.has_received() || !net.request_interrupt() {
            net.suppress_interrupts();
            continue;
        }
        let now_ns = clock::now_ns();
        let deadline_ns = server.deadline_ns(now_ns);
        if let Some(microseconds) = deadline_ns.and_then(|deadline_ns| alarm.set(deadline_ns, now_ns)) {
            timer::fire_in(microseconds);
        }
        arch::idle();
        net.suppress_interrupts();
    }
}
