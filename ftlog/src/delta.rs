//! State in place of an execution: what brings the secondary, or a replay, to an instruction that it could not find by
//! executing.
//!
//! ```text
//! Pages …  Delta  Steps{the first has the exit Forced}
//! ```
//!
//! The body of a `Delta` frame is a digest of the bodies of the `Pages` frames before it, 8 bytes, and the vCPU, which is
//! opaque to this crate. A delta is installed whole or not at all: it counts only with the `Steps` frame behind it, and
//! another `Steps` frame in its place throws it away.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{ExitKind, FrameKind, StepsFrame, pages};

/// The longest encoded vCPU, in bytes.
pub const MAX_VCPU: usize = 64 << 10;

/// What a `Pages` frame counts beside its body: however short it is, it takes memory. In bytes.
const FRAME: u64 = 64;

/// What a machine is beside what it was at the position before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Bodies of `Pages` frames: the pages of RAM that may be others. One that comes twice holds what comes last.
    pub pages: Vec<Vec<u8>>,
    /// The vCPU.
    pub vcpu: Vec<u8>,
}

impl Delta {
    /// A digest of all of it, before it is [compressed](Self::compress).
    #[must_use]
    pub fn digest(&self) -> u64 {
        let pages = self.pages.iter().fold(0, |digest, body| pages::digest_of_plain(body, digest));
        Self::digest_with(pages, &self.vcpu)
    }

    /// The same from the [digest](crate::Pages::digest) of all pages.
    #[must_use]
    pub fn digest_with(pages: u64, vcpu: &[u8]) -> u64 {
        xxh3_64_with_seed(vcpu, pages)
    }

    /// In fewer bytes, which takes its time: the guest need not stand for it.
    #[must_use]
    pub fn compress(self) -> Self {
        Self { pages: self.pages.into_iter().map(pages::compress).collect(), ..self }
    }

    /// Of the frames as they are.
    fn pages_digest(&self) -> u64 {
        self.pages.iter().fold(0, |digest, body| xxh3_64_with_seed(body, digest))
    }

    /// How many pages it has.
    #[must_use]
    pub fn page_count(&self) -> u64 {
        self.pages.iter().map(|body| u64::from(pages::count(body))).sum()
    }

    /// Bytes in its frames' bodies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let pages: usize = self.pages.iter().map(Vec::len).sum();
        (pages + size_of::<u64>() + self.vcpu.len()) as u64
    }

    /// Its frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = (FrameKind, Vec<u8>)> {
        let last = [self.pages_digest().to_le_bytes().as_slice(), &self.vcpu].concat();
        let pages = self.pages.iter().map(|body| (FrameKind::Pages, body.clone()));
        pages.chain([(FrameKind::Delta, last)])
    }
}

/// Why frames make no delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeltaError {
    /// A `Delta` frame that is too short or too long.
    #[error("Delta: a body of {len} bytes")]
    Length {
        /// The body's length.
        len: usize,
    },
    /// The pages that have come are not those that were sent.
    #[error("Delta: its pages are not those that came before it")]
    Pages,
    /// More than the receiving side takes.
    #[error("Delta: more than {most} bytes")]
    TooLong {
        /// What it takes, in bytes.
        most: u64,
    },
    /// A step to an instruction that only a delta leads to, without one.
    #[error("a forced position without its delta")]
    Missing,
}

/// A delta on its way.
#[derive(Debug, Clone)]
pub struct ArrivingDelta {
    most_bytes: u64,
    bytes: u64,
    delta: Delta,
    is_whole: bool,
}

impl ArrivingDelta {
    /// Nothing has come yet. More than `most_bytes` are not kept.
    #[must_use]
    pub fn new(most_bytes: u64) -> Self {
        Self { most_bytes, bytes: 0, delta: Delta::default(), is_whole: false }
    }

    /// The most bytes that the delta of a machine with so much RAM has: every page once, with its address and its part of a
    /// frame's cost.
    #[must_use]
    pub fn most_bytes(memory_mib: u32) -> u64 {
        let ram = u64::from(memory_mib) << 20;
        ram + (ram >> 7) + (1 << 20)
    }

    /// Takes in a `Pages` frame.
    ///
    /// # Errors
    /// [`DeltaError::TooLong`].
    pub fn add_pages(&mut self, body: Vec<u8>) -> Result<(), DeltaError> {
        if std::mem::take(&mut self.is_whole) {
            *self = Self::new(self.most_bytes);
        }
        self.bytes += body.len() as u64 + FRAME;
        if self.bytes > self.most_bytes {
            return Err(DeltaError::TooLong { most: self.most_bytes });
        }
        self.delta.pages.push(body);
        Ok(())
    }

    /// Takes in the `Delta` frame.
    ///
    /// # Errors
    /// [`DeltaError::Length`], [`DeltaError::Pages`].
    pub fn complete(&mut self, body: &[u8]) -> Result<(), DeltaError> {
        let wrong = DeltaError::Length { len: body.len() };
        let (digest, vcpu) = body.split_first_chunk().ok_or(wrong)?;
        if vcpu.len() > MAX_VCPU {
            return Err(wrong);
        }
        if u64::from_le_bytes(*digest) != self.delta.pages_digest() {
            return Err(DeltaError::Pages);
        }
        self.delta.vcpu = vcpu.to_vec();
        self.is_whole = true;
        Ok(())
    }

    /// A `Steps` frame has come: the delta that leads to its first step, if that is one which needs it. Whatever came
    /// before another is forgotten.
    ///
    /// # Errors
    /// [`DeltaError::Missing`].
    pub fn take_for(&mut self, steps: &StepsFrame) -> Result<Option<Delta>, DeltaError> {
        let arrived = std::mem::replace(self, Self::new(self.most_bytes));
        match steps.steps.first().map(|step| step.exit) {
            Some(ExitKind::Forced) if arrived.is_whole => Ok(Some(arrived.delta)),
            Some(ExitKind::Forced) => Err(DeltaError::Missing),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PAGE_SIZE, PagesEncoder, Position, Step, decode_pages};

    fn delta() -> Delta {
        Delta { pages: vec![vec![1; 10], vec![2; 20]], vcpu: vec![3; 30] }
    }

    fn add(arriving: &mut ArrivingDelta, frames: &[(FrameKind, Vec<u8>)]) -> Result<(), DeltaError> {
        frames.iter().try_for_each(|(kind, body)| match kind {
            FrameKind::Pages => arriving.add_pages(body.clone()),
            _ => arriving.complete(body),
        })
    }

    fn steps(exit: ExitKind) -> StepsFrame {
        let step = Step { time_ns: 0, exit, digest: 0, entries: None, events: Vec::new(), registers: None };
        StepsFrame { first: Position(1), steps: vec![step] }
    }

    #[test]
    fn a_delta_comes_with_the_step_that_it_leads_to_and_with_no_other() {
        let mut arriving = ArrivingDelta::new(1000);
        for exit in [ExitKind::Forced, ExitKind::Halt, ExitKind::Forced] {
            add(&mut arriving, &delta().frames().collect::<Vec<_>>()).unwrap();
            let expected = (exit == ExitKind::Forced).then(delta);
            assert_eq!(arriving.take_for(&steps(exit)), Ok(expected));
        }
        assert_eq!(arriving.take_for(&steps(ExitKind::Forced)), Err(DeltaError::Missing));
        assert_eq!(delta().bytes(), delta().frames().map(|(_, body)| body.len() as u64).sum::<u64>());
    }

    #[test]
    fn frames_of_nothing_are_bounded_too() {
        let mut arriving = ArrivingDelta::new(1000);
        let taken = (0..1000).take_while(|_| arriving.add_pages(Vec::new()).is_ok());
        assert!(taken.count() < 20);
    }

    #[test]
    fn a_delta_of_all_of_ram_is_taken() {
        let (mut arriving, mut pages) = (ArrivingDelta::new(ArrivingDelta::most_bytes(4)), 0..1024);
        while !pages.is_empty() {
            let mut encoder = PagesEncoder::default();
            while let Some(page) = if encoder.is_full() { None } else { pages.next() } {
                encoder.push(page * PAGE_SIZE as u64, &[1; PAGE_SIZE]);
            }
            arriving.add_pages(encoder.take_plain()).unwrap();
        }
    }

    #[test]
    fn half_a_delta_is_none() {
        let frames: Vec<_> = delta().frames().collect();
        for left_out in 0..frames.len() {
            let mut arriving = ArrivingDelta::new(1000);
            let mut rest = frames.clone();
            rest.remove(left_out);
            let added = add(&mut arriving, &rest);
            let taken = arriving.take_for(&steps(ExitKind::Forced));
            assert!(added.is_err() || taken == Err(DeltaError::Missing), "without frame {left_out}");
        }
    }

    #[test]
    fn what_is_left_of_one_that_was_given_up_is_no_part_of_the_next() {
        let mut arriving = ArrivingDelta::new(1000);
        arriving.add_pages(vec![9; 9]).unwrap();
        assert_eq!(arriving.take_for(&steps(ExitKind::Pio)), Ok(None));
        add(&mut arriving, &delta().frames().collect::<Vec<_>>()).unwrap();
        assert_eq!(arriving.take_for(&steps(ExitKind::Forced)), Ok(Some(delta())));
    }

    #[test]
    fn each_part_counts_in_the_digest_and_there_is_a_bound() {
        let body = |gpa, byte| {
            let mut pages = PagesEncoder::default();
            pages.push(gpa, &[byte; PAGE_SIZE]);
            pages.push_zeroes(gpa + PAGE_SIZE as u64);
            pages.take_plain()
        };
        let delta = || Delta { pages: vec![body(0, 1), body(0x9000, 2)], vcpu: vec![3; 30] };
        let base = delta().digest();
        let changes: [fn(&mut Delta); 3] =
            [|delta| delta.vcpu[0] = 0, |delta| delta.pages[1][100] = 0, |delta| delta.pages.swap(0, 1)];
        for change in changes {
            let mut other = delta();
            change(&mut other);
            assert_ne!(other.digest(), base);
        }
        let compressed = delta().compress();
        assert!(compressed.bytes() < delta().bytes() / 10);
        let pages = compressed.pages.iter();
        let digest = pages.fold(0, |digest, body| decode_pages(body).unwrap().digest(digest));
        assert_eq!(Delta::digest_with(digest, &compressed.vcpu), base);
        let most = 25 + 2 * FRAME;
        let mut arriving = ArrivingDelta::new(most);
        arriving.add_pages(vec![1; 10]).unwrap();
        assert_eq!(arriving.add_pages(vec![2; 20]), Err(DeltaError::TooLong { most }));
        assert!(matches!(arriving.complete(&[0; 7]), Err(DeltaError::Length { len: 7 })));
        assert!(matches!(arriving.complete(&[0; 9 + MAX_VCPU]), Err(DeltaError::Length { .. })));
    }
}
