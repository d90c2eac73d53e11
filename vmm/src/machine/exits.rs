//! What happens at a sync point: the exit is answered and the step's events are applied.

use devices::{Context, Output};
use ftlog::Event;

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
            Exit::MsrRead { .. } | Exit::MsrWrite { .. } => self.vcpu.refuse_msr(),
            Exit::Halt => self.halted = true,
            Exit::Interrupted => {}
        }
        for event in events {
            self.digest.absorb(event.payload());
            match event {
                Event::NetFrame { slot, frame } => self.platform.receive_frame(&mut context, *slot, frame),
                Event::ConsoleInput(bytes) => self.platform.receive_console(&mut context, bytes),
            }
        }
        for output in &outputs[first_output..] {
            match output {
                Output::Net { frame, .. } => self.digest.absorb(frame),
                Output::Console(bytes) => self.digest.absorb(bytes),
                Output::PowerOff { status } => self.digest.absorb(&status.to_le_bytes()),
            }
        }
    }
}
