//! Before a primary starts: who has the VM, and may it start here?

use std::{
    thread,
    time::{Duration, Instant},
};

use ftlog::{Generation, Purpose, Shape, VmId};

use super::exit::Refused;
use crate::{
    arbiter::Latest,
    host::clock::wall_ns,
    identity::{Decision, Known, Peer, Permission, VmIdentity, decide},
    link::{Site, handshake::ask_who_has_it},
};

/// How often the peer is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// What the command line says of a start.
pub struct Asked<'a> {
    /// Where the secondary listens.
    pub peer: &'a str,
    /// Start whatever is lost by it.
    pub force: bool,
    /// It is another VM than before.
    pub new: bool,
}

/// Asks the arbiter and the peer until it is clear whether the VM may start here.
///
/// # Errors
/// [`Refused`], and what keeps the arbiter from answering.
pub fn await_permission(site: &Site, shape: &Shape, asked: &Asked<'_>) -> anyhow::Result<Permission> {
    let patience = Duration::from_nanos(2 * site.config.max_lag_ns + 5 * site.config.failure_timeout_ns);
    let deadline = Instant::now() + patience;
    loop {
        let latest = site.arbiter.latest(&shape.name)?;
        let peer = ask_peer(site, shape, latest.as_ref(), asked.peer);
        let copies = site.outlets.disks.known()?;
        let known = Known {
            name: &shape.name,
            latest: latest.as_ref(),
            holder: latest.as_ref().map(|latest| latest.entry.holder.whereabouts(&site.holder)),
            peer: &peer,
            copies: &copies,
            waited: Instant::now() >= deadline,
            force: asked.force,
            new: asked.new,
            now_ms: wall_ns() / 1_000_000,
        };
        match decide(&known) {
            Decision::Start(permission) => {
                for lost in &permission.forced {
                    site.board.notice(format!("started although {lost}"));
                }
                return Ok(permission);
            }
            Decision::Refuse(reason) => return Err(Refused(reason).into()),
            Decision::Wait => {
                site.board.notice_once(format!(
                    "waiting up to {:.0} s for {}, which may be taking the VM over",
                    patience.as_secs_f64(),
                    asked.peer
                ));
                thread::sleep(AGAIN);
            }
        }
    }
}

fn ask_peer(site: &Site, shape: &Shape, latest: Option<&Latest>, address: &str) -> Peer {
    let vm = latest.map_or(VmId([0; 16]), |latest| latest.entry.vm);
    let generation = latest.map_or(Generation(0), |latest| latest.entry.generation);
    let identity = VmIdentity { vm, shape: shape.clone(), wall_base_ns: 0 };
    match ask_who_has_it(address, &site.hello(&identity, generation, Purpose::Start)) {
        Ok(presence) => Peer::Says(presence),
        Err(error) => {
            tracing::debug!("{address} does not say whether it has the VM: {error:#}");
            Peer::Silent
        }
    }
}
