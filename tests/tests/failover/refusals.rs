//! What does not belong together is told so, on both sides.

use std::fs;

use ftvmm::{
    control::{Role, State, Status},
    demo::{
        client::{Action, Connection, Reply},
        pair::{Member, Place},
        wait,
    },
};
use ftvmm_tests::stage::{self, PATIENCE, Pair, guest};

use super::{SOON, TIMEOUT_MS, wait_alone};

/// Waits until this primary says that it could not have its peer; gives the reason.
fn wait_turned_away(primary: &mut Member, reason: &str) -> anyhow::Result<()> {
    let about = |loss: &Option<String>| loss.as_ref().is_some_and(|loss| loss.contains(reason));
    let status = primary.wait_status("turned away", SOON, |status| about(&status.last_loss))?;
    assert_ne!(status.state, State::Protected);
    Ok(())
}

#[test]
fn a_second_primary_is_turned_away_from_a_busy_secondary() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, address } = stage.pair()?;
        let mut setup = stage.setup.clone();
        setup.primary_options = ["--name", "another"].map(str::to_owned).to_vec();
        let tap = stage.free_tap(&[&primary, &secondary]);
        let mut other = setup.primary("other", Place::here(tap), &address)?;
        wait_turned_away(&mut other, "busy")?;
        let told = |loss: &Option<String>| loss.as_ref().is_some_and(|loss| loss.contains("busy"));
        secondary.wait_status("aware of it", SOON, |status| told(&status.last_loss))?;
        drop(other);

        // The pair is what it was.
        primary.wait_protected()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        primary.process.kill()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
        secondary.wait_takeover()?;
        Ok(())
    });
}

#[test]
fn a_primary_that_waits_for_its_turn_is_called_one_and_says_why() {
    stage::play(TIMEOUT_MS, |stage| {
        let nobody = "127.0.0.1:9";
        let mut first = stage.primary(&[], nobody)?;
        wait_alone(&mut first)?;
        first.process.kill()?;
        // A secondary that nobody hears could be taking it over: for two hours, as far behind as it may be.
        let mut setup = stage.setup.clone();
        setup.primary_options = ["--max-lag", "3600000"].map(str::to_owned).to_vec();
        let mut again = setup.primary("again", Place::here(stage.free_tap(&[])), nobody)?;
        let told = |status: &Status| status.events.iter().any(|event| event.text.contains("waiting up to"));
        let status = again.wait_status("waiting", SOON, told)?;
        assert_eq!((status.role, status.state), (Role::Primary, State::Starting));
        // The log is written by a thread of its own.
        wait::until("the log to say so", SOON, || {
            Ok(again.process.log().contains("waiting up to").then_some(()))
        })
    });
}

#[test]
fn sides_with_different_arbiters_do_not_make_a_pair() {
    stage::play(TIMEOUT_MS, |stage| {
        let elsewhere = stage.directory().join("another-arbiter");
        fs::create_dir(&elsewhere)?;
        let mut setup = stage.setup.clone();
        setup.arbiter = elsewhere;
        let (mut secondary, address) = setup.secondary("elsewhere", Place::here("tap-a"))?;
        let mut primary = stage.primary(&[&secondary], &address)?;
        wait_turned_away(&mut primary, "arbiter")?;
        let status = secondary.wait_status("listening", SOON, |status| status.last_loss.is_some())?;
        assert_eq!(status.state, State::Listening);
        assert!(status.last_loss.is_some_and(|loss| loss.contains("arbiter")));
        Ok(())
    });
}
