//! The programs of a guest, and what they are told.

use std::time::Duration;

use anyhow::bail;
use ftvmm::demo::wait;

use super::console::last_lines;
use crate::linux::{
    Mode,
    place::{Place, Side, Started},
};

/// The guest's memory, MiB.
pub const MEMORY_MIB: u32 = 512;
/// How long a guest may take to boot, be protected, or end: two lab hosts are emulated on this machine's cores.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What runs on the two sides.
pub struct Programs<'a> {
    /// The guest's monitor.
    pub live: Box<dyn Started + 'a>,
    /// Its secondary.
    pub shadow: Option<Box<dyn Started + 'a>>,
    /// A machine of its own on the other side.
    pub beside: Option<Box<dyn Started + 'a>>,
}

/// Starts what a guest in this mode needs.
pub fn start<'a>(place: &'a dyn Place, mode: Mode, tap: Option<&str>) -> anyhow::Result<Programs<'a>> {
    let vm = vm_options(place, Side::Live, tap);
    let alone = |live| Programs { live, shadow: None, beside: None };
    Ok(match mode {
        Mode::Run => alone(start_one(place, Side::Live, "run", vm)?),
        Mode::Beside => {
            let other = start_one(place, Side::Shadow, "run", vm_options(place, Side::Shadow, None))?;
            Programs { beside: Some(other), ..alone(start_one(place, Side::Live, "run", vm)?) }
        }
        Mode::Record => {
            let log = vec!["--force".to_owned(), "--log".to_owned(), place.log_file()];
            alone(start_one(place, Side::Live, "record", [vm, log].concat())?)
        }
        Mode::Protected => {
            let listen = vec!["--listen".to_owned(), place.listen()];
            let own = [listen, disk(place, Side::Shadow), net(tap), pair_options(place)].concat();
            let mut shadow = start_one(place, Side::Shadow, "secondary", own)?;
            let peer = vec!["--peer".to_owned(), await_address(shadow.as_mut())?];
            let words = [vm, peer, pair_options(place)].concat();
            Programs { shadow: Some(shadow), ..alone(start_one(place, Side::Live, "primary", words)?) }
        }
    })
}

/// Starts ftvmm in a role.
fn start_one<'a>(
    place: &'a dyn Place,
    side: Side,
    role: &str,
    words: Vec<String>,
) -> anyhow::Result<Box<dyn Started + 'a>> {
    place.start(side, &[vec![role.to_owned()], words].concat())
}

/// What the machine on a side is made of, if it boots there.
fn vm_options(place: &dyn Place, side: Side, tap: Option<&str>) -> Vec<String> {
    let address = tap.map_or("", |_| " ip=10.77.0.2/24");
    let cmdline = format!("console=ttyS0 quiet panic=-1 root=/dev/vda ftvmm.workload=shell{address}");
    let (kernel, memory) = (place.kernel(), MEMORY_MIB.to_string());
    let vm = ["--kernel", &kernel, "--memory", &memory, "--cmdline", &cmdline].map(str::to_owned);
    [vm.to_vec(), disk(place, side), net(tap)].concat()
}

fn disk(place: &dyn Place, side: Side) -> Vec<String> {
    vec!["--disk".to_owned(), format!("path={}", place.disk(side))]
}

fn net(tap: Option<&str>) -> Vec<String> {
    tap.into_iter().flat_map(|tap| ["--net".to_owned(), format!("tap={tap}")]).collect()
}

fn pair_options(place: &dyn Place) -> Vec<String> {
    let (arbiter, timeout) = (format!("file:{}", place.arbiter()), place.failure_timeout_ms().to_string());
    ["--arbiter", &arbiter, "--failure-timeout", &timeout].map(str::to_owned).to_vec()
}

fn await_address(shadow: &mut dyn Started) -> anyhow::Result<String> {
    wait::until("the secondary to listen", PATIENCE, || {
        let output = shadow.output();
        let address = output.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        match shadow.ended()? {
            Some(ended) if address.is_none() => bail!("it ended ({ended}): {}", last_lines(&shadow.log())),
            _ => Ok(address),
        }
    })
}
