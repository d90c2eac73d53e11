//! The ledger guest on a disk that is made up here: requests that end in any order.

use std::collections::VecDeque;

use devices::{DiskConfig, DiskOperation, DiskRequest, NetConfig, Output, PlatformConfig};
use ftlog::Event;
use ftvmm::demo::random::Random;
use ftvmm_tests::harness;
use machine::{Machine, boot::Image, kvm::Host};
use micro::ledger::record::{Held, Parsed, format, parse};

use super::drive;

const SECTORS: usize = 100;

/// Does what a request asks for; the event that answers it.
fn answer(request: &DiskRequest, disk: &mut [u8]) -> Event {
    let (mut status, mut data) = (0, Vec::new());
    match &request.operation {
        DiskOperation::Read { offset, len } => data = disk[*offset as usize..][..*len as usize].to_vec(),
        DiskOperation::Write { offset, data } => disk[*offset as usize..][..data.len()].copy_from_slice(data),
        DiskOperation::WriteZeroes { offset, len, .. } => {
            disk[*offset as usize..][..*len as usize].fill(0);
        }
        DiskOperation::Flush => {}
        DiskOperation::Discard { .. } => status = 2,
    }
    Event::DiskDone { slot: request.slot, id: request.id, status, data }
}

#[test]
fn a_ledger_reads_its_disk_and_erases_what_is_stale() {
    if !harness::require_kvm() {
        return;
    }
    let mut disk = vec![0; SECTORS * 512];
    for (number, key, sequence) in [(0, "a", 1), (7, "b", 2), (50, "a", 9), (99, "c", 3)] {
        let sector = format(number, Held { key: key.as_bytes(), value: b"value", sequence });
        disk[number as usize * 512..][..512].copy_from_slice(&sector);
    }
    disk[20 * 512 + 9] = 1;
    let image = Image::open("builtin:ledger", None).unwrap();
    let disks = vec![DiskConfig { sectors: SECTORS as u64, readonly: false, id: "disk".into() }];
    let devices = PlatformConfig {
        net: Some(NetConfig { mac: [2, 0, 0, 0, 0, 1], mtu: 1500 }),
        disks,
        wall_base_ns: 0,
        on_panic: devices::OnPanic::Halt,
    };
    let host = Host::open().unwrap();
    let mut machine = Machine::boot(&host, host.richest_cpu().unwrap(), 64, &devices, &image, "").unwrap();
    let (mut random, mut said) = (Random::new(harness::seed()), String::new());
    let (mut waiting, mut flushed, mut requests): (VecDeque<DiskRequest>, bool, u32) = Default::default();
    for _ in 0..20_000 {
        let mut events = Vec::new();
        if !waiting.is_empty() && random.below(3) > 0 {
            let chosen = waiting.remove(random.below(waiting.len() as u64) as usize).unwrap();
            flushed |= chosen.operation == DiskOperation::Flush;
            events.push(answer(&chosen, &mut disk));
        }
        let seen = drive::step(&mut machine, &events).unwrap();
        assert_eq!(machine.platform().violation(2), None);
        for output in seen.outputs {
            match output {
                Output::Console(bytes) => said += &String::from_utf8_lossy(&bytes),
                Output::Disk(request) => {
                    requests += 1;
                    waiting.push_back(request);
                }
                Output::Net { .. } => {}
                Output::PowerOff(off) => panic!("switched off with {off:?}: {said}"),
                Output::Reset(cause) => panic!("{cause}: {said}"),
            }
        }
        if flushed && said.contains("listening") {
            break;
        }
    }
    assert!(said.contains("ledger: 3 keys in 100 records on a disk of 100 sectors"), "{said}");
    assert!(flushed, "{requests} requests: {said}");
    assert_eq!(requests, 13 + 2, "the whole disk in pieces of eight sectors, one erasure and a flush");
    let record = |number: u32| {
        let sector = disk[number as usize * 512..][..512].try_into().unwrap();
        matches!(parse(number, sector), Parsed::Free)
    };
    assert!(record(0) && !record(7) && !record(50) && !record(99));
}
