//! How other terminals talk to the lab that runs: one request per connection, a line of JSON each way.

use std::{
    env, fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Where the lab listens, unless `FTVMM_LAB_SOCKET` names another place. Only root can write there, and a lab needs
/// root.
const PATH: &str = "/run/ftvmm-lab.socket";
/// The longest request, bytes.
const MAX_REQUEST: u64 = 1 << 20;

/// What came of a request.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

/// Where requests arrive. There is one lab at a time.
pub struct Door(UnixListener);

fn path() -> PathBuf {
    env::var_os("FTVMM_LAB_SOCKET").map_or_else(|| PATH.into(), PathBuf::from)
}

impl Door {
    /// Opens it.
    pub fn open() -> anyhow::Result<Self> {
        let path = path();
        if UnixStream::connect(&path).is_ok() {
            bail!("a lab is running already; scripts/lab talks to it");
        }
        let about = || format!("cannot listen at {}", path.display());
        // Left behind by a lab that was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(about),
            _ => {}
        }
        let listener = UnixListener::bind(&path).with_context(about)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self(listener))
    }

    /// Answers requests until one is to leave.
    pub fn serve(&self, mut answer: impl FnMut(&[&str]) -> anyhow::Result<Answer>) -> anyhow::Result<()> {
        loop {
            let (stream, _) = self.0.accept().context("cannot take requests any more")?;
            let Ok(words) = read::<Vec<String>>(&stream) else { continue };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let leave = words == ["leave"];
            let answered = if leave { Ok(Answer::default()) } else { answer(&words) };
            let answered = answered.unwrap_or_else(|error| Answer {
                status: 1,
                stderr: format!("lab: {error:#}\n"),
                ..Answer::default()
            });
            // Whoever asked may have gone.
            let _ = write(&stream, &answered);
            if leave {
                return Ok(());
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Gone already, at worst.
        let _ = fs::remove_file(path());
    }
}

/// Asks the running lab.
pub fn ask(words: &[&str]) -> anyhow::Result<Answer> {
    let path = path();
    let none = || format!("no lab is running (make lab): {}", path.display());
    let stream = UnixStream::connect(&path).with_context(none)?;
    write(&stream, &words)?;
    read(&stream).context("the lab ended")
}

fn write(mut stream: &UnixStream, value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

fn read<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> anyhow::Result<T> {
    let mut line = String::new();
    BufReader::new(stream).take(MAX_REQUEST).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
