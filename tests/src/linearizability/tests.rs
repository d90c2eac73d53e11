use ftvmm::demo::random::Random;

use super::*;

fn operation(action: Action, invoked_ns: u64, answer: Option<(u64, Reply)>) -> Operation {
    let answer = answer.map(|(at_ns, reply)| Answer { at_ns, reply });
    Operation { connection: 0, key: "k".into(), action, invoked_ns, answer }
}

fn incr(invoked_ns: u64, at_ns: u64, count: i64) -> Operation {
    operation(Action::Incr, invoked_ns, Some((at_ns, Reply::Integer(count))))
}

fn unanswered_incr(invoked_ns: u64) -> Operation {
    operation(Action::Incr, invoked_ns, None)
}

fn get(invoked_ns: u64, at_ns: u64, value: &str) -> Operation {
    let value = (!value.is_empty()).then(|| value.as_bytes().to_vec());
    operation(Action::Get, invoked_ns, Some((at_ns, Reply::Value(value))))
}

fn set(invoked_ns: u64, at_ns: u64, value: &str) -> Operation {
    operation(Action::Set(value.into()), invoked_ns, Some((at_ns, Reply::Status("OK".into()))))
}

fn append(invoked_ns: u64, at_ns: u64, text: &str, length: i64) -> Operation {
    operation(Action::Append(text.into()), invoked_ns, Some((at_ns, Reply::Integer(length))))
}

/// Counters are checked both ways, which must agree.
fn check_counter(operations: &[Operation]) -> bool {
    let operations: Vec<&Operation> = operations.iter().filter(is_effective).collect();
    let exact = counter::check(&operations);
    let searched = search::check(&operations, MOST_EFFORT);
    assert_eq!(exact.is_ok(), searched.is_ok(), "{exact:?}, {searched:?}: {operations:#?}");
    exact.is_ok()
}

#[test]
fn counts_in_order_are_good_and_out_of_order_bad() {
    assert!(check_counter(&[incr(0, 1, 1), incr(2, 3, 2), get(4, 5, "2")]));
    assert!(check_counter(&[incr(0, 9, 2), incr(1, 8, 1)]), "concurrent");
    assert!(!check_counter(&[incr(0, 1, 2), incr(2, 3, 1)]), "the first cannot see the second");
    assert!(!check_counter(&[incr(0, 1, 1), incr(2, 3, 1)]), "repeated");
    assert!(!check_counter(&[incr(0, 1, 1), incr(2, 3, 3)]), "from nowhere");
    assert!(!check_counter(&[incr(0, 1, 1), get(2, 3, "")]), "lost");
    assert!(!check_counter(&[incr(0, 1, 0)]));
    assert!(check_counter(&[]));
}

#[test]
fn an_unanswered_increment_counts_once_at_any_later_time_or_never() {
    assert!(check_counter(&[unanswered_incr(0), incr(1, 2, 1), get(3, 4, "1"), get(9, 10, "2")]));
    assert!(check_counter(&[unanswered_incr(0), incr(1, 2, 1), get(9, 10, "1")]));
    assert!(check_counter(&[unanswered_incr(0), incr(1, 2, 2)]));
    assert!(!check_counter(&[incr(1, 2, 2), unanswered_incr(3)]), "not before it was sent");
    assert!(!check_counter(&[unanswered_incr(0), incr(1, 2, 1), get(3, 4, "3")]), "not twice");
}

#[test]
fn a_read_lies_between_two_counts() {
    assert!(check_counter(&[incr(0, 1, 1), incr(2, 9, 2), get(3, 4, "1"), get(5, 6, "2")]));
    assert!(!check_counter(&[incr(0, 1, 1), incr(2, 9, 2), get(3, 4, "2"), get(5, 6, "1")]), "back in time");
    assert!(!check_counter(&[incr(0, 1, 1), incr(2, 3, 2), get(4, 5, "1")]), "stale");
}

#[test]
fn values_are_those_last_written() {
    assert!(check(&[set(0, 1, "a"), append(2, 3, "b", 2), get(4, 5, "ab")]).is_ok());
    assert!(check(&[set(0, 9, "a"), set(1, 8, "b"), get(10, 11, "a")]).is_ok());
    assert!(check(&[set(0, 1, "a"), set(2, 3, "b"), get(4, 5, "a")]).is_err(), "stale");
    assert!(check(&[set(0, 1, "a"), append(2, 3, "b", 2), get(4, 5, "a")]).is_err(), "lost");
    assert!(check(&[set(0, 1, "a"), append(2, 3, "b", 2), get(4, 5, "abb")]).is_err(), "repeated");
    assert!(check(&[append(0, 1, "a", 1), append(2, 3, "b", 1)]).is_err(), "forgotten");
}

#[test]
fn a_deleted_key_is_gone_until_it_is_set_again() {
    let delete = |invoked_ns, at_ns, count| {
        operation(Action::Delete, invoked_ns, Some((at_ns, Reply::Integer(count))))
    };
    let gone = operation(Action::Get, 4, Some((5, Reply::Value(None))));
    assert!(check(&[set(0, 1, "a"), delete(2, 3, 1), gone.clone(), append(6, 7, "b", 1)]).is_ok());
    assert!(check(&[set(0, 1, "a"), delete(2, 3, 1), delete(4, 5, 0)]).is_ok());
    assert!(check(&[set(0, 1, "a"), delete(2, 3, 0)]).is_err(), "it was there");
    assert!(check(&[set(0, 1, "a"), delete(2, 3, 1), get(4, 5, "a")]).is_err(), "it came back");
    assert!(check(&[set(0, 1, "a"), gone]).is_err(), "nobody deleted it");
}

#[test]
fn concurrent_appends_have_one_order() {
    let appends = [append(0, 9, "a", 2), append(1, 8, "b", 1), append(2, 7, "c", 3)];
    let with = |read: &str| check(&[appends.as_slice(), &[get(10, 11, read)]].concat());
    assert!(with("bac").is_ok());
    assert!(with("abc").is_err());
}

#[test]
fn an_unanswered_append_happens_late_or_never_but_not_twice() {
    let unanswered = operation(Action::Append("x".into()), 2, None);
    let with = |reads: &[Operation]| check(&[&[set(0, 1, "a"), unanswered.clone()], reads].concat());
    assert!(with(&[get(3, 4, "a"), get(5, 6, "ax")]).is_ok());
    assert!(with(&[get(3, 4, "a"), get(5, 6, "a")]).is_ok());
    assert!(with(&[get(3, 4, "ax"), get(5, 6, "a")]).is_err());
    assert!(with(&[get(3, 4, "axx")]).is_err());
}

#[test]
fn keys_are_independent_and_the_bad_one_is_named() {
    let mut other = get(5, 6, "b");
    other.key = "other".into();
    let violation = check(&[set(0, 1, "a"), get(2, 3, "a"), other]).unwrap_err();
    assert_eq!(violation.key, "other");
}

#[test]
fn a_refusal_has_no_effect() {
    let refused = operation(Action::Incr, 2, Some((3, Reply::Error("ERR full".into()))));
    assert!(check_counter(&[incr(0, 1, 1), refused, incr(4, 5, 2)]));
}

#[test]
fn effort_is_bounded_and_undecided_is_not_good() {
    // Concurrent writes that nobody reads, and a read that nothing explains.
    let mut operations: Vec<Operation> = (0..20).map(|n| set(n, 1000, &n.to_string())).collect();
    operations.push(get(2000, 2001, "never"));
    let operations: Vec<&Operation> = operations.iter().collect();
    let reason = search::check(&operations, 1000).unwrap_err();
    assert!(reason.contains("undecided"), "{reason}");
}

/// What a server does whose clients overlap: each instant lies within its operation.
fn random_history(random: &mut Random, actions: u64, most: u64) -> Vec<Operation> {
    let (mut value, mut operations): (Vec<u8>, _) = (Vec::new(), Vec::new());
    for instant in (10..10 + most * 10).step_by(10) {
        let (invoked_ns, at_ns) = (instant - random.below(10), instant + random.below(30));
        let text = vec![b'a' + random.below(26) as u8];
        let (action, reply) = match random.below(actions) {
            0 => {
                let read = (!value.is_empty()).then(|| value.clone());
                (Action::Get, Reply::Value(read))
            }
            1 if actions == 2 => {
                let count = String::from_utf8_lossy(&value).parse().unwrap_or(0) + 1;
                value = count.to_string().into_bytes();
                (Action::Incr, Reply::Integer(count))
            }
            1 => {
                value = text.clone();
                (Action::Set(text), Reply::Status("OK".into()))
            }
            2 => {
                let count = i64::from(!value.is_empty());
                value.clear();
                (Action::Delete, Reply::Integer(count))
            }
            _ => {
                value.extend_from_slice(&text);
                (Action::Append(text), Reply::Integer(value.len() as i64))
            }
        };
        let answer = (random.below(10) > 0).then_some((at_ns, reply));
        operations.push(operation(action, invoked_ns, answer));
    }
    operations
}

#[test]
fn random_histories_of_a_good_server_are_good() {
    let seed = crate::harness::seed();
    for round in 0..300 {
        let mut random = Random::new(seed.wrapping_add(round));
        assert!(check_counter(&random_history(&mut random, 2, 12)), "seed {seed}, round {round}");
        let texts = random_history(&mut random, 4, 30);
        assert_eq!(check(&texts), Ok(()), "seed {seed}, round {round}: {texts:#?}");
    }
}

/// The two checks of counters agree on histories with one wrong answer, whether it shows or not.
#[test]
fn random_wrong_counts_are_judged_alike_by_both_checks() {
    let (seed, mut bad) = (crate::harness::seed(), 0);
    for round in 0..300 {
        let mut random = Random::new(seed.wrapping_add(round));
        let mut operations = random_history(&mut random, 2, 10);
        let chosen = random.below(operations.len() as u64) as usize;
        if let Some(Answer { reply: Reply::Integer(count), .. }) = &mut operations[chosen].answer {
            *count += random.below(3) as i64 - 1;
        }
        bad += u32::from(!check_counter(&operations));
    }
    assert!(bad > 50, "seed {seed}: only {bad} of 300 were bad");
}
