//! Bodies for fuzzing, and for a short run of the same under the tests.

use alloc::vec::Vec;

use crate::kv::KeyValue;
use crate::resp::{MOST_REPLY_BYTES, MOST_REQUEST_BYTES, Protocol, Reply, parse};
use crate::server::{After, Occasion, Service};

/// Memory of the store under test: small, so that it fills up.
const STORE_BYTES: usize = 64 * 1024;

/// Executes what the parser makes of arbitrary bytes.
///
/// # Panics
/// When a reply or the store is larger than it may be, or the parser wants more than a request's bytes.
pub fn resp(data: &[u8]) {
    let mut kv = KeyValue::new(STORE_BYTES).expect("the host has memory");
    let mut rest = data;
    let (mut buffer, mut words, mut protocol) = (Vec::new(), Vec::new(), Protocol::default());
    let mut commands = 0;
    loop {
        let Ok(Some((request, bytes))) = parse(rest, &mut words) else {
            assert!(rest.len() < MOST_REQUEST_BYTES || parse(rest, &mut words).is_err());
            return;
        };
        assert!(bytes > 0 && bytes <= MOST_REQUEST_BYTES);
        let now_ns = commands * 1_000_000;
        let occasion = Occasion { now_ns, wall_ns: now_ns, clients: 1, commands };
        buffer.clear();
        let after = kv.execute(request, &occasion, &mut Reply::to(&mut buffer, &mut protocol));
        assert!(buffer.len() <= MOST_REPLY_BYTES);
        assert!(buffer.is_empty() || buffer.ends_with(b"\r\n"));
        assert!(kv.store().used_bytes() <= kv.store().limit_bytes());
        if after == After::Close {
            return;
        }
        commands += 1;
        rest = &rest[bytes..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    const WORDS: [&str; 16] = [
        "*3\r\n",
        "*2\r\n",
        "$3\r\n",
        "$1\r\n",
        "$-1\r\n",
        "SET\r\n",
        "GET\r\n",
        "INCR k\r\n",
        "MSET",
        " ",
        "k\r\n",
        "\r\n",
        "APPEND k xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
        "SET k 1 EX 1\r\n",
        "MGET k k k\r\n",
        "*1\r\n$8\r\nFLUSHALL\r\n",
    ];

    #[test]
    fn arbitrary_requests() {
        let mut random = Random::from_environment();
        for _ in 0..20_000 {
            let mut data = Vec::new();
            for _ in 0..random.below(40) {
                match random.below(8) {
                    0 => data.push(random.next() as u8),
                    1 => data.extend_from_slice(&random.next().to_string().into_bytes()),
                    _ => data.extend_from_slice(WORDS[random.below(WORDS.len() as u64) as usize].as_bytes()),
                }
            }
            resp(&data);
        }
    }
}
