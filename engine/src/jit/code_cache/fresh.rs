//! Records that are of use in this run already: what was made ahead of it.

use crate::keys::KeyHasher;
use std::collections::HashMap;
use std::sync::Arc;

/// Most bytes of them: an image may ask for any number.
const MOST_BYTES: usize = 64 << 20;

/// Records by their keys.
#[derive(Default)]
pub struct Fresh {
    records: HashMap<u64, Vec<Arc<Vec<u8>>>, KeyHasher>,
    bytes: usize,
}

impl Fresh {
    /// Takes in a record, if there is room.
    pub fn add(&mut self, keys: &[u64], record: Vec<u8>) {
        if self.bytes < MOST_BYTES {
            self.bytes += record.len();
            let record = Arc::new(record);
            for &key in keys {
                self.records.entry(key).or_default().push(record.clone());
            }
        }
    }

    /// The records of a key.
    pub fn find(&self, key: u64) -> impl Iterator<Item = &Arc<Vec<u8>>> {
        self.records.get(&key).into_iter().flatten()
    }
}
