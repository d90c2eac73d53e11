//! Waiting for something that other processes do.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds what it looks for.
///
/// # Errors
/// Those of `look`, at once; and when `timeout` has passed, one that says what was waited for.
pub fn until<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {:.1} s in vain for {what}", timeout.as_secs_f64());
        }
        thread::sleep(LOOK);
    }
}
