//! Crowds at the control socket of a process that may open few files.

use std::os::unix::net::UnixStream;

use anyhow::ensure;
use ftvmm::demo::{
    client::{Action, Connection, Reply},
    pair::Member,
};
use ftvmm_tests::{
    outlets::{limit, none_but_those_put_aside},
    stage::{self, PATIENCE, Pair, guest},
};
use rustix::process::{Resource, Rlimit};

use super::{TIMEOUT_MS, wait_alone};

/// Clients that say nothing.
const CROWD: usize = 100;

/// As many as are let in, and as many more as have a place to wait.
fn crowd_at(member: &Member) -> Vec<UnixStream> {
    (0..CROWD)
        .map_while(|_| {
            let client = UnixStream::connect(member.control()).ok()?;
            client.set_nonblocking(true).ok()?;
            Some(client)
        })
        .take(CROWD)
        .collect()
}

#[test]
fn silent_clients_of_a_process_with_few_descriptors_do_not_hold_up_a_takeover() {
    for primary_survives in [true, false] {
        stage::play(TIMEOUT_MS, |stage| {
            let Pair { mut primary, mut secondary, .. } = stage.pair()?;
            let mut client = Connection::open(guest(), PATIENCE)?;
            ensure!(client.request("k", &Action::Incr)? == Reply::Integer(1));
            let (left, lost) = if primary_survives {
                (&mut primary, &mut secondary)
            } else {
                (&mut secondary, &mut primary)
            };
            let crowd = crowd_at(left);
            ensure!(!crowd.is_empty());
            // Whoever of the crowd waits to be let in would have what is put aside, once that is given free.
            let few = none_but_those_put_aside(&left.process)?;
            limit(&left.process, Resource::Nofile, Rlimit { current: Some(few), maximum: Some(1024) })?;
            lost.process.kill()?;
            // They stay for as long as it takes.
            ensure!(client.request("k", &Action::Incr)? == Reply::Integer(2));
            drop(crowd);
            if primary_survives { wait_alone(left).map(drop) } else { left.wait_takeover().map(drop) }
        });
    }
}
