//! What a guest with a server does besides its service: the network device, the timer, and sleep.

use alloc::string::{String, ToString};

use crate::arch;
use crate::platform::alarm::Alarm;
use crate::platform::{boot_params, clock, heap, interrupts, timer};
use crate::server::{Configuration, Server, Service};
use crate::store::Full;
use crate::virtio::net::Net;

/// A server on the network device in slot 0.
pub struct Frontend<S: Service> {
    server: Server<S>,
    net: Net,
    alarm: Alarm,
    configuration: Configuration,
}

impl<S: Service> Frontend<S> {
    /// Starts what the command line says, with the service that `make` makes of the bytes of heap left to it.
    ///
    /// # Errors
    /// What the VM lacks, or what is wrong with the command line, for the user.
    pub fn start(make: impl FnOnce(usize) -> Result<S, Full>) -> Result<Self, String> {
        clock::start();
        let configuration =
            Configuration::parse(boot_params::command_line()).map_err(|error| error.to_string())?;
        let mut net = Net::start(0).ok_or("no virtio-net device in slot 0")?;
        let mac = net.mac();
        let server = Server::new(&configuration, &mut net, mac, clock::wall_ns(), heap::bytes(), make)
            .map_err(|Full| "not enough memory")?;
        interrupts::enable(interrupts::TIMER);
        interrupts::enable(interrupts::VIRTIO_0);
        Ok(Self { server, net, alarm: Alarm::default(), configuration })
    }

    /// What the command line says.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Simultaneous connections there is memory for.
    pub fn most_connections(&self) -> usize {
        self.server.most_connections()
    }

    /// What is served.
    pub fn service(&mut self) -> &mut S {
        self.server.service()
    }

    /// Takes in all that has arrived and sends all there is to say.
    pub fn serve(&mut self) {
        if arch::take_pending() & 1 << interrupts::TIMER != 0 {
            self.alarm.fired();
        }
        self.server.poll(&mut self.net, clock::now_ns(), clock::wall_ns());
        self.net.flush();
    }

    /// Sleeps until there is something to do: a frame, a deadline, or what `ready_to_sleep` has asked an interrupt for.
    /// That is false when there is something already.
    pub fn sleep(&mut self, ready_to_sleep: impl FnOnce() -> bool) {
        // The exit for the last notification often brought the next frames already.
        if !self.net.has_received() && self.net.request_interrupt() && ready_to_sleep() {
            self.set_alarm();
            arch::idle();
        }
        self.net.suppress_interrupts();
    }

    fn set_alarm(&mut self) {
        let now_ns = clock::now_ns();
        let deadline_ns = self.server.deadline_ns(now_ns);
        if let Some(microseconds) = deadline_ns.and_then(|deadline_ns| self.alarm.set(deadline_ns, now_ns)) {
            timer::fire_in(microseconds);
        }
    }
}
