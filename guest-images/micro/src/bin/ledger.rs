//! The ledger guest: a key-value server whose keys live on the disk in slot 2. Command line as for the key-value server:
//! `ip=10.77.0.2/24 port=6379 gateway=ADDRESS`. `SHUTDOWN` switches it off, and `SHUTDOWN RESTART` resets it.
#![no_std]
#![no_main]

use micro::frontend::Frontend;
use micro::ledger::record::{RECORD_BYTES, Sector};
use micro::ledger::{Ledger, Request};
use micro::platform::{interrupts, power};
use micro::virtio::blk::{Disk, MOST_BYTES, Operation, Outcome};
use micro::{arch, println};

micro::guest!(main);

/// Where the disk is.
const SLOT: usize = 2;
/// Exit status when the VM is not what the ledger needs.
const UNFIT: u32 = 1;

fn main() -> u32 {
    let Some(mut disk) = Disk::start(SLOT) else {
        println!("ledger: no virtio-blk device in slot {SLOT}");
        return UNFIT;
    };
    let sectors = disk.sectors();
    let mut frontend = match Frontend::start(|memory| Ledger::new(sectors, memory)) {
        Ok(frontend) => frontend,
        Err(reason) => {
            println!("ledger: {reason}");
            return UNFIT;
        }
    };
    interrupts::enable(interrupts::VIRTIO_0 + SLOT as u32);
    load(frontend.service(), &mut disk);
    let ledger = frontend.service();
    let kind = if disk.is_read_only() { "a read-only disk" } else { "a disk" };
    println!("ledger: {} keys in {} records on {kind} of {sectors} sectors", ledger.len(), ledger.records());
    println!("ledger: listening on {}", frontend.configuration());
    serve(&mut frontend, &mut disk);
    if frontend.service().is_restarting() {
        println!("ledger: restarting");
        power::reset();
    }
    println!("ledger: shut down");
    0
}

/// Reads the whole ledger, from its end, with as many requests under way as there is room for.
fn load(ledger: &mut Ledger, disk: &mut Disk) {
    const AT_ONCE: u32 = (MOST_BYTES / RECORD_BYTES) as u32;
    let (mut unread, mut under_way) = (ledger.records(), 0);
    while unread > 0 || under_way > 0 {
        while unread > 0 && disk.has_room() {
            let count = if unread.is_multiple_of(AT_ONCE) { AT_ONCE } else { unread % AT_ONCE };
            unread -= count;
            let ticket = u64::from(unread) << 32 | u64::from(count);
            disk.submit(
                ticket,
                Operation::Read { sector: u64::from(unread), bytes: count as usize * RECORD_BYTES },
            );
            under_way += 1;
        }
        disk.notify();
        while let Some((ticket, outcome)) = disk.next_ended() {
            under_way -= 1;
            let (first, count) = ((ticket >> 32) as u32, ticket as u32);
            for record in (0..count).rev() {
                let at = record as usize * RECORD_BYTES;
                let sector: Option<&Sector> = match outcome {
                    Outcome::Done(bytes) => bytes[at..].first_chunk(),
                    Outcome::Failed => None,
                };
                ledger.load(first + record, sector);
            }
        }
        arch::take_pending();
        if under_way > 0 && disk.request_interrupt() {
            arch::idle();
        }
        disk.suppress_interrupts();
    }
}

/// Serves until the ledger is shut down.
fn serve(frontend: &mut Frontend<Ledger>, disk: &mut Disk) {
    loop {
        let ledger = frontend.service();
        ledger.begin_round();
        while let Some((ticket, outcome)) = disk.next_ended() {
            match outcome {
                Outcome::Done(bytes) => ledger.ended(ticket, Some(bytes)),
                Outcome::Failed => ledger.ended(ticket, None),
            }
        }
        // The replies that the disk's answers allow go out before anything else is asked of it.
        frontend.serve();
        if frontend.service().is_ended() {
            return;
        }
        submit(frontend.service(), disk);
        if !disk.has_ended() {
            frontend.sleep(|| disk.request_interrupt());
            disk.suppress_interrupts();
        }
    }
}

/// Has the disk do all it has room for.
fn submit(ledger: &mut Ledger, disk: &mut Disk) {
    while disk.has_room()
        && let Some((ticket, request)) = ledger.next_request()
    {
        let operation = match &request {
            Request::Read(record) => Operation::Read { sector: u64::from(*record), bytes: RECORD_BYTES },
            Request::Write(record, data) => Operation::Write { sector: u64::from(*record), data: &data[..] },
            Request::Erase(record) if disk.has_write_zeroes() => {
                Operation::WriteZeroes { sector: u64::from(*record) }
            }
            Request::Erase(record) => {
                Operation::Write { sector: u64::from(*record), data: &[0; RECORD_BYTES] }
            }
            Request::Flush => Operation::Flush,
        };
        disk.submit(ticket, operation);
    }
    disk.notify();
}
