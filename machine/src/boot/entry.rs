//! The processor at the kernel's first instruction: 64-bit mode, flat segments, the first 4 GiB mapped one to one.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress};

use super::{error::BootError, layout};
use crate::{kvm::Vcpu, memory::Memory};

const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
/// Null, unused, 64-bit code, data: descriptors as in SDM volume 3, section 3.4.5.
const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

const CR0_PE_ET_NE_WP_PG: u64 = 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
const CR0_MP: u64 = 1 << 1;
const CR4_PAE_OSFXSR_OSXMMEXCPT: u64 = 1 << 5 | 1 << 9 | 1 << 10;
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;

/// Present, writable, for user code, accessed. A CPU sets the accessed bit when it likes, by speculation as well; set from
/// the start, it is the same in every execution.
const TABLE_ENTRY: u64 = 0b111 | 1 << 5;
/// The same of 2 MiB, and dirty.
const LARGE_PAGE: u64 = TABLE_ENTRY | 1 << 6 | 1 << 7;
const TABLE: u64 = 0x1000;

/// Writes descriptor and page tables and points the vCPU at `entry`.
pub fn prepare(memory: &Memory, vcpu: &mut Vcpu, entry: u64) -> Result<(), BootError> {
    let no_room = |_| BootError::NoRoom { what: "the boot tables", mib: memory.mib() };
    write_words(memory, layout::GDT, &GDT).map_err(no_room)?;
    write_page_tables(memory).map_err(no_room)?;
    let sregs = system_registers(vcpu.system_registers()?);
    let regs = kvm_regs { rip: entry, rsi: layout::ZERO_PAGE, rflags: 2, ..Default::default() };
    Ok(vcpu.set_entry(&regs, &sregs)?)
}

fn write_words(memory: &Memory, at: u64, words: &[u64]) -> Result<(), vm_memory::GuestMemoryError> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.guest().write_slice(&bytes, GuestAddress(at))
}

/// One PML4, one page-directory-pointer table, four directories of 2 MiB pages. User-accessible, so that a small
/// guest can go to CPL3 without tables of its own.
fn write_page_tables(memory: &Memory) -> Result<(), vm_memory::GuestMemoryError> {
    let (pml4, pdpt, directories) =
        (layout::PAGE_TABLES, layout::PAGE_TABLES + TABLE, layout::PAGE_TABLES + 2 * TABLE);
    write_words(memory, pml4, &[pdpt | TABLE_ENTRY])?;
    let pointers: Vec<u64> = (0..4).map(|n| (directories + n * TABLE) | TABLE_ENTRY).collect();
    write_words(memory, pdpt, &pointers)?;
    let pages: Vec<u64> = (0..4 * 512).map(|n| n << 21 | LARGE_PAGE).collect();
    write_words(memory, directories, &pages)
}

fn system_registers(reset: kvm_sregs) -> kvm_sregs {
    let mut sregs = reset;
    sregs.cs = segment(CODE_SELECTOR, 0xb, true);
    let data = segment(DATA_SELECTOR, 0x3, false);
    (sregs.ds, sregs.es, sregs.ss, sregs.fs, sregs.gs) = (data, data, data, data, data);
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = (size_of_val(&GDT) - 1) as u16;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cr0 = CR0_PE_ET_NE_WP_PG | CR0_MP;
    sregs.cr3 = layout::PAGE_TABLES;
    sregs.cr4 = CR4_PAE_OSFXSR_OSXMMEXCPT;
    sregs.efer = EFER_LME_LMA;
    sregs
}

fn segment(selector: u16, type_: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_finds_no_bit_to_set_in_the_page_tables() {
        let memory = Memory::new(crate::memory::MIN_MIB).unwrap();
        write_page_tables(&memory).unwrap();
        let mut bytes = vec![0; 6 * TABLE as usize];
        memory.guest().read_slice(&mut bytes, GuestAddress(layout::PAGE_TABLES)).unwrap();
        let entries = bytes.chunks(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap()));
        let present: Vec<u64> = entries.filter(|entry| entry & 1 != 0).collect();
        assert_eq!(present.len(), 1 + 4 + 4 * 512);
        let (accessed, dirty, large) = (1 << 5, 1 << 6, 1 << 7);
        for entry in present {
            assert!(entry & accessed != 0, "{entry:#x}");
            assert!(entry & large == 0 || entry & dirty != 0, "{entry:#x}");
        }
    }
}
