//! A chained hash table that is allocated once. Chains are linked by index, free places as well.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use core::ops::Range;

use foldhash::fast::FixedState;

use super::{Full, Value};

/// No entry.
const NONE: u32 = u32::MAX;
const SEED: u64 = 0x6674_766d_6d00_6b76;

/// A place for a key and its value.
pub(super) struct Entry {
    /// `None` in a free place.
    key: Option<Box<[u8]>>,
    pub value: Value,
    hash: u32,
    /// The next entry of the chain, or the next free place.
    next: u32,
}

impl Entry {
    /// Whether the key no longer exists.
    pub fn is_expired(&self, now_ns: u64) -> bool {
        self.value.expires_ns.is_some_and(|end| now_ns >= end)
    }
}

pub(super) struct Table {
    heads: Vec<u32>,
    entries: Vec<Entry>,
    free: u32,
    length: usize,
}

impl Table {
    /// A table with places for `keys` keys.
    pub fn new(keys: usize) -> Result<Self, Full> {
        let keys = keys.clamp(1, NONE as usize - 1);
        let (mut heads, mut entries) = (Vec::new(), Vec::new());
        heads.try_reserve_exact(keys).map_err(|_| Full)?;
        heads.resize(keys, NONE);
        // Filled as it is used: memory that was never needed stays untouched.
        entries.try_reserve_exact(keys).map_err(|_| Full)?;
        Ok(Self { heads, entries, free: NONE, length: 0 })
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// Places that are free.
    pub fn room(&self) -> usize {
        self.entries.capacity() - self.length
    }

    /// Indices of all places; some of them are free.
    pub fn indices(&self) -> Range<u32> {
        0..self.entries.len() as u32
    }

    /// Whether there is a key at `index` that no longer exists.
    pub fn is_expired(&self, index: u32, now_ns: u64) -> bool {
        let entry = self.entry(index);
        entry.key.is_some() && entry.is_expired(now_ns)
    }

    pub fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    pub fn entry_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = hash(key);
        let mut index = self.heads[self.chain(hash)];
        while index != NONE {
            let entry = self.entry(index);
            if entry.hash == hash && entry.key.as_deref() == Some(key) {
                return Some(index);
            }
            index = entry.next;
        }
        None
    }

    /// Adds a key that is not in the table.
    pub fn insert(&mut self, key: &[u8], value: Value) -> Result<(), Full> {
        if self.room() == 0 {
            return Err(Full);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(key.len()).map_err(|_| Full)?;
        copy.extend_from_slice(key);
        let hash = hash(key);
        let chain = self.chain(hash);
        let entry = Entry { key: Some(copy.into_boxed_slice()), value, hash, next: self.heads[chain] };
        if self.free == NONE {
            self.heads[chain] = self.entries.len() as u32;
            self.entries.push(entry);
        } else {
            self.heads[chain] = self.free;
            let place = &mut self.entries[self.free as usize];
            self.free = place.next;
            *place = entry;
        }
        self.length += 1;
        Ok(())
    }

    /// Takes out the entry at `index`, which must not be free.
    pub fn remove(&mut self, index: u32) -> (Box<[u8]>, Value) {
        let (chain, next) = (self.chain(self.entry(index).hash), self.entry(index).next);
        if self.heads[chain] == index {
            self.heads[chain] = next;
        } else {
            let mut before = self.heads[chain];
            while self.entry(before).next != index {
                before = self.entry(before).next;
            }
            self.entry_mut(before).next = next;
        }
        let free = self.free;
        let place = self.entry_mut(index);
        place.next = free;
        let key = place.key.take().expect("a chained entry has a key");
        let value = core::mem::replace(&mut place.value, Value { bytes: Vec::new(), expires_ns: None });
        self.free = index;
        self.length -= 1;
        (key, value)
    }

    pub fn clear(&mut self) {
        self.heads.fill(NONE);
        self.entries.clear();
        self.free = NONE;
        self.length = 0;
    }

    fn chain(&self, hash: u32) -> usize {
        // The high part of the product: evenly spread, without a division.
        ((u64::from(hash) * self.heads.len() as u64) >> 32) as usize
    }
}

fn hash(key: &[u8]) -> u32 {
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    hasher.write(key);
    (hasher.finish() >> 32) as u32
}
