use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
};

use super::{stand_in::StandIn, *};
use crate::demo::verdict::{self, Counted};

const PATIENCE: Duration = Duration::from_secs(5);

fn plan(server: &StandIn, mix: Mix) -> LoadPlan {
    LoadPlan {
        address: server.address,
        connections: 4,
        prefix: "t".into(),
        mix,
        pause: Duration::ZERO,
        patience: PATIENCE,
        seed: 1,
    }
}

/// Runs a counting load with a fault in the middle; gives the history and what the counters say about it.
fn count_with(fault: impl FnOnce(&StandIn)) -> (History, Counted) {
    let server = StandIn::start();
    let load = Load::start(&plan(&server, Mix::Count), Instant::now()).unwrap();
    load.await_answers(100, PATIENCE).unwrap();
    fault(&server);
    load.await_answers(100, PATIENCE).unwrap();
    let history = load.stop().unwrap();
    let counters = read_counters(server.address, &history, PATIENCE).unwrap();
    let counted = verdict::count(&history, &counters);
    (history, counted)
}

#[test]
fn a_faultless_server_loses_and_repeats_nothing() {
    let (history, counted) = count_with(|_| {});
    assert!(counted.acknowledged >= 200);
    assert_eq!((counted.unknown, counted.lost, counted.repeated), (0, 0, 0));
    assert_eq!((history.survived, history.connections), (4, 4));
    assert!(history.gave_up.is_empty() && history.refusals().is_empty());
}

#[test]
fn a_broken_connection_leaves_one_outcome_unknown_and_is_replaced() {
    let (history, counted) = count_with(|server| server.faults.hang_up.store(true, Ordering::Relaxed));
    assert_eq!((counted.unknown, counted.lost, counted.repeated), (1, 0, 0));
    assert_eq!(history.survived, 3);
}

#[test]
fn a_forgotten_increment_is_noticed() {
    let (_, counted) = count_with(|server| server.faults.forget.store(true, Ordering::Relaxed));
    assert!(counted.repeated > 0, "its number is given out again: {counted:?}");
}

#[test]
fn an_increment_carried_out_twice_is_noticed() {
    let (_, counted) = count_with(|server| server.faults.repeat.store(true, Ordering::Relaxed));
    assert_eq!((counted.lost, counted.repeated), (0, 1));
}

#[test]
fn a_mixed_load_does_all_it_knows() {
    let server = StandIn::start();
    let load = Load::start(&plan(&server, Mix::Mixed), Instant::now()).unwrap();
    load.await_answers(300, PATIENCE).unwrap();
    let history = load.stop().unwrap();
    let did =
        |wanted: fn(&Action) -> bool| history.operations.iter().any(|operation| wanted(&operation.action));
    assert!(did(|action| matches!(action, Action::Incr)) && did(|action| matches!(action, Action::Get)));
    assert!(
        did(|action| matches!(action, Action::Set(_))) && did(|action| matches!(action, Action::Append(_)))
    );
    assert!(did(|action| matches!(action, Action::Delete)));
    assert!(history.operations.is_sorted_by_key(|operation| operation.invoked_ns));
}

#[test]
fn a_server_that_is_not_there_is_given_up() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = StandIn::start();
    let plan = LoadPlan { address, patience: Duration::from_millis(50), ..plan(&server, Mix::Count) };
    let load = Load::start(&plan, Instant::now()).unwrap();
    let gave_up = |load: &Load| load.workers.iter().all(JoinHandle::is_finished);
    wait::until("clients to give up", PATIENCE, || Ok(gave_up(&load).then_some(()))).unwrap();
    let history = load.stop().unwrap();
    assert_eq!((history.gave_up.len(), history.survived), (4, 0));
}

/// A server that answers anything with `answer`.
fn answered_with(answer: &'static [u8]) -> io::Result<Reply> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 14]).unwrap();
        stream.write_all(answer).unwrap();
    });
    let reply = Connection::open(address, PATIENCE).unwrap().call(&[b"PING"]);
    server.join().unwrap();
    reply
}

#[test]
fn every_kind_of_answer_is_understood() {
    assert_eq!(answered_with(b"+PONG\r\n").unwrap(), Reply::Status("PONG".into()));
    assert_eq!(answered_with(b"-ERR no\r\n").unwrap(), Reply::Error("ERR no".into()));
    assert_eq!(answered_with(b":-7\r\n").unwrap(), Reply::Integer(-7));
    assert_eq!(answered_with(b"$-1\r\n").unwrap(), Reply::Value(None));
    assert_eq!(answered_with(b"$4\r\na\r\nb\r\n").unwrap(), Reply::Value(Some(b"a\r\nb".to_vec())));
}

#[test]
fn an_answer_that_is_no_resp_is_refused() {
    for bad in [
        &b"\r\n"[..],
        b"?\r\n",
        b":x\r\n",
        b"$9999999999\r\n",
        b"$-2\r\n",
        b"$1\r\nabc",
        b"+x\n",
        b"+\xff\r\n",
    ] {
        assert_eq!(answered_with(bad).unwrap_err().kind(), ErrorKind::InvalidData, "{bad:?}");
    }
    assert_eq!(answered_with(b"").unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let endless: &'static [u8] = Box::leak(vec![b'+'; 5000].into_boxed_slice());
    assert!(answered_with(endless).is_err());
}
