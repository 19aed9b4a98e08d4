//! Records of this run, before they are written.

use crate::keys::KeyHasher;
use std::collections::HashMap;
use std::sync::Arc;

/// Most bytes of records that wait to be written: a guest that writes code for hours must not fill memory.
const MOST_BYTES: usize = 64 << 20;

/// Records in the order in which they came.
#[derive(Default)]
pub struct Fresh {
    /// Each with its key.
    records: Vec<(u64, Arc<Vec<u8>>)>,
    /// Numbers of those of each key.
    by_key: HashMap<u64, Vec<u32>, KeyHasher>,
    bytes: usize,
}

impl Fresh {
    /// Takes in a record, if there is room.
    pub fn add(&mut self, key: u64, record: Vec<u8>) {
        if self.bytes < MOST_BYTES {
            self.bytes += record.len();
            self.by_key.entry(key).or_default().push(self.records.len() as u32);
            self.records.push((key, Arc::new(record)));
        }
    }

    /// The records of a key, the newest first.
    pub fn find(&self, key: u64) -> impl Iterator<Item = &Arc<Vec<u8>>> {
        let numbers = self.by_key.get(&key).into_iter().flatten();
        numbers.rev().map(|&number| &self.records[number as usize].1)
    }

    /// All of them, each with its key, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.records.iter().rev().map(|(key, record)| (*key, record.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_last_is_found_first() {
        let mut fresh = Fresh::default();
        for (key, record) in [(1, 10), (2, 20), (1, 11)] {
            fresh.add(key, vec![record]);
        }
        let found = |key| fresh.find(key).map(|record| record[0]).collect::<Vec<_>>();
        assert_eq!((found(1), found(2), found(3)), (vec![11, 10], vec![20], vec![]));
        assert_eq!(fresh.newest_first().map(|(_, record)| record[0]).collect::<Vec<_>>(), [11, 20, 10]);
    }

    #[test]
    fn there_is_a_limit() {
        let mut fresh = Fresh::default();
        for key in 0..3 {
            fresh.add(key, vec![0; MOST_BYTES / 2]);
        }
        assert_eq!(fresh.newest_first().count(), 2);
    }
}
