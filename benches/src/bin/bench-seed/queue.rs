//! What a connection's kernel has taken and the other end has not.

use std::{
    fs,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Looks at it until it is asked what it saw.
pub struct Gauge {
    stop: Sender<()>,
    thread: JoinHandle<Vec<(Instant, f64)>>,
}

impl Gauge {
    /// One for all connections to this address (127.0.0.1:PORT) of the calling thread's network.
    pub fn start(address: &str) -> anyhow::Result<Self> {
        let (_, port) = address.split_once(':').context("an address has a port")?;
        let to = format!("0100007F:{:04X}", port.parse::<u16>()?);
        let (stop, stopped) = channel();
        Ok(Self { stop, thread: thread::spawn(move || watch(&to, &stopped)) })
    }

    /// When how much was on its way, KiB.
    pub fn seen(self) -> Vec<(Instant, f64)> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

fn watch(to: &str, stopped: &Receiver<()>) -> Vec<(Instant, f64)> {
    let mut seen = Vec::new();
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
        seen.extend(queue(&table, to).map(|bytes| (Instant::now(), bytes as f64 / 1024.0)));
    }
    seen
}

/// By proc(5), net/tcp: the local and the remote address, the state, and `tx_queue:rx_queue`, all hexadecimal.
fn queue(table: &str, to: &str) -> Option<u64> {
    let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let queues = lines.filter(|fields| fields.get(2) == Some(&to)).filter_map(|fields| {
        let (sent, _) = fields.get(4)?.split_once(':')?;
        u64::from_str_radix(sent, 16).ok()
    });
    queues.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_connection_to_there_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000
   1: 0100007F:A000 0100007F:1F90 01 00000100:00000007 00:00000000
   2: 0100007F:A001 0100007F:1F90 01 00000000:00000000 00:00000000
   3: 0100007F:1F90 0100007F:A000 01 00009000:00000000 00:00000000
";
        assert_eq!(queue(table, "0100007F:1F90"), Some(256));
        assert_eq!(queue(table, "0100007F:1F91"), None);
    }
}
