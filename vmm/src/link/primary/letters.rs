//! What the other threads of this process say.

use devices::Output;
use ftlog::{FrameKind, Generation};
use protocol::{
    YIELD_NS,
    arbiter::ClaimOutcome,
    commit::Held,
    primary::{Event, PeerEvent, Phase},
};

use super::{
    effects,
    messages::{FromVcpu, Message, Stretch},
    thread::{LinkThread, Ready},
};
use crate::host::clock::monotonic_ns;

/// Letters taken between two looks at the connection.
const LETTERS_AT_ONCE: usize = 64;

impl LinkThread {
    pub(super) fn read_letters(&mut self, ready: &Ready) {
        if ready.letters {
            self.letters.acknowledge();
            while let Some(letter) = self.letters.next() {
                self.read(letter);
            }
        }
        if ready.vcpu {
            self.vcpu_letters.acknowledge();
            self.read_vcpu_letters();
        }
    }

    fn read_vcpu_letters(&mut self) {
        for _ in 0..LETTERS_AT_ONCE {
            if self.is_choked() {
                break;
            }
            let Some(letter) = self.vcpu_letters.next() else { return };
            self.read_from_vcpu(letter);
        }
        // There may be more: come back after a look at the connection.
        self.vcpu_letters.wake();
    }

    fn read(&mut self, letter: Message) {
        match letter {
            Message::Claimed(generation, outcome) => self.claimed(generation, outcome),
            Message::Looked(generation, shown) => self.looked(generation, shown),
            Message::Connected(result) => self.connected(*result),
            Message::Command(pending) => self.command(pending),
        }
    }

    fn claimed(&mut self, generation: Generation, outcome: ClaimOutcome) {
        let waits = matches!(outcome, ClaimOutcome::Unavailable { .. });
        match self.core.phase() {
            Phase::Starting if !waits => {}
            Phase::Starting | Phase::Arbitrating => {
                self.site.board.notice_once(format!("arbiter, generation {generation}: {outcome}"));
            }
            _ => {}
        }
        self.tell(Event::Claimed { generation, outcome });
        if self.core.phase() == Phase::Yielding {
            let seconds = YIELD_NS / 1_000_000_000;
            self.site.board.notice(format!(
                "generation {generation} is this side's; the guest starts in {seconds} s, when a side that still runs \
                 the VM and sees the arbiter has halted"
            ));
        }
    }

    fn read_from_vcpu(&mut self, letter: FromVcpu) {
        match letter {
            FromVcpu::Recorded(stretch) => self.recorded(stretch),
            FromVcpu::SeedStarted(link, position) => {
                self.tell_peer_event(link, PeerEvent::SeedStarted { position });
            }
            FromVcpu::SeedFrame(link, kind, body) => {
                if let Some(stream) = self.stream.as_mut().filter(|stream| stream.link == link) {
                    stream.connection.send(kind, &body);
                    self.flush();
                }
            }
            FromVcpu::SeedFailed(link, reason) => self.give_seed_up(link, &reason),
            FromVcpu::SeedSent(link) => self.tell_peer_event(link, PeerEvent::SeedSent),
            FromVcpu::Ended => self.vcpu_ended = true,
        }
    }

    /// The log goes to the peer before the core hears of it, and the outputs to the gate after that.
    fn recorded(&mut self, stretch: Stretch) {
        let Stretch { batch, registers, outputs, time_ns, handed_over_ns } = stretch;
        let bytes = batch.body.len() as u64;
        self.recorded = batch.last;
        self.time_ns = time_ns;
        self.registers.extend(batch.last, registers);
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.streaming) {
            self.lease.sent(batch.last, monotonic_ns());
            stream.connection.send(FrameKind::Steps, &batch.body);
            self.log_bytes += bytes;
        }
        self.tell(Event::Appended { through: batch.last, bytes });
        self.flush();
        for (position, output) in outputs {
            match output {
                Output::Disk(request) => self.hold_write(position, handed_over_ns, request),
                output => match self.gate.put(position, size_of_output(&output), handed_over_ns, output) {
                    Ok(None) => {}
                    Ok(Some(held)) => self.let_out(held),
                    Err(full) => tracing::warn!("an output is dropped: {full}"),
                },
            }
        }
        self.tell_held();
    }

    pub(super) fn tell_held(&mut self) {
        let (outputs, bytes) = (self.gate.outputs() as u64, self.gate.bytes());
        self.tell(Event::Held { outputs, bytes });
    }

    /// The only way out of a primary.
    pub(super) fn let_out(&mut self, held: Held<Output>) {
        if self.core.phase() == Phase::Protected {
            let waited_ns = monotonic_ns().saturating_sub(held.put_ns);
            self.commit_delay.saturating_record(waited_ns);
        }
        self.released = self.released.max(held.position);
        if let Output::Reset(cause) = &held.item {
            self.site.board.notice_once(cause.to_string());
        }
        self.site.outlets.emit(held.item);
        if let Some(live_ns) = self.awaiting_first_output.take() {
            effects::note_first_output(&self.site.board, live_ns);
        }
    }
}

fn size_of_output(output: &Output) -> u64 {
    match output {
        Output::Net { frame, .. } => frame.len() as u64,
        Output::Console(bytes) => bytes.len() as u64,
        // A disk's requests have a gate of their own.
        Output::Disk(_) | Output::PowerOff(_) | Output::Reset(_) => 0,
    }
}
