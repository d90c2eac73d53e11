//! The first frames of a connection, spoken by a stranger.

use std::net::TcpListener;

use ftlog::{FrameKind, Generation, Hello, Message, Purpose, Refuse, Shape, VmId, Welcome};
use ftvmm::{
    control::State,
    identity::VmIdentity,
    link::{
        connection::Connection,
        handshake::{self, connect, hello},
    },
};
use ftvmm_tests::stage;
use machine::kvm::{Host, cpuid::TEMPLATES};

use super::{SOON, TIMEOUT_MS};

fn proper_hello() -> Hello {
    let (cpu, kernel) = (TEMPLATES[0].name.into(), "builtin:kv".into());
    let shape = Shape { memory_mib: 64, cpus: 1, cpu, kernel, ..Shape::default() };
    let identity = VmIdentity { vm: VmId([7; 16]), shape, wall_base_ns: 0 };
    hello(&identity, Generation(1), "a stranger", "an arbiter", Purpose::Protect)
}

/// Why the listener at `address` turns this Hello away.
fn refusal(address: &str, hello: &Hello) -> anyhow::Result<String> {
    let mut connection = connect(address)?;
    connection.send(FrameKind::Hello, &hello.encode()?);
    let answer = connection.receive_within(SOON)?;
    assert_eq!(answer.kind, FrameKind::Refuse);
    Ok(Refuse::decode(&answer.body)?.reason)
}

#[test]
fn a_primary_that_does_not_fit_is_told_why() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut secondary, address) = stage.secondary(&[])?;
        let proper = proper_hello();
        let with_shape = |change: &dyn Fn(&mut Shape)| {
            let mut hello = proper.clone();
            change(&mut hello.shape);
            hello
        };
        let cases = [
            (Hello { software: "ftvmm 0.0.0".into(), ..proper.clone() }, "ftvmm 0.0.0"),
            (Hello { cpu_table: proper.cpu_table ^ 1, ..proper.clone() }, "another CPU"),
            (Hello { lease_ns: u64::MAX, ..proper.clone() }, "write shared disks"),
            (with_shape(&|shape| shape.cpu = "pentium".into()), "no CPU baseline 'pentium'"),
            (with_shape(&|shape| shape.cpus = 2), "2 CPUs"),
            (with_shape(&|shape| shape.memory_mib = u32::MAX), "MiB of memory"),
            (proper.clone(), "arbiter"),
        ];
        for (hello, reason) in cases {
            let told = refusal(&address, &hello)?;
            assert!(told.contains(reason), "{told}");
            let status = secondary.wait_status("aware of it", SOON, |status| {
                status.last_loss.as_ref().is_some_and(|loss| loss.contains(reason))
            })?;
            assert_eq!(status.state, State::Listening);
        }
        Ok(())
    });
}

/// Where every template can be shown there is nothing to refuse; a KVM without hardware virtualization shows the poorest
/// only.
#[test]
fn a_primary_whose_cpu_this_host_cannot_show_is_told_what_is_missing() {
    stage::play(TIMEOUT_MS, |stage| {
        let host = Host::open()?;
        let Some(cpu) = TEMPLATES.iter().find(|cpu| host.can_show(cpu).is_err()) else { return Ok(()) };
        let (_secondary, address) = stage.secondary(&[])?;
        let mut hello = proper_hello();
        (hello.shape.cpu, hello.cpu_table) = (cpu.name.into(), cpu.digest());
        let told = refusal(&address, &hello)?;
        assert!(told.contains(&host.can_show(cpu).unwrap_err().to_string()), "{told}");
        Ok(())
    });
}

#[test]
fn a_secondary_that_shows_another_cpu_is_left_alone() {
    stage::play(TIMEOUT_MS, |stage| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let mut primary = stage.primary(&[], &address)?;
        let (mut connection, hello) = loop {
            let mut connection = Connection::new(listener.accept()?.0)?;
            let hello = Hello::decode(&connection.receive_within(SOON)?.body)?;
            // Before it starts, the primary asks who has the VM; to that there is no answer here.
            if hello.purpose == Purpose::Protect {
                break (connection, hello);
            }
        };
        let welcome = Welcome {
            software: handshake::software(),
            window_bytes: 32 << 20,
            cpu_table: hello.cpu_table ^ 1,
        };
        connection.send(FrameKind::Welcome, &welcome.encode()?);
        connection.flush()?;
        let status = primary.wait_status("aware of it", SOON, |status| {
            status.last_loss.as_ref().is_some_and(|loss| loss.contains("another CPU"))
        })?;
        assert_eq!(status.state, State::Unprotected);
        Ok(())
    });
}

#[test]
fn what_is_no_handshake_is_closed_and_harms_nobody() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut secondary, address) = stage.secondary(&[])?;
        for kind in [FrameKind::Steps, FrameKind::Begin, FrameKind::Ack, FrameKind::Fail] {
            let mut connection = connect(&address)?;
            connection.send(kind, &[0; 64]);
            connection.receive_within(SOON).expect_err("no answer");
        }
        // More visitors than are heard at one time, all silent, do not keep a proper one out for long.
        let silent: Vec<_> = (0..32).map(|_| connect(&address)).collect::<Result<_, _>>()?;
        drop(silent);
        ftvmm::demo::wait::until("a proper visitor to be heard", SOON, || {
            Ok(refusal(&address, &proper_hello()).ok())
        })?;
        secondary.process.expect_alive()
    });
}
