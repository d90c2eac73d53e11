//! The QEMU Machine Protocol: one JSON object a line.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a QEMU's monitor.
pub struct Qmp(BufReader<TcpStream>);

impl Qmp {
    /// Connects, when somebody listens there.
    ///
    /// # Errors
    /// When nobody does, or it is no QEMU.
    pub fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut qmp = Self(BufReader::new(stream));
        let greeting = qmp.read()?;
        greeting.get("QMP").with_context(|| format!("no QEMU says {greeting}"))?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Executes a command; gives what it returns.
    ///
    /// # Errors
    /// When it is refused, or not answered.
    pub fn execute(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.0.get_mut().write_all(format!("{request}\n").as_bytes())?;
        // Events come in between.
        loop {
            let mut answer = self.read()?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {request}: {error}");
            }
        }
    }

    fn read(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).context("no answer from QEMU")?;
        serde_json::from_str(&line).with_context(|| format!("QEMU says {line:?}"))
    }
}
