//! Where indirect jumps meet: from an address to the block of the region that begins there, or out of the region.
//!
//! A table leads from a hash of the address, which no two of the blocks share, to the only block that it may be.

use super::function::{Frame, Lowering};
use crate::lower::slots::SlotState;
use wasm_encoder::{BlockType, ValType};

/// What hashes of places are made with, one after the other until one does.
const FACTOR: u32 = 0x9e37_79b1;

impl Lowering<'_> {
    /// Goes on at the target: in the region, if that may be.
    pub(super) fn follow_target(&mut self) {
        if self.jumps.is_empty() {
            let depth = self.depth(|frame| matches!(frame, Frame::LookUp));
            self.code.put().br(depth);
        } else {
            let switch = self.region.blocks.len();
            self.pass_to(switch);
            let depth = self.depth_of(switch);
            self.code.put().br(depth);
        }
    }

    /// Writes the place where all indirect jumps meet.
    pub(super) fn switch(&mut self) {
        let state = self.entries[self.region.blocks.len()];
        // Who comes here knows different things.
        self.floats.known.forget();
        let places: Vec<i64> = self.jumps.iter().map(|&block| self.region.blocks[block].start).collect();
        let place = self.code.temporary(ValType::I64);
        let target = self.target;
        // Behind the outermost, the target is none of them.
        for _ in 0..=places.len() {
            self.code.put().block(BlockType::Empty);
            self.frames.push(Frame::Other);
        }
        self.code.put().local_get(target);
        self.code.load_i64(self.layout.page_base());
        self.code.put().i64_sub().local_set(place);
        let hash = Hash::of(&places);
        let none = places.len() as u32;
        let mut table = vec![none; 1 << hash.bits];
        for (number, &place) in places.iter().enumerate() {
            table[hash.place(place)] = number as u32;
        }
        let mut put = self.code.put();
        put.local_get(place).i32_wrap_i64().i32_const(hash.factor as i32).i32_mul();
        put.i32_const(hash.drop() as i32).i32_shr_u().br_table(table, none);
        let jumps = self.jumps;
        for (number, (&block, &start)) in jumps.iter().zip(&places).enumerate() {
            self.frames.pop();
            self.code.put().end();
            self.code.put().local_get(place).i64_const(start).i64_ne();
            self.code.rarely_br_if((places.len() - 1 - number) as u32);
            self.state = state;
            self.pass_to(block);
            let depth = self.depth_of(block);
            self.code.put().br(depth);
        }
        self.frames.pop();
        self.code.put().end();
        self.code.release(place);
        self.state = state;
        self.flush();
        let depth = self.depth(|frame| matches!(frame, Frame::LookUp));
        self.code.put().br(depth);
        self.state = SlotState::default();
    }
}

/// A hash of 32-bit numbers: the highest bits of a product.
struct Hash {
    factor: u32,
    bits: u32,
}

impl Hash {
    /// One that no two of these numbers share, which are different.
    fn of(numbers: &[i64]) -> Self {
        let least = numbers.len().next_power_of_two().trailing_zeros().max(1);
        let mut candidates = (least..=16).flat_map(|bits| {
            let factors = std::iter::successors(Some(FACTOR), |factor| Some(factor.wrapping_mul(FACTOR)));
            factors.take(64).map(move |factor| Self { factor, bits })
        });
        let found = candidates.find(|hash| {
            let mut places: Vec<usize> = numbers.iter().map(|&number| hash.place(number)).collect();
            places.sort_unstable();
            places.is_sorted_by(|a, b| a < b)
        });
        found.expect("places in a page have different products")
    }

    fn place(&self, number: i64) -> usize {
        ((number as u32).wrapping_mul(self.factor) >> self.drop()) as usize
    }

    /// How far the product is shifted down.
    fn drop(&self) -> u32 {
        u32::BITS - self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_tell_the_places_of_a_page_apart() {
        for (count, distance) in [(1, 1), (2, 16), (32, 1), (32, 2), (32, 16), (32, 128), (31, 130)] {
            let numbers: Vec<i64> = (0..count).map(|n| n * distance).collect();
            let hash = Hash::of(&numbers);
            let places: std::collections::BTreeSet<_> = numbers.iter().map(|&n| hash.place(n)).collect();
            assert_eq!(places.len(), numbers.len());
            assert!(hash.bits <= 8, "{count} {distance}: {}", hash.bits);
        }
    }
}
