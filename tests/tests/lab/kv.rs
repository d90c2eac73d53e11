//! The key-value guest on two lab hosts.

use std::time::{Duration, Instant};

use ftvmm::demo::client::{Load, LoadPlan, Mix};
use ftvmm_tests::{
    lab::{self, Plan, member::Setup},
    stage,
};

/// The longest wait of a client.
const PATIENCE: Duration = Duration::from_secs(60);

fn load(connections: u32) -> anyhow::Result<Load> {
    let plan = LoadPlan {
        address: stage::guest(),
        connections,
        prefix: "lab".to_owned(),
        mix: Mix::Count,
        pause: Duration::from_millis(5),
        patience: PATIENCE,
        seed: 0,
    };
    let load = Load::start(&plan, Instant::now())?;
    load.await_answers(u64::from(connections), PATIENCE)?;
    Ok(load)
}

#[test]
fn kv_survives_a_power_failure_of_either_host() {
    lab::play(Plan::new, |lab| {
        let setup = Setup::kv();
        let (secondary, address) = setup.secondary(&lab.b, "secondary")?;
        let primary = setup.primary(&lab.a, "primary", &address)?;
        primary.wait_protected(&lab.a)?;
        let load = load(4)?;

        lab.a.power_off_now()?;
        let takeover = secondary.wait_takeover(&lab.b)?;
        println!("host a lost power: {takeover:?}");
        load.await_answers(20, PATIENCE)?;

        lab.a.power_on()?;
        let (_shadow, address) = setup.secondary(&lab.a, "second-secondary")?;
        secondary.ask(&lab.b, &format!("protect --to {address}"))?;
        secondary.wait_protected(&lab.b)?;
        load.await_answers(20, PATIENCE)?;
        lab.a.power_off_now()?;
        secondary.wait_alone(&lab.b)?;
        load.await_answers(20, PATIENCE)?;
        stage::judge(load)?;
        Ok(())
    });
}
