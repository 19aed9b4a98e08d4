//! What moves lanes of vectors to other places, widens them, or looks across lanes.

use super::lanes::{
    join_8, join_16, join_32, join_64, split_8, split_16, split_32, split_signed_8, split_signed_16,
    split_signed_32,
};
use super::{Vector, each, from_bytes, to_bytes};

/// A function of two vectors' lanes: the low or the high halves by turns.
macro_rules! interleave {
    ($($(#[$doc:meta])* $low:ident, $high:ident: $split:ident, $join:ident, $count:literal;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $low(a: Vector, b: Vector) -> Vector {
            let (a, b) = ($split(a), $split(b));
            $join(each(|n| if n % 2 == 0 { a[n / 2] } else { b[n / 2] }))
        }

        /// The same of the high halves.
        #[inline(always)]
        pub fn $high(a: Vector, b: Vector) -> Vector {
            $low([a[1], a[1]], [b[1], b[1]])
        }
    )*};
}
interleave! {
    /// PUNPCKLBW.
    interleave_low_8, interleave_high_8: split_8, join_8, 16;
    /// PUNPCKLWD.
    interleave_low_16, interleave_high_16: split_16, join_16, 8;
    /// PUNPCKLDQ.
    interleave_low_32, interleave_high_32: split_32, join_32, 4;
}

/// Two lanes of `a`, then two of `b`, that the two-bit fields of `places` name (SHUFPS).
#[inline(always)]
pub fn dwords(a: Vector, b: Vector, places: u8) -> Vector {
    let (a, b) = (split_32(a), split_32(b));
    let place = |n: usize| usize::from(places >> (2 * n) & 3);
    join_32([a[place(0)], a[place(1)], b[place(2)], b[place(3)]])
}

/// The four 16-bit lanes of a half that the two-bit fields of `places` name.
#[inline(always)]
pub fn words(half: u64, places: u8) -> u64 {
    (0..4).fold(0, |all, n| all | (half >> (16 * (places >> (2 * n) & 3)) & 0xffff) << (16 * n))
}

/// PSHUFB.
#[inline(always)]
pub fn pick(a: Vector, b: Vector) -> Vector {
    let bytes = to_bytes(a);
    let places = to_bytes(b);
    from_bytes(each(|n| match places[n] {
        place @ 0..0x80 => bytes[usize::from(place & 15)],
        _ => 0,
    }))
}

/// The 16 bytes from byte `count` of `high:low` on; beyond are zeros (PALIGNR).
#[inline(always)]
pub fn window(high: Vector, low: Vector, count: u8) -> Vector {
    let all = |v: Vector| u128::from(v[1]) << 64 | u128::from(v[0]);
    let bits = u32::from(count) * 8;
    let value = match count {
        0 => all(low),
        1..16 => all(low) >> bits | all(high) << (128 - bits),
        16..32 => all(high) >> (bits - 128),
        _ => 0,
    };
    [value as u64, (value >> 64) as u64]
}

/// The lanes of `b` where the bits of the immediate are set, else those of `a`.
#[inline(always)]
pub fn blend_known(a: Vector, b: Vector, bits: u8, lane_bits: u32) -> Vector {
    let per_half = 64 / lane_bits;
    let half = |number: u32| {
        let selected = (0..per_half).filter(|lane| u32::from(bits) >> (number * per_half + lane) & 1 != 0);
        let mask = selected.fold(0, |mask, lane| mask | (u64::MAX >> (64 - lane_bits)) << (lane * lane_bits));
        let (a, b) = (a[number as usize], b[number as usize]);
        a ^ (a ^ b) & mask
    };
    [half(0), half(1)]
}

/// The lanes of `b` where those of `mask` are negative, else those of `a`.
#[inline(always)]
pub fn blend_8(a: Vector, b: Vector, mask: Vector) -> Vector {
    let (a, b, mask) = (split_8(a), split_8(b), split_signed_8(mask));
    join_8(each(|n| if mask[n] < 0 { b[n] } else { a[n] }))
}

/// The same for lanes of 32 bits.
#[inline(always)]
pub fn blend_32(a: Vector, b: Vector, mask: Vector) -> Vector {
    let (a, b, mask) = (split_32(a), split_32(b), split_signed_32(mask));
    join_32(each(|n| if mask[n] < 0 { b[n] } else { a[n] }))
}

/// The same for lanes of 64 bits.
#[inline(always)]
pub fn blend_64(a: Vector, b: Vector, mask: Vector) -> Vector {
    each(|n| if (mask[n] as i64) < 0 { b[n] } else { a[n] })
}

/// INSERTPS: a lane of `b` goes to one of `a`, then lanes become zero.
#[inline(always)]
pub fn insert_single(a: Vector, b: Vector, imm: u8) -> Vector {
    let mut lanes = split_32(a);
    lanes[usize::from(imm >> 4 & 3)] = split_32(b)[usize::from(imm >> 6)];
    join_32(each(|n| if imm >> n & 1 != 0 { 0 } else { lanes[n] }))
}

/// Widens the low lanes.
macro_rules! widen {
    ($($(#[$doc:meta])* $name:ident: $split:ident, $join:ident, $wide:ident, $unsigned:ident;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(b: Vector) -> Vector {
            let lanes = $split(b);
            $join(each(|n| $wide::from(lanes[n]) as $unsigned))
        }
    )*};
}
widen! {
    /// PMOVSXBW.
    extend_signed_8_16: split_signed_8, join_16, i16, u16;
    /// PMOVSXBD.
    extend_signed_8_32: split_signed_8, join_32, i32, u32;
    /// PMOVSXBQ.
    extend_signed_8_64: split_signed_8, join_64, i64, u64;
    /// PMOVSXWD.
    extend_signed_16_32: split_signed_16, join_32, i32, u32;
    /// PMOVSXWQ.
    extend_signed_16_64: split_signed_16, join_64, i64, u64;
    /// PMOVSXDQ.
    extend_signed_32_64: split_signed_32, join_64, i64, u64;
    /// PMOVZXBW.
    extend_8_16: split_8, join_16, u16, u16;
    /// PMOVZXBD.
    extend_8_32: split_8, join_32, u32, u32;
    /// PMOVZXBQ.
    extend_8_64: split_8, join_64, u64, u64;
    /// PMOVZXWD.
    extend_16_32: split_16, join_32, u32, u32;
    /// PMOVZXWQ.
    extend_16_64: split_16, join_64, u64, u64;
    /// PMOVZXDQ.
    extend_32_64: split_32, join_64, u64, u64;
}

/// MPSADBW: eight sums of absolute differences, between the four bytes of a block of `b` that bits 0 and 1 of the immediate
/// choose and those of `a` from byte 0 or 4, as bit 2 says, its successor and so on.
pub fn block_differences(a: Vector, b: Vector, imm: u8) -> Vector {
    let (bytes, block) = (to_bytes(a), split_32(b)[usize::from(imm & 3)].to_le_bytes());
    join_16(each(|n| {
        let window = bytes.iter().skip(usize::from(imm & 4) + n).zip(block);
        window.map(|(byte, other)| u16::from(byte.abs_diff(other))).sum()
    }))
}

/// PHMINPOSUW: the least of the eight 16-bit lanes in bits 0 to 15, the first place where it is in bits 16 to 18.
pub fn least_with_place(b: Vector) -> Vector {
    // Of equal lanes the one with the lower place is less.
    let numbered = split_16(b).into_iter().zip(0..).map(|(lane, n)| u64::from(lane) << 3 | n);
    [numbered.min().map_or(0, |least| least >> 3 | (least & 7) << 16), 0]
}

/// The highest bit of each byte.
#[inline(always)]
pub fn signs_8(b: Vector) -> u64 {
    // The product brings bit 8 `n` + 7 to bit 56 + `n`, and nothing else there.
    let half = |half: u64| (half & 0x8080_8080_8080_8080).wrapping_mul(0x0002_0408_1020_4081) >> 56;
    half(b[0]) | half(b[1]) << 8
}

/// The highest bit of each 32-bit lane.
#[inline(always)]
pub fn signs_32(b: Vector) -> u64 {
    let half = |half: u64| half >> 31 & 1 | half >> 63 << 1;
    half(b[0]) | half(b[1]) << 2
}

/// The highest bit of each half.
#[inline(always)]
pub fn signs_64(b: Vector) -> u64 {
    b[0] >> 63 | b[1] >> 63 << 1
}

/// Replaces the lane of `lane_bits` bits that the immediate names.
#[inline(always)]
pub fn insert(a: Vector, value: u64, imm: u8, lane_bits: u32) -> Vector {
    let per_half = 64 / lane_bits;
    let number = u32::from(imm) % (2 * per_half);
    let (half, first) = ((number / per_half) as usize, number % per_half * lane_bits);
    let mask = (u64::MAX >> (64 - lane_bits)) << first;
    let mut result = a;
    result[half] = a[half] & !mask | value << first & mask;
    result
}
