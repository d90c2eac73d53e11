//! The key-value store: a chained hash table of fixed size in bounded memory.
//!
//! Two executions of a guest must be the same, so the hash has a fixed seed; the table is laid out once, so no request
//! ever pays for moving all of it.

mod table;

use alloc::vec::Vec;
use table::{Entry, Table};

/// Table bytes per key: entry and chain head.
const TABLE_BYTES_PER_KEY: usize = size_of::<Entry>() + size_of::<u32>();
/// Share of the memory that goes to the table, so that it has a place for each key of [`TYPICAL_BYTES`] with its value.
const TYPICAL_BYTES: usize = 2 * TABLE_BYTES_PER_KEY;
/// Between two searches for expired keys to make room, in ns: a full store must not search at each request.
const SWEEP_INTERVAL_NS: u64 = 100_000_000;

/// The store cannot take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A value, and when it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Value {
    /// The value itself.
    pub bytes: Vec<u8>,
    /// Time since power-on in ns from which the key no longer exists.
    pub expires_ns: Option<u64>,
}

/// The store. Each call is told the time since power-on in ns.
pub struct Store {
    table: Table,
    /// Bytes of keys and values, as the heap rounds them.
    used: usize,
    limit: usize,
    swept_ns: u64,
}

impl Store {
    /// A store that keeps to `memory` bytes of heap.
    ///
    /// # Errors
    /// [`Full`] when the heap does not have that much.
    pub fn new(memory: usize) -> Result<Self, Full> {
        let keys = memory / TYPICAL_BYTES;
        let limit = memory - keys * TABLE_BYTES_PER_KEY;
        Ok(Self { table: Table::new(keys)?, used: 0, limit, swept_ns: 0 })
    }

    /// Number of keys; an expired one counts until somebody asks for it or the room is needed.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in use for keys and values.
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    /// Bytes there are for keys and values.
    pub fn limit_bytes(&self) -> usize {
        self.limit
    }

    /// The value of a key.
    pub fn get(&mut self, key: &[u8], now_ns: u64) -> Option<&Value> {
        self.expire(key, now_ns);
        self.table.find(key).map(|index| &self.table.entry(index).value)
    }

    /// Sets a key, in place of what it was.
    ///
    /// # Errors
    /// [`Full`]; the key is as it was.
    pub fn set(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        expires_ns: Option<u64>,
        now_ns: u64,
    ) -> Result<(), Full> {
        self.expire(key, now_ns);
        let mut copy = Vec::new();
        if let Some(index) = self.table.find(key) {
            let old = cost(self.table.entry(index).value.bytes.capacity());
            self.reserve(cost(bytes.len()).saturating_sub(old), now_ns)?;
            // Looked up again: making room may have moved entries out.
            let index = self.table.find(key).ok_or(Full)?;
            let value = &mut self.table.entry_mut(index).value;
            if value.bytes.capacity() == bytes.len() {
                // The usual case of a value that keeps its length costs no allocation.
                value.bytes.clear();
                value.bytes.extend_from_slice(bytes);
            } else {
                copy.try_reserve_exact(bytes.len()).map_err(|_| Full)?;
                copy.extend_from_slice(bytes);
                value.bytes = copy;
            }
            value.expires_ns = expires_ns;
            self.used = self.used - old + cost(self.table.entry(index).value.bytes.capacity());
            return Ok(());
        }
        self.reserve(cost(key.len()) + cost(bytes.len()), now_ns)?;
        copy.try_reserve_exact(bytes.len()).map_err(|_| Full)?;
        copy.extend_from_slice(bytes);
        let used = cost(key.len()) + cost(copy.capacity());
        self.table.insert(key, Value { bytes: copy, expires_ns })?;
        self.used += used;
        Ok(())
    }

    /// Adds to the end of a key's value, or sets it; the new length.
    ///
    /// # Errors
    /// [`Full`]; the key is as it was.
    pub fn append(&mut self, key: &[u8], bytes: &[u8], now_ns: u64) -> Result<usize, Full> {
        self.expire(key, now_ns);
        let Some(index) = self.table.find(key) else {
            return self.set(key, bytes, None, now_ns).map(|()| bytes.len());
        };
        let value = &self.table.entry(index).value.bytes;
        let (old, length) = (value.capacity(), value.len() + bytes.len());
        // Grown by half, so that many small additions do not copy the value each time.
        let capacity = if length <= old { old } else { length.max(old + old / 2) };
        self.reserve(cost(capacity) - cost(old), now_ns)?;
        let index = self.table.find(key).ok_or(Full)?;
        let value = &mut self.table.entry_mut(index).value.bytes;
        value.try_reserve_exact(capacity - value.len()).map_err(|_| Full)?;
        value.extend_from_slice(bytes);
        self.used = self.used - cost(old) + cost(value.capacity());
        Ok(length)
    }

    /// Makes sure that all of `pairs` can be set, whatever is there of them now.
    ///
    /// # Errors
    /// [`Full`]; nothing was set.
    pub fn make_room<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        now_ns: u64,
    ) -> Result<(), Full> {
        let (mut bytes, mut keys) = (0, 0);
        for (key, value) in pairs {
            bytes += cost(key.len()) + cost(value.len());
            keys += 1;
        }
        self.reserve(bytes, now_ns)?;
        if self.table.room() < keys { Err(Full) } else { Ok(()) }
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, key: &[u8], now_ns: u64) -> bool {
        self.expire(key, now_ns);
        self.table.find(key).is_some_and(|index| {
            self.remove_entry(index);
            true
        })
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.table.clear();
        self.used = 0;
    }

    fn expire(&mut self, key: &[u8], now_ns: u64) {
        if let Some(index) = self.table.find(key)
            && self.table.entry(index).is_expired(now_ns)
        {
            self.remove_entry(index);
        }
    }

    fn remove_entry(&mut self, index: u32) {
        let (key, value) = self.table.remove(index);
        self.used -= cost(key.len()) + cost(value.bytes.capacity());
    }

    /// Makes sure of room for `more` bytes, at the cost of expired keys.
    fn reserve(&mut self, more: usize, now_ns: u64) -> Result<(), Full> {
        if self.used + more > self.limit && now_ns >= self.swept_ns.saturating_add(SWEEP_INTERVAL_NS) {
            self.swept_ns = now_ns;
            for index in self.table.indices() {
                if self.table.is_expired(index, now_ns) {
                    self.remove_entry(index);
                }
            }
        }
        if self.used + more > self.limit { Err(Full) } else { Ok(()) }
    }
}

/// Bytes of heap for an allocation of `length`: a header, and chunks in steps of 16 from 32 up.
fn cost(length: usize) -> usize {
    if length == 0 { 0 } else { (length + 8).next_multiple_of(16).max(32) }
}

#[cfg(test)]
mod tests;
