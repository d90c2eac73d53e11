//! The first frames of a connection.
//!
//! ```text
//!  primary                              listener
//!     ├── Hello{Protect, vm, …} ─────────►│  checks version, CPU table, arbiter, whether it is free
//!     │◄── Welcome{window} ───────────────┤
//!     │◄── Refuse{reason} ────────────────┤  … or not
//!     ├── Hello{Probe, …} ───────────────►│  the same checks and answers; the connection then ends
//!     ├── Hello{Query} ──────────────────►│
//!     │◄── Report{status as JSON} ────────┤
//!     ├── Hello{Start, name} ────────────►│  before a VM starts: who has it?
//!     │◄── Report{presence as JSON} ──────┤
//! ```

use std::{
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use ftlog::{FrameKind, Generation, Hello, Message, Purpose, Refuse, Report, Welcome};
use machine::kvm::cpuid;

use super::connection::Connection;
use crate::identity::{Presence, VmIdentity};

/// How long the other side may take for each answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Name and version of this program.
pub fn software() -> String {
    format!("ftvmm {}", env!("CARGO_PKG_VERSION"))
}

/// Connects to `address` (HOST:PORT).
pub fn connect(address: &str) -> anyhow::Result<Connection> {
    let mut last = None;
    for candidate in address.to_socket_addrs().with_context(|| format!("'{address}' is no HOST:PORT"))? {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            Ok(stream) => return Ok(Connection::new(stream)?),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => bail!("cannot connect to {address}: {error}"),
        None => bail!("'{address}' names no host"),
    }
}

/// Tells the other end why it is turned away, and closes the connection once it knows.
pub fn refuse(mut connection: Connection, reason: &str) {
    if let Ok(body) = Refuse::new(reason).encode() {
        connection.send(FrameKind::Refuse, &body);
    }
    connection.part();
}

/// The Hello of `identity` in `generation`, of a side that writes no shared disk and says nothing of its disks.
pub fn hello(
    identity: &VmIdentity,
    generation: Generation,
    holder: &str,
    arbiter: &str,
    purpose: Purpose,
) -> Hello {
    Hello {
        software: software(),
        vm: identity.vm,
        generation,
        purpose,
        shape: identity.shape.clone(),
        cpu_table: cpuid::digest(&identity.shape.cpu),
        holder: holder.to_owned(),
        arbiter: arbiter.to_owned(),
        lease_ns: 0,
        disks: Vec::new(),
    }
}

/// Asks the listener at `address` to become the secondary, or whether it would.
pub fn ask_for_protection(address: &str, hello: &Hello) -> anyhow::Result<(Connection, Welcome)> {
    let mut connection = connect(address)?;
    connection.send(FrameKind::Hello, &hello.encode()?);
    let answer = connection.receive_within(PATIENCE).with_context(|| format!("handshake with {address}"))?;
    match answer.kind {
        FrameKind::Welcome => {
            let welcome = Welcome::decode(&answer.body)?;
            ensure!(
                welcome.cpu_table == hello.cpu_table,
                "{address} shows its guests another CPU as {} (table {:016x}, ours is {:016x}); use the same version",
                hello.shape.cpu,
                welcome.cpu_table,
                hello.cpu_table
            );
            Ok((connection, welcome))
        }
        FrameKind::Refuse => bail!("{address} refuses: {}", Refuse::decode(&answer.body)?.reason),
        kind => bail!("{address} answers the Hello with a {kind:?} frame"),
    }
}

/// Asks the listener at `address` for its status, as JSON.
pub fn query(address: &str, hello: &Hello) -> anyhow::Result<String> {
    let mut connection = connect(address)?;
    connection.send(FrameKind::Hello, &hello.encode()?);
    let answer = connection.receive_within(PATIENCE)?;
    ensure!(answer.kind == FrameKind::Report, "{address} answers the query with a {:?} frame", answer.kind);
    Ok(Report::decode(&answer.body)?.json)
}

/// Asks the listener at `address` whether it has the VM of `hello`.
pub fn ask_who_has_it(address: &str, hello: &Hello) -> anyhow::Result<Presence> {
    Ok(serde_json::from_str(&query(address, hello)?)?)
}
