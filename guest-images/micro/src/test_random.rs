//! Randomness for tests: a seed that is printed, and taken back from `MICRO_TEST_SEED`.

/// A small generator (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from `MICRO_TEST_SEED`, else from the clock; the seed is printed, which shows when the test fails.
    pub fn from_environment() -> Self {
        let seed = match std::env::var("MICRO_TEST_SEED") {
            Ok(text) => text.parse().expect("MICRO_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos() as u64,
        };
        println!("MICRO_TEST_SEED={seed}");
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
