//! The load: Debian's redis-benchmark, and what it reports.

use std::{path::Path, process::Command, time::Duration, time::Instant};

use anyhow::{Context, bail, ensure};
use ftvmm::demo::{net::GUEST, process::Process};
use ftvmm_tests::cpu;
use serde::Serialize;

/// Connections of every load.
pub const CONNECTIONS: u32 = 50;
/// Requests that are sent together in the pipelined load.
pub const PIPELINE: u32 = 16;
/// The commands measured, as redis-benchmark names them.
pub const COMMANDS: [&str; 3] = ["SET", "GET", "INCR"];
/// Longer than any load takes on any machine that is of use.
const PATIENCE: Duration = Duration::from_secs(300);

/// How the server did on one command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandResult {
    /// SET, GET or INCR.
    pub name: String,
    /// Answers per second.
    pub requests_per_s: f64,
    /// Half of the answers took at most this long, ms.
    pub p50_ms: f64,
    /// 99 of 100 answers took at most this long, ms.
    pub p99_ms: f64,
}

/// How the server did altogether.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// In the order of [`COMMANDS`].
    pub commands: Vec<CommandResult>,
    /// Answers per second over all commands.
    pub requests_per_s: f64,
    /// Requests answered.
    pub requests: u64,
    /// Time from the start of redis-benchmark to its end, s.
    pub elapsed_s: f64,
    /// Its CPU seconds.
    pub client_cpu_s: f64,
}

/// Puts `requests` requests of each command on the guest, `pipeline` at a time on each connection.
pub fn run(directory: &Path, requests: u32, pipeline: u32) -> anyhow::Result<Outcome> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &GUEST.ip().to_string(), "-p", &GUEST.port().to_string(), "--csv"]);
    command.args(["-t", &COMMANDS.join(",").to_lowercase(), "-c", &CONNECTIONS.to_string()]);
    command.args(["-n", &requests.to_string(), "-P", &pipeline.to_string()]);
    let (began, cpu_before) = (Instant::now(), cpu::of_reaped_children()?);
    let mut client = Process::start(command, "redis-benchmark", directory, None)
        .context("is the package redis-tools installed?")?;
    let status = client.wait_end(PATIENCE)?;
    let elapsed_s = began.elapsed().as_secs_f64();
    ensure!(status.success(), "redis-benchmark failed ({status}): {}{}", client.output(), client.log());
    let commands = parse(&client.output())?;
    // Equal numbers of each command: the rate of all is the harmonic mean.
    let seconds_each: f64 = commands.iter().map(|command| 1.0 / command.requests_per_s).sum();
    Ok(Outcome {
        requests_per_s: commands.len() as f64 / seconds_each,
        requests: u64::from(requests) * commands.len() as u64,
        commands,
        elapsed_s,
        client_cpu_s: cpu::of_reaped_children()? - cpu_before,
    })
}

/// Reads `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",…`.
fn parse(csv: &str) -> anyhow::Result<Vec<CommandResult>> {
    let mut lines = csv.lines().map(|line| line.trim_matches('"').split("\",\"").collect::<Vec<_>>());
    let header = lines.next().context("redis-benchmark said nothing")?;
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.with_context(|| format!("redis-benchmark gives no {name}: {csv}"))
    };
    let columns = [column("rps")?, column("p50_latency_ms")?, column("p99_latency_ms")?];
    let mut commands = Vec::new();
    for (line, expected) in lines.zip(COMMANDS) {
        let number = |column: usize| {
            let text = line.get(column).copied().unwrap_or_default();
            text.parse::<f64>().with_context(|| format!("redis-benchmark says '{text}' in {line:?}"))
        };
        let [requests_per_s, p50_ms, p99_ms] =
            [number(columns[0])?, number(columns[1])?, number(columns[2])?];
        ensure!(line[0] == expected && requests_per_s > 0.0, "not the result of {expected}: {line:?}");
        commands.push(CommandResult { name: expected.to_owned(), requests_per_s, p50_ms, p99_ms });
    }
    if commands.len() < COMMANDS.len() {
        bail!("redis-benchmark reports {} of {} commands: {csv}", commands.len(), COMMANDS.len());
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#""test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms""#;

    fn csv(lines: &[&str]) -> String {
        [&[HEADER], lines].concat().join("\n")
    }

    #[test]
    fn the_columns_are_found_by_name() {
        let set = r#""SET","12500.00","3.1","1.0","2.500","4.5","6.700","9.9""#;
        let get = r#""GET","20000.00","3.1","1.0","1.5","4.5","5.5","9.9""#;
        let incr = r#""INCR","10000.00","3.1","1.0","3.5","4.5","7.5","9.9""#;
        let commands = parse(&csv(&[set, get, incr])).unwrap();
        let expected =
            CommandResult { name: "SET".into(), requests_per_s: 12500.0, p50_ms: 2.5, p99_ms: 6.7 };
        assert_eq!(commands[0], expected);
        assert_eq!(commands[2].p99_ms, 7.5);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, expected) in [
            (String::new(), "said nothing"),
            (csv(&[]), "0 of 3"),
            (csv(&[r#""SET","nan?","1","1","1","1","1","1""#]), "nan?"),
            (csv(&[r#""GET","1","1","1","1","1","1","1""#]), "not the result of SET"),
            ("\"test\",\"rps\"".to_owned(), "p50_latency_ms"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
