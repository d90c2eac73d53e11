//! Takeover and arbitration, every interleaving of them at small sizes.
//!
//! The states are those of the production cores. Time is abstracted away: a timeout may fire at any moment, a message
//! may take for ever. One primary and one secondary (seeded again and again), a handful of positions. When the secondary
//! has taken over, it is the primary of a third host, and the old primary may be there still.

mod action;
mod pair;

use action::{Action, Limits, Side};
use pair::Pair;
use stateright::{Checker, Model, Property};

#[derive(Clone)]
struct Takeover {
    limits: Limits,
    /// Without it both sides win, and the properties must not hold.
    arbiter_is_atomic: bool,
}

impl Model for Takeover {
    type State = Pair;
    type Action = Action;

    fn init_states(&self) -> Vec<Pair> {
        vec![Pair::new(self.limits, self.arbiter_is_atomic)]
    }

    fn actions(&self, state: &Pair, actions: &mut Vec<Action>) {
        actions.extend(Action::ALL.into_iter().filter(|action| state.can(*action)));
    }

    fn next_state(&self, state: &Pair, action: Action) -> Option<Pair> {
        let mut next = state.clone();
        next.act(action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one side is live in a generation", |_, pair: &Pair| {
                pair.entered.iter().all(|(_, sides)| sides.len() == 1)
            }),
            Property::always("who lost emits nothing more", |_, pair: &Pair| !pair.loser_emitted),
            Property::always("what was released is held by the survivor", |_, pair: &Pair| {
                pair.live_from.is_none_or(|from| pair.released <= from)
            }),
            Property::always("what was released was acknowledged", |_, pair: &Pair| !pair.released_unheld),
            Property::always("only a whole secondary goes live", |_, pair: &Pair| !pair.live_with_a_flaw),
            Property::always("honest sides are not accused", |_, pair: &Pair| !pair.accused),
            Property::sometimes("the secondary takes over", |_, pair: &Pair| pair.live_from.is_some()),
            Property::sometimes("a third host takes over from the second", |_, pair: &Pair| {
                pair.succeeded && pair.live_from.is_some()
            }),
            Property::sometimes("the primary halts", |_, pair: &Pair| pair.lost.contains(&Side::Primary)),
            Property::sometimes("the secondary loses", |_, pair: &Pair| pair.lost.contains(&Side::Secondary)),
            Property::sometimes("the primary goes on alone, twice", |_, pair: &Pair| {
                pair.entered.keys().filter(|generation| generation.0 > 1).count() == 2
                    && pair.live_from.is_none()
            }),
            Property::sometimes("an output is released on an acknowledgement", |_, pair: &Pair| {
                pair.released_on_ack
            }),
        ]
    }
}

/// A debug build takes some ten times longer for the same.
const SMALL: Limits = if cfg!(debug_assertions) {
    Limits { positions: 1, links: 2, unanswered: 1, fuses: 0, positions_after: 1, links_after: 1 }
} else {
    Limits { positions: 2, links: 2, unanswered: 1, fuses: 1, positions_after: 1, links_after: 1 }
};

#[test]
fn every_interleaving_is_safe() {
    let takeover = Takeover { limits: SMALL, arbiter_is_atomic: true };
    let checker = takeover.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} unique, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn an_arbiter_that_is_not_atomic_is_noticed() {
    let limits = Limits { links_after: 0, ..SMALL };
    let takeover = Takeover { limits, arbiter_is_atomic: false };
    let checker = takeover.checker().threads(2).spawn_bfs().join();
    for property in ["at most one side is live in a generation", "what was released is held by the survivor"]
    {
        let path = checker.discovery(property).unwrap_or_else(|| panic!("no counterexample: {property}"));
        println!("{property}: {:?}", path.into_actions());
    }
}
