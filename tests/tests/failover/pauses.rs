//! Processes that stop for longer than the timeout, or for less, and go on as if nothing had been.

use ftvmm::{
    control::{Role, State},
    demo::client::Mix,
};
use ftvmm_tests::stage::{self, CLIENTS, PATIENCE, Pair};

use super::{SOON, THINKING, TIMEOUT_MS, frames, survive_the_primary, wait_alone, wait_halted};

/// What a primary that comes back may still say before it learns that it has lost: answers that the secondary had
/// acknowledged before the pause, and their acknowledgements of what the clients sent.
const STALE_FRAMES: u64 = 8 * CLIENTS as u64;

#[test]
fn a_primary_that_was_stopped_too_long_halts_and_says_nothing_more() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Mixed, THINKING, 1)?;
        primary.process.stop()?;
        secondary.wait_takeover()?;
        load.await_answers(100, PATIENCE)?;

        let before = frames(&primary)?;
        primary.process.go_on()?;
        wait_halted(&mut primary)?;
        let halted = frames(&primary)?;
        assert!(halted - before <= STALE_FRAMES, "{} frames after the takeover", halted - before);
        load.await_answers(200, PATIENCE)?;
        assert_eq!(frames(&primary)?, halted, "a halted primary spoke");
        let status = secondary.status()?;
        assert_eq!((status.role, status.state), (Role::Primary, State::Unprotected));
        stage::judge(load)?;
        Ok(())
    });
}

#[test]
fn a_secondary_that_was_stopped_too_long_is_let_go_and_seeded_again() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Mixed, THINKING, 2)?;
        let generation = primary.status()?.generation;
        let silent = frames(&secondary)?;
        secondary.process.stop()?;
        wait_alone(&mut primary)?;
        load.await_answers(100, PATIENCE)?;
        assert_eq!(primary.status()?.generation, generation + 1, "going on alone is a new generation");

        secondary.process.go_on()?;
        primary.wait_protected()?;
        secondary.wait_status("following", SOON, |status| status.state == State::Following)?;
        assert_eq!(frames(&secondary)?, silent, "a secondary spoke");

        survive_the_primary(&mut primary, &mut secondary, load)
    });
}

#[test]
fn a_short_pause_of_either_side_changes_nothing() {
    stage::play(5 * TIMEOUT_MS, |stage| {
        let Pair { mut primary, secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Mixed, THINKING, 3)?;
        let generation = primary.status()?.generation;
        for member in [&secondary, &primary] {
            member.process.stop()?;
            std::thread::sleep(std::time::Duration::from_millis(TIMEOUT_MS / 2));
            member.process.go_on()?;
            load.await_answers(100, PATIENCE)?;
        }
        let status = primary.wait_protected()?;
        assert_eq!(status.generation, generation);
        assert_eq!(secondary.status()?.role, Role::Secondary);
        stage::judge(load)?;
        Ok(())
    });
}
