//! CPU time of processes, user and system together, from the `stat` files of proc(5). The time in which a vCPU runs
//! its guest counts as its process's.

use std::fs;

use anyhow::Context;

/// Positions in `stat`, counted from the state, which is the first field behind the name.
const UTIME: usize = 11;
const CUTIME: usize = 13;

/// CPU seconds of a running process, all its threads together.
///
/// # Errors
/// When it is gone.
pub fn of_process(id: u32) -> anyhow::Result<f64> {
    read(&format!("/proc/{id}/stat"), UTIME)
}

/// CPU seconds of a process's main thread, which in every ftvmm is the one that runs the vCPU.
///
/// # Errors
/// When it is gone.
pub fn of_main_thread(id: u32) -> anyhow::Result<f64> {
    read(&format!("/proc/{id}/task/{id}/stat"), UTIME)
}

/// CPU seconds of the calling thread.
#[must_use]
pub fn of_this_thread() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds of all children of this process that ended and were reaped.
///
/// # Errors
/// When proc(5) is not mounted.
pub fn of_reaped_children() -> anyhow::Result<f64> {
    read("/proc/self/stat", CUTIME)
}

fn read(path: &str, first: usize) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let ticks = sum_of_two(&stat, first).with_context(|| format!("{path} says: {stat}"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The user and the system time that begin at field `first`. The name may hold anything, so it ends at the last
/// parenthesis.
fn sum_of_two(stat: &str, first: usize) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(first).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 100 20 3000 400 20 0";
        assert_eq!(sum_of_two(stat, UTIME), Some(120));
        assert_eq!(sum_of_two(stat, CUTIME), Some(3400));
        assert_eq!(sum_of_two("12 (a) R 1", UTIME), None);
    }

    #[test]
    fn work_shows() {
        let id = std::process::id();
        let before = of_process(id).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while of_process(id).unwrap() <= before {
            assert!(std::time::Instant::now() < deadline, "no CPU time was counted");
        }
        assert!(of_main_thread(id).unwrap() <= of_process(id).unwrap());
        of_reaped_children().unwrap();
    }
}
