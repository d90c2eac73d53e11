//! Guests of two instructions, each a loop around one exit, to measure that exit and nothing else. They run at CPL0.

use std::io::Write;

use anyhow::Context;
use machine::{
    boot::{self, Image},
    kvm::{Host, Vcpu, Vm},
    memory::{Doorbell, Memory},
};
use tempfile::NamedTempFile;

/// Where the code goes: the first address above the monitor's own tables.
const LOAD_ADDRESS: u64 = 0x10_0000;

/// The UART's scratch register: `mov dx, 0x3ff; 1: out dx, al; jmp 1b`.
pub const PORT_WRITE: &[u8] = &[0x66, 0xba, 0xff, 0x03, 0xee, 0xeb, 0xfd];
/// `mov edi, 0xd0000000; 1: mov eax, [rdi]; jmp 1b`.
pub const DEVICE_READ: &[u8] = &[0xbf, 0x00, 0x00, 0x00, 0xd0, 0x8b, 0x07, 0xeb, 0xfc];
/// `1: hlt; jmp 1b`; with no interrupt controller in the kernel, going on is up to the monitor.
pub const HALT: &[u8] = &[0xf4, 0xeb, 0xfd];

/// A vCPU at the first instruction of `code`, and the machine that it lives in.
///
/// # Errors
/// When this host has no usable KVM.
pub fn vcpu(code: &[u8]) -> anyhow::Result<(Vm, Vcpu)> {
    let mut file = NamedTempFile::new().context("no temporary file for the guest")?;
    file.write_all(&elf(code))?;
    let image = Image::open(&file.path().to_string_lossy(), None)?;
    let host = Host::open()?;
    let vm = host.create_vm(host.richest_cpu()?, Memory::new(4)?, Doorbell::new()?)?;
    let mut vcpu = vm.create_vcpu()?;
    boot::load(vm.memory(), &mut vcpu, &image, "")?;
    Ok((vm, vcpu))
}

/// An ELF file with one segment (System V ABI, AMD64 supplement; chapters 4 and 5 of the generic ABI).
fn elf(code: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM_HEADER: u64 = 56;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version 1
    for word in [LOAD_ADDRESS, HEADER, 0] {
        file.extend_from_slice(&word.to_le_bytes()); // entry, program headers, no section headers
    }
    file.extend_from_slice(&[0; 4]); // flags
    for half in [HEADER, PROGRAM_HEADER, 1, 0, 0, 0] {
        file.extend_from_slice(&(half as u16).to_le_bytes()); // sizes and counts
    }
    file.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]); // loadable, readable and executable
    let length = code.len() as u64;
    for word in [HEADER + PROGRAM_HEADER, LOAD_ADDRESS, LOAD_ADDRESS, length, length, 4096] {
        file.extend_from_slice(&word.to_le_bytes()); // offset, addresses, sizes, alignment
    }
    file.extend_from_slice(code);
    file
}

#[cfg(test)]
mod tests {
    use ftvmm::demo::net;
    use machine::kvm::Exit;

    use super::*;

    #[test]
    fn each_guest_makes_its_exit_again_and_again() {
        if !std::path::Path::new("/dev/kvm").exists() {
            println!("skipped: {:?}", net::missing());
            return;
        }
        let write = Exit::PioWrite { port: 0x3ff, size: 1 };
        let read = Exit::MmioRead { gpa: 0xd000_0000 };
        for (code, expected) in [(PORT_WRITE, write), (DEVICE_READ, read), (HALT, Exit::Halt)] {
            let (_vm, mut vcpu) = vcpu(code).unwrap();
            for _ in 0..10 {
                assert_eq!(vcpu.run().unwrap(), expected);
            }
        }
    }
}
