//! The server: TCP/IP by smoltcp, and a connection for each of its sockets. What it serves is a [`Service`].
//!
//! It waits for nothing: [`Server::poll`] takes in everything that has arrived, executes all whole requests, and queues
//! all replies, so that one notification to the network device serves the whole batch.

mod configuration;
mod connection;
mod service;

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::store::Full;
pub use configuration::{Configuration, ConfigurationError};
use connection::Connection;
pub use service::{After, Occasion, Service};

/// Simultaneous connections, if there is memory for them.
const MOST_CONNECTIONS: usize = 144;
const RECEIVE_BYTES: usize = 16 * 1024;
const SEND_BYTES: usize = 32 * 1024;
/// Heap of one connection, the allocator's share included.
const CONNECTION_BYTES: usize = RECEIVE_BYTES + SEND_BYTES + connection::BUFFER_BYTES + 1024;
/// Heap for the network queues and everything small.
const OTHER_BYTES: usize = 2 * 1024 * 1024;

/// A client that began a handshake has this long to end it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that has not been heard of for this long is gone.
const TIMEOUT: Duration = Duration::from_secs(90);
/// A silent client is asked this often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The server's sockets and connections, and what it serves.
pub struct Server<S: Service> {
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<(SocketHandle, Connection<S::Wait>)>,
    service: S,
    port: u16,
    clients: usize,
    commands: u64,
}

impl<S: Service> Server<S> {
    /// A server on `device` whose Ethernet address is `mac`, in a heap of `memory` bytes, of what `make` makes of those
    /// that the connections leave. `seed` makes its TCP sequence numbers differ from those of an earlier run.
    ///
    /// # Errors
    /// [`Full`] when the heap is too small for the service besides the connections.
    pub fn new(
        configuration: &Configuration,
        device: &mut impl Device,
        mac: [u8; 6],
        seed: u64,
        memory: usize,
        make: impl FnOnce(usize) -> Result<S, Full>,
    ) -> Result<Self, Full> {
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, device, Instant::ZERO);
        // The interface has room for at least one address and one route, and this is the first of each.
        interface.update_ip_addrs(|addresses| addresses.extend([IpCidr::Ipv4(configuration.address)]));
        if let Some(gateway) = configuration.gateway {
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }

        let count = (memory / 2 / CONNECTION_BYTES).min(MOST_CONNECTIONS);
        let service = make(memory.checked_sub(count * CONNECTION_BYTES + OTHER_BYTES).ok_or(Full)?)?;
        let mut sockets = SocketSet::new(Vec::with_capacity(count));
        let connections = (0..count).map(|_| (sockets.add(socket()), Connection::new())).collect();
        let port = configuration.port;
        let mut server = Self { interface, sockets, connections, service, port, clients: 0, commands: 0 };
        server.recycle();
        Ok(server)
    }

    /// Simultaneous connections there is memory for.
    pub fn most_connections(&self) -> usize {
        self.connections.len()
    }

    /// What is served.
    pub fn service(&mut self) -> &mut S {
        &mut self.service
    }

    /// Takes in all that `device` has received, executes it, and queues what there is to send. Times in ns: since
    /// power-on, and Unix time.
    pub fn poll(&mut self, device: &mut impl Device, now_ns: u64, wall_ns: u64) {
        let now = instant(now_ns);
        let Self { interface, sockets, .. } = self;
        while interface.poll_ingress_single(now, device, sockets) != PollIngressSingleResult::None {}
        // Replies are written before anything is sent, so that they carry the acknowledgements.
        self.serve(now_ns, wall_ns);
        let Self { interface, sockets, .. } = self;
        while interface.poll_egress(now, device, sockets) != PollResult::None {}
        self.recycle();
    }

    /// When [`Server::poll`] must be called again at the latest, in ns since power-on, if nothing arrives before.
    pub fn deadline_ns(&mut self, now_ns: u64) -> Option<u64> {
        let deadline = self.interface.poll_at(instant(now_ns), &self.sockets)?;
        Some(deadline.total_micros().unsigned_abs() * 1000)
    }

    fn serve(&mut self, now_ns: u64, wall_ns: u64) {
        let mut occasion = Occasion { now_ns, wall_ns, clients: self.clients, commands: self.commands };
        for (handle, connection) in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket>(*handle);
            match socket.state() {
                tcp::State::Established | tcp::State::CloseWait => {
                    socket.set_timeout(Some(TIMEOUT));
                    connection.serve(socket, &mut self.service, &mut occasion);
                }
                tcp::State::FinWait1 | tcp::State::FinWait2 => connection.linger(socket, now_ns),
                _ => {}
            }
        }
        self.commands = occasion.commands;
    }

    /// Makes sockets whose connection is over listen again, and counts the others.
    fn recycle(&mut self) {
        self.clients = 0;
        for (handle, connection) in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket>(*handle);
            match socket.state() {
                // TIME-WAIT would hold a place for nothing: whoever is there has had everything.
                tcp::State::Closed | tcp::State::TimeWait => {
                    connection.reset();
                    socket.abort();
                    socket.set_timeout(Some(HANDSHAKE_TIMEOUT));
                    // A closed socket can listen, and the configuration leaves no port 0.
                    let _ = socket.listen(self.port);
                }
                tcp::State::Listen => {}
                _ => self.clients += 1,
            }
        }
    }
}

fn socket() -> tcp::Socket<'static> {
    let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
    let mut socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket
}

fn instant(now_ns: u64) -> Instant {
    // 292,000 years fit.
    Instant::from_micros((now_ns / 1000) as i64)
}

#[cfg(test)]
mod tests;
