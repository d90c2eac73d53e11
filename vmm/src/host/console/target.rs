//! The value of `--console`.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where a console goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleTarget {
    /// Standard output and input.
    Stdio,
    /// A file that is appended to.
    File(PathBuf),
    /// A Unix socket at which clients may connect.
    Unix(PathBuf),
}

impl ConsoleTarget {
    /// The same for who is in another directory.
    #[must_use]
    pub fn absolute(&self) -> Self {
        let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        match self {
            Self::Stdio => Self::Stdio,
            Self::File(path) => Self::File(whole(path)),
            Self::Unix(path) => Self::Unix(whole(path)),
        }
    }
}

impl fmt::Display for ConsoleTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => write!(f, "stdio"),
            Self::File(path) => write!(f, "file={}", path.display()),
            Self::Unix(path) => write!(f, "unix={}", path.display()),
        }
    }
}

impl FromStr for ConsoleTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "stdio" => Ok(Self::Stdio),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(format!("'{text}' is none of stdio, file=FILE, unix=SOCKET")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_kind_and_a_path_and_is_said_as_it_is_given() {
        for (text, target) in [
            ("stdio", ConsoleTarget::Stdio),
            ("file=/a", ConsoleTarget::File("/a".into())),
            ("unix=/b", ConsoleTarget::Unix("/b".into())),
        ] {
            assert_eq!(text.parse(), Ok(target.clone()));
            assert_eq!(target.to_string(), text);
        }
        assert!("file=".parse::<ConsoleTarget>().is_err());
        assert!("tty".parse::<ConsoleTarget>().is_err());
    }
}
