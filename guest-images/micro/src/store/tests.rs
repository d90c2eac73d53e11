//! Tests of the store: against a model, at its limits, and of expiry.

use std::collections::BTreeMap;

use super::*;
use crate::test_random::Random;

fn store(memory: usize) -> Store {
    Store::new(memory).expect("the host has memory")
}

fn bytes_of<'a>(store: &'a mut Store, key: &[u8]) -> Option<&'a [u8]> {
    store.get(key, 0).map(|value| value.bytes.as_slice())
}

#[test]
fn behaves_like_a_map() {
    let mut random = Random::from_environment();
    let mut store = store(1 << 20);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for _ in 0..50_000 {
        let key = random.below(500).to_string().into_bytes();
        let value = vec![b'v'; random.below(40) as usize];
        match random.below(100) {
            0..40 => {
                store.set(&key, &value, None, 0).unwrap();
                model.insert(key, value);
            }
            40..60 => {
                let entry = model.entry(key.clone()).or_default();
                if entry.len() < 1000 {
                    entry.extend_from_slice(&value);
                    assert_eq!(store.append(&key, &value, 0), Ok(entry.len()));
                }
            }
            60..80 => assert_eq!(store.remove(&key, 0), model.remove(&key).is_some()),
            80..99 => assert_eq!(bytes_of(&mut store, &key), model.get(&key).map(Vec::as_slice)),
            _ if random.below(100) == 0 => {
                store.clear();
                model.clear();
            }
            _ => {}
        }
        assert_eq!(store.len(), model.len());
    }
    let keys: Vec<_> = model.keys().cloned().collect();
    assert!(keys.iter().all(|key| store.remove(key, 0)));
    assert_eq!((store.len(), store.used_bytes()), (0, 0));
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let mut store = store(64 * 1024);
    let mut count = 0u32;
    while store.set(&count.to_le_bytes(), &[7; 100], None, 0).is_ok() {
        count += 1;
    }
    assert!(count > 100, "{count} keys of some 140 bytes in 64 KiB");
    assert!(store.used_bytes() <= store.limit_bytes());
    assert_eq!(store.append(&0u32.to_le_bytes(), &[8; 4096], 0), Err(Full));
    assert_eq!(store.set(&0u32.to_le_bytes(), &[8; 4096], None, 0), Err(Full));
    assert_eq!(bytes_of(&mut store, &0u32.to_le_bytes()), Some(&[7; 100][..]));
    assert!(store.remove(&1u32.to_le_bytes(), 0));
    assert_eq!(store.set(&count.to_le_bytes(), &[7; 100], None, 0), Ok(()));
}

#[test]
fn runs_out_of_places_as_well() {
    let mut store = store(64 * 1024);
    let mut count = 0u32;
    while store.set(&count.to_le_bytes(), b"", None, 0).is_ok() {
        count += 1;
    }
    assert!(store.used_bytes() <= store.limit_bytes());
    assert_eq!(store.len(), count as usize);
}

#[test]
fn expired_keys_are_gone_and_make_room() {
    let mut store = store(64 * 1024);
    store.set(b"k", b"v", Some(1000), 0).unwrap();
    assert!(store.get(b"k", 999).is_some());
    assert!(store.get(b"k", 1000).is_none());
    assert_eq!(store.len(), 0);

    let mut count = 0u32;
    while store.set(&count.to_le_bytes(), &[7; 100], Some(5000), 2000).is_ok() {
        count += 1;
    }
    let later = 5000 + SWEEP_INTERVAL_NS;
    assert_eq!(store.set(b"new", &[7; 100], None, later), Ok(()));
    assert_eq!(store.len(), 1);
}

#[test]
fn setting_replaces_the_expiry() {
    let mut store = store(64 * 1024);
    store.set(b"k", b"v", Some(1000), 0).unwrap();
    store.set(b"k", b"w", None, 0).unwrap();
    assert!(store.get(b"k", u64::MAX).is_some());
}
