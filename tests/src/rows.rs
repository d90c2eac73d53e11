//! Clients of the SQLite service of the Linux guest, which remember every row it has acknowledged.
//!
//! The service (`guest-images/linux/rootfs/sqlite-service.c`) takes a line and answers with a line: `insert N` is
//! answered `ok N` once the row is committed. As in [`ftvmm::demo::client`], each client keeps its connection and has one
//! request under way; only when the connection breaks does it connect again, and what became of the request is unknown.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::bail;
use ftvmm::demo::wait;

/// How long one attempt to connect may take, and how soon the next one follows.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
const CONNECT_AGAIN: Duration = Duration::from_millis(10);
/// The longest answer, bytes.
const MOST_LINE: u64 = 1024;
/// How many questions are under way at once when many are asked. Their bytes fit into any socket's buffer.
const AT_ONCE: usize = 64;

/// A connection to the service.
#[derive(Debug)]
pub struct Service(BufReader<TcpStream>);

impl Service {
    /// Connects; `patience` bounds the connecting and each later wait.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        Self(BufReader::new(stream)).with_patience(patience)
    }

    fn with_patience(self, patience: Duration) -> io::Result<Self> {
        self.0.get_ref().set_read_timeout(Some(patience))?;
        self.0.get_ref().set_write_timeout(Some(patience))?;
        Ok(self)
    }

    /// Asks one thing. After an error the connection is of no more use.
    ///
    /// # Errors
    /// Those of the socket, and `UnexpectedEof` when the service hangs up.
    pub fn ask(&mut self, question: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{question}\n").as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.0).take(MOST_LINE).read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\n").ok_or(ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Those of `rows` that the service does not have.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and an answer that is neither yes nor no.
    pub fn missing(&mut self, rows: &[u64]) -> anyhow::Result<Vec<u64>> {
        let mut missing = Vec::new();
        for some in rows.chunks(AT_ONCE) {
            let questions: String = some.iter().map(|row| format!("get {row}\n")).collect();
            self.0.get_mut().write_all(questions.as_bytes())?;
            for row in some {
                let answer = self.answer()?;
                if answer == format!("no {row}") {
                    missing.push(*row);
                } else if answer != format!("yes {row}") {
                    bail!("row {row}: the service says {answer:?}");
                }
            }
        }
        Ok(missing)
    }
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Rows the service has acknowledged, in the order of the answers.
    pub acknowledged: Vec<u64>,
    /// Rows whose answer never came.
    pub unknown: Vec<u64>,
    /// Answers other than the expected one.
    pub refusals: Vec<String>,
    /// Connections that broke.
    pub breaks: u32,
    /// Why clients gave up, for those that did.
    pub gave_up: Vec<String>,
}

/// A load of clients.
#[derive(Debug)]
pub struct Rows {
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    connections: u32,
    pause: Duration,
    patience: Duration,
    stop: AtomicBool,
    told: Mutex<Told>,
}

impl Rows {
    /// Starts clients that insert rows, each with a `pause` between an answer and its next row, and that wait as long as
    /// `patience` for an answer or a connection.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(
        address: SocketAddr,
        connections: u32,
        pause: Duration,
        patience: Duration,
    ) -> io::Result<Self> {
        let (stop, told) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { address, connections, pause, patience, stop, told });
        let mut rows = Self { workers: Vec::new(), shared };
        for number in 0..connections {
            let shared = rows.shared.clone();
            rows.workers.push(
                thread::Builder::new().name(format!("rows-{number}")).spawn(move || shared.work(number))?,
            );
        }
        Ok(rows)
    }

    /// What the clients were told so far.
    #[must_use]
    pub fn told(&self) -> Told {
        self.shared.told().clone()
    }

    /// Waits for `more` acknowledged rows from now on.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn await_answers(&self, more: usize, timeout: Duration) -> anyhow::Result<()> {
        let acknowledged = || self.shared.told().acknowledged.len();
        let goal = acknowledged() + more;
        wait::until("rows to be acknowledged", timeout, || Ok((acknowledged() >= goal).then_some(())))
    }

    /// Has every client finish its request; gives what they were told.
    ///
    /// # Errors
    /// When a client's thread panicked.
    pub fn stop(mut self) -> anyhow::Result<Told> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let Ok(()) = worker.join() else { bail!("a client's thread panicked") };
        }
        Ok(self.told())
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Client `number`, until the load ends or it gives up. The clients take the rows in turn.
    fn work(&self, number: u32) {
        let mut rows = (u64::from(number)..).step_by(self.connections as usize);
        while !self.stopped() {
            match self.connect() {
                Ok(service) => service.map_or((), |service| self.insert(service, &mut rows)),
                Err(error) => return self.told().gave_up.push(format!("client {number}: {error}")),
            }
        }
    }

    /// `None` when the load ends before a connection is there.
    fn connect(&self) -> io::Result<Option<Service>> {
        let deadline = Instant::now() + self.patience;
        while !self.stopped() {
            match Service::open(self.address, CONNECT_PATIENCE.min(self.patience)) {
                Ok(service) => return service.with_patience(self.patience).map(Some),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(CONNECT_AGAIN),
            }
        }
        Ok(None)
    }

    /// Inserts rows until the load ends or the connection breaks.
    fn insert(&self, mut service: Service, rows: &mut impl Iterator<Item = u64>) {
        while let (false, Some(row)) = (self.stopped(), rows.next()) {
            let answer = service.ask(&format!("insert {row}"));
            let mut told = self.told();
            match answer {
                Ok(answer) if answer == format!("ok {row}") => told.acknowledged.push(row),
                Ok(answer) => told.refusals.push(answer),
                Err(_) => {
                    told.unknown.push(row);
                    told.breaks += 1;
                    return;
                }
            }
            drop(told);
            thread::sleep(self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::TcpListener};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A service that hangs up after carrying out row 7, and forgets row 12.
    fn stand_in() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rows: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let rows = rows.clone();
                thread::spawn(move || serve(&stream, &rows));
            }
        });
        address
    }

    fn serve(mut stream: &TcpStream, rows: &Mutex<BTreeSet<u64>>) -> Option<()> {
        for line in BufReader::new(stream).lines() {
            let line = line.ok()?;
            let (what, row) = line.split_once(' ')?;
            let row: u64 = row.parse().ok()?;
            let mut rows = rows.lock().unwrap();
            let answer = match what {
                "insert" => {
                    if row != 12 {
                        rows.insert(row);
                    }
                    if row == 7 {
                        return None;
                    }
                    "ok"
                }
                _ if rows.contains(&row) => "yes",
                _ => "no",
            };
            stream.write_all(format!("{answer} {row}\n").as_bytes()).ok()?;
        }
        None
    }

    #[test]
    fn a_lost_row_and_a_broken_connection_are_noticed() {
        let address = stand_in();
        let rows = Rows::start(address, 2, Duration::ZERO, PATIENCE).unwrap();
        rows.await_answers(200, PATIENCE).unwrap();
        let told = rows.stop().unwrap();
        assert_eq!((&*told.unknown, told.breaks), (&[7][..], 1));
        assert!(told.gave_up.is_empty() && told.refusals.is_empty(), "{told:?}");
        let mut service = Service::open(address, PATIENCE).unwrap();
        assert_eq!(service.missing(&told.acknowledged).unwrap(), [12]);
        assert!(service.missing(&[7]).unwrap().is_empty());
    }
}
