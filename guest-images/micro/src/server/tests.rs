//! Tests of the server over an in-memory Ethernet, in virtual time.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::*;
use crate::kv::KeyValue;
use crate::resp::{Reply, Request};

const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MEMORY: usize = 60 << 20;

/// One end of the wire.
#[derive(Default)]
struct Port {
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A server and a client host.
struct Lab<S: Service> {
    server: Server<S>,
    server_port: Port,
    client: Interface,
    client_port: Port,
    sockets: SocketSet<'static>,
    now_ns: u64,
    next_port: u16,
}

impl Lab<KeyValue> {
    fn new() -> Self {
        Self::serving(KeyValue::new)
    }
}

impl<S: Service> Lab<S> {
    fn serving(make: impl FnOnce(usize) -> Result<S, Full>) -> Self {
        let (mut server_port, mut client_port) = (Port::default(), Port::default());
        let configuration = Configuration::parse("").expect("the defaults are valid");
        let server = Server::new(&configuration, &mut server_port, SERVER_MAC, 1, MEMORY, make)
            .expect("the host has memory");
        let config = Config::new(EthernetAddress(CLIENT_MAC).into());
        let mut client = Interface::new(config, &mut client_port, Instant::ZERO);
        client.update_ip_addrs(|addresses| addresses.extend([IpCidr::new(IpAddress::v4(10, 77, 0, 1), 24)]));
        let sockets = SocketSet::new(Vec::new());
        Self { server, server_port, client, client_port, sockets, now_ns: 0, next_port: 1024 }
    }

    fn connect(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket.connect(self.client.context(), (IpAddress::v4(10, 77, 0, 2), 6379), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Lets time pass and both sides work; what the server sends is lost when the client is `deaf`.
    fn step(&mut self, milliseconds: u64, deaf: bool) {
        self.now_ns += milliseconds * 1_000_000;
        self.client.poll(instant(self.now_ns), &mut self.client_port, &mut self.sockets);
        self.server_port.received.append(&mut self.client_port.sent);
        self.server.poll(&mut self.server_port, self.now_ns, self.now_ns);
        if deaf {
            self.server_port.sent.clear();
        }
        self.client_port.received.append(&mut self.server_port.sent);
    }

    fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step(1, false));
    }

    fn ask(&mut self, handle: SocketHandle, request: &[u8]) -> Vec<u8> {
        assert_eq!(self.socket(handle).send_slice(request), Ok(request.len()));
        self.run(4);
        self.read(handle)
    }

    fn read(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut reply = vec![0; 8192];
        let length = self.socket(handle).recv_slice(&mut reply).unwrap_or(0);
        reply.truncate(length);
        reply
    }
}

#[test]
fn serves_pipelined_requests_cut_anywhere() {
    let mut lab = Lab::new();
    let client = lab.connect();
    lab.run(10);
    let requests = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n41\r\nINCR k\r\nGET k\r\n";
    for cut in 0..requests.len() {
        let mut replies = lab.ask(client, &requests[..cut]);
        replies.extend(lab.ask(client, &requests[cut..]));
        assert_eq!(replies, b"+OK\r\n:42\r\n$2\r\n42\r\n", "cut at {cut}");
    }
}

#[test]
fn a_batch_of_requests_costs_one_frame_per_client() {
    let mut lab = Lab::new();
    let clients: Vec<_> = (0..50).map(|_| lab.connect()).collect();
    lab.run(10);
    for &client in &clients {
        lab.socket(client).send_slice(&b"PING\r\n".repeat(16)).unwrap();
    }
    lab.client.poll(instant(lab.now_ns), &mut lab.client_port, &mut lab.sockets);
    lab.server_port.received.append(&mut lab.client_port.sent);
    lab.server.poll(&mut lab.server_port, lab.now_ns, lab.now_ns);
    assert_eq!(lab.server_port.sent.len(), clients.len());
}

#[test]
fn closes_after_quit_and_after_a_protocol_error() {
    let mut lab = Lab::new();
    for (request, reply) in [
        (&b"QUIT\r\nPING\r\n"[..], &b"+OK\r\n"[..]),
        (b"*1\r\n:1\r\nPING\r\n", b"-ERR Protocol error: expected '$' at the start of an argument\r\n"),
    ] {
        let client = lab.connect();
        lab.run(10);
        assert_eq!(lab.ask(client, request), reply);
        assert!(!lab.socket(client).may_recv());
        lab.socket(client).close();
        lab.run(4);
        assert_eq!(lab.server.clients, 0);
    }
}

/// Sends `bytes` more, whatever they are, and does something in between.
fn send_on(
    lab: &mut Lab<KeyValue>,
    client: SocketHandle,
    bytes: usize,
    mut meanwhile: impl FnMut(&mut Lab<KeyValue>),
) {
    let mut sent = 0;
    for _ in 0..bytes {
        sent += lab.socket(client).send_slice(&[b'x'; 1024]).expect("the server is still there");
        lab.step(1, false);
        meanwhile(lab);
        if sent >= bytes {
            return;
        }
    }
    panic!("the client is left to block after {sent} bytes");
}

/// Sends `request` and `bytes` more; what the server said meanwhile.
fn send_much(lab: &mut Lab<KeyValue>, client: SocketHandle, request: &[u8], bytes: usize) -> Vec<u8> {
    let mut replies = lab.ask(client, request);
    send_on(lab, client, bytes, |lab| replies.extend(lab.read(client)));
    lab.run(20);
    replies.extend(lab.read(client));
    replies
}

#[test]
fn a_client_whose_request_is_too_large_can_send_it_all_and_read_its_error() {
    let mut lab = Lab::new();
    for (request, reply) in [
        (&b"*2\r\n$3\r\nGET\r\n$1000000\r\n"[..], "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2\r\n$40000\r\n", "-ERR Protocol error: expected '$' at the start of an argument\r\n"),
        (b"GET ", "-ERR Protocol error: too big inline request\r\n"),
    ] {
        let client = lab.connect();
        lab.run(10);
        let said = send_much(&mut lab, client, request, 300_000);
        assert_eq!(String::from_utf8_lossy(&said), reply);
        assert!(!lab.socket(client).may_recv(), "closed by the server");
        lab.socket(client).close();
        lab.run(4);
        assert_eq!(lab.server.clients, 0);
    }
}

#[test]
fn a_client_that_reads_nothing_before_it_has_sent_all_still_gets_its_replies_and_its_error() {
    let mut lab = Lab::new();
    let client = lab.connect();
    lab.run(10);
    let value = [b'x'; 3000];
    lab.ask(client, &[&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000\r\n"[..], &value, b"\r\n"].concat());
    // Replies for all that the sockets hold and more, with the error behind them.
    let gets = b"GET k\r\n".repeat(10);
    for requests in [gets.clone(), [&gets[..], b"*1\r\n:1\r\n"].concat()] {
        assert_eq!(lab.socket(client).send_slice(&requests), Ok(requests.len()));
        lab.run(20);
    }
    send_on(&mut lab, client, 300_000, |_| {});
    let mut replies = Vec::new();
    for _ in 0..200 {
        lab.step(10, false);
        replies.extend(lab.read(client));
    }
    let error = b"-ERR Protocol error: expected '$' at the start of an argument\r\n";
    assert!(replies.ends_with(error), "{}", replies.len());
    assert_eq!(replies.len(), 20 * (value.len() + b"$3000\r\n\r\n".len()) + error.len());
}

#[test]
fn a_client_that_does_not_close_its_side_loses_its_place() {
    let mut lab = Lab::new();
    let client = lab.connect();
    lab.run(10);
    assert_eq!(lab.ask(client, b"QUIT\r\n"), b"+OK\r\n");
    assert_eq!(lab.server.clients, 1);
    (0..60).for_each(|_| lab.step(1000, false));
    assert_eq!(lab.server.clients, 0);
}

#[test]
fn a_client_has_its_protocol_and_the_next_one_in_its_place_begins_anew() {
    let mut lab = Lab::new();
    for _ in 0..lab.server.most_connections() + 1 {
        let client = lab.connect();
        lab.run(10);
        assert_eq!(lab.ask(client, b"GET nobody\r\n"), b"$-1\r\n");
        assert!(lab.ask(client, b"HELLO 3\r\n").starts_with(b"%6\r\n"));
        assert_eq!(lab.ask(client, b"GET \"no body\"\r\n"), b"_\r\n");
        lab.socket(client).close();
        lab.run(4);
    }
}

#[test]
fn a_client_that_takes_no_replies_holds_up_only_itself() {
    let mut lab = Lab::new();
    let (slow, other) = (lab.connect(), lab.connect());
    lab.run(10);
    let value = [b'x'; 3000];
    lab.ask(slow, &[&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000\r\n"[..], &value, b"\r\n"].concat());
    let requests = b"GET k\r\n".repeat(500);
    assert_eq!(lab.socket(slow).send_slice(&requests), Ok(requests.len()));
    lab.run(100);
    let executed = lab.server.commands;
    assert!(executed < 100, "{executed} commands executed for a client that reads nothing");
    assert_eq!(lab.ask(other, b"PING\r\n"), b"+PONG\r\n");
    let mut replies = 0;
    for _ in 0..20_000 {
        lab.step(10, false);
        replies += lab.read(slow).len();
    }
    assert_eq!(replies, 500 * (value.len() + b"$3000\r\n\r\n".len()));
    assert!(
        lab.server
            .connections
            .iter()
            .all(|(_, connection)| connection.capacity() == connection::BUFFER_BYTES)
    );
}

#[test]
fn places_are_used_again_at_once() {
    let mut lab = Lab::new();
    let places = lab.server.most_connections();
    assert!(places >= 128);
    for round in 0..3 {
        let clients: Vec<_> = (0..places).map(|_| lab.connect()).collect();
        lab.run(10);
        assert_eq!(lab.server.clients, places, "round {round}");
        let refused = lab.connect();
        lab.run(4);
        assert_eq!(lab.socket(refused).state(), tcp::State::Closed);
        for &client in &clients {
            assert_eq!(lab.ask(client, b"PING\r\n"), b"+PONG\r\n");
            // Every other client is rude.
            if client == clients[0] { lab.socket(client).abort() } else { lab.socket(client).close() }
        }
        lab.run(10);
        assert_eq!(lab.server.clients, 0, "round {round}");
        clients.into_iter().chain([refused]).for_each(|client| drop(lab.sockets.remove(client)));
    }
}

#[test]
fn half_open_connections_do_not_last() {
    let mut lab = Lab::new();
    // An answered question first, so that both sides know each other's Ethernet address.
    let client = lab.connect();
    lab.run(10);
    assert_eq!(lab.ask(client, b"PING\r\n"), b"+PONG\r\n");
    for _ in 0..lab.server.most_connections() {
        lab.connect();
    }
    lab.step(1, true);
    assert_eq!(lab.server.clients, lab.server.most_connections());
    lab.sockets = SocketSet::new(Vec::new());
    for _ in 0..HANDSHAKE_TIMEOUT.total_millis() / 100 + 2 {
        lab.step(100, true);
    }
    assert_eq!(lab.server.clients, 1, "only the client that was there before is left");
    let client = lab.connect();
    lab.run(10);
    assert_eq!(lab.ask(client, b"PING\r\n"), b"+PONG\r\n");
}

#[test]
fn a_client_that_vanished_is_given_up_and_an_idle_one_is_kept() {
    let mut lab = Lab::new();
    let (idle, _) = (lab.connect(), lab.connect());
    lab.run(10);
    for _ in 0..600 {
        lab.step(1000, false);
    }
    assert_eq!(lab.ask(idle, b"PING\r\n"), b"+PONG\r\n");
    assert_eq!(lab.server.clients, 2);
    for _ in 0..200 {
        lab.step(1000, true);
        lab.server_port.received.clear();
        lab.client_port.sent.clear();
    }
    assert_eq!(lab.server.clients, 0);
}

#[test]
fn sleeps_when_there_is_nothing_to_do() {
    let mut lab = Lab::new();
    assert_eq!(lab.server.deadline_ns(lab.now_ns), None);
    let client = lab.connect();
    lab.run(10);
    lab.ask(client, b"PING\r\n");
    lab.run(100);
    let deadline_ns = lab.server.deadline_ns(lab.now_ns).expect("a connection has a keep-alive");
    assert!(deadline_ns > lab.now_ns + 1_000_000_000, "wakes at {deadline_ns} ns, now {} ns", lab.now_ns);
}

/// Answers PING at once, and everything else after so many polls.
struct Slow {
    polls_to_go: u32,
}

impl Service for Slow {
    type Wait = ();

    fn execute(&mut self, request: Request, _: &Occasion, reply: &mut Reply) -> After<()> {
        if request.arguments().next() == Some(b"PING") {
            reply.simple("PONG");
            return After::Continue;
        }
        self.polls_to_go = 50;
        After::Wait(())
    }

    fn finish(&mut self, (): &(), reply: &mut Reply) -> bool {
        self.polls_to_go -= 1;
        if self.polls_to_go == 0 {
            reply.simple("LATE");
        }
        self.polls_to_go == 0
    }
}

#[test]
fn a_reply_that_takes_long_holds_up_only_its_client_and_comes_in_its_turn() {
    let mut lab = Lab::serving(|_| Ok(Slow { polls_to_go: 0 }));
    let (waiting, other) = (lab.connect(), lab.connect());
    lab.run(10);
    assert_eq!(lab.ask(waiting, b"PING\r\nWAIT\r\nPING\r\nWAIT\r\n"), b"+PONG\r\n");
    assert_eq!(lab.ask(other, b"PING\r\n"), b"+PONG\r\n");
    // A client that says no more still gets all its replies.
    lab.socket(waiting).close();
    lab.run(150);
    assert_eq!(lab.read(waiting), b"+LATE\r\n+PONG\r\n+LATE\r\n");
    assert!(!lab.socket(waiting).may_recv(), "closed by the server");

    let gone = lab.connect();
    lab.run(10);
    lab.ask(gone, b"WAIT\r\n");
    lab.socket(gone).abort();
    lab.run(100);
    assert_eq!(lab.server.clients, 1);
    assert_eq!(lab.ask(other, b"PING\r\n"), b"+PONG\r\n");
}
