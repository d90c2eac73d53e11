//! Clients of both services of the guest, and what is asked of it afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ftvmm::demo::client::{Action, Connection, History, Load, LoadPlan, Mix, Reply};
use ftvmm_tests::{
    rows::{Rows, Service, Told},
    stage,
};

use super::{PATIENCE, redis, sqlite};

/// Clients of Redis, and of the SQLite service.
const REDIS_CLIENTS: u32 = 3;
const SQLITE_CLIENTS: u32 = 2;
/// Between an answer and the next request: the guest, both hosts and the test share two cores.
const THINKING: Duration = Duration::from_millis(10);
const PREFIX: &str = "lab";

/// The clients.
pub struct Clients {
    counters: Load,
    rows: Rows,
    /// All times of [`Verdict::silence_s`] count from here.
    epoch: Instant,
    /// Rows that were looked for already.
    checked: usize,
}

/// What came of it.
pub struct Verdict {
    history: History,
    told: Told,
}

impl Clients {
    /// Starts them, and waits for the first answers.
    ///
    /// # Errors
    /// When there are none.
    pub fn start(seed: u64) -> anyhow::Result<Self> {
        let plan = LoadPlan {
            address: redis(),
            connections: REDIS_CLIENTS,
            prefix: PREFIX.to_owned(),
            mix: Mix::Count,
            pause: THINKING,
            patience: PATIENCE,
            seed,
        };
        let epoch = Instant::now();
        let counters = Load::start(&plan, epoch)?;
        let rows = Rows::start(sqlite(), SQLITE_CLIENTS, THINKING, PATIENCE)?;
        let clients = Self { counters, rows, epoch, checked: 0 };
        clients.await_answers(5)?;
        Ok(clients)
    }

    /// Time since they were started.
    pub fn elapsed(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Waits for `more` answers of each service.
    ///
    /// # Errors
    /// When they do not come.
    pub fn await_answers(&self, more: usize) -> anyhow::Result<()> {
        self.counters.await_answers(more as u64, PATIENCE)?;
        self.rows.await_answers(more, PATIENCE)
    }

    /// Asks the guest, over new connections, for what it has acknowledged by now. Says what there was.
    ///
    /// # Errors
    /// What is not there.
    pub fn check(&mut self) -> anyhow::Result<String> {
        let increments = self.counters.acknowledged();
        let rows = self.rows.told().acknowledged;
        let sum = sum_of_counters()?;
        ensure!(sum >= increments, "Redis has acknowledged {increments} increments and has {sum}");
        let mut service = Service::open(sqlite(), PATIENCE).context("cannot connect to SQLite's service")?;
        let missing = service.missing(&rows[self.checked..])?;
        ensure!(missing.is_empty(), "SQLite has acknowledged rows that it does not have: {missing:?}");
        self.checked = rows.len();
        Ok(format!("all {increments} acknowledged increments and {} acknowledged rows are there", rows.len()))
    }

    /// Ends them and judges all they saw.
    ///
    /// # Errors
    /// What is wrong.
    pub fn finish(self) -> anyhow::Result<Verdict> {
        let told = self.rows.stop()?;
        ensure!(told.gave_up.is_empty(), "clients gave up: {:?}", told.gave_up);
        ensure!(told.refusals.is_empty(), "the SQLite service refused: {:?}", told.refusals);
        ensure!(told.breaks == 0, "{} connections to the SQLite service broke", told.breaks);
        let verdict = Verdict { history: stage::judge(self.counters)?, told };
        verdict.check()?;
        Ok(verdict)
    }
}

impl Verdict {
    /// Asks the guest, over new connections, for all it has acknowledged.
    ///
    /// # Errors
    /// What is not there, and what SQLite finds wrong with its database.
    pub fn check(&self) -> anyhow::Result<()> {
        let (sum, acknowledged) = (sum_of_counters()?, self.increments());
        // All requests were answered, as no connection broke.
        ensure!(sum == acknowledged, "Redis has {sum} increments of {acknowledged}");
        let mut service = Service::open(sqlite(), PATIENCE)?;
        let missing = service.missing(&self.told.acknowledged)?;
        ensure!(missing.is_empty(), "SQLite has acknowledged rows that it does not have: {missing:?}");
        let (count, rows) = (service.ask("count")?, self.rows());
        ensure!(count == format!("count {rows}"), "SQLite has {count:?} of {rows}");
        let check = service.ask("check")?;
        ensure!(check == "check ok", "the database: {check}");
        Ok(())
    }

    /// Acknowledged increments.
    pub fn increments(&self) -> u64 {
        self.history.answered_ns().len() as u64
    }

    /// Acknowledged rows.
    pub fn rows(&self) -> usize {
        self.told.acknowledged.len()
    }

    /// The longest time without an answer from Redis, of the times that began around `moment`, s.
    pub fn silence_s(&self, moment: Duration) -> f64 {
        let moment = moment.as_nanos() as u64;
        let around = moment.saturating_sub(1_000_000_000)..moment + 3_000_000_000;
        let answered = self.history.answered_ns();
        let gaps = answered.windows(2).filter(|pair| around.contains(&pair[0]));
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as f64 / 1e9
    }
}

fn sum_of_counters() -> anyhow::Result<u64> {
    let mut connection = Connection::open(redis(), PATIENCE).context("cannot connect to Redis")?;
    let mut sum = 0;
    let own = (0..REDIS_CLIENTS).map(|number| number.to_string());
    for name in own.chain(["all".to_owned()]) {
        let key = format!("{PREFIX}:{name}");
        let reply = connection.request(&key, &Action::Get)?;
        let value = match &reply {
            Reply::Value(Some(digits)) => String::from_utf8_lossy(digits).parse().ok(),
            Reply::Value(None) => Some(0),
            _ => None,
        };
        sum += value.with_context(|| format!("the value of {key} is no count, but {reply:?}"))?;
    }
    Ok(sum)
}

/// Tells both services to end, upon which the guest powers off.
///
/// # Errors
/// When they do not listen.
pub fn shut_down() -> anyhow::Result<()> {
    let mut service = Service::open(sqlite(), PATIENCE)?;
    ensure!(service.ask("stop")? == "stopping", "the SQLite service does not stop");
    let mut connection = Connection::open(redis(), PATIENCE)?;
    // Redis answers by hanging up.
    ensure!(connection.call(&[b"SHUTDOWN"]).is_err(), "Redis refuses to end");
    Ok(())
}
