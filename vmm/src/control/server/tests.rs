use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::control::{Pending, Request, request, session::PATIENCE};

struct Scene {
    server: Server,
    path: PathBuf,
    /// Commands that nobody carries out.
    pending: Arc<Mutex<Vec<Pending>>>,
    _directory: TempDir,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let (board, pending) = (Board::default(), Arc::new(Mutex::new(Vec::new())));
    let kept = pending.clone();
    board.set_handler(Some(Box::new(move |pending| kept.lock().unwrap().push(pending))));
    Scene { server: Server::start(&path, board).unwrap(), path, pending, _directory: directory }
}

impl Scene {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        stream
    }

    fn say(&self, text: &[u8]) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(text).unwrap();
        stream
    }

    fn status(&self) -> Value {
        request(&self.path, &Request::Status).unwrap()
    }

    fn wait_for_commands(&self, count: usize) {
        let begun = Instant::now();
        while self.pending.lock().unwrap().len() < count {
            assert!(begun.elapsed() < 4 * PATIENCE);
            thread::yield_now();
        }
    }
}

fn answer(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn clients_that_say_nothing_keep_nobody_else_from_being_answered() {
    let scene = scene();
    let _silent: Vec<_> = (0..4 * MAX_CLIENTS).map(|_| scene.connect()).collect();
    let begun = Instant::now();
    assert_eq!(scene.status()["role"], "secondary");
    assert!(begun.elapsed() < PATIENCE, "it waited for one of the silent");
}

#[test]
fn commands_that_take_long_leave_room_for_the_status() {
    let scene = scene();
    // One after the other: those that wait already count once.
    let waiting: Vec<_> = (1..=MAX_COMMANDS)
        .map(|count| {
            let client = scene.say(b"{\"command\":\"resume\"}\n");
            scene.wait_for_commands(count);
            client
        })
        .collect();
    let _silent: Vec<_> = (0..2 * MAX_CLIENTS).map(|_| scene.connect()).collect();
    let more = answer(&scene.say(b"{\"command\":\"resume\"}\n"));
    assert!(more["error"].as_str().unwrap().contains("too many commands"), "{more}");
    assert_eq!(scene.status()["role"], "secondary");

    let pending: Vec<_> = scene.pending.lock().unwrap().drain(..).collect();
    pending.into_iter().for_each(|pending| pending.refuse("no"));
    for stream in waiting {
        assert_eq!(answer(&stream)["error"], "no");
    }
}

#[test]
fn whoever_drips_is_let_go_in_time() {
    let scene = scene();
    let mut stream = scene.say(b"{");
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // A byte now and then does not make its time longer.
    loop {
        match stream.read(&mut [0]) {
            Ok(0) => break,
            Ok(_) => panic!("it was answered"),
            Err(_) => assert!(begun.elapsed() < 4 * PATIENCE, "it is still there"),
        }
        if stream.write_all(b" ").is_err() {
            break;
        }
    }
    assert!(begun.elapsed() >= PATIENCE / 2);
}

#[test]
fn what_is_no_request_is_answered_as_that() {
    let scene = scene();
    let long = vec![b'['; 3 * 4096];
    for text in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"\xff\xfe\n", b"null\n", &long] {
        let error = answer(&scene.say(text));
        assert!(error["error"].as_str().unwrap().contains("not a request"), "{error}");
    }
    let stream = scene.say(b"{\"command\":\"status\"}");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(answer(&stream)["ok"]["role"], "secondary", "a line without its end");
    let peer = answer(&scene.say(b"{\"command\":\"protect\",\"to\":\"7000\"}\n"));
    assert!(peer["error"].as_str().unwrap().contains("HOST:PORT is expected"), "{peer}");
}

#[test]
fn an_answer_that_is_there_reaches_its_client_at_the_end() {
    let scene = scene();
    let stream = scene.say(b"{\"command\":\"test-failover\"}\n");
    scene.wait_for_commands(1);
    let pending = scene.pending.lock().unwrap().pop().unwrap();
    pending.refuse("the last word");
    drop(scene.server);
    assert_eq!(answer(&stream)["error"], "the last word");
    assert!(!scene.path.exists());
}
