//! What clients see of a takeover: a pause.

use ftvmm::demo::{
    client::{Action, Connection, Reply},
    wait,
};
use ftvmm_tests::stage::{self, PATIENCE, Pair, guest};

use super::{SOON, TIMEOUT_MS, ok};

#[test]
fn an_open_connection_survives_two_takeovers() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Set(b"41".to_vec()))?, ok());
        primary.process.kill()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(42));
        let (mut third, address) = stage.secondary(&[&secondary])?;
        secondary.protect(&address)?;
        secondary.wait_protected()?;
        secondary.process.kill()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(43));
        assert_eq!(client.request("k", &Action::Get)?, Reply::Value(Some(b"43".to_vec())));
        third.wait_takeover()?;
        Ok(())
    });
}

/// The key that redis-benchmark increments.
const BENCHMARK_KEY: &str = "counter:__rand_int__";
const INCREMENTS: u64 = 20_000;

#[test]
fn redis_benchmark_and_redis_cli_go_on_over_a_kill() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let (host, requests) = (guest().ip().to_string(), INCREMENTS.to_string());
        let arguments = ["-h", &host, "-t", "incr", "-c", "50", "-n", &requests, "-q"];
        let mut benchmark = stage.spawn("redis-benchmark", &arguments)?;
        let mut watcher = Connection::open(guest(), PATIENCE)?;
        wait::until("the benchmark to be at work", SOON, || {
            let reply = watcher.request(BENCHMARK_KEY, &Action::Get)?;
            Ok((count(&reply) > INCREMENTS / 20).then_some(()))
        })?;
        primary.process.kill()?;
        secondary.wait_takeover()?;
        assert!(benchmark.ended()?.is_none(), "the kill came too late to be under load");
        let status = benchmark.wait_end(PATIENCE * 6)?;
        assert!(status.success(), "{} {}", benchmark.output(), benchmark.log());
        assert!(benchmark.output().contains("requests per second"), "{}", benchmark.output());

        let mut cli = stage.spawn("redis-cli", &["-h", &host, "GET", BENCHMARK_KEY])?;
        assert!(cli.wait_end(SOON)?.success(), "{}", cli.log());
        // The benchmark sends as many requests ahead as it has connections, and does not wait for the last of them.
        let counted: u64 = cli.output().trim().parse()?;
        assert!((INCREMENTS..INCREMENTS + 50).contains(&counted), "{counted} increments");
        Ok(())
    });
}

fn count(reply: &Reply) -> u64 {
    match reply {
        Reply::Value(Some(digits)) => String::from_utf8_lossy(digits).parse().unwrap_or_default(),
        _ => 0,
    }
}
