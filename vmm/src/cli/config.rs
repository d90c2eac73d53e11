//! `--config FILE.toml`: a command's options from a file.
//!
//! The file is turned into command-line options that stand before those of the command line itself. So the names are
//! the flags' own, the values are checked as theirs are, and of an option given twice the command line's wins.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, Command};
use machine::bounded;
use toml::{Table, Value};

const FLAG: &str = "--config";
/// Of a file of options, which are a few lines.
const MAX_BYTES: u64 = 1 << 20;

/// The arguments of this process with those of its `--config` file in front of its own options.
///
/// # Errors
/// The file cannot be read, is no TOML, or names an option that the command does not have.
pub fn expand(arguments: Vec<OsString>, program: &Command) -> anyhow::Result<Vec<OsString>> {
    let Some(path) = find(&arguments) else { return Ok(arguments) };
    let command = arguments.get(1).and_then(|name| program.find_subcommand(name));
    // Without a command that takes a file, clap says what is wrong.
    let Some(command) = command.filter(|command| takes(command, "config")) else { return Ok(arguments) };
    let text = bounded::read(&path, MAX_BYTES).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8(text).with_context(|| format!("{} is no text", path.display()))?;
    let table: Table = text.parse().with_context(|| format!("{} is no TOML", path.display()))?;
    let (head, own) = arguments.split_at(2);
    let options = options(&table, command, own).with_context(|| format!("in {}", path.display()))?;
    Ok([head, options.as_slice(), own].concat())
}

fn find(arguments: &[OsString]) -> Option<Box<Path>> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == FLAG {
            return arguments.next().map(|path| Path::new(path).into());
        }
        if let Some(path) = text.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('=')) {
            return Some(Path::new(path).into());
        }
    }
    None
}

fn takes(command: &Command, option: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(option))
}

/// True when the command line gives this option.
fn gives(arguments: &[OsString], name: &str) -> bool {
    arguments.iter().any(|argument| {
        let text = argument.to_string_lossy();
        text.strip_prefix("--")
            .and_then(|text| text.strip_prefix(name))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

fn options(table: &Table, command: &Command, own: &[OsString]) -> anyhow::Result<Vec<OsString>> {
    let mut options = Vec::new();
    for (name, value) in table {
        if name == "config" || !takes(command, name) {
            bail!("'{name}' is no option of `ftvmm {}`; see its --help", command.get_name());
        }
        if is_switch(command, name) {
            options.extend(switch(name, value)?);
            continue;
        }
        let one = std::slice::from_ref(value);
        let values = match value {
            Value::Array(values) if is_list(command, name) => values.as_slice(),
            _ => one,
        };
        // Of what can be given several times, the command line's own are all there is.
        if is_list(command, name) && gives(own, name) {
            continue;
        }
        for value in values {
            // One word, so that a value that begins with a dash stays a value.
            options.push(format!("--{name}={}", text_of(name, value)?).into());
        }
    }
    Ok(options)
}

fn action<'a>(command: &'a Command, name: &str) -> Option<&'a ArgAction> {
    let mut arguments = command.get_arguments();
    arguments.find(|argument| argument.get_long() == Some(name)).map(Arg::get_action)
}

fn is_list(command: &Command, name: &str) -> bool {
    matches!(action(command, name), Some(ArgAction::Append))
}

/// True of a flag without a value.
fn is_switch(command: &Command, name: &str) -> bool {
    matches!(action(command, name), Some(ArgAction::SetTrue))
}

/// The flag, if the file turns it on.
fn switch(name: &str, value: &Value) -> anyhow::Result<Option<OsString>> {
    match value {
        Value::Boolean(on) => Ok(on.then(|| format!("--{name}").into())),
        other => bail!("'{name}' is a {}; true or false is expected", other.type_str()),
    }
}

fn text_of(name: &str, value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        other => bail!("'{name}' is a {}; a string or a whole number is expected", other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory;

    use super::*;
    use crate::{cli::Cli, disk::DiskOption};

    /// What `ftvmm primary` gets when `--config` names a file with `text`.
    fn expanded(text: &str, own: &[&str]) -> anyhow::Result<Vec<String>> {
        expanded_for("primary", text, own)
    }

    fn expanded_for(command: &str, text: &str, own: &[&str]) -> anyhow::Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(&file, text)?;
        let mut arguments: Vec<OsString> = ["ftvmm", command, FLAG].map(OsString::from).into();
        arguments.push(file.path().into());
        arguments.extend(own.iter().map(OsString::from));
        let all = expand(arguments, &Cli::command())?;
        Ok(all.iter().map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    fn memory(arguments: &[String]) -> u32 {
        let matches = Cli::command().try_get_matches_from(arguments).unwrap();
        *matches.subcommand().unwrap().1.get_one("memory").unwrap()
    }

    const FILE: &str = "memory = 96\npeer = 'b:7000'\narbiter = 'file:/srv/arbiter'\ncmdline = '-x'\n";

    #[test]
    fn the_file_gives_options_and_the_command_line_wins() {
        assert_eq!(memory(&expanded(FILE, &[]).unwrap()), 96);
        assert_eq!(memory(&expanded(FILE, &["--memory", "32"]).unwrap()), 32);
    }

    #[test]
    fn what_can_be_given_again_is_a_list_and_the_command_lines_replaces_it() {
        let disks = |own: &[&str]| {
            let arguments = expanded(&format!("{FILE}disk = ['path=/a', 'path=/b,readonly']"), own).unwrap();
            let matches = Cli::command().try_get_matches_from(&arguments).unwrap();
            let matches = matches.subcommand().unwrap().1;
            let disks = matches.get_many::<DiskOption>("disks").unwrap();
            disks.map(|disk| disk.path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(disks(&[]), ["/a", "/b"]);
        assert_eq!(disks(&["--disk", "path=/c"]), ["/c"]);
        assert_eq!(disks(&["--disk=path=/c", "--disk", "path=/d"]), ["/c", "/d"]);
        assert!(format!("{:#}", expanded("memory = [1]", &[]).unwrap_err()).contains("array"));
    }

    #[test]
    fn what_the_command_does_not_know_is_an_error_with_its_name() {
        for (text, word) in
            [("colour = 'red'", "colour"), ("listen = ':1'", "listen"), ("config = 'x'", "config")]
        {
            let error = format!("{:#}", expanded(text, &[]).unwrap_err());
            assert!(error.contains(word) && error.contains("ftvmm primary"), "{error}");
        }
        assert!(format!("{:#}", expanded("memory = 1.5", &[]).unwrap_err()).contains("float"));
        assert!(format!("{:#}", expanded("memory =", &[]).unwrap_err()).contains("no TOML"));
    }

    #[test]
    fn a_secondary_takes_a_file_too() {
        let file = "listen = '127.0.0.1:0'\ndisk = ['path=/a']\narbiter = 'file:/srv/arbiter'";
        let arguments = expanded_for("secondary", file, &["--listen", "127.0.0.1:7000"]).unwrap();
        let matches = Cli::command().try_get_matches_from(&arguments).unwrap();
        let matches = matches.subcommand().unwrap().1;
        assert_eq!(matches.get_one::<String>("listen").unwrap(), "127.0.0.1:7000");
        assert_eq!(matches.get_many::<DiskOption>("disks").unwrap().count(), 1);
    }

    #[test]
    fn a_flag_without_a_value_is_true_or_false() {
        let arguments = |text| expanded_for("record", text, &[]);
        assert_eq!(arguments("log = '/l'\nforce = true").unwrap()[2..4], ["--force", "--log=/l"]);
        assert_eq!(arguments("log = '/l'\nforce = false").unwrap()[2..3], ["--log=/l"]);
        assert!(format!("{:#}", arguments("force = 1").unwrap_err()).contains("true or false"));
        assert!(format!("{:#}", arguments("memory = true").unwrap_err()).contains("boolean"));
    }

    #[test]
    fn a_file_without_end_is_not_read_whole() {
        let arguments = ["ftvmm", "run", "--config=/dev/zero"].map(OsString::from).into();
        let error = format!("{:#}", expand(arguments, &Cli::command()).unwrap_err());
        assert!(error.contains("/dev/zero: it is neither a file nor a pipe"), "{error}");
    }

    #[test]
    fn without_a_file_nothing_changes() {
        let arguments: Vec<OsString> = ["ftvmm", "run", "--memory=5"].map(OsString::from).into();
        assert_eq!(expand(arguments.clone(), &Cli::command()).unwrap(), arguments);
    }
}
