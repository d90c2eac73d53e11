use super::*;
use crate::arbiter::{Ended, Entry, Holder};

const VM: VmId = VmId([7; 16]);
const NOW_MS: u64 = 1_000_000;
const OTHER: VmId = VmId([8; 16]);

/// A start, of which each test changes what it is about: generation 5 was held by a process of this host that has
/// ended, the peer is there and has nothing, the copy is what that process wrote.
struct Scene {
    latest: Option<Latest>,
    holder: Whereabouts,
    peer: Peer,
    copies: Vec<Copy>,
    waited: bool,
    force: bool,
    new: bool,
}

fn scene() -> Scene {
    let entry = Entry {
        vm: VM,
        generation: Generation(5),
        holder: Holder::this_process().unwrap(),
        since_ms: 1,
        yields: false,
    };
    Scene {
        latest: Some(Latest { entry, ended: None }),
        holder: Whereabouts::Gone,
        peer: says(|_| {}),
        copies: vec![copy(stamped(VM, 5, true))],
        waited: false,
        force: false,
        new: false,
    }
}

fn says(change: impl FnOnce(&mut Presence)) -> Peer {
    let mut presence = Presence {
        host: "b".into(),
        runs: false,
        holds: false,
        since: Some("yesterday".into()),
        holder_gone: false,
    };
    change(&mut presence);
    Peer::Says(presence)
}

fn copy(state: CopyState) -> Copy {
    Copy { path: "a.img".into(), state }
}

fn stamped(vm: VmId, generation: u64, complete: bool) -> CopyState {
    CopyState::Stamped { vm, name: "db".into(), generation: Generation(generation), complete }
}

fn ended() -> Option<Ended> {
    Some(Ended { how: "switched off".into(), at_ms: 2 })
}

impl Scene {
    fn decide(&self) -> Decision {
        decide(&Known {
            name: "db",
            latest: self.latest.as_ref(),
            holder: self.latest.as_ref().map(|_| self.holder),
            peer: &self.peer,
            copies: &self.copies,
            waited: self.waited,
            force: self.force,
            new: self.new,
            now_ms: NOW_MS,
        })
    }

    /// It starts, from generation `previous`; gives what is lost by it.
    fn starts(&self, previous: u64, vm: Option<VmId>) -> Vec<String> {
        match self.decide() {
            Decision::Start(permission) => {
                assert_eq!((permission.previous, permission.vm), (Generation(previous), vm));
                assert_eq!(permission.after.is_some(), previous > 0);
                let may_live = permission.forced.iter().any(|lost| lost.contains("may still run it"));
                assert_eq!(
                    permission.yields, may_live,
                    "who may be live gets time, and nobody waits for nobody"
                );
                permission.forced
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(&self, why: &str) {
        match self.decide() {
            Decision::Refuse(reason) => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}, expected a refusal with {why:?}"),
        }
    }

    /// Refused, and started with --force, which says what is lost.
    fn needs_force(mut self, why: &str) {
        self.refused(why);
        self.refused("--force");
        self.force = true;
        let lost = self.starts(self.latest.as_ref().map_or(0, |latest| latest.entry.generation.0), self.vm());
        assert!(lost.iter().any(|lost| lost.contains(why)), "{lost:?}");
    }

    fn vm(&self) -> Option<VmId> {
        self.latest.as_ref().map(|latest| latest.entry.vm)
    }
}

#[test]
fn a_new_vm_starts_whether_its_peer_is_there_or_not() {
    for peer in [Peer::Silent, says(|_| {})] {
        let new = Scene { latest: None, copies: vec![copy(CopyState::Unstamped)], peer, ..scene() };
        assert!(new.starts(0, None).is_empty());
    }
}

#[test]
fn who_has_the_newest_copies_goes_on_after_both_were_down() {
    assert!(scene().starts(5, Some(VM)).is_empty());
    let elsewhere = Scene { holder: Whereabouts::Elsewhere, peer: says(|b| b.holder_gone = true), ..scene() };
    assert!(elsewhere.starts(5, Some(VM)).is_empty(), "the peer is its host and says that it has ended");
    let mut ended_elsewhere = Scene { holder: Whereabouts::Elsewhere, peer: Peer::Silent, ..scene() };
    ended_elsewhere.latest.as_mut().unwrap().ended = ended();
    assert!(ended_elsewhere.starts(5, Some(VM)).is_empty());
}

#[test]
fn a_peer_that_has_it_is_believed_whatever_the_operator_says() {
    for (force, new) in [(false, false), (true, false), (false, true), (true, true)] {
        let runs = Scene { peer: says(|b| b.runs = true), force, new, ..scene() };
        runs.refused("lives on b since yesterday");
        Scene { latest: None, ..runs }.refused("lives on b");
        Scene { peer: says(|b| b.holds = true), force, new, ..scene() }.refused("held by b");
        Scene { holder: Whereabouts::Running, force, new, ..scene() }.refused("runs on this host already");
    }
}

#[test]
fn a_holder_that_cannot_be_seen_may_run() {
    for peer in [Peer::Silent, says(|_| {})] {
        Scene { holder: Whereabouts::Elsewhere, peer, ..scene() }.needs_force("may still run it");
    }
}

#[test]
fn a_silent_peer_is_given_time_to_take_over() {
    let silent = Scene { peer: Peer::Silent, ..scene() };
    assert_eq!(silent.decide(), Decision::Wait);
    assert!(Scene { waited: true, ..silent }.starts(5, Some(VM)).is_empty());
}

#[test]
fn what_a_copy_lacks_is_told() {
    let lacking = [
        (stamped(VM, 4, true), "of generation 4; what the VM did after that"),
        (stamped(VM, 5, false), "may be missing"),
        (stamped(VM, 6, true), "another one, or an old copy"),
        (stamped(OTHER, 5, true), "another VM"),
        (CopyState::Shared { vm: OTHER, name: "x".into() }, "another VM"),
        (CopyState::Half { vm: VM }, "mixture"),
        (CopyState::Unstamped, "no stamp"),
    ];
    for (state, why) in lacking {
        let whole = copy(stamped(VM, 5, true));
        Scene { copies: vec![whole.clone(), copy(state.clone())], ..scene() }.needs_force(why);
        let mut ended_so = Scene { copies: vec![copy(state), whole], ..scene() };
        ended_so.latest.as_mut().unwrap().ended = ended();
        ended_so.needs_force(why);
    }
    let shared = CopyState::Shared { vm: VM, name: "db".into() };
    assert!(Scene { copies: vec![copy(shared)], ..scene() }.starts(5, Some(VM)).is_empty());
}

#[test]
fn disks_of_a_vm_that_the_arbiter_does_not_know_are_not_started_unasked() {
    for state in [stamped(VM, 5, true), CopyState::Shared { vm: VM, name: "db".into() }] {
        let unknown = Scene { latest: None, copies: vec![copy(state)], ..scene() };
        unknown.refused("does not know");
        unknown.refused("--new");
        assert!(Scene { new: true, ..unknown }.starts(0, None).is_empty());
    }
    Scene { latest: None, copies: vec![copy(CopyState::Half { vm: VM })], ..scene() }.needs_force("mixture");
}

#[test]
fn another_vm_of_the_same_name_takes_nothing_from_the_one_before() {
    let new = Scene { new: true, copies: vec![copy(stamped(VM, 3, true))], ..scene() };
    assert!(new.starts(5, None).is_empty(), "another id, the next generation");
    Scene { holder: Whereabouts::Elsewhere, ..new }.refused("may still run it");
}

/// A forced start is killed while it gives the old live side time to halt, and its unit file starts it again.
#[test]
fn a_start_that_was_given_up_while_it_waited_waits_again() {
    let yields = |claimed: bool, since_ms: u64| {
        let mut scene = scene();
        let entry = &mut scene.latest.as_mut().unwrap().entry;
        (entry.yields, entry.since_ms) = (claimed, since_ms);
        match scene.decide() {
            Decision::Start(permission) => permission.yields,
            other => panic!("{other:?}"),
        }
    };
    let yield_ms = YIELD_NS / 1_000_000;
    assert!(yields(true, NOW_MS) && yields(true, NOW_MS - yield_ms + 1) && yields(true, NOW_MS + 9));
    assert!(!yields(true, NOW_MS - yield_ms) && !yields(false, NOW_MS));
}
