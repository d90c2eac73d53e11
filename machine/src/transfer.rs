//! A machine's RAM while its guest runs on, in rounds: what a secondary is seeded with before the stop, and at it.

use std::{collections::VecDeque, sync::Arc};

use ftlog::PagesEncoder;

use crate::{
    kvm::{KvmError, Vm},
    memory::{PAGE_SIZE, Page, PageSet, is_zero},
    tracker::Tracker,
};

/// Pages looked at for one frame at most, so that one who sends sees that it goes on.
const LOOKED_AT: u64 = 4096;
/// Times 64: the pages taken at once.
const WORDS: usize = 16;

/// What belongs to a machine and does not change: enough to send its RAM from another thread than its own.
#[derive(Clone)]
pub struct Source {
    pub(crate) vm: Vm,
    pub(crate) boot_pages: Arc<Vec<Vec<u8>>>,
}

/// A part of a round.
pub struct Piece {
    /// Pages that were looked at.
    pub looked_at: u64,
    /// Those that the body has.
    pub pages: u64,
    /// The body of a `Pages` frame, if it has any.
    pub body: Option<Vec<u8>>,
}

/// RAM on its way to one who began with zeroes.
pub struct Transfer {
    tracker: Tracker,
    source: Source,
    /// Taken, and not looked at.
    taken: VecDeque<u64>,
    /// Some version that is not zeroes was sent.
    sent: PageSet,
    encoder: PagesEncoder,
    page: Box<Page>,
}

impl Source {
    /// RAM at power-on, for a reset, as the bodies of frames.
    #[must_use]
    pub fn boot_pages(&self) -> &[Vec<u8>] {
        &self.boot_pages
    }

    /// Begins the first round: all of RAM.
    ///
    /// # Errors
    /// [`KvmError::Tracked`], while another is under way; or KVM refuses.
    pub fn begin(&self) -> Result<Transfer, KvmError> {
        Ok(Transfer {
            tracker: Tracker::begin(self.vm.clone())?,
            source: self.clone(),
            taken: VecDeque::new(),
            sent: PageSet::none(self.vm.memory()),
            encoder: PagesEncoder::default(),
            page: Box::new([0; PAGE_SIZE]),
        })
    }
}

impl Transfer {
    /// Learns what was written since it was last asked, and begins the next round with it: how many pages that has to look
    /// at.
    ///
    /// # Errors
    /// KVM's.
    pub fn look(&mut self) -> Result<u64, KvmError> {
        self.tracker.give_back(self.taken.drain(..));
        self.tracker.look()
    }

    /// The next part of the round; `None` when that is over. The guest may run, if another round follows.
    ///
    /// # Errors
    /// KVM's.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, KvmError> {
        let (mut looked_at, mut pages) = (0, 0);
        while looked_at < LOOKED_AT && !self.encoder.is_full() {
            if self.taken.is_empty() {
                looked_at += self.take()?;
            }
            let Some(gpa) = self.taken.pop_front() else { break };
            pages += u64::from(self.encode(gpa));
        }
        if looked_at == 0 && pages == 0 && self.taken.is_empty() {
            return Ok(None);
        }
        let body = (!self.encoder.is_empty()).then(|| self.encoder.take());
        Ok(Some(Piece { looked_at, pages, body }))
    }

    /// How many pages were taken out of those to be looked at.
    fn take(&mut self) -> Result<u64, KvmError> {
        let mut pages = self.tracker.take(WORDS)?;
        let count = pages.len() as u64;
        // Whoever receives them has zeroes where nothing was sent.
        self.source.vm.memory().forget_untouched(&mut pages, |gpa| !self.sent.contains(gpa));
        self.taken.extend(pages);
        Ok(count)
    }

    /// Whether the page has to be sent.
    fn encode(&mut self, gpa: u64) -> bool {
        self.source.vm.memory().read_page(gpa, &mut self.page);
        if !is_zero(&self.page) {
            self.sent.insert(gpa);
            self.encoder.push(gpa, &self.page);
            return true;
        }
        // What was sent of it before is not there any more.
        let was_sent = self.sent.contains(gpa);
        if was_sent {
            self.encoder.push_zeroes(gpa);
        }
        was_sent
    }
}
