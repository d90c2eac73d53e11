use super::*;

const ROOM: Room = Room { frames: 8, console: 8 };

#[test]
fn nothing_is_taken_that_the_guest_has_no_room_for() {
    let inbox = Inbox::default();
    inbox.push_frames(&mut vec![vec![1], vec![2], vec![3]], Duration::ZERO);
    inbox.push_console(b"abc");
    let mut events = Vec::new();
    inbox.take(Room { frames: 2, console: 1 }, &mut events);
    assert_eq!(events.len(), 3);
    assert_eq!(events[2], Event::ConsoleInput(b"a".to_vec()));
    events.clear();
    inbox.take(ROOM, &mut events);
    assert_eq!(events[0], Event::NetFrame { slot: NET_SLOT, frame: vec![3] });
    assert_eq!(events[1], Event::ConsoleInput(b"bc".to_vec()));
}

#[test]
fn a_nudge_and_a_frame_each_end_the_wait() {
    let inbox = Inbox::default();
    inbox.nudge();
    inbox.wait(ROOM, None);
    inbox.push_frames(&mut vec![vec![1]], Duration::ZERO);
    inbox.wait(ROOM, None);
    inbox.wait(Room { frames: 0, console: 0 }, Some(Duration::ZERO));
}

#[test]
fn console_input_is_bounded() {
    let inbox = Inbox::default();
    let taken: Vec<_> = (0..6).map(|_| inbox.push_console(&[b'x'; 1000])).collect();
    assert_eq!(taken, [1000, 1000, 1000, 1000, 96, 0], "what there is no room for is still the caller's");
    assert_eq!(inbox.lock().console.len(), MAX_CONSOLE);
    inbox.take(Room { frames: 0, console: 100 }, &mut Vec::new());
    assert_eq!(inbox.push_console(&[b'x'; 1000]), 100);
}

#[test]
fn what_is_typed_where_no_guest_hears_it_is_never_told_to_the_one_that_comes() {
    let inbox = Inbox::default();
    inbox.be_deaf();
    for _ in 0..10 {
        assert_eq!(inbox.push_console(&[b'x'; 1000]), 1000, "nobody waits for a guest that is not here");
    }
    inbox.clear();
    inbox.push_console(b"y");
    let mut events = Vec::new();
    inbox.take(ROOM, &mut events);
    assert_eq!(events, [Event::ConsoleInput(b"y".to_vec())]);
}

fn answer(id: u64, len: usize) -> Event {
    Event::DiskDone { slot: 2, id, status: 0, data: vec![7; len] }
}

#[test]
fn answers_of_disks_come_in_order_within_the_bounds_of_a_step() {
    let inbox = Inbox::default();
    let doorbell = Doorbell::new().unwrap();
    inbox.attach(&doorbell);
    for id in 0..6 {
        inbox.push_disk_done(2, id, 0, vec![7; 256 << 10]);
    }
    let mut events = Vec::new();
    inbox.take(Room { frames: 0, console: 0 }, &mut events);
    assert_eq!(events, (0..4).map(|id| answer(id, 256 << 10)).collect::<Vec<_>>());
    assert!(doorbell.is_ringing(), "two are left");
    events.clear();
    inbox.take(Room { frames: 0, console: 0 }, &mut events);
    assert_eq!(events, (4..6).map(|id| answer(id, 256 << 10)).collect::<Vec<_>>());
    assert!(!doorbell.is_ringing());

    inbox.push_disk_done(2, 6, 0, Vec::new());
    inbox.wait(Room { frames: 0, console: 0 }, None);
}

#[test]
fn the_bell_rings_for_what_comes_after_the_last_take() {
    let inbox = Inbox::default();
    let doorbell = Doorbell::new().unwrap();
    inbox.push_console(b"before");
    inbox.attach(&doorbell);
    assert!(doorbell.is_ringing(), "something may have come before");
    let mut events = Vec::new();
    inbox.take(ROOM, &mut events);
    assert!(!doorbell.is_ringing() && events.len() == 1);

    let pushes: [fn(&Inbox); 4] = [
        |inbox| assert_eq!(inbox.push_console(b"x"), 1),
        |inbox| inbox.push_frames(&mut vec![vec![1]], Duration::ZERO),
        |inbox| inbox.push_disk_done(2, 1, 0, Vec::new()),
        Inbox::nudge,
    ];
    for push in pushes {
        push(&inbox);
        assert!(doorbell.is_ringing());
        inbox.take(ROOM, &mut events);
        assert!(!doorbell.is_ringing());
    }
}

#[test]
fn what_the_guest_has_no_room_for_does_not_ring_again() {
    let inbox = Inbox::default();
    let doorbell = Doorbell::new().unwrap();
    inbox.attach(&doorbell);
    inbox.push_frames(&mut vec![vec![1], vec![2]], Duration::ZERO);
    inbox.take(Room { frames: 1, console: 0 }, &mut Vec::new());
    assert!(!doorbell.is_ringing(), "an exit would not bring room");

    inbox.push_frames(&mut vec![vec![3]; MAX_STEP_FRAMES], Duration::ZERO);
    inbox.take(Room { frames: 1000, console: 0 }, &mut Vec::new());
    assert!(doorbell.is_ringing(), "the step was full, not the guest");
}

#[test]
fn a_sleeping_guest_is_woken_without_the_bell() {
    let inbox = std::sync::Arc::new(Inbox::default());
    let doorbell = Doorbell::new().unwrap();
    inbox.attach(&doorbell);
    inbox.take(ROOM, &mut Vec::new());
    let sleeper = inbox.clone();
    let thread = std::thread::spawn(move || sleeper.wait(ROOM, None));
    while inbox.lock().vcpu_waits.is_none() {
        std::thread::yield_now();
    }
    inbox.push_frames(&mut vec![vec![1]], Duration::ZERO);
    thread.join().unwrap();
    assert!(!doorbell.is_ringing());
}
