//! Saved state: round trip, encoding, and what is refused.

use devices::{
    ClockState, MAX_MTU, MIN_MTU, NetState, Platform, PlatformState, QueueState, STATE_VERSION, StateError,
    TransportState,
};

use crate::disk_state;
use crate::driver::*;

/// A machine in the middle of everything.
fn busy() -> Machine {
    let mut machine = Machine::started(EVENT_IDX);
    machine.sync_point(5_000);
    machine.out(0x538, 0x60);
    machine.out(0x520, 100);
    machine.out(0x524, 77);
    machine.out(0x510, 0xff);
    machine.context(|platform, ctx| platform.receive_console(ctx, b"typed"));
    machine.offer_frame(0, 0x8_0000, &frame(60, 1));
    machine.notify(TX);
    machine.offer_frame(1, 0x8_0000, &frame(5, 1));
    machine.notify(TX);
    machine.receive(&frame(60, 1));
    machine.read(0xffc);
    machine
}

/// Both kinds of busy machines.
fn all_busy() -> [Machine; 2] {
    [busy(), disk_state::busy()]
}

#[test]
fn survives_encoding() {
    for machine in all_busy() {
        let state = machine.platform.save();
        let bytes = postcard::to_allocvec(&state).unwrap();
        let decoded: PlatformState = postcard::from_bytes(&bytes).unwrap();
        let restored = Platform::restore(&decoded, &machine.memory).unwrap();
        assert_eq!(restored.save(), state);
        assert_eq!(restored.counters(), machine.platform.counters());
        for len in 0..bytes.len() {
            assert!(
                postcard::from_bytes::<PlatformState>(&bytes[..len]).is_err(),
                "cut off after {len} bytes"
            );
        }
    }
}

/// Every byte of the encoding changed to several values: refused, or a platform that saves what was restored.
#[test]
fn changed_bytes_are_refused_or_harmless() {
    for machine in all_busy() {
        let bytes = postcard::to_allocvec(&machine.platform.save()).unwrap();
        for at in 0..bytes.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let Ok(state) = postcard::from_bytes::<PlatformState>(&changed) else { continue };
                let Ok(platform) = Platform::restore(&state, &machine.memory) else { continue };
                assert_eq!(platform.save(), state, "byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[track_caller]
fn assert_refused(change: impl Fn(&mut PlatformState), is_expected: impl Fn(&StateError) -> bool) {
    let machine = busy();
    let mut state = machine.platform.save();
    change(&mut state);
    let Err(error) = Platform::restore(&state, &machine.memory) else { panic!("not refused: {state:?}") };
    assert!(is_expected(&error), "{error}");
}

fn transport(state: &mut PlatformState) -> &mut TransportState {
    let NetState { transport, .. } = state.virtio.net.as_mut().unwrap();
    transport
}

fn transmit(state: &mut PlatformState) -> &mut QueueState {
    &mut transport(state).queues[TX]
}

#[test]
fn refuses_what_cannot_be() {
    let version = |error: &StateError| matches!(error, StateError::Version { .. });
    assert_refused(|state| state.version = STATE_VERSION + 1, version);
    assert_refused(|state| state.version = STATE_VERSION - 1, version);
    let clock = |error: &StateError| matches!(error, StateError::ClockPage { page_frame: 0x100 });
    assert_refused(|state| state.clock = ClockState { page_frame: 0x100, ..state.clock.clone() }, clock);
    let serial = |error: &StateError| matches!(error, StateError::SerialInput { len: 100_000, .. });
    assert_refused(|state| state.serial.received = vec![0; 100_000], serial);

    let registers = |error: &StateError| matches!(error, StateError::Transport { slot: 0, .. });
    assert_refused(|state| transport(state).status |= NEEDS_RESET, registers);
    assert_refused(|state| transport(state).status = ACKNOWLEDGED | 4, registers);
    assert_refused(|state| transport(state).driver_features |= 1, registers);
    assert_refused(|state| transport(state).driver_features &= !VERSION_1, registers);
    assert_refused(|state| transport(state).interrupt_status = 4, registers);

    let mtu = |error: &StateError| matches!(error, StateError::Mtu { .. });
    assert_refused(|state| state.virtio.net.as_mut().unwrap().config.mtu = MIN_MTU - 1, mtu);
    assert_refused(|state| state.virtio.net.as_mut().unwrap().config.mtu = MAX_MTU + 1, mtu);

    let queue = |error: &StateError| matches!(error, StateError::Queue { slot: 0, .. });
    assert_refused(|state| transmit(state).registers.size = 5, queue);
    assert_refused(|state| transmit(state).registers.descriptors = RAM_SIZE as u64, queue);
    assert_refused(|state| transmit(state).registers.available |= 1, queue);
    assert_refused(|state| transmit(state).registers.used = u64::MAX - 3, queue);
    assert_refused(|state| transport(state).status = ACKNOWLEDGED, queue);
    let count = |error: &StateError| matches!(error, StateError::QueueCount { found: 1, expected: 2, .. });
    assert_refused(|state| transport(state).queues.truncate(1), count);
}

#[test]
fn a_restored_platform_goes_on_where_the_other_was() {
    let (mut machine, restored) = (busy(), busy());
    let platform = Platform::restore(&restored.platform.save(), &restored.memory).unwrap();
    let mut restored = Machine { platform, ..restored };
    for machine in [&mut machine, &mut restored] {
        machine.sync_point(200_000);
        machine.out(0x528, 1);
        machine.offer_frame(2, 0x8_0000, &frame(200, 3));
        machine.notify(TX);
    }
    assert_eq!(machine.outputs, restored.outputs);
    assert_eq!(machine.platform.next_deadline_ns(), Some((1 << 32) + 77));
    assert_eq!(machine.platform.save(), restored.platform.save());
    assert_eq!(machine.bytes(0, RAM_SIZE), restored.bytes(0, RAM_SIZE));
}
