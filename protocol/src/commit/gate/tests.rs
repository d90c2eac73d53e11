use super::*;

fn gate() -> Gate<u64> {
    Gate::new(Limits { outputs: 4, bytes: 100 })
}

fn items(left: &[Held<u64>]) -> Vec<u64> {
    left.iter().map(|output| output.item).collect()
}

#[test]
fn a_new_gate_is_closed() {
    assert_eq!(gate().put(Position(1), 1, 0, 7), Ok(None));
}

#[test]
fn an_open_gate_holds_nothing() {
    let mut gate = gate();
    gate.open(&mut Vec::new());
    let left = gate.put(Position(1), 1000, 5, 7).unwrap().unwrap();
    assert_eq!((left.item, left.put_ns, gate.outputs()), (7, 5, 0));
}

#[test]
fn releases_in_order_what_is_acknowledged_and_no_more() {
    let mut gate = gate();
    gate.close(Position(10));
    assert!(gate.put(Position(10), 1, 0, 10).unwrap().is_some(), "part of the seed's past");
    for n in [11, 11, 12, 14] {
        assert_eq!(gate.put(Position(n), 10, n, n), Ok(None));
    }
    let mut left = Vec::new();
    gate.release(Position(12), &mut left);
    assert_eq!(items(&left), [11, 11, 12]);
    assert_eq!((gate.outputs(), gate.bytes(), gate.oldest_ns(20)), (1, 10, Some(6)));

    gate.release(Position(11), &mut left);
    gate.release(Position(13), &mut left);
    assert_eq!(left.len(), 3);
    assert!(gate.put(Position(14), 1, 0, 0).unwrap().is_none());
    gate.release(Position(20), &mut left);
    assert!(gate.put(Position(20), 1, 0, 0).unwrap().is_some(), "acknowledged before it was put");
    assert_eq!((gate.outputs(), gate.bytes()), (0, 0));
}

#[test]
fn opening_lets_all_leave() {
    let mut gate = gate();
    for n in 1..=3 {
        assert_eq!(gate.put(Position(n), 1, 0, n), Ok(None));
    }
    let mut left = Vec::new();
    gate.open(&mut left);
    assert_eq!((items(&left), gate.bytes()), (vec![1, 2, 3], 0));
}

#[test]
fn is_bounded_by_count_and_by_bytes() {
    let mut gate = gate();
    for n in 1..=4 {
        assert_eq!(gate.put(Position(n), 1, 0, n), Ok(None));
    }
    let full = gate.put(Position(5), 9, 0, 5).unwrap_err();
    assert_eq!(full, GateFull { position: Position(5), refused_bytes: 9, outputs: 4, bytes: 4 });

    let mut gate = self::gate();
    assert_eq!(gate.put(Position(1), 60, 0, 1), Ok(None));
    assert!(gate.put(Position(2), 41, 0, 2).is_err());
    assert_eq!(gate.put(Position(2), 40, 0, 2), Ok(None));
    assert!(gate.put(Position(2), u64::MAX, 0, 2).is_err());
}

#[test]
fn a_shut_gate_stays_shut() {
    let mut gate = gate();
    assert_eq!(gate.put(Position(1), 1, 0, 1), Ok(None));
    gate.shut();
    let mut left = Vec::new();
    gate.open(&mut left);
    gate.release(Position(9), &mut left);
    gate.close(Position(9));
    assert_eq!(gate.put(Position(2), 1, 0, 2), Ok(None));
    assert_eq!((left.len(), gate.outputs()), (0, 0));
}

#[cfg(feature = "sabotage")]
#[test]
fn sabotage_opens_it() {
    let _guard = sabotage::disable(Check::Gate);
    assert!(gate().put(Position(1), 1, 0, 7).unwrap().is_some());
}
