//! One client.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Action, Answer, Connection, LoadPlan, Mix, Operation, Reply};
use crate::demo::random::Random;

/// How long one attempt to connect may take, and how soon the next one follows.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
const CONNECT_AGAIN: Duration = Duration::from_millis(10);

/// What one client brings home.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) operations: Vec<Operation>,
    pub(super) breaks: u32,
    pub(super) gave_up: Option<String>,
}

/// What all clients have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) epoch: Instant,
    pub(super) stop: AtomicBool,
    pub(super) acknowledged: AtomicU64,
}

/// One client.
pub(super) struct Worker {
    plan: LoadPlan,
    number: u32,
    shared: Arc<Shared>,
    random: Random,
    counters: [Arc<str>; 2],
    texts: Vec<Arc<str>>,
    log: Log,
}

/// Few, so that the clients meet.
const TEXT_KEYS: usize = 4;

impl Worker {
    pub(super) fn new(plan: &LoadPlan, number: u32, shared: Arc<Shared>) -> Self {
        let prefix = &plan.prefix;
        Self {
            plan: plan.clone(),
            number,
            shared,
            random: Random::new(plan.seed ^ (u64::from(number) << 32)),
            counters: [format!("{prefix}:all").into(), format!("{prefix}:{number}").into()],
            texts: (0..TEXT_KEYS).map(|text| format!("{prefix}:text{text}").into()).collect(),
            log: Log::default(),
        }
    }

    pub(super) fn run(mut self) -> Log {
        while !self.stopped() {
            match self.connect() {
                Ok(Some(connection)) => self.use_up(connection),
                Ok(None) => break,
                Err(error) => {
                    self.log.gave_up = Some(format!("client {}: {error}", self.number));
                    break;
                }
            }
        }
        self.log
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn now_ns(&self) -> u64 {
        self.shared.epoch.elapsed().as_nanos() as u64
    }

    /// `None` when the load ends before a connection is there.
    fn connect(&self) -> io::Result<Option<Connection>> {
        let deadline = Instant::now() + self.plan.patience;
        while !self.stopped() {
            let error = match Connection::open(self.plan.address, CONNECT_PATIENCE.min(self.plan.patience)) {
                Ok(connection) => return connection.with_patience(self.plan.patience).map(Some),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(CONNECT_AGAIN);
        }
        Ok(None)
    }

    /// Works until the load ends or the connection breaks.
    fn use_up(&mut self, mut connection: Connection) {
        while !self.stopped() {
            let (key, action) = self.choose();
            let invoked_ns = self.now_ns();
            let reply = connection.request(&key, &action);
            let at_ns = self.now_ns();
            let broke = reply.is_err();
            if matches!(reply, Ok(ref reply) if !matches!(reply, Reply::Error(_))) {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            let answer = reply.ok().map(|reply| Answer { at_ns, reply });
            self.log.operations.push(Operation { connection: self.number, key, action, invoked_ns, answer });
            if broke {
                self.log.breaks += 1;
                return;
            }
            thread::sleep(self.plan.pause);
        }
    }

    fn choose(&mut self) -> (Arc<str>, Action) {
        let turn = self.log.operations.len();
        if self.plan.mix == Mix::Count || self.random.below(2) == 0 {
            return (self.counters[turn % 2].clone(), Action::Incr);
        }
        let key = self.texts[self.random.below(TEXT_KEYS as u64) as usize].clone();
        // Unlike any other client's, and any earlier, so that a wrong value can be told.
        let text = format!("<{}.{turn}>", self.number).into_bytes();
        let action = match self.random.below(10) {
            0..5 => Action::Get,
            5..7 => Action::Set(text),
            7..9 => Action::Append(text),
            _ => Action::Delete,
        };
        (key, action)
    }
}
