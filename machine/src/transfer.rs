//! A machine's RAM while its guest runs on: in rounds, with which a secondary is seeded before the stop and at it, and what
//! has changed of it for a delta.

use std::collections::VecDeque;

use ftlog::{PageDigests, PagesEncoder};

use crate::{
    boot_pages::BootPages,
    kvm::{KvmError, Vm},
    memory::{PAGE_SIZE, Page, PageSet, is_zero, page_digest},
    tracker::{self, Tracker},
};

/// Pages looked at for one frame at most, so that one who sends sees that it goes on.
const LOOKED_AT: u64 = 4096;
/// Times 64: the pages taken at once while the guest runs.
const WORDS: usize = 16;
/// Pages that are named for people.
const NAMED: usize = 16;
/// To look at so few pages costs less than to ask the host which of them nobody has touched.
const FEW: u64 = 512;

/// What belongs to a machine and does not change: enough to send its RAM from another thread than its own.
#[derive(Clone)]
pub struct Source {
    pub(crate) vm: Vm,
    pub(crate) boot_pages: BootPages,
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

/// What the receiving side has in its memory at first.
#[derive(Debug, Default)]
pub struct Theirs {
    /// Key of the digests.
    pub key: u64,
    /// The pages that are not zeroes, by rising address, and a digest of what each holds.
    pub pages: Vec<(u64, u128)>,
}

impl Theirs {
    /// Adds what more digests say, of a machine with so many pages; false if they cannot be.
    #[must_use]
    pub fn add(&mut self, digests: PageDigests, page_count: u64) -> bool {
        let last = self.pages.last().map(|(gpa, _)| *gpa);
        let rises = digests.pages.first().is_none_or(|(gpa, _)| Some(*gpa) > last);
        let count = (self.pages.len() + digests.pages.len()) as u64;
        self.pages.extend(digests.pages);
        rises && count <= page_count
    }

    /// Whether they have this page.
    fn has(&self, gpa: u64, page: &Page) -> bool {
        match self.digest(gpa) {
            // To tell a digest costs more than to look for something else than zeroes.
            Some(theirs) => !is_zero(page) && theirs == page_digest(self.key, page),
            None => is_zero(page),
        }
    }

    fn digest(&self, gpa: u64) -> Option<u128> {
        let found = self.pages.binary_search_by_key(&gpa, |(gpa, _)| *gpa).ok()?;
        Some(self.pages[found].1)
    }
}

/// Pages that the other side had otherwise.
#[derive(Clone, Debug, Default)]
pub struct Differing {
    /// How many.
    pub count: u64,
    /// Where the first of them are.
    pub first: Vec<u64>,
}

/// What a side has that is sent a machine and does not execute yet.
struct View {
    /// At first.
    theirs: Theirs,
    /// What they had there at first does not matter any more.
    settled: PageSet,
    /// They have something else than zeroes there.
    other: PageSet,
    /// Pages that they had otherwise, as far as it was looked.
    differing: Differing,
}

impl View {
    /// Whether they have zeroes there.
    fn has_zeroes(&self, gpa: u64) -> bool {
        !self.other.contains(gpa) && (self.settled.contains(gpa) || self.theirs.digest(gpa).is_none())
    }

    /// Whether they are to be sent this, which they have then.
    fn needs(&mut self, gpa: u64, page: &Page) -> bool {
        let was_settled = self.settled.contains(gpa);
        self.settled.insert(gpa);
        let had_other = self.other.take(gpa);
        if !is_zero(page) {
            self.other.insert(gpa);
        }
        if was_settled {
            return had_other || !is_zero(page);
        }
        let differs = !self.theirs.has(gpa, page);
        if differs && self.theirs.digest(gpa).is_some() {
            self.differing.add(gpa);
        }
        differs
    }
}

impl Differing {
    fn add(&mut self, gpa: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(gpa);
        }
    }
}

/// RAM on its way.
pub struct Transfer {
    tracker: Tracker,
    source: Source,
    /// Taken, and not looked at.
    taken: VecDeque<u64>,
    /// `None`: they execute the same, so that where they are not known to be equal they may have anything.
    view: Option<View>,
    encoder: PagesEncoder,
    page: Box<Page>,
}

impl Source {
    /// RAM at power-on, for a reset.
    #[must_use]
    pub fn boot_pages(&self) -> &BootPages {
        &self.boot_pages
    }

    /// Pages of RAM.
    #[must_use]
    pub fn page_count(&self) -> u64 {
        self.vm.memory().page_count()
    }

    /// Begins the first round: all of RAM but what the other side has already.
    ///
    /// # Errors
    /// [`KvmError::Tracked`], while another is under way; or KVM refuses.
    pub fn begin(&self, theirs: Theirs) -> Result<Transfer, KvmError> {
        let memory = self.vm.memory();
        let (settled, other) = (PageSet::none(memory), PageSet::none(memory));
        self.begin_with(Some(View { theirs, settled, other, differing: Differing::default() }))
    }

    /// Begins to keep account for one who executes the same. Nothing is known to be equal until it is
    /// [said to be](Transfer::agree) or sent.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_unknown(&self) -> Result<Transfer, KvmError> {
        self.begin_with(None)
    }

    fn begin_with(&self, view: Option<View>) -> Result<Transfer, KvmError> {
        Ok(Transfer {
            tracker: Tracker::begin(self.vm.clone())?,
            source: self.clone(),
            taken: VecDeque::new(),
            view,
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
                looked_at += self.take(WORDS)?;
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

    /// Takes some out of those to be looked at, from at most `words` times 64 that follow each other: how many.
    fn take(&mut self, words: usize) -> Result<u64, KvmError> {
        let mut pages = self.tracker.take(words)?;
        let count = pages.len() as u64;
        if count > FEW {
            // Who executes the same has not touched them either.
            let has_zeroes = |gpa| self.view.as_ref().is_none_or(|view| view.has_zeroes(gpa));
            self.source.vm.memory().forget_untouched(&mut pages, has_zeroes);
        }
        self.taken.extend(pages);
        Ok(count)
    }

    /// Adds the page to what is sent, if it has to be: whether it has.
    fn encode(&mut self, gpa: u64) -> bool {
        self.source.vm.memory().read_page(gpa, &mut self.page);
        let is_needed = self.view.as_mut().is_none_or(|view| view.needs(gpa, &self.page));
        match is_needed {
            true if is_zero(&self.page) => self.encoder.push_zeroes(gpa),
            true => self.encoder.push(gpa, &self.page),
            false => {}
        }
        is_needed
    }

    /// The other side has `theirs` where this stretch began: what is the same need not be sent, if it is not written again.
    /// The guest may run. It ends early when it is told that it `is_off`.
    ///
    /// # Errors
    /// KVM's.
    pub fn settle(&mut self, theirs: &Theirs, is_off: &dyn Fn() -> bool) -> Result<(), KvmError> {
        let mut differing = Vec::new();
        while !is_off() {
            let mut pages = self.tracker.take(WORDS)?;
            if pages.is_empty() {
                break;
            }
            let memory = self.source.vm.memory();
            memory.forget_untouched(&mut pages, |gpa| theirs.digest(gpa).is_none());
            let page = &mut self.page;
            differing.extend(pages.into_iter().filter(|gpa| {
                memory.read_page(*gpa, page);
                !theirs.has(*gpa, page)
            }));
        }
        self.tracker.give_back(differing.into_iter());
        Ok(())
    }

    /// Pages that the other side had otherwise, if it has said what it had.
    #[must_use]
    pub fn differing(&self) -> Option<&Differing> {
        self.view.as_ref().map(|view| &view.differing)
    }

    /// Nothing is known to be equal, whatever was compared.
    pub fn begin_again(&mut self) {
        self.tracker.begin_again();
    }

    /// All has been sent to one who executes the same from here on.
    #[must_use]
    pub fn into_account(self) -> Self {
        Self { view: None, ..self }
    }

    /// Both sides have the same now: whatever was written before does not matter any more.
    ///
    /// # Errors
    /// KVM's.
    pub fn agree(&mut self) -> Result<(), KvmError> {
        self.look()?;
        self.tracker.forget()
    }

    /// All that the other side has to be given so that it has the same now, as bodies of `Pages` frames, not compressed. The
    /// guest must not run meanwhile.
    ///
    /// # Errors
    /// KVM's.
    pub fn rest(&mut self) -> Result<Vec<Vec<u8>>, KvmError> {
        self.take_rest()?;
        Ok(std::iter::from_fn(|| self.next_of_rest()).collect())
    }

    /// Takes all that the other side may have otherwise now, to be read while the guest does not run.
    ///
    /// # Errors
    /// KVM's.
    pub fn take_rest(&mut self) -> Result<(), KvmError> {
        self.look()?;
        // The guest stands: to protect all at once costs least.
        while self.take(tracker::MANY)? > 0 {}
        Ok(())
    }

    /// The next of what was [taken](Transfer::take_rest) and has to be sent, as the body of a `Pages` frame, not compressed.
    pub fn next_of_rest(&mut self) -> Option<Vec<u8>> {
        while !self.encoder.is_full()
            && let Some(gpa) = self.taken.pop_front()
        {
            self.encode(gpa);
        }
        (!self.encoder.is_empty()).then(|| self.encoder.take_plain())
    }
}
