//! What must hold, whatever happens: the safety properties, checked at every step.

use std::collections::{BTreeMap, BTreeSet};

use ftlog::{Generation, Position};

use crate::arbiter::Register;
use crate::failure::Failure;
use crate::guest::{Guest, Output};
use crate::network::Conn;
use crate::process::Name;

/// The VM's life in one generation.
struct Line {
    holder: Name,
    start: Guest,
    /// States after `start`, one per position.
    hashes: Vec<u64>,
    /// Where the next generation began.
    end: Option<Position>,
    /// The last position of which an output has left.
    released: Position,
}

/// Why an output may leave.
#[derive(Debug, Clone, Copy)]
pub enum Leave {
    /// The gate is open: nobody else can go on with this VM.
    Open,
    /// The peer on this connection holds the log.
    Held(Option<Conn>),
}

#[derive(Default)]
pub struct Oracle {
    lines: BTreeMap<Generation, Line>,
    /// Who lost a claim or halted.
    losers: BTreeSet<Name>,
    /// The log that really is in the secondary's memory.
    held: BTreeMap<Conn, Position>,
    /// Who had a whole seed, of which generation, and is still there.
    whole: BTreeMap<Name, (Generation, bool)>,
    /// Positions of which an output has left.
    left: BTreeSet<Position>,
    all_left_through: Position,
    /// The last generation in which somebody wrote the shared disk.
    wrote: Generation,
    /// Whose clock has stood: how long ago its secondary answered it cannot know, as the documents say.
    timeless: BTreeSet<Name>,
    /// The VM has ended in order.
    ended: bool,
}

impl Oracle {
    /// `who` executed a step in `generation`. Of two that do, the line's holder makes history.
    pub fn executed(&mut self, generation: Generation, who: Name, guest: &Guest) {
        let Some(line) = self.lines.get_mut(&generation).filter(|line| line.holder == who) else { return };
        assert_eq!(line.start.position.0 + line.hashes.len() as u64 + 1, guest.position.0, "the model skips");
        line.hashes.push(guest.hash);
    }

    /// `who` holds a whole seed.
    pub fn seeded(&mut self, who: Name, generation: Generation, conn: Conn, at: Position) {
        self.whole.insert(who, (generation, true));
        self.held.insert(conn, at);
    }

    /// `who` has a batch in memory. Log beyond a gap is not held.
    pub fn received(&mut self, conn: Conn, first: Position, through: Position) {
        if let Some(held) = self.held.get_mut(&conn).filter(|held| held.next() == first) {
            *held = through;
        }
    }

    /// `who` is dead or has thrown its VM away.
    pub fn gone(&mut self, who: Name) {
        if let Some((_, there)) = self.whole.get_mut(&who) {
            *there = false;
        }
    }

    /// `who` was told that it lost a claim.
    pub fn lost(&mut self, who: Name) {
        self.losers.insert(who);
    }

    /// `who` has thrown away what it had and takes a new seed: what it lost concerned the VM it had before.
    pub fn starts_anew(&mut self, who: Name) {
        self.losers.remove(&who);
    }

    /// Properties 2 and 3: one side per generation, the arbiter's, in a state that continues the last one.
    pub fn enters(
        &mut self,
        generation: Generation,
        who: Name,
        guest: Guest,
        arbiter: &Register,
    ) -> Result<(), Failure> {
        if self.losers.contains(&who) {
            return Err(Failure::safety(2, format!("{who} enters generation {generation} after it lost")));
        }
        if self.ended {
            return Err(Failure::safety(
                2,
                format!("{who} enters generation {generation} of a VM that ended"),
            ));
        }
        if arbiter.holder(generation) != Some(&*who.to_string()) {
            return Err(Failure::safety(
                2,
                format!("{who} enters generation {generation} without the arbiter"),
            ));
        }
        if let Some(line) = self.lines.get(&generation) {
            return Err(Failure::safety(
                2,
                format!("{who} enters generation {generation} of {}", line.holder),
            ));
        }
        if let Some(before) = generation.0.checked_sub(1).map(Generation).filter(|before| before.0 > 0) {
            self.continues(before, who, &guest)?;
        }
        let line = Line { holder: who, start: guest, hashes: Vec::new(), end: None, released: Position(0) };
        self.lines.insert(generation, line);
        Ok(())
    }

    fn continues(&mut self, before: Generation, who: Name, guest: &Guest) -> Result<(), Failure> {
        let expected = self.hash_at(before, guest.position);
        if expected != Some(guest.hash) {
            let text = format!(
                "{who} goes on at {} with state {:x}, generation {before} had {expected:x?}",
                guest.position, guest.hash
            );
            return Err(Failure::safety(3, text));
        }
        let Some(line) = self.lines.get_mut(&before) else { return Ok(()) };
        if line.released > guest.position {
            let text = format!("{who} goes on at {}, outputs of {} have left", guest.position, line.released);
            return Err(Failure::safety(3, text));
        }
        line.end = Some(guest.position);
        Ok(())
    }

    /// Properties 1, 2 and 3, at the moment an output leaves.
    pub fn leaves(
        &mut self,
        who: Name,
        generation: Generation,
        output: Output,
        why: Leave,
    ) -> Result<(), Failure> {
        let position = output.position;
        if self.losers.contains(&who) {
            return Err(Failure::safety(2, format!("{who} emits {position} after it lost")));
        }
        match why {
            Leave::Open => self.nobody_else(who, generation, position)?,
            Leave::Held(conn) => {
                let held = conn.and_then(|conn| self.held.get(&conn).copied());
                if held.is_none_or(|held| position > held) {
                    let text = format!("{who} releases {position}, its secondary holds {held:?}");
                    return Err(Failure::safety(1, text));
                }
            }
        }
        let expected = self.hash_at(generation, position);
        let Some(line) = self.lines.get_mut(&generation) else {
            return Err(Failure::safety(
                2,
                format!("{who} emits {position} in generation {generation} of nobody"),
            ));
        };
        if expected != Some(output.hash) || line.end.is_some_and(|end| position > end) {
            let text = format!("{who} emits {position}, which did not happen in generation {generation}");
            return Err(Failure::safety(3, text));
        }
        line.released = line.released.max(position);
        self.left.insert(position);
        Ok(())
    }

    /// Property 2 on a shared disk: once a later side has written, an earlier one does not.
    pub fn writes(&mut self, who: Name, generation: Generation, write: Output) -> Result<(), Failure> {
        if generation < self.wrote && !self.timeless.contains(&who) {
            let text = format!(
                "{who} writes {} to the shared disk in generation {generation}, after {}",
                write.position, self.wrote
            );
            return Err(Failure::safety(2, text));
        }
        self.wrote = self.wrote.max(generation);
        Ok(())
    }

    /// The clock of `who` has stood.
    pub fn loses_time(&mut self, who: Name) {
        self.timeless.insert(who);
    }

    /// `who` was stopped alone, and with it the VM: nobody may go on with it.
    pub fn ended(&mut self, who: Name, generation: Generation, at: Position) -> Result<(), Failure> {
        self.ended = true;
        self.nobody_else(who, generation, at)
    }

    /// With an open gate nobody may hold a whole state of the same generation.
    fn nobody_else(&self, who: Name, generation: Generation, position: Position) -> Result<(), Failure> {
        let seeded = self.whole.iter().find(|(other, (seed, _))| **other != who && *seed == generation);
        match seeded {
            Some((other, _)) => {
                let text =
                    format!("{who} emits {position} freely, {other} was seeded in generation {generation}");
                Err(Failure::safety(1, text))
            }
            None => Ok(()),
        }
    }

    /// After a takeover at `through`, and after the new side has repeated what it must: nothing said is lost.
    pub fn nothing_unsaid(&mut self, generation: Generation, through: Position) -> Result<(), Failure> {
        for position in (self.all_left_through.0 + 1..=through.0).map(Position) {
            let hash = self.hash_at(generation, position);
            let said = hash.and_then(|hash| Guest { position, hash }.output());
            if said.is_some() && !self.left.contains(&position) {
                return Err(Failure::safety(3, format!("the output of {position} never left")));
            }
        }
        self.all_left_through = self.all_left_through.max(through);
        Ok(())
    }

    /// Whether the VM can still be alive: its latest holder, or a secondary that could claim the next generation.
    pub fn may_live(&self, latest: Generation, holder_is_up: bool) -> bool {
        holder_is_up || self.whole.values().any(|(generation, there)| *there && *generation == latest)
    }

    fn hash_at(&self, mut generation: Generation, position: Position) -> Option<u64> {
        loop {
            let line = self.lines.get(&generation)?;
            if position == line.start.position {
                return Some(line.start.hash);
            }
            if position > line.start.position {
                let index = position.0 - line.start.position.0 - 1;
                return line.hashes.get(index as usize).copied();
            }
            generation = Generation(generation.0 - 1);
        }
    }
}
