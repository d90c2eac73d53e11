//! The network card's other end: VMs side by side, TAP devices that go away, are too small, or are told apart.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ftvmm::{
    control::Status,
    demo::{
        client::{Action, Connection, Reply},
        net::{self, BRIDGE},
        pair::{Member, Place},
        process::Process,
        wait,
    },
    host::{
        mac::mac_of,
        tap::{MAX_FRAME, Tap, receive},
    },
};
use ftvmm_tests::{
    outlets::{FILES, NOBODY_ELSE, as_nobody_else, wrapper},
    stage::{self, PATIENCE, Pair, Stage, guest},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{SOON, TIMEOUT_MS, wait_alone};

fn ip(line: &str) -> anyhow::Result<()> {
    net::ip(None, &[line.to_owned()])
}

fn in_trouble(status: &Status, what: &str) -> bool {
    status.troubles.iter().any(|trouble| trouble.what == what)
}

fn make_again(member: &Member) -> anyhow::Result<()> {
    net::ip(None, &net::tap_on_bridge(&member.tap, BRIDGE))
}

/// A VM that nobody protects, behind `tap`, with more options.
fn run(stage: &Stage, tap: &str, options: &[&str]) -> anyhow::Result<Process> {
    run_as(stage, &stage.setup.program, tap, options)
}

fn run_as(stage: &Stage, program: &Path, tap: &str, options: &[&str]) -> anyhow::Result<Process> {
    let name = stage.name("run");
    let mut command = Command::new(program);
    let console = format!("file={}", stage.directory().join(format!("{name}.console")).display());
    command.args(["run", "--net", &format!("tap={tap}"), "--console", &console]).args(options);
    Process::start(command, &name, stage.directory(), None)
}

/// Waits for a frame at `tap` that `wanted` accepts.
fn hear(tap: &Tap, wanted: impl Fn(&[u8]) -> bool) -> anyhow::Result<()> {
    let file = tap.file().expect("it is attached");
    let (mut buffer, deadline) = (vec![0; MAX_FRAME], Instant::now() + SOON);
    while Instant::now() < deadline {
        poll(&mut [PollFd::new(&*file, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }))?;
        while let Some(length) = receive(&file, &mut buffer)? {
            if wanted(&buffer[..length]) {
                return Ok(());
            }
        }
    }
    anyhow::bail!("no such frame within {SOON:?}")
}

#[test]
fn two_vms_on_one_bridge_have_addresses_of_their_own() {
    stage::play(TIMEOUT_MS, |stage| {
        let _one = run(stage, "tap-a", &["--name", "one"])?;
        let _two = run(stage, "tap-b", &["--name", "two", "--cmdline", "ip=10.77.0.3/24 port=6379"])?;
        let other = SocketAddr::from(([10, 77, 0, 3], 6379));
        let open = |address| {
            wait::until("the guest to serve", SOON, || {
                Ok(Connection::open(address, Duration::from_millis(200)).ok())
            })
        };
        let (mut first, mut second) = (open(guest())?, open(other)?);
        for count in 1..=20 {
            assert_eq!(first.request("k", &Action::Incr)?, Reply::Integer(count));
            assert_eq!(second.request("k", &Action::Incr)?, Reply::Integer(count));
        }
        Ok(())
    });
}

#[test]
fn a_vm_that_starts_is_announced() {
    stage::play(TIMEOUT_MS, |stage| {
        let listener = Tap::open("tap-c")?;
        let _vm = run(stage, "tap-a", &["--name", "herald"])?;
        let mac = mac_of("herald");
        hear(&listener, |frame| frame[6..12] == mac && frame[12..14] == [0x80, 0x35])
    });
}

#[test]
fn a_tap_device_that_goes_away_is_seen_and_used_again_when_it_is_back() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        ip(&format!("link del {}", primary.tap))?;
        let gone = |status: &Status| status.net.as_ref().is_some_and(|net| !net.attached);
        let status =
            primary.wait_status("cut off", SOON, |status| in_trouble(status, "net") && gone(status))?;
        assert!(status.events.iter().any(|event| event.text.contains("cut off")), "{:?}", status.events);

        // With frames shorter than the guest was told it is not taken.
        make_again(&primary)?;
        ip(&format!("link set {} mtu 1400", primary.tap))?;
        let small = |status: &Status| status.troubles.iter().any(|it| it.text.contains("MTU of 1400"));
        if primary.status()?.net.is_some_and(|net| !net.attached) {
            primary.wait_status("unwilling", SOON, small)?;
        }
        ip(&format!("link set {} mtu 1500", primary.tap))?;
        primary.wait_status("back", SOON, |status| !in_trouble(status, "net"))?;
        primary.wait_protected()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
        primary.process.kill()?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(3));
        secondary.wait_takeover()?;
        Ok(())
    });
}

#[test]
fn a_primary_that_is_cut_off_hands_over_to_a_secondary_that_is_not() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut secondary, address) = stage.secondary(&[])?;
        let tap = stage.free_tap(&[&secondary]);
        let mut primary = stage.setup.primary("cut-off", Place::here(tap), &address)?;
        primary.wait_protected()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        ip(&format!("link del {tap}"))?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
        secondary.wait_takeover()?;
        primary.process.wait_end(SOON)?;
        assert!(primary.process.log().contains("its network device is gone"), "{}", primary.process.log());
        Ok(())
    });
}

#[test]
fn a_link_that_is_down_for_a_moment_or_moves_to_another_bridge_costs_nothing_else() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, secondary: _secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        let tap = primary.tap.clone();
        net::ip(None, &net::bridge("ftbr1"))?;
        let away = ["down", "nomaster", "master ftbr1"];
        for (count, away) in (1..).zip(away) {
            ip(&format!("link set {tap} {away}"))?;
            ip(&format!("link set {tap} master {BRIDGE} up"))?;
            assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(count), "after {away}");
        }
        let status = primary.wait_protected()?;
        assert!(!in_trouble(&status, "net"), "{:?}", status.troubles);
        Ok(())
    });
}

#[test]
fn a_secondary_whose_frames_are_shorter_is_refused() {
    stage::play(TIMEOUT_MS, |stage| {
        let (secondary, address) = stage.secondary(&[])?;
        let tap = stage.free_tap(&[&secondary]);
        net::ip(None, &[format!("link set {tap} mtu 9000"), format!("link set {BRIDGE} mtu 1500")])?;
        let mut primary = stage.primary(&[&secondary], &address)?;
        let reason = "has an MTU of 1500, the VM's network card has 9000";
        let told = |status: &Status| status.last_loss.as_ref().is_some_and(|loss| loss.contains(reason));
        primary.wait_status("turned away", SOON, told)?;
        wait_alone(&mut primary)?;
        // And taken when that is mended.
        ip(&format!("link set {} mtu 9000", secondary.tap))?;
        primary.wait_protected()?;
        Ok(())
    });
}

#[test]
fn why_a_tap_device_cannot_be_used_is_told_and_none_is_made() {
    stage::play(TIMEOUT_MS, |stage| {
        let refused_as = |program: &Path, name: &str, reason: &str| -> anyhow::Result<()> {
            let mut vm = run_as(stage, program, name, &[])?;
            let status = vm.wait_end(SOON)?;
            assert_eq!(status.code(), Some(3), "{}", vm.log());
            assert!(vm.log().contains(reason), "{name}: {}", vm.log());
            Ok(())
        };
        let refused = |name: &str, reason: &str| refused_as(&stage.setup.program, name, reason);
        refused("typo", "there is no TAP device 'typo'")?;
        assert!(ip("link show typo").is_err(), "a dead device was made");
        // Who may make none is told the same: the device is looked for before it is attached to, which would make it.
        let unprivileged = wrapper(stage, &as_nobody_else(FILES))?;
        refused_as(&unprivileged, "typo", "there is no TAP device 'typo'")?;
        // The kernel would take the first 15 bytes for the name.
        ip("tuntap add dev tap-of-15-bytes mode tap")?;
        refused("tap-of-15-bytes+", "is no interface name")?;
        let hides_tun = "exec unshare --mount sh -c 'mount -t tmpfs none /dev/net && exec \"$@\"' sh \"$@\"";
        refused_as(&wrapper(stage, hides_tun)?, "tap-a", "cannot open /dev/net/tun")?;
        refused("lo", "'lo' is no TAP device")?;
        ip("tuntap add dev tun-x mode tun")?;
        refused("tun-x", "'tun-x' is no TAP device")?;
        ip("tuntap add dev tap-x mode tap multi_queue")?;
        refused("tap-x", "multi_queue")?;
        let _taken = Tap::open("tap-d")?;
        refused("tap-d", "in use by another process")?;
        Ok(())
    });
}

#[test]
fn a_tap_device_of_another_user_or_group_is_told_as_that_and_ones_own_is_used() {
    stage::play(TIMEOUT_MS, |stage| {
        let unprivileged = wrapper(stage, &as_nobody_else(FILES))?;
        let (other, own) = (NOBODY_ELSE + 1, NOBODY_ELSE);
        for owner in [format!("user {other}"), format!("user {own} group {other}")] {
            ip(&format!("tuntap add dev tap-x mode tap {owner}"))?;
            let mut vm = run_as(stage, &unprivileged, "tap-x", &[])?;
            let status = vm.wait_end(SOON)?;
            let said = vm.log();
            assert_eq!(status.code(), Some(3), "{owner}: {said}");
            assert!(said.contains("'tap-x' belongs to another user") && said.contains("user YOU"), "{said}");
            ip("tuntap del dev tap-x mode tap")?;
        }
        ip(&format!("tuntap add dev tap-x mode tap user {own}"))?;
        let exits = ["--kernel", "builtin:exits", "--cmdline", "rounds=1"];
        let mut vm = run_as(stage, &unprivileged, "tap-x", &exits)?;
        assert_eq!(vm.wait_end(SOON)?.code(), Some(0), "{}", vm.log());
        Ok(())
    });
}
