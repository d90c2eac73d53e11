//! What clients wait for.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ftvmm::demo::{
    client::{Action, Connection, Reply},
    net::GUEST,
    wait,
};
use ftvmm_benches::{numbers::quantile, ping::Ping};
use serde::Serialize;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long answers took, ms.
#[derive(Debug, Serialize)]
pub struct Waits {
    /// Of the guest's kernel, to a datagram.
    pub ping: Times,
    /// Of redis, to an increment: acknowledged when it is on the disk.
    pub incr: Times,
    /// Of redis, to a question.
    pub get: Times,
}

/// Of many answers, ms.
#[derive(Debug, Serialize)]
pub struct Times {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
}

impl Waits {
    /// One client of each kind for so long.
    pub fn over(length: Duration) -> anyhow::Result<Self> {
        let connect = || Ok(Connection::open(GUEST.into(), PATIENCE).ok());
        let mut redis = [wait::until("redis", PATIENCE, connect)?, wait::until("redis", PATIENCE, connect)?];
        let ping = Ping::to(*GUEST.ip(), PATIENCE)?;
        let until = Instant::now() + length;
        let [counter, reader] = &mut redis;
        thread::scope(|scope| {
            let incr = scope.spawn(move || ask_until(until, || request(counter, &Action::Incr)));
            let get = scope.spawn(move || ask_until(until, || request(reader, &Action::Get)));
            let ping = ask_until(until, || ping.once())?;
            let join = |asked: thread::ScopedJoinHandle<'_, _>| asked.join().expect("it does not panic");
            Ok(Self { ping, incr: join(incr)?, get: join(get)? })
        })
    }
}

fn ask_until(until: Instant, mut ask: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Times> {
    let mut took_ms = Vec::new();
    while Instant::now() < until {
        took_ms.push(ask()?.as_secs_f64() * 1e3);
        thread::sleep(PAUSE);
    }
    let at = |share| quantile(took_ms.iter().copied(), share);
    Ok(Times { count: took_ms.len(), p50: at(0.5), p99: at(0.99), most: at(1.0) })
}

fn request(redis: &mut Connection, action: &Action) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let reply = redis.request("busy", action).context("redis does not answer")?;
    ensure!(!matches!(reply, Reply::Error(_)), "redis says {reply:?}");
    Ok(asked.elapsed())
}
