//! What happens at a sync point: the exit is answered and the step's events are applied.

use devices::{Context, DiskOperation, DiskRequest, DiskStatus, Off, Output};
use ftlog::Event;
use ftlog::RunningDigest;

use super::{Machine, Reached};
use crate::kvm::Exit;

impl Machine {
    /// Completes the sync point that [`Machine::run_stretch`] reached: at virtual time `time_ns` the exit is
    /// answered and `events` are applied in order. What the guest says meanwhile goes to `outputs`.
    pub fn finish_sync_point(
        &mut self,
        reached: &Reached,
        time_ns: u64,
        events: &[Event],
        outputs: &mut Vec<Output>,
    ) {
        self.position = self.position.next();
        self.time_ns = time_ns;
        self.tally.add(reached.exit, events);
        self.digest.absorb(&time_ns.to_le_bytes());
        let first_output = outputs.len();
        let mut context = Context { memory: self.vm.memory().guest(), now_ns: time_ns, outputs };
        self.platform.begin_sync_point(&mut context);
        match reached.exit {
            Exit::PioRead { port, size } => {
                self.platform.pio_read(&mut context, port, size, self.vcpu.data())
            }
            Exit::PioWrite { port, size } => {
                self.platform.pio_write(&mut context, port, size, self.vcpu.data())
            }
            Exit::MmioRead { gpa } => self.platform.mmio_read(&mut context, gpa, self.vcpu.data()),
            Exit::MmioWrite { gpa } => self.platform.mmio_write(&mut context, gpa, self.vcpu.data()),
            Exit::MsrRead { index } | Exit::MsrWrite { index, .. } => self.vcpu.answer_msr(index),
            Exit::Halt => self.halted = true,
            Exit::Forced { .. } | Exit::Interrupted => {}
        }
        for event in events {
            self.digest.absorb(&event.identity());
            self.digest.absorb(event.payload());
            match event {
                Event::NetFrame { slot, frame } => self.platform.receive_frame(&mut context, *slot, frame),
                Event::ConsoleInput(bytes) => self.platform.receive_console(&mut context, bytes),
                Event::DiskDone { slot, id, status, data } => {
                    // The log admits no other status, so that there is nothing to refuse here.
                    let status = DiskStatus::try_from(*status).unwrap_or(DiskStatus::IoError);
                    self.platform.complete_disk(&mut context, *slot, *id, status, data);
                }
                Event::Entropy { bytes } => self.platform.receive_entropy(&mut context, bytes),
            }
        }
        self.tally.look_at(&self.platform);
        for output in &outputs[first_output..] {
            match output {
                Output::Net { frame, .. } => self.digest.absorb(frame),
                Output::Console(bytes) => self.digest.absorb(bytes),
                Output::Disk(request) => absorb_request(&mut self.digest, request),
                Output::PowerOff(Off::Status(status)) => self.digest.absorb(&status.to_le_bytes()),
                Output::PowerOff(Off::Panicked) => self.digest.absorb(b"panicked"),
                Output::Reset(_) => self.digest.absorb(b"reset"),
            }
        }
    }
}

impl Machine {
    /// Says the disk requests that have no answer again, for a side whose files may not have been given them. It is no
    /// part of the execution: no digest has it.
    pub fn reissue_disk_requests(&self, outputs: &mut Vec<Output>) {
        let mut context = Context { memory: self.vm.memory().guest(), now_ns: self.time_ns, outputs };
        self.platform.reissue_disk_requests(&mut context);
    }
}

fn absorb_request(digest: &mut RunningDigest, request: &DiskRequest) {
    let (kind, offset, len, data): (u64, u64, u64, &[u8]) = match &request.operation {
        DiskOperation::Read { offset, len } => (0, *offset, u64::from(*len), &[]),
        DiskOperation::Write { offset, data } => (1, *offset, data.len() as u64, data),
        DiskOperation::Flush => (2, 0, 0, &[]),
        DiskOperation::Discard { offset, len } => (3, *offset, *len, &[]),
        DiskOperation::WriteZeroes { offset, len, may_unmap } => {
            (4 + u64::from(*may_unmap), *offset, *len, &[])
        }
    };
    let words = [u64::from(request.slot), request.id, kind, offset, len];
    digest.absorb(zerocopy::IntoBytes::as_bytes(&words));
    digest.absorb(data);
}
