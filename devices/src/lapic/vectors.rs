//! A set of interrupt vectors.

/// One bit for each of 256 vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VectorSet(pub [u64; 4]);

impl VectorSet {
    pub fn set(&mut self, vector: u8, value: bool) {
        let word = &mut self.0[usize::from(vector >> 6)];
        *word = *word & !(1 << (vector & 63)) | u64::from(value) << (vector & 63);
    }

    pub fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    pub fn highest(&self) -> Option<u8> {
        let word = (0..4).rev().find(|&word| self.0[word] != 0)?;
        Some((word as u32 * 64 + 63 - self.0[word].leading_zeros()) as u8)
    }

    /// The vectors from `32 * index` on, `index` below 8.
    pub fn word(&self, index: usize) -> u32 {
        (self.0[index / 2] >> (32 * (index & 1))) as u32
    }
}
