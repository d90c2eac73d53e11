//! Asking a guest's kernel for a sign of life.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

/// Nobody listens there: the guest's kernel says so by ICMP.
const CLOSED_PORT: u16 = 9;
/// The guest's kernel answers one datagram a second unless this shell command has told it not to count.
pub const ANSWER_ALL: &str = "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit";

/// Sends datagrams to a guest, each when the one before was answered.
pub struct Ping(UdpSocket);

impl Ping {
    /// To the guest with this address.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn to(guest: Ipv4Addr, patience: Duration) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(SocketAddrV4::new(guest, CLOSED_PORT))?;
        socket.set_read_timeout(Some(patience))?;
        Ok(Self(socket))
    }

    /// How long an answer took.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn once(&self) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        self.0.send(b"?")?;
        let answer = self.0.recv(&mut [0; 16]).err().context("somebody answers at a closed port")?;
        ensure!(answer.kind() == ErrorKind::ConnectionRefused, "no answer from the guest: {answer}");
        Ok(asked.elapsed())
    }
}
