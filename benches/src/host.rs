//! The machine that the numbers are of.

use std::{fs, path::Path, thread};

use serde::Serialize;

/// What a reader must know of it.
#[derive(Debug, Serialize)]
pub struct Description {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    /// Which kernel modules provide KVM.
    kvm: String,
    /// Load averages at the start: above 0 there is somebody else.
    load: String,
    /// When the measurement began, UTC.
    unix_time_s: u64,
}

impl Description {
    /// This machine, now.
    pub fn of_this_machine() -> Self {
        let name = rustix::system::uname();
        Self {
            cpu: value_in("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kibibytes(&value_in("/proc/meminfo", "MemTotal")) / 1024,
            kernel: format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
            kvm: kvm_flavour(Path::new("/sys/module")),
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            unix_time_s: ftvmm::host::clock::wall_ns() / 1_000_000_000,
        }
    }

    /// Whether its KVM does without hardware virtualization: then it runs small guests only.
    pub fn is_pvm(&self) -> bool {
        self.kvm.contains("pvm")
    }

    /// One line per fact.
    pub fn lines(&self) -> Vec<String> {
        let Self { cpu, cores, memory_mib, kernel, kvm, load, unix_time_s } = self;
        vec![
            format!("machine  {cpu}, {cores} cores, {memory_mib} MiB"),
            format!("kernel   {kernel}, KVM by {kvm}"),
            format!("load     {load} before the first round (load averages), Unix time {unix_time_s}"),
        ]
    }
}

/// The value of the first line `name : value`.
fn value_in(path: &str, name: &str) -> String {
    let text = read(path);
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut named = values.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
    named.next().unwrap_or_else(|| format!("unknown {name}"))
}

fn kibibytes(text: &str) -> u64 {
    text.split(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The module that makes the difference is the vendor's: kvm_intel, kvm_amd, kvm_pvm.
fn kvm_flavour(modules: &Path) -> String {
    let names = fs::read_dir(modules).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<String> =
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("kvm_")).collect();
    found.sort();
    match found.is_empty() {
        true => "an unnamed module".to_owned(),
        false => found.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_cores() {
        let description = Description::of_this_machine();
        assert!(description.cores > 0 && description.memory_mib > 0, "{description:?}");
        assert!(!description.cpu.starts_with("unknown"), "{description:?}");
    }

    #[test]
    fn the_vendor_module_names_the_flavour() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(kvm_flavour(directory.path()), "an unnamed module");
        for name in ["kvm", "kvm_pvm", "tun"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        assert_eq!(kvm_flavour(directory.path()), "kvm_pvm");
    }
}
