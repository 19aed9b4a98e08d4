//! Random numbers for RDRAND and RDSEED: xoshiro256** (Blackman and Vigna, 2018), part of the system state, so that a
//! machine that runs again from the same state with the same input does the same.
//!
//! Whoever builds a machine, or resumes one from a snapshot that others resume, too, gives it a seed of its own.

use serde::{Deserialize, Serialize};

/// The generator. Its state is never all zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random([u64; 4]);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: [u64; 4]) -> Self {
        // Any constant does; this one keeps a seed of zeros from being the one state that never changes.
        const MIX: [u64; 4] =
            [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0x2545_f491_4f6c_dd1d];
        let mut state = MIX;
        for (word, seed) in state.iter_mut().zip(seed) {
            *word ^= seed;
        }
        if state == [0; 4] { Self(MIX) } else { Self(state) }
    }

    /// Mixes a seed into the state.
    pub fn reseed(&mut self, seed: [u64; 4]) {
        let mut mixed = self.0;
        for (word, seed) in mixed.iter_mut().zip(seed) {
            *word ^= seed;
        }
        *self = Self::new(mixed);
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_tell_generators_apart() {
        let draws = |seed| {
            let mut random = Random::new(seed);
            [random.draw(), random.draw(), random.draw()]
        };
        assert_ne!(draws([0; 4]), draws([1, 0, 0, 0]));
        assert_ne!(draws([0; 4]), [0; 3]);
        let (mut a, mut b) = (Random::new([1; 4]), Random::new([1; 4]));
        a.reseed([2; 4]);
        assert_ne!(a.draw(), b.draw());
    }
}
