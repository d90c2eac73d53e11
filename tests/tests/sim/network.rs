//! The model of connections: bytes in order, late, and now and then not what was sent.

use std::collections::BTreeMap;

use ftlog::{FrameKind, encode_frame};

use crate::process::Name;
use crate::random::Random;

pub type Conn = u32;

/// What arrives at one end.
#[derive(Debug, Clone)]
pub enum Arrival {
    Bytes(Vec<u8>),
    Closed,
}

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    sequence: u64,
    last_ns: u64,
    /// A frame kept back to be sent after the next one.
    swapped: Option<Vec<u8>>,
    closed: bool,
}

struct Connection {
    ends: [Name; 2],
    directions: [Direction; 2],
}

/// Something to be delivered.
pub struct Delivery {
    pub at_ns: u64,
    pub from: Name,
    pub to: Name,
    pub arrival: Arrival,
}

#[derive(Default)]
pub struct Network {
    connections: BTreeMap<Conn, Connection>,
    next: Conn,
    blocked_until_ns: BTreeMap<(usize, usize), u64>,
}

impl Network {
    pub fn connect(&mut self, from: Name, to: Name) -> Conn {
        self.next += 1;
        let directions = [Direction::default(), Direction::default()];
        self.connections.insert(self.next, Connection { ends: [from, to], directions });
        self.next
    }

    /// Carries nothing from host `from` to host `to` before `until_ns`; what is sent meanwhile arrives later.
    pub fn block(&mut self, from: usize, to: usize, until_ns: u64) {
        let blocked = self.blocked_until_ns.entry((from, to)).or_default();
        *blocked = (*blocked).max(until_ns);
    }

    /// When something that should arrive now may arrive at the earliest.
    pub fn blocked_until_ns(&self, from: Name, to: Name) -> u64 {
        self.blocked_until_ns.get(&(from.host, to.host)).copied().unwrap_or(0)
    }

    /// Sends a frame; `fault` chooses what happens to it.
    pub fn send(
        &mut self,
        conn: Conn,
        from: Name,
        (kind, body): (FrameKind, &[u8]),
        fault: Option<u64>,
        now_ns: u64,
        random: &mut Random,
    ) -> Vec<(Conn, Delivery)> {
        let Some((direction, to)) = self.direction(conn, from) else { return Vec::new() };
        if direction.closed {
            return Vec::new();
        }
        let mut bytes = Vec::new();
        encode_frame(direction.sequence, kind, body, &mut bytes).expect("the model's frames are short");
        direction.sequence += 1;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let kept_back = direction.swapped.take();
        match fault.map(|fault| fault % 4) {
            None => parts.push(bytes),
            Some(0) => {}
            Some(1) => parts.extend([bytes.clone(), bytes]),
            Some(2) => direction.swapped = Some(bytes),
            Some(_) => {
                let bit = random.next() as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                parts.push(bytes);
            }
        }
        parts.extend(kept_back);
        let mut deliveries = Vec::new();
        for part in parts {
            let at_ns = direction.next_ns(now_ns, random);
            deliveries.push((conn, Delivery { at_ns, from, to, arrival: Arrival::Bytes(part) }));
        }
        deliveries
    }

    /// `from` closes its end: what it sent arrives first.
    pub fn close(
        &mut self,
        conn: Conn,
        from: Name,
        now_ns: u64,
        random: &mut Random,
    ) -> Vec<(Conn, Delivery)> {
        let Some((direction, to)) = self.direction(conn, from) else { return Vec::new() };
        if std::mem::replace(&mut direction.closed, true) {
            return Vec::new();
        }
        let at_ns = direction.next_ns(now_ns, random);
        vec![(conn, Delivery { at_ns, from, to, arrival: Arrival::Closed })]
    }

    /// `from` is killed: every connection closes, perhaps in the middle of a frame.
    pub fn kill(&mut self, from: Name, now_ns: u64, random: &mut Random) -> Vec<(Conn, Delivery)> {
        let mut deliveries = Vec::new();
        for conn in self.of(from) {
            let Some((direction, to)) = self.direction(conn, from) else { continue };
            if direction.closed {
                continue;
            }
            let mut bytes = Vec::new();
            encode_frame(direction.sequence, FrameKind::Heartbeat, &[0; 24], &mut bytes).expect("short");
            bytes.truncate(random.within(0..=bytes.len() as u64 - 1) as usize);
            let at_ns = direction.next_ns(now_ns, random);
            deliveries.push((conn, Delivery { at_ns, from, to, arrival: Arrival::Bytes(bytes) }));
            deliveries.extend(self.close(conn, from, now_ns, random));
        }
        deliveries
    }

    fn of(&self, name: Name) -> Vec<Conn> {
        let ours = self.connections.iter().filter(|(_, connection)| connection.ends.contains(&name));
        ours.map(|(conn, _)| *conn).collect()
    }

    fn direction(&mut self, conn: Conn, from: Name) -> Option<(&mut Direction, Name)> {
        let connection = self.connections.get_mut(&conn)?;
        let side = connection.ends.iter().position(|end| *end == from)?;
        Some((&mut connection.directions[side], connection.ends[1 - side]))
    }
}

impl Direction {
    /// TCP keeps the order: nothing arrives before what was sent earlier.
    fn next_ns(&mut self, now_ns: u64, random: &mut Random) -> u64 {
        let delay_ns = if random.chance(20_000) { 40_000_000 } else { 2_000_000 };
        let at_ns = now_ns + random.within(50_000..=delay_ns);
        self.last_ns = self.last_ns.max(at_ns);
        self.last_ns
    }
}
