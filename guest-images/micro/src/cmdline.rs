//! `name=value` words of the command line.

/// The value of the last word that reads `name=value`.
pub fn value<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// `rounds=N`, by which tests scale the probes; `default` when it is missing or not a number.
pub fn rounds(command_line: &str, default: u32) -> u32 {
    number(command_line, "rounds", default)
}

/// `name=N`; `default` when it is missing or not a number.
pub fn number(command_line: &str, name: &str, default: u32) -> u32 {
    value(command_line, name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_word_of_that_name() {
        assert_eq!(value("ip=1 port=6379  ip=2", "ip"), Some("2"));
        assert_eq!(value("zip=1 i=2 ip", "ip"), None);
        assert_eq!(value("ip=", "ip"), Some(""));
        assert_eq!(value("a=b=c", "a"), Some("b=c"));
    }

    #[test]
    fn rounds_fall_back_to_the_default() {
        assert_eq!(rounds("rounds=12", 5), 12);
        assert_eq!(rounds("rounds=-1", 5), 5);
        assert_eq!(rounds("", 5), 5);
    }
}
