//! Kills of the primary under load, as its status and as clients see them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ftvmm::{
    control::Takeover,
    demo::{
        client::{self, History, Load, LoadPlan, Mix},
        net::GUEST,
        pair::{Place, Setup},
        verdict, wait,
    },
};
use serde::Serialize;

use crate::modes::{LIVE_TAP, SHADOW_TAP};

/// Clients that count while the primaries are killed.
const CLIENTS: usize = 8;
/// Far longer than any takeover.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers that each client has between two blows. Every one of them must have been served again: a client whose
/// request is lost in one kill repeats it some 200 ms later, and a kill at just that moment would count twice.
const ANSWERS: u64 = 50;

/// What the kills showed.
#[derive(Debug, Default, Serialize)]
pub struct Takeovers {
    /// Their parts, as the side that took over tells them.
    pub parts: Vec<Takeover>,
    /// For each client, and of it for each kill: from just before the SIGKILL until the client's next answer, ms.
    pub next_answer_ms: Vec<Vec<f64>>,
    /// Requests with a good answer.
    pub acknowledged: u64,
    /// How many connections outlived every kill.
    pub survived: u32,
}

/// When a primary was killed, and when the clients had had answers again, ns of the clients' clock.
#[derive(Debug, Clone, Copy)]
struct Blow {
    killed_ns: u64,
    served_ns: u64,
}

/// Kills a protected VM's primary `kills` times, and gives it a new secondary each time.
pub fn measure(setup: &Setup, kills: u32) -> anyhow::Result<Takeovers> {
    let (mut takeovers, mut blows) = (Takeovers::default(), Vec::new());
    if kills == 0 {
        return Ok(takeovers);
    }
    let (mut secondary, address) = setup.secondary("kill-0", Place::here(SHADOW_TAP))?;
    let mut primary = setup.primary("kill-first", Place::here(LIVE_TAP), &address)?;
    primary.wait_protected()?;
    let epoch = Instant::now();
    let clients = Clients::start(epoch)?;
    for kill in 1..=kills {
        clients.await_answers()?;
        let killed_ns = epoch.elapsed().as_nanos() as u64;
        primary.process.kill()?;
        takeovers.parts.push(secondary.wait_takeover().with_context(|| format!("kill {kill}"))?);
        clients.await_answers()?;
        blows.push(Blow { killed_ns, served_ns: epoch.elapsed().as_nanos() as u64 });
        // The answer that ends a client's wait must not be delayed by the seeding that follows.
        clients.await_answers()?;
        let (next, address) = setup.secondary(&format!("kill-{kill}"), Place::here(&primary.tap))?;
        secondary.protect(&address)?;
        secondary.wait_protected()?;
        (primary, secondary) = (secondary, next);
    }
    for history in clients.stop()? {
        judge(&history)?;
        takeovers.acknowledged += history.answered_ns().len() as u64;
        takeovers.survived += history.survived;
        let waits = blows.iter().filter_map(|blow| wait_ms(&history, *blow));
        takeovers.next_answer_ms.push(waits.collect());
    }
    Ok(takeovers)
}

/// Clients, each a load of its own, so that the answers of each can be awaited.
struct Clients(Vec<Load>);

impl Clients {
    fn start(epoch: Instant) -> anyhow::Result<Self> {
        let start = |client: usize| {
            let plan = LoadPlan {
                address: GUEST.into(),
                connections: 1,
                prefix: format!("bench-{client}"),
                mix: Mix::Count,
                pause: Duration::ZERO,
                patience: PATIENCE,
                seed: 0,
            };
            Load::start(&plan, epoch)
        };
        Ok(Self((0..CLIENTS).map(start).collect::<Result<_, _>>()?))
    }

    /// Waits until every one has had its answers from now on.
    fn await_answers(&self) -> anyhow::Result<()> {
        let goals: Vec<u64> = self.0.iter().map(|client| client.acknowledged() + ANSWERS).collect();
        wait::until("answers to every client", PATIENCE, || {
            let mut clients = self.0.iter().zip(&goals);
            Ok(clients.all(|(client, goal)| client.acknowledged() >= *goal).then_some(()))
        })
    }

    fn stop(self) -> anyhow::Result<Vec<History>> {
        self.0.into_iter().map(Load::stop).collect()
    }
}

/// Figures of a VM that loses answers would be worth nothing.
fn judge(history: &History) -> anyhow::Result<()> {
    ensure!(history.gave_up.is_empty(), "clients gave up: {:?}", history.gave_up);
    let counters = client::read_counters(GUEST.into(), history, PATIENCE)?;
    let counted = verdict::count(history, &counters);
    ensure!(counted.lost == 0 && counted.repeated == 0, "answers were lost or repeated: {counted:?}");
    Ok(())
}

impl Takeovers {
    /// How long clients waited, whichever client and kill it was, ms.
    pub fn waits_ms(&self) -> Vec<f64> {
        self.next_answer_ms.concat()
    }

    /// For each kill, how long it was until any client had an answer, ms.
    pub fn shortest_waits_ms(&self) -> Vec<f64> {
        let of_kill =
            |kill: usize| self.next_answer_ms.iter().filter_map(move |waits| waits.get(kill).copied());
        (0..self.parts.len()).filter_map(|kill| of_kill(kill).reduce(f64::min)).collect()
    }
}

/// How long the client of `history` waited. An answer that the old primary had sent may still come after the kill, so
/// what counts is the answer that ended the client's longest silence between the kill and when all were served again.
fn wait_ms(history: &History, blow: Blow) -> Option<f64> {
    let answers = history.operations.iter().filter_map(|operation| operation.answer.as_ref());
    let answers = answers.map(|answer| answer.at_ns);
    let (mut before, mut longest, mut end) = (blow.killed_ns, 0, None);
    for at_ns in answers.filter(|at_ns| *at_ns > blow.killed_ns) {
        if at_ns - before > longest {
            (longest, end) = (at_ns - before, Some(at_ns));
        }
        before = at_ns;
        if at_ns > blow.served_ns {
            break;
        }
    }
    end.map(|at_ns| (at_ns - blow.killed_ns) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use ftvmm::demo::client::{Action, Answer, Operation, Reply};

    use super::*;

    const MS: u64 = 1_000_000;

    fn history(answers_ms: &[u64]) -> History {
        let answered = |&at_ms: &u64| Operation {
            connection: 0,
            key: "k".into(),
            action: Action::Incr,
            invoked_ns: at_ms * MS - 1,
            answer: Some(Answer { at_ns: at_ms * MS, reply: Reply::Integer(1) }),
        };
        History {
            operations: answers_ms.iter().map(answered).collect(),
            connections: 1,
            ..Default::default()
        }
    }

    #[test]
    fn an_answer_that_was_under_way_is_not_the_next() {
        let blow = Blow { killed_ns: 100 * MS, served_ns: 160 * MS };
        // 101 was under way; 170 lies behind the window and ends the search; 900 is after the seeding.
        assert_eq!(wait_ms(&history(&[90, 101, 150, 151, 170, 900]), blow), Some(50.0));
        assert_eq!(
            wait_ms(&history(&[120, 121, 161]), blow),
            Some(61.0),
            "the longest silence, even a late one"
        );
    }

    #[test]
    fn a_client_without_an_answer_gives_no_wait() {
        let blow = Blow { killed_ns: 100 * MS, served_ns: 200 * MS };
        assert_eq!(wait_ms(&history(&[50]), blow), None);
    }

    #[test]
    fn the_shortest_wait_is_of_one_kill() {
        let part = Takeover {
            reason: String::new(),
            generation: 2,
            detection_ms: 0.0,
            drain_ms: 0.0,
            arbitration_ms: 0.0,
            resume_ms: 0.0,
            first_output_ms: None,
            total_ms: 0.0,
        };
        let next_answer_ms = vec![vec![5.0, 210.0], vec![200.0, 9.0]];
        let takeovers = Takeovers { parts: vec![part.clone(), part], next_answer_ms, ..Default::default() };
        assert_eq!(takeovers.shortest_waits_ms(), [5.0, 9.0]);
        assert_eq!(takeovers.waits_ms(), [5.0, 210.0, 200.0, 9.0]);
    }
}
