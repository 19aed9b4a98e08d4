//! Random operands: every kind has its edges, which are drawn more often than chance would.

use crate::riscv64::random::Random;

const WORDS: [u64; 10] = [
    0,
    1,
    u64::MAX,
    1 << 63,
    i64::MAX as u64,
    0x8000_0000,
    0x7fff_ffff,
    0x8080_8080_7f7f_8080,
    0xffff_ffff,
    0x8000,
];

/// 32-bit floating-point edges: zeros, one, infinities, quiet and signalling NaNs, denormals, the largest, the smallest
/// normal, and the limits of integers.
const SINGLES: [u32; 24] = [
    0,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xffbf_ffff,
    0x7fc1_2345,
    0x0000_0001,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x4f00_0000,
    0xcf00_0000,
    0x5f00_0000,
    0xdf00_0000,
    0x3f00_0000,
    0x4b7f_ffff,
];

/// The same for 64 bits.
const DOUBLES: [u64; 26] = [
    0,
    1 << 63,
    0x3ff0 << 48,
    0xbff0 << 48,
    0x7ff0 << 48,
    0xfff0 << 48,
    0x7ff8 << 48,
    0xfff8 << 48,
    0x7ff0_0000_0000_0001,
    0xfff7_ffff_ffff_ffff,
    0x7ff8_0000_1234_5678,
    1,
    0x8000_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x41e0 << 48,
    0xc1e0 << 48,
    0x43e0 << 48,
    0xc3e0 << 48,
    0x3fe0 << 48,
    0x47ef_ffff_f000_0000,
    0x36a0 << 48,
    0x41df_ffff_ffe0_0000,
];

/// Exponents of 80-bit numbers: zero and denormals, the smallest, those around one and around the limits of integers and
/// of the narrower formats, the largest, and infinities and NaNs.
const EXPONENTS: [u16; 20] = [
    0, 0, 1, 2, 0x3fff, 0x3ffe, 0x4000, 0x400e, 0x401e, 0x403d, 0x403e, 0x403f, 0x407e, 0x3f80, 0x43fe,
    0x3c00, 0x7ffe, 0x7fff, 0x7fff, 0x7ffd,
];

/// Significands of 80-bit numbers; those without the top bit are denormals, pseudo-infinities and unnormals.
const SIGNIFICANDS: [u64; 10] = [
    0,
    1 << 63,
    u64::MAX,
    1,
    3 << 62,
    (1 << 63) | 1,
    i64::MAX as u64,
    1 << 62,
    0xffff_ff00_0000_0000,
    0xffff_ffff_ffff_f800,
];

/// An integer register.
pub fn word(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.pick(&WORDS),
        1 => random.below(300).wrapping_sub(150),
        _ => random.draw(),
    }
}

/// A 32-bit floating-point number.
pub fn single(random: &mut Random) -> u32 {
    match random.below(8) {
        0..=2 => random.pick(&SINGLES),
        // Exponents near each other, so that sums depend on both operands.
        3 | 4 => (random.draw() as u32 & 0x807f_ffff) | ((0x7e + random.below(4) as u32) << 23),
        // Small integers and halves.
        5 => ((random.below(4000) as f32 - 2000.0) / 2.0).to_bits(),
        _ => random.draw() as u32,
    }
}

/// A 64-bit floating-point number.
pub fn double(random: &mut Random) -> u64 {
    match random.below(8) {
        0..=2 => random.pick(&DOUBLES),
        3 | 4 => (random.draw() & 0x800f_ffff_ffff_ffff) | ((0x3fe + random.below(4)) << 52),
        5 => ((random.below(4000) as f64 - 2000.0) / 2.0).to_bits(),
        // What a single can hold, and what it cannot quite.
        6 => f64::from(f32::from_bits(single(random))).to_bits() ^ (random.below(4) << 27),
        _ => random.draw(),
    }
}

/// An 80-bit floating-point number: significand, and sign with exponent.
pub fn extended(random: &mut Random) -> (u64, u16) {
    let sign = (random.below(2) as u16) << 15;
    match random.below(8) {
        0 | 1 => (random.pick(&SIGNIFICANDS), random.pick(&EXPONENTS) | sign),
        2 => (random.draw() | 1 << 63, random.pick(&EXPONENTS) | sign),
        3 | 4 => (random.draw() | 1 << 63, (0x3ffd + random.below(6) as u16) | sign),
        5 => integer_as_extended(random.below(4000), sign),
        // What MMX leaves behind.
        6 => (word(random), 0xffff),
        _ => (random.draw(), random.draw() as u16),
    }
}

fn integer_as_extended(number: u64, sign: u16) -> (u64, u16) {
    if number == 0 {
        return (0, sign);
    }
    let shift = number.leading_zeros();
    (number << shift, (0x3fff + 63 - shift as u16) | sign)
}

/// What 8 bytes of a vector or of memory hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An integer, or anything.
    Word,
    /// Two 32-bit floating-point numbers.
    Singles,
    /// A 64-bit floating-point number.
    Double,
    /// Small numbers, limits and zeros of 8 or 16 bits.
    Lanes,
}

/// All of them.
pub const CONTENTS: [Content; 4] = [Content::Word, Content::Singles, Content::Double, Content::Lanes];

/// 8 bytes.
pub fn content(random: &mut Random, content: Content) -> u64 {
    match content {
        Content::Word => word(random),
        Content::Singles => u64::from(single(random)) | u64::from(single(random)) << 32,
        Content::Double => double(random),
        Content::Lanes => {
            const BYTES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x41, 0x10];
            let mut bytes = [0; 8];
            bytes.fill_with(|| if random.below(3) == 0 { random.draw() as u8 } else { random.pick(&BYTES) });
            u64::from_le_bytes(bytes)
        }
    }
}
