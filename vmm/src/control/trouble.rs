//! What does not work now although it should: seen in `status` for as long as it lasts.

use super::{Board, Trouble};
use crate::host::clock::wall_ns;

impl Board {
    /// `what` does not work, and this is how it shows. Told as an event when it begins.
    pub fn trouble(&self, what: &str, text: impl Into<String>) {
        let text = text.into();
        let mut begins = true;
        self.update(|status| match status.troubles.iter_mut().find(|known| known.what == what) {
            Some(known) => {
                known.text.clone_from(&text);
                begins = false;
            }
            None => {
                let since_ms = wall_ns() / 1_000_000;
                status.troubles.push(Trouble { what: what.to_owned(), text: text.clone(), since_ms });
            }
        });
        if begins {
            self.notice(format!("{what}: {text}"));
        }
    }

    /// `what` works. Told as an event when it did not before.
    pub fn well(&self, what: &str) {
        let mut ends = false;
        self.update(|status| {
            let before = status.troubles.len();
            status.troubles.retain(|known| known.what != what);
            ends = status.troubles.len() < before;
        });
        if ends {
            self.notice(format!("{what}: works again"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_when_it_begins_and_when_it_ends() {
        let board = Board::default();
        board.well("console");
        board.trouble("console", "no space");
        let since_ms = board.snapshot().troubles[0].since_ms;
        while wall_ns() / 1_000_000 == since_ms {}
        board.trouble("console", "still no space");
        board.trouble("tap", "gone");
        let status = board.snapshot();
        assert_eq!(
            (status.troubles[0].text.as_str(), status.troubles[0].since_ms),
            ("still no space", since_ms)
        );
        assert_eq!(status.troubles.len(), 2);
        board.well("console");
        board.well("console");
        let status = board.snapshot();
        assert_eq!(status.troubles.len(), 1);
        let events: Vec<_> = status.events.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(events, ["console: no space", "tap: gone", "console: works again"]);
    }
}
