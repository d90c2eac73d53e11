//! A server of INCR, GET, SET, APPEND and DEL in this process, with faults on demand.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What the server does wrong, each once.
#[derive(Debug, Default)]
pub struct Faults {
    /// Close the connection instead of answering, after carrying out the request.
    pub hang_up: AtomicBool,
    /// Answer an INCR, and forget it.
    pub forget: AtomicBool,
    /// Carry out an INCR twice.
    pub repeat: AtomicBool,
}

/// A listening server. Its threads end with the connections.
#[derive(Debug)]
pub struct StandIn {
    pub address: SocketAddr,
    pub faults: Arc<Faults>,
}

type Store = Arc<Mutex<HashMap<String, Vec<u8>>>>;

impl StandIn {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (faults, store) = (Arc::<Faults>::default(), Store::default());
        let shared = faults.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (faults, store) = (shared.clone(), store.clone());
                thread::spawn(move || serve(stream, &faults, &store));
            }
        });
        Self { address, faults }
    }
}

fn serve(mut stream: TcpStream, faults: &Faults, store: &Store) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let words = read_request(&mut reader)?;
        let answer = carry_out(&words, faults, store);
        if faults.hang_up.swap(false, Ordering::Relaxed) {
            return None;
        }
        stream.write_all(&answer).ok()?;
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = read_number(reader, '*')?;
    (0..count)
        .map(|_| {
            let mut word = vec![0; read_number(reader, '$')? + 2];
            reader.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            Some(word)
        })
        .collect()
}

fn read_number(reader: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(kind)?.parse().ok()
}

fn carry_out(words: &[Vec<u8>], faults: &Faults, store: &Store) -> Vec<u8> {
    let mut store = store.lock().unwrap();
    let key = String::from_utf8(words[1].clone()).unwrap();
    match words[0].as_slice() {
        b"INCR" => {
            let before = store.get(&key).map_or(0, |value| String::from_utf8_lossy(value).parse().unwrap());
            let after: i64 = before + 1 + i64::from(faults.repeat.swap(false, Ordering::Relaxed));
            if !faults.forget.swap(false, Ordering::Relaxed) {
                store.insert(key, after.to_string().into_bytes());
            }
            format!(":{after}\r\n").into_bytes()
        }
        b"GET" => match store.get(&key) {
            None => b"$-1\r\n".to_vec(),
            Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        },
        b"SET" => {
            store.insert(key, words[2].clone());
            b"+OK\r\n".to_vec()
        }
        b"APPEND" => {
            let value = store.entry(key).or_default();
            value.extend_from_slice(&words[2]);
            format!(":{}\r\n", value.len()).into_bytes()
        }
        b"DEL" => format!(":{}\r\n", u8::from(store.remove(&key).is_some())).into_bytes(),
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}
