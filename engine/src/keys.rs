//! Hashing of keys that are a few numbers: addresses, pages, modes. A guest that chooses its addresses badly only makes
//! itself slow, so nothing is spent on keys that collide on purpose.

use std::hash::{BuildHasher, Hasher};

/// Makes a [`KeyHash`] for each key.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHasher;

/// What has been hashed so far.
pub(crate) struct KeyHash(u64);

impl BuildHasher for KeyHasher {
    type Hasher = KeyHash;

    #[inline]
    fn build_hasher(&self) -> KeyHash {
        KeyHash(0)
    }
}

impl Hasher for KeyHash {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing. Tables take bits from both ends of what comes out, so the high half is mixed into the low one.
        let product = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbouring_keys_come_to_different_places() {
        // 128 places for 64 keys, by the low and by the high bits: about half of the keys have one of their own.
        let hashes: Vec<u64> = (0..64u64).map(|page| KeyHasher.hash_one((page << 12, page % 3))).collect();
        for place in [|hash: &u64| hash & 127, |hash: &u64| hash >> 57] {
            let places: HashSet<u64> = hashes.iter().map(place).collect();
            assert!(places.len() >= 40, "{}", places.len());
        }
        assert_ne!(KeyHasher.hash_one((1u64, 2u64)), KeyHasher.hash_one((2u64, 1u64)));
    }
}
