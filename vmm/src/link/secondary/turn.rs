//! How much of what the primary says is heard at a time.

/// Frames heard between two looks at the clock, and the bytes in them: what the primary's seed brings is copied to the
/// guest's memory.
const FRAMES_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 1 << 20;

/// What was heard since the last look at the clock.
#[derive(Default)]
pub struct Turn {
    frames: usize,
    bytes: usize,
}

impl Turn {
    /// A frame was heard, with so many bytes in its body.
    pub fn heard(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes;
    }

    /// The clock has to be looked at: the primary wants to hear of us too.
    pub fn is_over(&self) -> bool {
        self.frames >= FRAMES_AT_ONCE || self.bytes >= BYTES_AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_over_after_much_of_the_seed_or_many_short_frames() {
        let mut turn = Turn::default();
        (1..9).for_each(|_| turn.heard(ftlog::PAGES_PER_FRAME * ftlog::PAGE_SIZE));
        assert!(!turn.is_over());
        turn.heard(ftlog::PAGES_PER_FRAME * ftlog::PAGE_SIZE);
        assert!(turn.is_over());

        let mut turn = Turn::default();
        (1..FRAMES_AT_ONCE).for_each(|_| turn.heard(100));
        assert!(!turn.is_over());
        turn.heard(100);
        assert!(turn.is_over());
    }
}
