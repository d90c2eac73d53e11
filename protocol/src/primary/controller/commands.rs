//! What the operator asks of a primary: what may be done now, what it waits for, and what is answered.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{Answer, Asked, Attempt, Command, Controller, Divergences, Effect, Halt, operator::Doing};
use crate::primary::{Event as RoleEvent, Phase};

impl<O, W> Controller<O, W> {
    /// Takes a command. Each is answered, now or when what it waits for has happened.
    pub(super) fn asked(&mut self, asked: Asked, command: Command, effects: &mut Vec<Effect<O, W>>) {
        let refusal = if self.operator.is_busy() {
            Some("another command is being carried out".to_owned())
        } else if self.halted {
            Some("this side has halted".to_owned())
        } else {
            match command {
                Command::Protect { to } => self.protect(asked, to, effects),
                Command::TestFailover => self.fail(asked, effects),
                Command::TestRestartSecondary => {
                    let peer = self.search.peer().map(ToString::to_string);
                    self.let_go(asked, peer, "there is no secondary to restart", effects)
                }
                Command::Suspend => {
                    let peer = self.search.peer().map(ToString::to_string);
                    self.rest(asked, peer, effects)
                }
                Command::Resume => self.resume(asked, effects),
                Command::TurnOff => self.turn_off(asked, effects),
                Command::MigrateSecondary { to } => self.migrate(asked, to, effects),
            }
        };
        if let Some(reason) = refusal {
            effects.push(Effect::Answer { asked, answer: Answer::Refused(reason) });
        }
    }

    fn protect(&mut self, asked: Asked, to: String, effects: &mut Vec<Effect<O, W>>) -> Option<String> {
        match self.role.phase() {
            Phase::Unprotected => {
                self.operator.suspended = None;
                self.divergences = Divergences::default();
                self.search.look_at(Some(to.clone()));
                effects.push(Effect::Answer { asked, answer: Answer::Seeks(to) });
                None
            }
            Phase::Seeding | Phase::Protected => {
                Some("the VM has a secondary already; use migrate-secondary to move it".to_owned())
            }
            phase => Some(format!("not now: this side is {phase}")),
        }
    }

    /// Stays alone from now on; `Resume` looks at `peer`.
    fn rest(
        &mut self,
        asked: Asked,
        peer: Option<String>,
        effects: &mut Vec<Effect<O, W>>,
    ) -> Option<String> {
        let before = core::mem::replace(&mut self.operator.suspended, peer);
        let refusal = self.let_go(asked, None, "there is no secondary to let go of", effects);
        if refusal.is_some() {
            self.operator.suspended = before;
        }
        refusal
    }

    /// What is suspended is forgotten as well: it is looked for again to be so.
    fn turn_off(&mut self, asked: Asked, effects: &mut Vec<Effect<O, W>>) -> Option<String> {
        if self.role.phase() == Phase::Unprotected && self.operator.suspended.is_some() {
            self.search.look_at(self.operator.suspended.clone());
        }
        self.rest(asked, None, effects)
    }

    /// Where the secondary was is forgotten only when it is looked for there.
    fn resume(&mut self, asked: Asked, effects: &mut Vec<Effect<O, W>>) -> Option<String> {
        match self.operator.suspended.clone() {
            Some(peer) => self.protect(asked, peer, effects),
            None => Some("protection is not suspended".to_owned()),
        }
    }

    /// Lets go of the secondary, or of the search for one, and looks at `then` afterwards.
    fn let_go(
        &mut self,
        asked: Asked,
        then: Option<String>,
        without: &str,
        effects: &mut Vec<Effect<O, W>>,
    ) -> Option<String> {
        match self.role.phase() {
            Phase::Seeding | Phase::Protected => {
                self.operator.doing = Some(Doing::Detaching { asked, then });
                self.tell_role(RoleEvent::Detach, effects);
                None
            }
            // An attempt that is under way is stale from here on.
            Phase::Unprotected if self.search.peer().is_some() && then.is_none() => {
                self.operator.doing = Some(Doing::Detaching { asked, then });
                self.let_go_ended(effects);
                None
            }
            Phase::Unprotected => Some(without.to_owned()),
            phase => Some(format!("not now: this side is {phase}")),
        }
    }

    /// The secondary is gone, as was asked for.
    pub(super) fn let_go_ended(&mut self, effects: &mut Vec<Effect<O, W>>) {
        let Some(Doing::Detaching { asked, then }) = self.operator.doing.take() else { return };
        self.search.look_at(then.clone());
        let suspended = self.operator.suspended.clone();
        let generation = self.role.generation();
        effects.push(Effect::Answer { asked, answer: Answer::Alone { peer: then, suspended, generation } });
    }

    fn migrate(&mut self, asked: Asked, to: String, effects: &mut Vec<Effect<O, W>>) -> Option<String> {
        if !matches!(self.role.phase(), Phase::Seeding | Phase::Protected) {
            return Some("there is no secondary to move; use protect".to_owned());
        }
        let Some(attempt) = self.search.number() else {
            return Some("too many hosts are being waited for; try again".to_owned());
        };
        self.operator.doing = Some(Doing::Migrating { asked, to: to.clone(), attempt });
        effects.push(Effect::Probe { attempt, to, generation: self.role.generation() });
        None
    }

    /// The host that is to be the secondary has answered, or has not: only then the one that there is, is let go.
    pub(super) fn probed(
        &mut self,
        attempt: Attempt,
        result: Result<(), String>,
        effects: &mut Vec<Effect<O, W>>,
    ) {
        self.search.ended(attempt);
        let Some(Doing::Migrating { asked, to, .. }) = self
            .operator
            .doing
            .take_if(|doing| matches!(doing, Doing::Migrating { attempt: ours, .. } if *ours == attempt))
        else {
            return;
        };
        let refusal = match result {
            Ok(()) => self.let_go(asked, Some(to), "the secondary has been lost meanwhile", effects),
            Err(reason) => Some(format!("the secondary stays where it is: {reason}")),
        };
        if let Some(reason) = refusal {
            effects.push(Effect::Answer { asked, answer: Answer::Refused(reason) });
        }
    }

    /// Stops as a dead host would, with nothing said to anybody: what the gate holds is lost to this side.
    fn fail(&mut self, asked: Asked, effects: &mut Vec<Effect<O, W>>) -> Option<String> {
        let phase = self.role.phase();
        let (Some(peer), Phase::Protected) = (self.search.peer().map(ToString::to_string), phase) else {
            return Some(format!("the VM would be lost: it is not protected ({phase})"));
        };
        let generation = self.role.generation();
        effects.push(Effect::Answer { asked, answer: Answer::Failed { peer, generation } });
        self.halt(Halt::OnRequest, effects);
        None
    }

    /// A connection is over: what a command did with it has come to an end as well.
    pub(super) fn peer_gone(&mut self, effects: &mut Vec<Effect<O, W>>) {
        let Some(Doing::Migrating { asked, .. }) =
            self.operator.doing.take_if(|doing| matches!(doing, Doing::Migrating { .. }))
        else {
            return;
        };
        let reason = "the secondary has been lost meanwhile".to_owned();
        effects.push(Effect::Answer { asked, answer: Answer::Refused(reason) });
    }

    /// The VM ends or goes on elsewhere: whoever waits is told.
    pub(super) fn give_up_commands(&mut self, why: &str, effects: &mut Vec<Effect<O, W>>) {
        if let Some(Doing::Detaching { asked, .. } | Doing::Migrating { asked, .. }) =
            self.operator.doing.take()
        {
            effects.push(Effect::Answer { asked, answer: Answer::Refused(why.to_owned()) });
        }
    }
}
