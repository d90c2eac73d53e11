//! A lab host's machine.

use std::{path::Path, process::Command};

use super::{Plan, clock, network::Ports};

/// Without CMPXCHG16B, which no guest has (and whose flags QEMU before version 9 gets wrong).
const CPU: &str = "max,cx16=off";
/// A panic ends the machine; its console says why.
const QUIET: &str = "console=ttyS0 quiet loglevel=4 mitigations=off panic=-1";

/// What the host's kernel should not try to find out by itself while this machine is busy: the frequency of its counter,
/// whether that is a good clock, and whether timer interrupts arrive.
fn despite_load() -> String {
    format!("tsc_early_khz={} tsc=nowatchdog no_timer_check", clock::counter_khz())
}

/// The command that is a host: its power button is the process. It has one processor: docs/lab.md says why.
pub(super) fn command(name: &str, boot: &Path, directory: &Path, plan: &Plan, ports: &Ports) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "1"]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    qemu.arg("-m").arg(plan.memory_mib.to_string());
    qemu.arg("-kernel").arg(boot.join("vmlinux")).arg("-initrd").arg(boot.join("initramfs"));
    let words = format!("lab.name={name} lab.ft={}/24 lab.control={}/24", ports.ft, ports.control);
    qemu.arg("-append").arg(format!("{QUIET} {} {words}", despite_load()));
    // The log goes on when the host is switched on again.
    let at = |file: &str| format!("{}/{file}", directory.display());
    let (socket, log) = (at(&format!("{name}.serial")), at(&format!("{name}.console")));
    qemu.arg("-chardev");
    qemu.arg(format!("socket,id=console,path={socket},server=on,wait=off,logfile={log},logappend=on"));
    qemu.args(["-serial", "chardev:console"]);
    for (tag, options) in [("files", ",readonly=on"), ("shared", "")] {
        let path = at(tag);
        qemu.arg("-virtfs");
        qemu.arg(format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{options}"));
    }
    for (number, tap) in (1..).zip(ports.taps) {
        qemu.arg("-netdev").arg(format!("tap,id=net{number},ifname={tap},script=no,downscript=no"));
        // Host a and b differ in the fifth byte; in the host, the last one says which network it is.
        let mac = format!("52:54:00:6c:{:02x}:{number:02x}", name.as_bytes()[0]);
        qemu.arg("-device").arg(format!("virtio-net-pci,netdev=net{number},mac={mac},romfile="));
    }
    if plan.disk.is_some() {
        let disk = at(&format!("{name}.disk"));
        qemu.arg("-drive").arg(format!("file={disk},format=raw,if=none,id=disk,discard=unmap"));
        qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
    }
    qemu
}
