//! Clients of the guest, and what they saw.

use std::time::{Duration, Instant};

use anyhow::ensure;
use ftvmm::demo::{
    client::{History, Load, LoadPlan, Mix, Operation},
    net,
};
use serde::Serialize;

use crate::guest::PATIENCE;

/// What the guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// It answers redis clients, each of which asks again at once.
    Requests,
    /// It compiles, and answers a client that asks now and then.
    Compile,
}

impl Work {
    /// In the order in which they are measured.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Compile];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "8 clients of redis, INCR without pause",
            Self::Compile => "a compile, and one client of redis, INCR every 10 ms",
        }
    }

    fn plan(self) -> LoadPlan {
        let (connections, pause_ms) = match self {
            Self::Requests => (8, 0),
            Self::Compile => (1, 10),
        };
        LoadPlan {
            address: net::GUEST.into(),
            connections,
            prefix: "migrate".to_owned(),
            mix: Mix::Count,
            pause: Duration::from_millis(pause_ms),
            patience: PATIENCE,
            seed: 1,
        }
    }
}

/// A stretch of a load, by its own clock.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    begin: Duration,
    end: Duration,
}

/// What clients saw in a stretch.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Seen {
    /// Its length, s.
    pub seconds: f64,
    /// Answers a second.
    pub rate: f64,
    /// The longest wait for an answer that fell into it, in part at least, ms.
    pub longest_ms: f64,
    /// When that began, s after its beginning.
    pub longest_after_s: f64,
}

/// Clients at work.
pub struct Clients {
    load: Load,
    epoch: Instant,
}

impl Clients {
    /// Starts them, and waits until they are answered.
    ///
    /// # Errors
    /// When they are not.
    pub fn start(work: Work) -> anyhow::Result<Self> {
        let epoch = Instant::now();
        let load = Load::start(&work.plan(), epoch)?;
        load.await_answers(5, PATIENCE)?;
        Ok(Self { load, epoch })
    }

    /// The stretch in which `act` is carried out, and what comes of it.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn during<T>(&self, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Window, T)> {
        let begin = self.epoch.elapsed();
        let result = act()?;
        Ok((Window { begin, end: self.epoch.elapsed() }, result))
    }

    /// Ends them.
    ///
    /// # Errors
    /// When a connection broke: then a guest was lost on its way.
    pub fn finish(self) -> anyhow::Result<History> {
        self.load.await_answers(5, PATIENCE)?;
        let history = self.load.stop()?;
        ensure!(
            history.survived == history.connections,
            "{} of {} connections survived: {:?}",
            history.survived,
            history.connections,
            history.gave_up
        );
        Ok(history)
    }
}

impl Window {
    /// What the clients saw in it.
    pub fn seen(self, history: &History) -> Seen {
        let answered = history.operations.iter().filter_map(times);
        let touching = answered.filter(|(asked, at)| *at >= self.begin && *asked <= self.end);
        let waits: Vec<(Duration, Duration)> = touching.collect();
        let answers = waits.iter().filter(|(_, at)| *at <= self.end).count();
        let longest = waits.iter().max_by_key(|(asked, at)| *at - *asked);
        let &(asked, at) = longest.unwrap_or(&(self.begin, self.end));
        let seconds = (self.end - self.begin).as_secs_f64();
        Seen {
            seconds,
            rate: answers as f64 / seconds,
            longest_ms: (at - asked).as_secs_f64() * 1e3,
            longest_after_s: asked.as_secs_f64() - self.begin.as_secs_f64(),
        }
    }
}

/// When it was asked and when it was answered.
fn times(operation: &Operation) -> Option<(Duration, Duration)> {
    let at = operation.answer.as_ref()?.at_ns;
    Some((Duration::from_nanos(operation.invoked_ns), Duration::from_nanos(at)))
}

#[cfg(test)]
mod tests {
    use ftvmm::demo::client::{Action, Answer, Reply};

    use super::*;

    fn operation(asked_ms: u64, at_ms: u64) -> Operation {
        Operation {
            connection: 0,
            key: "key".into(),
            action: Action::Incr,
            invoked_ns: asked_ms * 1_000_000,
            answer: Some(Answer { at_ns: at_ms * 1_000_000, reply: Reply::Integer(1) }),
        }
    }

    #[test]
    fn a_wait_counts_that_ends_after_the_stretch_but_its_answer_does_not() {
        let operations =
            vec![operation(0, 90), operation(100, 110), operation(110, 190), operation(190, 2000)];
        let history = History { operations, ..History::default() };
        let window = Window { begin: Duration::from_millis(100), end: Duration::from_millis(200) };
        let Seen { rate, longest_ms, .. } = window.seen(&history);
        assert_eq!((rate.round(), longest_ms.round()), (20.0, 1810.0));
    }
}
