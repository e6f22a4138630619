//! Caches with a byte bound, read by many threads at once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::Result;

/// Independent locks, so that threads that miss do not wait for each other.
const SHARDS: usize = 16;

/// Blocks of bytes by a 64-bit key, dropped in the order of a clock: a block that was used since
/// the hand last passed is passed over once more.
///
/// A hit takes a shared lock only. Blocks are loaded outside the locks; should two threads miss
/// the same one, both load it.
#[derive(Debug)]
pub(super) struct BlockCache {
    shards: [RwLock<Shard>; SHARDS],
    hasher: RandomState,
    /// Bytes that a shard may hold.
    shard_limit: usize,
}

#[derive(Debug, Default)]
struct Shard {
    blocks: HashMap<u64, Block>,
    /// Keys in the order in which the hand passes.
    clock: VecDeque<u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Block {
    bytes: Arc<[u8]>,
    used: AtomicBool,
}

impl BlockCache {
    /// A cache of at most `limit` bytes, but of one block per shard in any case.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            shard_limit: limit / SHARDS,
        }
    }

    /// The block of `key`, if it is here.
    pub(super) fn get(&self, key: u64) -> Option<Arc<[u8]>> {
        let shard = self
            .shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let block = shard.blocks.get(&key)?;
        block.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&block.bytes))
    }

    /// The block of `key`, loaded when it is not here.
    pub(super) fn get_or_load(
        &self,
        key: u64,
        load: impl FnOnce() -> Result<Arc<[u8]>>,
    ) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.get(key) {
            return Ok(bytes);
        }
        let bytes = load()?;
        self.insert(key, &bytes);
        Ok(bytes)
    }

    fn insert(&self, key: u64, bytes: &Arc<[u8]>) {
        let mut shard = self
            .shard(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.blocks.contains_key(&key) {
            return;
        }
        shard.make_room(bytes.len(), self.shard_limit);
        shard.bytes += bytes.len();
        shard.clock.push_back(key);
        let block = Block {
            bytes: Arc::clone(bytes),
            used: AtomicBool::new(false),
        };
        shard.blocks.insert(key, block);
    }

    fn shard(&self, key: u64) -> &RwLock<Shard> {
        // An image chooses the keys: with a secret hash it cannot crowd them into one shard.
        let hash = self.hasher.hash_one(key);
        #[allow(clippy::cast_possible_truncation, reason = "a remainder below 16")]
        let index = (hash % SHARDS as u64) as usize;
        &self.shards[index]
    }
}

impl Shard {
    fn make_room(&mut self, more: usize, limit: usize) {
        while self.bytes + more > limit {
            let Some(key) = self.clock.pop_front() else {
                return;
            };
            let used = self
                .blocks
                .get_mut(&key)
                .is_some_and(|block| std::mem::take(block.used.get_mut()));
            if used {
                self.clock.push_back(key);
            } else if let Some(block) = self.blocks.remove(&key) {
                self.bytes -= block.bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(cache: &BlockCache) -> usize {
        cache
            .shards
            .iter()
            .map(|shard| shard.read().unwrap().bytes)
            .sum()
    }

    #[test]
    fn holds_no_more_than_its_limit() {
        let cache = BlockCache::new(SHARDS * 400);
        for key in 0..10_000 {
            let bytes = cache
                .get_or_load(key, || Ok(Arc::from([1; 100].as_slice())))
                .unwrap();
            assert_eq!(bytes.len(), 100);
            assert!(held(&cache) <= SHARDS * 400);
        }
        assert!(held(&cache) > 0);
    }

    #[test]
    fn keeps_what_is_used() {
        let cache = BlockCache::new(SHARDS * 400);
        let load = || Ok(Arc::from([1; 100].as_slice()));
        cache.get_or_load(7, load).unwrap();
        for key in 100..10_000 {
            cache.get_or_load(key, load).unwrap();
            assert!(cache.get(7).is_some(), "dropped at {key}");
        }
    }

    #[test]
    fn does_not_keep_failures() {
        let cache = BlockCache::new(1 << 20);
        let failed = cache.get_or_load(1, || Err(crate::Error::corrupt("no")));
        assert!(failed.is_err());
        assert!(cache.get(1).is_none());
    }
}
