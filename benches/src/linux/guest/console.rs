//! What a guest says on its console.

use anyhow::{Context, ensure};

/// The first whole line of `text[from..]` that begins with `start`, and where it ends. The shell writes control
/// sequences in front of what its commands say, and ends them with a carriage return.
pub fn find_line(text: &str, from: usize, start: &str) -> Option<(String, usize)> {
    let mut at = from;
    for line in text.get(from..)?.split_inclusive(['\r', '\n']) {
        at += line.len();
        if line.starts_with(start) && line.ends_with(['\r', '\n']) {
            return Some((line.trim_end().to_owned(), at));
        }
    }
    None
}

/// The value of `name=value` in a workload's last line, which must be a good one.
pub fn value<'a>(line: &'a str, name: &str) -> anyhow::Result<&'a str> {
    ensure!(line.contains(": ok "), "the guest says {line:?}");
    let mut words = line.split(' ').filter_map(|word| word.split_once('='));
    let found = words.find(|(key, _)| *key == name).map(|(_, value)| value);
    found.with_context(|| format!("the guest gives no {name}: {line:?}"))
}

/// The end of a console or log, for an error.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_once_and_only_when_it_is_whole() {
        let text = "# echo answer=$((6))\r\n\x1b[?2004l\ranswer=6\r\nansw";
        let (line, end) = find_line(text, 0, "answer=").unwrap();
        assert_eq!(line, "answer=6");
        assert_eq!(find_line(text, end, "answ"), None);
        assert_eq!(find_line("answer=4", 0, "answer="), None, "the rest may still come");
    }

    #[test]
    fn a_workload_is_believed_only_when_it_went_well() {
        let line = "WORKLOAD compile: ok seconds=12.34 files=12 jobs=1 objects=0123abcd";
        assert_eq!(value(line, "seconds").unwrap(), "12.34");
        assert_eq!(value(line, "objects").unwrap(), "0123abcd");
        assert!(value(line, "minutes").is_err());
        assert!(value("WORKLOAD compile: FAILED seconds=1", "seconds").is_err());
    }
}
