//! The vCPU thread of a primary.

use ftlog::{Delta, ExitKind, FrameKind, Generation, StepEncoder, StepRef};
use protocol::primary::controller::{Event, Said, Stretch};
use protocol::primary::{Link, Pace, PeerEvent};

use super::{Letter, PrimaryIo};
use crate::failure::Failure;
use crate::faults::MS;
use crate::guest::OUTPUT_BYTES;
use crate::input::Input;
use crate::process::{BATCH_STEPS, UNDER_WAY_BYTES, WINDOW_BYTES};
use crate::shared::Shared;

/// Parts of a seed before its final frame.
const SEED_PARTS: u32 = 4;

impl PrimaryIo {
    pub(super) fn run_vcpu(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        self.write_disk(shared)?;
        // It waits for room in the mailbox, or ends.
        if self.stopping || self.batch.count() >= BATCH_STEPS {
            self.flush(shared);
        }
        if self.stopping && self.batch.is_empty() && !std::mem::replace(&mut self.ended, true) {
            self.post(Letter::Ended, 0, shared);
        }
        let waits = self.stopping || self.batch.count() >= BATCH_STEPS;
        if waits || self.generation == Generation(0) || self.paused_for.is_some() {
            return Ok(());
        }
        let idle = shared.is_idle(self.name.host) && !std::mem::take(&mut self.nudged);
        let steps = match self.pace {
            _ if idle => 0,
            Pace::Full => shared.random.within(1..=6),
            Pace::Slow => 1,
            Pace::Stopped => 0,
        };
        for _ in 0..steps {
            self.step(shared);
            if self.batch.count() >= BATCH_STEPS {
                self.flush(shared);
            }
            if self.batch.count() >= BATCH_STEPS {
                break;
            }
        }
        if steps == 0 || shared.random.chance(700_000) {
            self.flush(shared);
        }
        Ok(())
    }

    pub(super) fn step(&mut self, shared: &mut Shared) {
        let mut exit = ExitKind::Pio;
        if self.batch.is_empty() {
            self.since_ns = shared.clock_ns(self.name.host);
            if shared.random.chance(100_000) {
                self.compute(shared);
                exit = ExitKind::Forced;
            }
        }
        let input = shared.random.next();
        self.guest.step(input);
        self.steps += 1;
        let step = StepRef {
            time_ns: input,
            exit,
            digest: self.guest.digest(),
            entries: None,
            events: &[],
            registers: None,
        };
        self.batch.push(step).expect("a model step is small");
        if let Some(output) = self.guest.output() {
            let said = Said::Output { bytes: OUTPUT_BYTES, output };
            self.said.push((output.position, said));
        }
        if let Some(write) = self.guest.write() {
            self.said.push((write.position, Said::Write(write)));
        }
        shared.oracle.executed(self.generation, self.name, &self.guest);
    }

    /// The guest comes to where no input leads it: what does is sent.
    fn compute(&mut self, shared: &mut Shared) {
        shared.stats.deltas += 1;
        self.guest.hash = shared.random.next();
        let len =
            if shared.random.chance(100_000) { 2 * WINDOW_BYTES } else { shared.random.within(0..=200) };
        let pages = vec![vec![5; len as usize], vec![6; 10]];
        self.delta = Some(Delta { pages, vcpu: self.guest.hash.to_le_bytes().to_vec() });
    }

    /// Hands the batch over, if there is room for it: what is larger than all the room has to be alone.
    fn flush(&mut self, shared: &mut Shared) {
        let said_bytes = self.said.len() as u64 * OUTPUT_BYTES;
        let delta_bytes = self.delta.as_ref().map_or(0, Delta::bytes);
        let taken_bytes = self.batch.body().len() as u64 + delta_bytes + said_bytes;
        let full = self.under_way_bytes > 0 && self.under_way_bytes + taken_bytes > UNDER_WAY_BYTES;
        if self.batch.is_empty() || full {
            return;
        }
        let through = self.guest.position;
        let body = self.batch.body().to_vec();
        let bytes = body.len() as u64 + delta_bytes;
        let delta = self.delta.take();
        let frames = delta.iter().flat_map(Delta::frames).chain([(FrameKind::Steps, body)]).collect();
        self.batch = StepEncoder::new(through.next());
        let (since_ns, said_ns) = (self.since_ns, shared.clock_ns(self.name.host));
        let said = std::mem::take(&mut self.said);
        let stretch = Stretch { through, bytes, since_ns, said_ns, said };
        self.post(Letter::Recorded(stretch, frames), taken_bytes, shared);
    }

    fn post(&mut self, letter: Letter, bytes: u64, shared: &mut Shared) {
        self.under_way_bytes += bytes;
        self.mailbox.push_back((letter, bytes));
        let most_ns = if shared.is_hard_of_hearing(self.name.host) { 400 * MS } else { MS / 4 };
        shared.later(self.name, 0..=most_ns, Input::Letters);
    }

    /// The link thread reads what waits longest.
    pub(super) fn read_letter(&mut self, shared: &mut Shared) {
        let Some((letter, bytes)) = self.mailbox.pop_front() else { return };
        self.under_way_bytes -= bytes;
        match letter {
            Letter::Recorded(stretch, frames) => {
                self.log.push_back((stretch.through, frames));
                self.tell(Event::Recorded(stretch), shared);
            }
            Letter::SeedStarted(link, position) => {
                self.tell_peer(link, PeerEvent::SeedStarted { position }, shared);
            }
            Letter::SeedSent(link) => self.tell_peer(link, PeerEvent::SeedSent, shared),
            Letter::Ended => self.tell(Event::VcpuEnded, shared),
        }
    }

    pub(super) fn seed_part(&mut self, link: Link, part: u32, shared: &mut Shared) {
        if self.paused_for != Some(link) || self.stopping {
            return;
        }
        let position = self.guest.position;
        if part == 0 {
            self.flush(shared);
            if !self.batch.is_empty() {
                return shared.later(self.name, MS..=5 * MS, Input::SeedPart { link, part });
            }
            self.post(Letter::SeedStarted(link, position), 0, shared);
        }
        if part < SEED_PARTS {
            let mut body = part.to_le_bytes().to_vec();
            body.extend(position.0.to_le_bytes());
            body.extend(self.guest.hash.to_le_bytes());
            self.send(link, FrameKind::State, &body, shared);
            shared.later(self.name, MS..=40 * MS, Input::SeedPart { link, part: part + 1 });
        } else {
            self.post(Letter::SeedSent(link), 0, shared);
        }
    }
}
