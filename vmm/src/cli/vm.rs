//! The options that describe a VM, shared by `run`, `record` and `primary`.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use devices::{MAX_MTU, MIN_MTU, NetConfig, OnPanic, PlatformConfig};
use ftlog::{NetShape, Shape};
use machine::{
    Machine,
    boot::Image,
    kvm::{Host, KvmError, Template},
};
use replay::StopSwitch;

use crate::{
    control::Board,
    disk::{self, DiskOption, Disks, Use},
    host::{
        Outlets,
        console::{Console, ConsoleTarget},
        mac,
        tap::Tap,
    },
    identity::VmName,
    ingress::Inbox,
};

/// The VM to run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Virtual machine")]
pub struct VmOptions {
    /// The VM's name: what tells it from others, on every host and however often it starts. Without one, the name that
    /// the first disk's stamp has, or else one made from kernel and command line
    #[arg(long, value_name = "NAME")]
    pub name: Option<VmName>,
    /// Kernel: an ELF file with a 64-bit entry (vmlinux), or builtin:NAME for an embedded guest (builtin:kv is a
    /// key-value server)
    #[arg(long, value_name = "FILE|builtin:NAME", default_value = "builtin:kv")]
    pub kernel: String,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line; the kv guest takes "ip=10.77.0.2/24 port=6379"
    #[arg(long, value_name = "STR", default_value = "")]
    pub cmdline: String,
    /// Guest memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub memory: u32,
    /// Number of virtual CPUs; lockstep protects one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1))]
    pub cpus: u32,
    /// The guest's CPU: base-1 (x86-64 with SSE2), merom-1 (SSE3 and SSSE3 as well) or nehalem-1 (SSE4.2 and POPCNT as
    /// well). Both hosts of a pair must be able to show it; `ftvmm doctor` says which this host can. Without one, the
    /// richest that this host can
    #[arg(long, value_name = "NAME", value_parser = Template::named)]
    pub cpu_baseline: Option<&'static Template>,
    /// What comes of a guest that says that it has panicked: halt ends the VM (exit status 5), reboot resets it
    #[arg(long, value_enum, value_name = "reboot|halt", default_value_t)]
    pub on_panic: AfterPanic,
    /// Network card: tap=NAME[,mac=MAC]. Without mac= its address comes from the VM's name
    #[arg(long, value_name = "tap=NAME[,mac=MAC]")]
    pub net: Option<NetOption>,
    /// Disk: a raw image or a block device; given again for each of up to 6. In a pair, mode=replicated (the default):
    /// each side has a copy of its own at its own path, made equal when protection begins; mode=shared: both name the
    /// same file, on storage that both hosts reach
    #[arg(long = "disk", value_name = "path=FILE[,mode=MODE][,readonly]")]
    pub disks: Vec<DiskOption>,
    /// Where the serial console goes: stdio (a terminal is made raw; Ctrl-] . ends), file=FILE (appended), or unix=SOCKET
    /// (see ftvmm console)
    #[arg(long, value_name = "TARGET", default_value = "stdio")]
    pub console: ConsoleTarget,
    /// Read options of this command from a TOML file, by the names of the flags: memory = 128, net = "tap=vm0", disk = ["path=/a.img"]. Flags
    /// given here as well win
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// How long things wait for the guest.
#[derive(Args, Clone, Copy, Debug)]
pub struct PatienceOption {
    /// How long a packet, a timer or a command waits for a guest that computes without entering its kernel, in ms. Then
    /// it is interrupted where it is, and in a pair what it has changed is sent, as the secondary
    /// could not find that place by executing
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    patience: u64,
}

impl PatienceOption {
    /// As a duration.
    pub fn get(self) -> Duration {
        Duration::from_millis(self.patience)
    }
}

/// The value of `--on-panic`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AfterPanic {
    /// The VM ends.
    #[default]
    Halt,
    /// The VM is reset.
    Reboot,
}

impl From<AfterPanic> for OnPanic {
    fn from(after: AfterPanic) -> Self {
        match after {
            AfterPanic::Halt => Self::Halt,
            AfterPanic::Reboot => Self::Reboot,
        }
    }
}

/// The value of `--net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetOption {
    /// The TAP device.
    pub tap: String,
    /// The guest's MAC address; without one it comes from the VM's name.
    pub mac: Option<[u8; 6]>,
}

impl FromStr for NetOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut net = NetOption { tap: String::new(), mac: None };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("tap", name)) => net.tap = name.to_owned(),
                Some(("mac", mac)) => net.mac = Some(mac::parse_mac(mac)?),
                _ => return Err(format!("'{part}' is neither tap=NAME nor mac=MAC")),
            }
        }
        if net.tap.is_empty() { Err("tap=NAME is missing".to_owned()) } else { Ok(net) }
    }
}

impl VmOptions {
    /// The VM's name, given or derived.
    pub fn name(&self) -> VmName {
        self.name.clone().unwrap_or_else(|| VmName::derive(&self.kernel, &self.cmdline))
    }

    /// The VM's network card, if it has one: its frames are as long as the TAP device's.
    fn net(&self, outlets: &Outlets) -> Option<NetConfig> {
        let (net, tap) = (self.net.as_ref()?, outlets.tap.as_ref()?);
        let mac = net.mac.unwrap_or_else(|| mac::mac_of(self.name().as_str()));
        Some(NetConfig { mac, mtu: tap.mtu().clamp(MIN_MTU, MAX_MTU) })
    }

    /// The guest's CPU, as chosen or the richest that `host` can show.
    pub fn cpu(&self, host: &Host) -> Result<&'static Template, KvmError> {
        self.cpu_baseline.map_or_else(|| host.richest_cpu(), Ok)
    }

    /// What a peer or a log must agree with, the CPU being `cpu`.
    pub fn shape(&self, cpu: &Template, outlets: &Outlets) -> Shape {
        Shape {
            name: self.name().to_string(),
            cpu: cpu.name.to_owned(),
            memory_mib: self.memory,
            cpus: self.cpus,
            net: self.net(outlets).map(|NetConfig { mac, mtu }| NetShape { mac, mtu }),
            disks: outlets.disks.shapes(),
            kernel: self.kernel.clone(),
            cmdline: self.cmdline.clone(),
        }
    }

    /// The machine at power-on, whose clock says that it is `wall_base_ns` (Unix time).
    pub fn boot(
        &self,
        host: &Host,
        cpu: &'static Template,
        wall_base_ns: u64,
        outlets: &Outlets,
    ) -> anyhow::Result<Machine> {
        let image = Image::open(&self.kernel, self.initrd.as_deref())?;
        let disks = disk::configs(&outlets.disks.shapes());
        let devices =
            PlatformConfig { net: self.net(outlets), disks, wall_base_ns, on_panic: self.on_panic.into() };
        Ok(Machine::boot(host, cpu, self.memory, &devices, &image, &self.cmdline)?)
    }

    /// The ways out of the guest; console input and the answers of disks go to `inbox`, troubles to `board`.
    pub fn outlets(
        &self,
        usage: Use,
        inbox: &Arc<Inbox>,
        stop: &StopSwitch,
        board: &Board,
    ) -> anyhow::Result<Outlets> {
        let disks = Disks::open(&self.disks, usage, true, inbox, stop)?;
        open_outlets(self.net.as_ref(), &self.console, disks, inbox, board)
    }
}

/// Opens the TAP device and the console.
pub fn open_outlets(
    net: Option<&NetOption>,
    console: &ConsoleTarget,
    disks: Disks,
    inbox: &Arc<Inbox>,
    board: &Board,
) -> anyhow::Result<Outlets> {
    let tap = net.map(|net| Tap::open(&net.tap)).transpose()?.map(Arc::new);
    let console = Console::open(console, inbox.clone(), board)?;
    Ok(Outlets { tap, console, disks: Arc::new(disks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_option_names_a_tap_and_a_station() {
        let net: NetOption = "tap=vm0,mac=02:00:00:00:00:07".parse().unwrap();
        assert_eq!(net, NetOption { tap: "vm0".into(), mac: Some([2, 0, 0, 0, 0, 7]) });
        assert!("mac=02:00:00:00:00:07".parse::<NetOption>().is_err());
        assert!("tap=a,mac=01:00:00:00:00:07".parse::<NetOption>().is_err(), "group address");
        assert!("tap=a,mac=02:00".parse::<NetOption>().is_err());
        assert!("tap=a,mtu=9".parse::<NetOption>().is_err());
    }
}
