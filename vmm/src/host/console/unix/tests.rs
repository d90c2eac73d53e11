use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use ftlog::Event;
use replay::Room;
use tempfile::TempDir;

use super::{
    super::tests::{connect, read},
    *,
};
use crate::host::console::{Console, ConsoleTarget};

const PATIENCE: Duration = Duration::from_secs(10);

struct Scene {
    console: Console,
    board: Board,
    inbox: Arc<Inbox>,
    path: PathBuf,
    _directory: TempDir,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("console");
    let (board, inbox) = (Board::default(), Arc::new(Inbox::default()));
    let console = Console::open(&ConsoleTarget::Unix(path.clone()), inbox.clone(), &board).unwrap();
    Scene { console, board, inbox, path, _directory: directory }
}

impl Scene {
    /// A client that is known to be served: it has typed something, and the guest has it.
    fn client(&self) -> UnixStream {
        let mut client = connect(&self.path);
        client.write_all(b"+").unwrap();
        assert_eq!(self.typed(1), b"+");
        client
    }

    /// The next bytes that a guest reads.
    fn typed(&self, length: usize) -> Vec<u8> {
        let (mut read, mut events) = (Vec::new(), Vec::new());
        while read.len() < length {
            let room = Room { frames: 0, console: length - read.len() };
            self.inbox.wait(room, Some(PATIENCE));
            self.inbox.take(room, &mut events);
            assert!(!events.is_empty(), "only {} bytes have come", read.len());
            for event in events.drain(..) {
                let Event::ConsoleInput(bytes) = event else { panic!("{event:?}") };
                read.extend(bytes);
            }
        }
        read
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&crate::control::Status) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.board.snapshot()) {
            assert!(begun.elapsed() < PATIENCE, "not {what}: {:?}", self.board.snapshot());
            thread::yield_now();
        }
    }
}

#[test]
fn a_client_that_never_reads_silences_it_for_nobody_else() {
    let scene = scene();
    let _silent = scene.client();
    let mut other = scene.client();
    let piece = vec![b'x'; 64 << 10];
    for _ in 0..32 {
        scene.console.write(&piece);
        assert_eq!(read(&mut other, piece.len()), piece);
    }
    scene.wait_for("told", |status| status.troubles.iter().any(|trouble| trouble.what == SILENT));
    assert!(scene.board.snapshot().console.dropped_bytes > 0);
    let mut third = scene.client();
    scene.console.write(b"hello");
    assert_eq!(read(&mut third, 5), b"hello");
    assert_eq!(read(&mut other, 5), b"hello");
    drop(_silent);
    scene.console.write(b".");
    scene.wait_for("well again", |status| status.troubles.is_empty());
}

#[test]
fn what_is_pasted_waits_for_the_guest_and_is_all_there_in_the_end() {
    let scene = scene();
    let mut client = scene.client();
    let pasted: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
    let paste = pasted.clone();
    let pasting = thread::spawn(move || client.write_all(&paste));
    assert!(scene.typed(pasted.len()) == pasted);
    pasting.join().unwrap().unwrap();
}

#[test]
fn what_a_client_sent_before_it_left_is_heard() {
    let scene = scene();
    let pasted = vec![b'y'; 10_000];
    let mut client = connect(&scene.path);
    client.write_all(&pasted).unwrap();
    drop(client);
    assert!(scene.typed(pasted.len()) == pasted);
}

#[test]
fn a_client_that_has_sent_all_still_hears() {
    let scene = scene();
    let mut client = scene.client();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..3 {
        scene.console.write(b"hello");
        assert_eq!(read(&mut client, 5), b"hello");
    }
}

#[test]
fn however_many_clients_were_forgotten_the_next_is_heard() {
    let scene = scene();
    let mut forgotten: Vec<_> = (0..3 * MAX_CLIENTS).map(|_| connect(&scene.path)).collect();
    let mut newest = scene.client();
    scene.console.write(b"hello");
    assert_eq!(read(&mut newest, 5), b"hello");
    assert_eq!(forgotten[0].read(&mut [0]).unwrap(), 0, "the oldest has made room");
}
