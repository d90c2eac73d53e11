use std::{fs, io::Read, os::unix::net::UnixStream, path::Path, time::Instant};

use super::*;

fn open(target: ConsoleTarget, board: &Board) -> Console {
    Console::open(&target, Arc::default(), board).unwrap()
}

fn refused(target: ConsoleTarget) -> String {
    let refused = Console::open(&target, Arc::default(), &Board::default());
    format!("{:#}", refused.err().expect("that is no console"))
}

#[test]
fn a_console_that_was_closed_has_all_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("console");
    let board = Board::default();
    let console = open(ConsoleTarget::File(path.clone()), &board);
    console.write(b"last ");
    console.write(b"words");
    console.close();
    assert_eq!(fs::read(&path).unwrap(), b"last words");
    assert_eq!(board.snapshot().console.target, format!("file={}", path.display()));
}

#[test]
fn a_full_disk_is_a_trouble_and_does_not_hold_up_the_end() {
    let board = Board::default();
    let console = open(ConsoleTarget::File("/dev/full".into()), &board);
    console.write(b"dropped in the end");
    let begun = Instant::now();
    console.close();
    assert!(begun.elapsed() < 3 * FLUSH_PATIENCE);
    let troubles = board.snapshot().troubles;
    assert!(troubles[0].text.contains("No space left"), "{troubles:?}");
}

#[test]
fn what_is_no_console_is_an_error_in_the_words_of_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(ConsoleTarget::File(directory.path().to_owned()));
    assert!(error.contains("cannot open the console file=/"), "{error}");
    let error = refused(ConsoleTarget::Unix(directory.path().to_owned()));
    assert!(error.contains("it is a directory"), "{error}");
}

#[test]
fn a_sockets_place_is_free_again_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("console");
    for _ in 0..2 {
        let console = open(ConsoleTarget::Unix(path.clone()), &Board::default());
        let mut client = connect(&path);
        console.write(b"hello");
        assert_eq!(&read(&mut client, 5), b"hello");
        console.close();
        assert!(!path.exists());
    }
}

pub fn connect(path: &Path) -> UnixStream {
    let client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

pub fn read(client: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut said = vec![0; length];
    client.read_exact(&mut said).unwrap();
    said
}
