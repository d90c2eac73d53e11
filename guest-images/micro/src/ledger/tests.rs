//! Tests of the ledger on a disk that ends its requests in any order, fails on demand, and forgets on a loss of power.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::resp::{Protocol, Reply, parse};
use crate::server::{After, Occasion, Service};
use crate::test_random::Random;

const SECTORS: usize = 16;

/// What the disk has, what of it lasts, and what it cannot do.
struct Disk {
    sectors: Vec<Sector>,
    lasting: Vec<Sector>,
    bad: BTreeSet<u32>,
    flush_fails: bool,
    under_way: Vec<(u64, Request)>,
    done: BTreeMap<&'static str, usize>,
}

impl Disk {
    fn new() -> Self {
        let sectors = vec![[0; 512]; SECTORS];
        let lasting = sectors.clone();
        let (bad, done) = (BTreeSet::new(), BTreeMap::new());
        Self { sectors, lasting, bad, flush_fails: false, under_way: Vec::new(), done }
    }

    /// Carries out a request, and ends it.
    fn end(&mut self, at: usize, ledger: &mut Ledger) {
        let (ticket, request) = self.under_way.remove(at);
        let (name, record) = match &request {
            Request::Read(record) => ("reads", Some(*record)),
            Request::Write(record, _) => ("writes", Some(*record)),
            Request::Erase(record) => ("erasures", Some(*record)),
            Request::Flush => ("flushes", None),
        };
        *self.done.entry(name).or_default() += 1;
        if record.map_or(self.flush_fails, |record| self.bad.contains(&record)) {
            return ledger.ended(ticket, None);
        }
        match request {
            Request::Read(record) => return ledger.ended(ticket, Some(&self.sectors[record as usize])),
            Request::Write(record, sector) => self.sectors[record as usize] = *sector,
            Request::Erase(record) => self.sectors[record as usize] = [0; 512],
            Request::Flush => self.lasting.clone_from(&self.sectors),
        }
        ledger.ended(ticket, Some(&[]));
    }
}

/// A ledger, its disk, and clients that each wait for one reply.
struct Lab {
    ledger: Ledger,
    disk: Disk,
    waiting: Vec<(usize, Wait)>,
    replies: Vec<(usize, String)>,
}

impl Lab {
    fn new() -> Self {
        Self::on(Disk::new())
    }

    /// The ledger that finds this disk.
    fn on(disk: Disk) -> Self {
        let mut ledger = Ledger::new(SECTORS as u64, 1 << 20).expect("there is memory");
        for (number, sector) in disk.sectors.iter().enumerate().rev() {
            let number = number as u32;
            ledger.load(number, (!disk.bad.contains(&number)).then_some(sector));
        }
        Self { ledger, disk, waiting: Vec::new(), replies: Vec::new() }
    }

    /// Begins a request; the reply comes to `replies`.
    fn begin(&mut self, client: usize, line: &str) {
        let bytes = format!("{line}\r\n").into_bytes();
        let mut words = Vec::new();
        let (request, _) = parse(&bytes, &mut words).unwrap().unwrap();
        let mut reply = Vec::new();
        match self.ledger.execute(
            request,
            &Occasion::default(),
            &mut Reply::to(&mut reply, &mut Protocol::default()),
        ) {
            After::Wait(wait) => {
                assert!(reply.is_empty());
                self.waiting.push((client, wait));
            }
            _ => self.replies.push((client, text(&reply))),
        }
    }

    /// Gives the disk all that there is to do.
    fn submit(&mut self) {
        while let Some(request) = self.ledger.next_request() {
            self.disk.under_way.push(request);
        }
    }

    /// Ends the request at that place, and lets the clients look for their replies.
    fn end(&mut self, at: usize) {
        self.ledger.begin_round();
        self.disk.end(at, &mut self.ledger);
        for (client, wait) in std::mem::take(&mut self.waiting) {
            let mut reply = Vec::new();
            if self.ledger.finish(&wait, &mut Reply::to(&mut reply, &mut Protocol::default())) {
                self.replies.push((client, text(&reply)));
            } else {
                self.waiting.push((client, wait));
            }
        }
    }

    /// Goes on until nothing is under way.
    fn settle(&mut self) {
        self.submit();
        while !self.disk.under_way.is_empty() {
            self.end(0);
            self.submit();
        }
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
    }

    fn ask(&mut self, line: &str) -> String {
        self.begin(0, line);
        self.settle();
        self.replies.pop().expect("one reply").1
    }

    #[track_caller]
    fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line), format!("{reply}\r\n"), "to {line}");
    }

    /// What a client could read after a loss of power.
    fn after_power_failure(self) -> Self {
        Self::on(Disk { sectors: self.disk.lasting, ..Disk::new() })
    }
}

fn text(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).into_owned()
}

#[test]
fn changes_are_found_again_after_a_loss_of_power() {
    let mut lab = Lab::new();
    lab.expect("GET k", "$-1");
    lab.expect("SET k value", "+OK");
    lab.expect("INCR n", ":1");
    lab.expect("INCRBY n 41", ":42");
    lab.expect("APPEND t a", ":1");
    lab.expect("APPEND t bc", ":3");
    lab.expect("SET gone x", "+OK");
    lab.expect("DEL gone", ":1");
    lab.expect("DEL gone", ":0");
    lab.expect("INCR k", "-ERR value is not an integer or out of range");
    let mut lab = lab.after_power_failure();
    lab.expect("GET k", "$5\r\nvalue");
    lab.expect("GET n", "$2\r\n42");
    lab.expect("GET t", "$3\r\nabc");
    lab.expect("GET gone", "$-1");
    lab.expect("DBSIZE", ":3");
    lab.expect("EXISTS t", ":1");
    assert_eq!(lab.ledger.sequence, 5, "the largest that is on the disk");
}

#[test]
fn a_change_is_answered_after_the_flush_and_never_before() {
    let mut lab = Lab::new();
    lab.begin(0, "SET k v");
    lab.submit();
    assert!(matches!(lab.disk.under_way[..], [(_, Request::Write(..))]));
    lab.begin(1, "GET k");
    lab.end(0);
    lab.submit();
    assert!(matches!(lab.disk.under_way[..], [(_, Request::Flush)]));
    assert!(lab.replies.is_empty());
    lab.end(0);
    assert_eq!(lab.replies, [(0, "+OK\r\n".into()), (1, "$1\r\nv\r\n".into())]);
}

#[test]
fn many_clients_share_a_flush() {
    let mut lab = Lab::new();
    lab.begin(0, "INCR a");
    lab.submit();
    // While that is at the disk:
    (1..100).for_each(|client| lab.begin(client, if client % 2 == 0 { "INCR a" } else { "INCR b" }));
    lab.settle();
    assert_eq!(lab.replies.len(), 100);
    assert_eq!((lab.disk.done["flushes"], lab.disk.done["writes"]), (2, 3));
}

#[test]
fn a_read_sees_the_change_before_it_and_no_later_one() {
    let mut lab = Lab::new();
    lab.expect("SET k old", "+OK");
    lab.begin(1, "GET k");
    lab.begin(2, "SET k new");
    lab.begin(3, "GET k");
    lab.submit();
    assert!(matches!(lab.disk.under_way[..], [(_, Request::Read(0))]), "the write waits for the read");
    lab.settle();
    let expected = [(1, "$3\r\nold\r\n"), (2, "+OK\r\n"), (3, "$3\r\nnew\r\n")];
    assert_eq!(lab.replies, expected.map(|(client, reply)| (client, reply.to_owned())));
}

#[test]
fn damage_is_told() {
    let mut lab = Lab::new();
    for key in ["a", "b", "c"] {
        lab.expect(&format!("SET {key} {key}{key}"), "+OK");
    }
    lab.disk.sectors[1][100] ^= 1;
    lab.expect("GET b", "-ERR damaged record 1");
    // As it was once: what the disk has is right in itself, and not what was written last.
    let old = lab.disk.sectors[2];
    lab.expect("SET c new", "+OK");
    lab.disk.sectors[2] = old;
    lab.expect("GET c", "-ERR damaged record 2");

    let disk = Disk { sectors: lab.disk.sectors, ..Disk::new() };
    let mut lab = Lab::on(disk);
    lab.expect("GET a", "$2\r\naa");
    lab.expect("GET b", "-ERR damaged record 1");
    lab.expect("INCR other", "-ERR damaged record 1");
    lab.expect("SET b again", "+OK");
    lab.expect("GET b", "$5\r\nagain");
}

#[test]
fn a_disk_that_cannot_read_is_an_error_of_what_it_cannot_read() {
    let mut lab = Lab::new();
    lab.expect("SET a 1", "+OK");
    lab.expect("SET b 2", "+OK");
    lab.disk.bad.insert(0);
    lab.expect("GET a", "-ERR io record 0 could not be read");
    lab.expect("GET b", "$1\r\n2");
    let mut lab = Lab::on(Disk { sectors: lab.disk.sectors, bad: [0].into(), ..Disk::new() });
    lab.expect("GET a", "-ERR io record 0 could not be read");
    lab.expect("GET b", "$1\r\n2");
    // Set anew elsewhere, it is the newer of the two when the disk can read again.
    lab.expect("SET a 3", "+OK");
    let mut lab = Lab::on(Disk { sectors: lab.disk.sectors, ..Disk::new() });
    lab.expect("GET a", "$1\r\n3");
    assert_eq!(lab.disk.sectors[0], [0; 512], "the older one is erased");
    lab.expect("DEL a", ":1");
    lab.after_power_failure().expect("GET a", "$-1");
}

#[test]
fn a_failed_write_refuses_all_that_depends_on_it_and_nothing_else() {
    let mut lab = Lab::new();
    lab.expect("SET a 1", "+OK");
    lab.disk.bad.insert(0);
    lab.begin(0, "INCR a");
    lab.begin(1, "SET b 2");
    lab.submit();
    lab.begin(2, "INCR a");
    lab.begin(3, "GET a");
    lab.settle();
    let failed = "-ERR io record 0 could not be written\r\n";
    lab.replies.sort_unstable();
    let expected = [(0, failed), (1, "+OK\r\n"), (2, failed), (3, failed)];
    assert_eq!(lab.replies, expected.map(|(client, reply)| (client, reply.to_owned())));
    lab.replies.clear();
    assert_eq!(lab.disk.done["writes"], 3, "what was made of a lost value is not written");
    lab.expect("GET a", failed.trim_end());
    lab.expect("INCR a", failed.trim_end());
    lab.disk.bad.clear();
    lab.expect("GET a", failed.trim_end());
    lab.expect("SET a 5", "+OK");
    lab.expect("INCR a", ":6");
    lab.disk.bad.insert(0);
    lab.expect("DEL a", failed.trim_end());
    lab.disk.bad.clear();
    lab.expect("DEL a", ":1");
    lab.expect("GET a", "$-1");
}

#[test]
fn a_failed_flush_refuses_its_batch() {
    let mut lab = Lab::new();
    lab.disk.flush_fails = true;
    lab.expect("SET a 1", "-ERR io record 0 could not be flushed");
    lab.disk.flush_fails = false;
    lab.expect("GET a", "-ERR io record 0 could not be flushed");
    lab.expect("SET a 2", "+OK");
    lab.after_power_failure().expect("GET a", "$1\r\n2");
}

#[test]
fn a_full_disk_and_what_is_too_long_are_refused() {
    let mut lab = Lab::new();
    for key in 0..SECTORS {
        lab.expect(&format!("SET {key} x"), "+OK");
    }
    lab.expect("SET more x", "-ERR full: every record of the disk is in use");
    lab.expect("DEL 3", ":1");
    lab.expect("SET more x", "+OK");
    let long = "x".repeat(500);
    lab.expect(&format!("SET {long} x"), "-ERR a key has at most 64 bytes");
    lab.expect(&format!("SET more {long}"), "-ERR a value has at most 424 bytes");
    assert!(Ledger::new(4096, 1 << 20).is_err(), "too little memory");
}

#[test]
fn shuts_down_when_all_lasts() {
    let mut lab = Lab::new();
    lab.begin(0, "SET a 1");
    lab.begin(1, "SHUTDOWN");
    lab.begin(2, "SET b 1");
    assert!(!lab.ledger.is_ended());
    lab.settle();
    assert!(lab.ledger.is_ended());
    let expected = [(2, "-ERR shutting down\r\n"), (0, "+OK\r\n"), (1, "+OK\r\n")];
    assert_eq!(lab.replies, expected.map(|(client, reply)| (client, reply.to_owned())));
    lab.expect("GET a", "-ERR shutting down");
    let mut lab = lab.after_power_failure();
    lab.expect("GET a", "$1\r\n1");
    lab.expect("SHUTDOWN", "+OK");
}

/// Against a map: random commands, requests that end in random order, and a loss of power at the end.
#[test]
fn behaves_like_a_map_that_survives() {
    let mut random = Random::from_environment();
    for _ in 0..300 {
        let mut lab = Lab::new();
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        let mut expected = Vec::new();
        for client in 0..60 {
            let key = random.below(6);
            let (line, reply) = match random.below(4) {
                0 => (format!("DEL {key}"), format!(":{}", u8::from(model.remove(&key).is_some()))),
                1 => {
                    let value = model.get(&key).map(u64::to_string);
                    let reply = value.map_or("$-1".into(), |value| format!("${}\r\n{value}", value.len()));
                    (format!("GET {key}"), reply)
                }
                2 => {
                    let value = random.below(1000);
                    model.insert(key, value);
                    (format!("SET {key} {value}"), "+OK".into())
                }
                _ => {
                    let value = model.entry(key).or_default();
                    *value += 1;
                    (format!("INCR {key}"), format!(":{value}"))
                }
            };
            lab.begin(client, &line);
            expected.push((client, format!("{reply}\r\n")));
            for _ in 0..random.below(4) {
                lab.submit();
                let under_way = lab.disk.under_way.len() as u64;
                if under_way > 0 {
                    lab.end(random.below(under_way) as usize);
                }
            }
        }
        lab.settle();
        lab.replies.sort_unstable();
        assert_eq!(lab.replies, expected);
        let mut lab = lab.after_power_failure();
        lab.expect("DBSIZE", &format!(":{}", model.len()));
        for key in 0..6 {
            let value = model.get(&key).map(u64::to_string);
            let reply = value.map_or("$-1".into(), |value| format!("${}\r\n{value}", value.len()));
            lab.expect(&format!("GET {key}"), &reply);
        }
    }
}
