//! An unprotected VM on its network: Debian's own Redis clients against `ftvmm run`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use ftvmm::demo::{
    client::{Connection, Mix},
    process::Process,
    wait,
};
use ftvmm_tests::stage::{self, Stage, guest};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(60);

/// `ftvmm run`, serving.
fn run(stage: &Stage) -> anyhow::Result<Process> {
    let mut command = Command::new(&stage.setup.program);
    let console = format!("file={}", stage.directory().join("run.console").display());
    command.args(["run", "--kernel", "builtin:kv", "--net", "tap=tap-a", "--console", &console]);
    let mut vm = Process::start(command, "run", stage.directory(), None)?;
    wait::until("the guest to serve", SOON, || {
        vm.expect_alive()?;
        Ok(Connection::open(guest(), Duration::from_millis(200)).ok())
    })?;
    Ok(vm)
}

fn redis_cli(stage: &Stage, words: &[&str]) -> anyhow::Result<String> {
    let host = guest().ip().to_string();
    let mut cli = stage.spawn("redis-cli", &[&["-h", &host], words].concat())?;
    let status = cli.wait_end(SOON)?;
    assert!(status.success(), "{words:?}: {} {}", cli.output(), cli.log());
    Ok(cli.output().trim_end().to_owned())
}

#[test]
fn redis_cli_is_answered() {
    stage::play(1000, |stage| {
        let _vm = run(stage)?;
        for (words, answer) in [
            (&["PING"][..], "PONG"),
            (&["SET", "a", "one"], "OK"),
            (&["APPEND", "a", "two"], "6"),
            (&["GET", "a"], "onetwo"),
            (&["MSET", "b", "1", "c", "2"], "OK"),
            (&["INCR", "b"], "2"),
            (&["INCRBY", "b", "-5"], "-3"),
            (&["MGET", "b", "c"], "-3\n2"),
            (&["EXISTS", "a", "nobody"], "1"),
            (&["DEL", "a", "c"], "2"),
            (&["DBSIZE"], "1"),
            (&["FLUSHALL"], "OK"),
            (&["DBSIZE"], "0"),
            (&["ECHO", "hello"], "hello"),
            (&["-3", "SET", "three", "1"], "OK"),
            (&["-3", "MGET", "three", "nobody"], "1"),
        ] {
            assert_eq!(redis_cli(stage, words)?, answer, "{words:?}");
        }
        assert!(redis_cli(stage, &["NONSENSE"])?.contains("ERR"));
        Ok(())
    });
}

#[test]
fn who_types_quotes_asks_for_version_3_or_sends_too_much_is_answered() {
    stage::play(1000, |stage| {
        let _vm = run(stage)?;
        let say = |request: &[u8], more: usize| -> anyhow::Result<String> {
            let mut stream = TcpStream::connect_timeout(&guest(), SOON)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.set_write_timeout(Some(SOON))?;
            stream.write_all(request)?;
            stream.write_all(&vec![b'x'; more])?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok(reply)
        };
        assert_eq!(say(b"SET k \"a b\"\r\nGET 'k'\r\nQUIT\r\n", 0)?, "+OK\r\n$3\r\na b\r\n+OK\r\n");
        assert!(say(b"SET k \"a b\r\n", 0)?.contains("unbalanced quotes"));
        let replies = say(b"HELLO 3\r\nGET nobody\r\nQUIT\r\n", 0)?;
        assert!(replies.starts_with("%6\r\n") && replies.ends_with("\r\n_\r\n+OK\r\n"), "{replies}");
        let error = say(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n", 1_000_000)?;
        assert_eq!(error, "-ERR Protocol error: invalid bulk length\r\n");
        Ok(())
    });
}

#[test]
fn redis_benchmark_runs_with_and_without_pipelining() {
    stage::play(1000, |stage| {
        let _vm = run(stage)?;
        let host = guest().ip().to_string();
        for depth in ["1", "16"] {
            let arguments =
                ["-h", &host, "-t", "ping,set,get,incr", "-c", "50", "-n", "2000", "-P", depth, "-q"];
            let mut benchmark = stage.spawn("redis-benchmark", &arguments)?;
            let status = benchmark.wait_end(LONG)?;
            assert!(status.success(), "-P {depth}: {} {}", benchmark.output(), benchmark.log());
        }
        Ok(())
    });
}

/// What programs do with redis-py, in each version of the protocol that it knows: before version 5 it knows the second.
const REDIS_PY: &str = r#"
import redis, sys
newer = int(redis.__version__.split(".")[0]) >= 5
for options in [{}, {"protocol": 2}, {"protocol": 3}] if newer else [{}]:
    client = redis.Redis(host=sys.argv[1], socket_timeout=10, **options)
    client.flushall()
    assert client.set("a", "one") and client.get("a") == b"one" and client.get("nobody") is None
    assert [client.incr("n") for _ in range(3)] == [1, 2, 3]
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(100):
            pipeline.incr("n")
        answers = pipeline.get("n").mget("a", "nobody").execute()
    assert answers == [*range(4, 104), b"103", [b"one", None]], answers
    try:
        client.execute_command("NONSENSE")
    except redis.ResponseError:
        print(redis.__version__, options, "as expected")
    else:
        raise AssertionError("nonsense is answered")
"#;

#[test]
fn redis_py_is_answered() {
    stage::play(1000, |stage| {
        let _vm = run(stage)?;
        let host = guest().ip().to_string();
        let mut client = Command::new("/usr/bin/python3");
        client.args(["-c", REDIS_PY, &host]);
        let mut client = Process::start(client, "redis-py", stage.directory(), None)?;
        let status = client.wait_end(LONG)?;
        assert!(status.success(), "(package python3-redis) {} {}", client.output(), client.log());
        print!("{}", client.output());
        Ok(())
    });
}

#[test]
fn concurrent_clients_see_one_order_and_sigterm_ends_the_vm() {
    stage::play(1000, |stage| {
        let mut vm = run(stage)?;
        let load = stage.load(Mix::Mixed, Duration::ZERO, 8)?;
        load.await_answers(3000, LONG)?;
        stage::judge(load)?;
        vm.signal(Signal::TERM)?;
        let status = vm.wait_end(SOON)?;
        assert_eq!(status.code(), Some(0), "{}", vm.log());
        Ok(())
    });
}
