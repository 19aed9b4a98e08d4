//! Operands that look for trouble: exponents near every limit, significands with long runs of ones or
//! zeros, operands that nearly cancel or leave exactly half a unit, every kind of NaN.

use super::super::{F16, F32, F64, F80, Format};

/// A format whose encodings tests can make up.
pub trait Encoding: Format {
    /// Exponent bits.
    const EXPONENT_BITS: u32;
    /// Bits stored of the significand.
    const STORED: u32;
    fn from_wide(bits: u128) -> Self::Bits;
    fn to_wide(bits: Self::Bits) -> u128;
}

macro_rules! encoding {
    ($($format:ident: $bits:ident, $exponent:literal, $stored:literal;)*) => {$(
        impl Encoding for $format {
            const EXPONENT_BITS: u32 = $exponent;
            const STORED: u32 = $stored;
            fn from_wide(bits: u128) -> $bits {
                bits as $bits
            }
            fn to_wide(bits: $bits) -> u128 {
                u128::from(bits)
            }
        }
    )*};
}
encoding! { F16: u16, 5, 10; F32: u32, 8, 23; F64: u64, 11, 52; F80: u128, 15, 64; }

/// SplitMix64: small, and the same on every host.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn near(&mut self, center: i64, distance: i64) -> i64 {
        center - distance + self.below(2 * distance as u64 + 1) as i64
    }
}

fn assemble<F: Encoding>(sign: u64, biased: i64, stored: u64) -> F::Bits {
    let top = (1i64 << F::EXPONENT_BITS) - 1;
    let mut stored = u128::from(stored) & ((1 << F::STORED) - 1);
    let biased = biased.clamp(0, top);
    if F::STORED == F::PRECISION && biased != 0 {
        // Explicit leading bit. Encodings without it have tests of their own.
        stored |= 1 << (F::STORED - 1);
    }
    let sign = u128::from(sign & 1) << (F::STORED + F::EXPONENT_BITS);
    F::from_wide(sign | (biased as u128) << F::STORED | stored)
}

fn fraction<F: Encoding>(random: &mut Random) -> u64 {
    let bits = u64::from(F::STORED);
    let one_bit = |random: &mut Random| 1u64 << random.below(bits);
    match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => random.next(),
        3 => random.next() << random.below(bits),
        4 => one_bit(random) | one_bit(random),
        5 => one_bit(random).wrapping_sub(1),
        6 => one_bit(random).wrapping_neg(),
        _ => random.below(8).wrapping_sub(4),
    }
}

/// One operand.
pub fn operand<F: Encoding>(random: &mut Random) -> F::Bits {
    let bias = i64::from(F::EMAX);
    let digits = i64::from(F::PRECISION);
    let top = 2 * bias + 1;
    let biased = match random.below(16) {
        0 => 0,
        1 => top,
        2..=3 => random.near(0, 2),
        4 => random.near(digits, 3),
        5..=6 => random.near(top - 1, 2),
        7 => random.near(bias / 2, digits + 2),
        8 => random.near(bias + bias / 2, 3),
        9..=12 => random.near(bias, digits + 3),
        _ => random.below(top as u64 + 1) as i64,
    };
    let stored = fraction::<F>(random);
    assemble::<F>(random.next(), biased, stored)
}

/// An operand that is likely to meet `other` in a sum: of like magnitude, or just below its last digit.
pub fn partner<F: Encoding>(random: &mut Random, other: F::Bits) -> F::Bits {
    let wide = F::to_wide(other);
    let biased = (wide >> F::STORED) as i64 & ((1 << F::EXPONENT_BITS) - 1);
    let digits = i64::from(F::PRECISION);
    match random.below(4) {
        0..=1 => operand::<F>(random),
        2 => {
            let near = match random.below(3) {
                0 => biased,
                1 => biased - digits,
                _ => biased + digits,
            };
            let biased = random.near(near, 2);
            let stored = fraction::<F>(random);
            assemble::<F>(random.next(), biased, stored)
        }
        _ => {
            let close = (wide as u64).wrapping_add(random.below(16)).wrapping_sub(8);
            assemble::<F>(random.next(), biased, close)
        }
    }
}

/// Three operands, the third often close to the negated product of the others.
pub fn triple<F: Encoding>(random: &mut Random) -> [F::Bits; 3] {
    let (a, b) = match random.below(8) {
        // A product about the smallest normal number.
        0 => {
            let (biased, stored) = (random.near(2, 1), fraction::<F>(random));
            let a = assemble::<F>(random.next(), biased, stored);
            let (biased, stored) = (random.near(i64::from(F::EMAX), 1), fraction::<F>(random));
            (a, assemble::<F>(random.next(), biased, stored))
        }
        _ => (operand::<F>(random), operand::<F>(random)),
    };
    let field = |bits: F::Bits| (F::to_wide(bits) >> F::STORED) as i64 & ((1 << F::EXPONENT_BITS) - 1);
    let product = field(a) + field(b) - i64::from(F::EMAX);
    let digits = i64::from(F::PRECISION);
    let c = match random.below(4) {
        0 => operand::<F>(random),
        1 => {
            let mut env = super::super::Env::default();
            let rounded = super::super::soft::mul::<F>(&mut env, a, b);
            let wide = F::to_wide(rounded);
            let close = (wide as u64).wrapping_add(random.below(8)).wrapping_sub(4);
            assemble::<F>(random.next(), field(rounded), close)
        }
        _ => {
            let near = match random.below(4) {
                0 => product,
                1 => product - digits,
                2 => product + digits,
                _ => product - 2 * digits,
            };
            let biased = random.near(near, 3);
            let stored = fraction::<F>(random);
            assemble::<F>(random.next(), biased, stored)
        }
    };
    [a, b, c]
}
