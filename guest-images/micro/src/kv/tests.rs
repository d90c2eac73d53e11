//! Tests of the commands, by the bytes a client sees.

use super::*;
use crate::resp::{MOST_REPLY_BYTES, Protocol, parse};

/// The service, and a client that types inline commands.
struct Client {
    kv: KeyValue,
    now_ns: u64,
    protocol: Protocol,
}

impl Client {
    fn new() -> Self {
        Self {
            kv: KeyValue::new(1 << 20).expect("the host has memory"),
            now_ns: 0,
            protocol: Protocol::default(),
        }
    }

    fn ask_bytes(&mut self, request: &[u8]) -> String {
        let mut words = Vec::new();
        let (request, _) = parse(request, &mut words).expect("a valid request").expect("a whole request");
        let wall_ns = 1_700_000_000_123_456_789;
        let occasion = Occasion { now_ns: self.now_ns, wall_ns, clients: 1, commands: 7 };
        let mut buffer = Vec::new();
        self.kv.execute(request, &occasion, &mut Reply::to(&mut buffer, &mut self.protocol));
        assert!(buffer.len() <= MOST_REPLY_BYTES);
        String::from_utf8_lossy(&buffer).into_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.ask_bytes(format!("{line}\r\n").as_bytes())
    }

    #[track_caller]
    fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line), format!("{reply}\r\n"), "to {line}");
    }
}

#[test]
fn strings() {
    let mut client = Client::new();
    client.expect("GET k", "$-1");
    client.expect("set k v", "+OK");
    client.expect("GET k", "$1\r\nv");
    client.expect("APPEND k alue", ":5");
    client.expect("APPEND new x", ":1");
    client.expect("STRLEN k", ":5");
    client.expect("MSET a 1 b 2", "+OK");
    client.expect("MGET a no b", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2");
    client.expect("EXISTS a b no a", ":3");
    client.expect("DBSIZE", ":4");
    client.expect("DEL a b no", ":2");
    client.expect("FLUSHALL", "+OK");
    client.expect("DBSIZE", ":0");
}

#[test]
fn set_options() {
    let mut client = Client::new();
    client.expect("SET k 1 XX", "$-1");
    client.expect("SET k 1 NX", "+OK");
    client.expect("SET k 2 NX", "$-1");
    client.expect("SET k 3 GET", "$1\r\n1");
    client.expect("SET k 4 NX GET", "$1\r\n3");
    client.expect("SET n 4 GET", "$-1");
    client.expect("GET k", "$1\r\n3");
    client.expect("SET k 1 NX XX", "-ERR syntax error");
    client.expect("SET k 1 EX", "-ERR syntax error");
    client.expect("SET k 1 EX 5 PX 5", "-ERR syntax error");
    client.expect("SET k 1 EX x", "-ERR value is not an integer or out of range");
    client.expect("SET k 1 EX 0", "-ERR invalid expire time in 'set' command");
    client.expect("SET k 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command");
}

#[test]
fn expiry() {
    let mut client = Client::new();
    client.expect("SET k 1 EX 5", "+OK");
    client.expect("INCR k", ":2");
    client.expect("TTL k", ":5");
    client.expect("SET k 3 KEEPTTL", "+OK");
    client.now_ns = 4_999_999_999;
    client.expect("GET k", "$1\r\n3");
    client.now_ns += 1;
    client.expect("GET k", "$-1");
    client.expect("TTL k", ":-2");
    client.expect("SET k 1 PX 20", "+OK");
    client.expect("PTTL k", ":20");
    client.expect("SET k 1", "+OK");
    client.expect("TTL k", ":-1");
}

#[test]
fn numbers() {
    let mut client = Client::new();
    client.expect("INCR n", ":1");
    client.expect("INCRBY n 41", ":42");
    client.expect("DECR n", ":41");
    client.expect("DECRBY n 51", ":-10");
    client.expect("GET n", "$3\r\n-10");
    client.expect("SET n 9223372036854775807", "+OK");
    client.expect("INCR n", "-ERR increment or decrement would overflow");
    client.expect("DECRBY n -9223372036854775808", "-ERR decrement would overflow");
    for text in ["1x", "+1", "01", "-0", "", "9223372036854775808"] {
        client.kv.store.set(b"n", text.as_bytes(), None, 0).unwrap();
        client.expect("INCR n", "-ERR value is not an integer or out of range");
    }
    client.expect("INCRBY m x", "-ERR value is not an integer or out of range");
}

#[test]
fn errors_clients_look_at() {
    let mut client = Client::new();
    client.expect("GET", "-ERR wrong number of arguments for 'get' command");
    client.expect("mset a 1 b", "-ERR wrong number of arguments for 'mset' command");
    client.expect("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' ");
    client.expect("HELLO 4", "-NOPROTO unsupported protocol version");
    client.expect("HELLO x", "-ERR Protocol version is not an integer or out of range");
    client.expect("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'");
    client.expect("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'");
    let refused = "-WRONGPASS invalid username-password pair or user is disabled.";
    client.expect("HELLO 3 AUTH me secret", refused);
    client.expect("GET nobody", "$-1");
    client.expect("SELECT 0", "+OK");
    client.expect("SELECT 1", "-ERR DB index is out of range");
    client.expect("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.");
    let reply = client.ask_bytes(b"*2\r\n$3\r\nX\r\n\r\n$4\r\n\r\n+O\r\n");
    assert_eq!(reply.matches("\r\n").count(), 1, "{reply:?} is one line");
}

#[test]
fn what_clients_ask_at_start() {
    let mut client = Client::new();
    client.expect("PING", "+PONG");
    client.expect("PING x", "$1\r\nx");
    client.expect("ECHO x", "$1\r\nx");
    client.expect("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n");
    client.expect("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$2\r\nno");
    client.expect("CONFIG GET nothing", "*0");
    client.expect("COMMAND DOCS", "*0");
    client.expect("CLIENT SETINFO LIB-NAME x", "+OK");
    client.expect("TIME", "*2\r\n$10\r\n1700000000\r\n$6\r\n123456");
    client.expect("QUIT", "+OK");
    assert!(client.ask("HELLO 2").starts_with("*12\r\n$6\r\nserver\r\n"));
    assert!(client.ask("INFO").contains("\r\nconnected_clients:1\r\n"));
    assert_eq!(client.ask(""), "");
}

#[test]
fn a_client_that_asks_for_version_3_is_answered_in_it_until_it_resets() {
    let mut client = Client::new();
    let hello = client.ask("HELLO 3 AUTH default any SETNAME me");
    assert!(hello.starts_with("%6\r\n$6\r\nserver\r\n") && hello.contains("proto\r\n:3\r\n"), "{hello}");
    client.expect("GET nobody", "_");
    client.expect("SET k v", "+OK");
    client.expect("MGET k nobody", "*2\r\n$1\r\nv\r\n_");
    client.expect("CLIENT GETNAME", "_");
    client.expect("CONFIG GET appendonly", "%1\r\n$10\r\nappendonly\r\n$2\r\nno");
    client.expect("COMMAND DOCS", "%0");
    assert!(client.ask("INFO").contains("\r\ntxt:# Server\r\n"));
    assert!(client.ask("HELLO").starts_with("%6\r\n"));
    client.expect("RESET", "+RESET");
    client.expect("GET nobody", "$-1");
}

#[test]
fn a_full_store_is_an_error_and_mset_sets_all_or_none() {
    let mut client = Client::new();
    let big = "x".repeat(1000);
    let mut count = 0;
    while client.ask(&format!("SET k{count} {big}")) == "+OK\r\n" {
        count += 1;
    }
    let full = "-OOM command not allowed when used memory > 'maxmemory'.";
    client.expect(&format!("SET more {big}"), full);
    client.expect(&format!("APPEND k0 {big}"), full);
    client.expect(&format!("MSET k0 y a {big} b {big}"), full);
    client.expect("GET k0", &format!("$1000\r\n{big}"));
    client.expect("DBSIZE", &format!(":{count}"));
    client.expect("DEL k1", ":1");
    client.expect(&format!("SET more {big}"), "+OK");
}

#[test]
fn long_values_and_replies_are_refused() {
    let mut client = Client::new();
    let long = "x".repeat(MOST_VALUE_BYTES / 32);
    for _ in 0..32 {
        client
            .ask_bytes(format!("*3\r\n$6\r\nAPPEND\r\n$1\r\nk\r\n${}\r\n{long}\r\n", long.len()).as_bytes());
    }
    assert!(client.ask("GET k").len() > MOST_VALUE_BYTES);
    client.expect("APPEND k x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    client.expect("MGET k k", "-ERR reply exceeds 64 KiB");
}
