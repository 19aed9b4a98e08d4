//! Operations on the lanes of 64 bits: what each does stands in SDM 2 under the instruction that says it.

/// Applies a function to the lanes of two operands.
macro_rules! by_lane {
    ($name:ident, $lane:ident, $unsigned:ident) => {
        #[inline(always)]
        fn $name(a: u64, b: u64, f: impl Fn($lane, $lane) -> $lane) -> u64 {
            let mut result = 0;
            for first in (0..64).step_by($lane::BITS as usize) {
                let lane = f((a >> first) as $lane, (b >> first) as $lane);
                result |= u64::from(lane as $unsigned) << first;
            }
            result
        }
    };
}
by_lane!(signed_8, i8, u8);
by_lane!(signed_16, i16, u16);
by_lane!(signed_32, i32, u32);
by_lane!(unsigned_8, u8, u8);
by_lane!(unsigned_16, u16, u16);
by_lane!(unsigned_32, u32, u32);

/// Names functions that apply an expression to each lane.
macro_rules! lane_functions {
    ($($(#[$doc:meta])* $name:ident = $by:ident |$a:ident, $b:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(a: u64, b: u64) -> u64 {
            $by(a, b, |$a, $b| $value)
        }
    )*};
}

lane_functions! {
    /// PADDSB.
    add_signed_saturated_8 = signed_8 |a, b| a.saturating_add(b);
    /// PADDSW.
    add_signed_saturated_16 = signed_16 |a, b| a.saturating_add(b);
    /// PADDUSB.
    add_saturated_8 = unsigned_8 |a, b| a.saturating_add(b);
    /// PADDUSW.
    add_saturated_16 = unsigned_16 |a, b| a.saturating_add(b);
    /// PSUBSB.
    subtract_signed_saturated_8 = signed_8 |a, b| a.saturating_sub(b);
    /// PSUBSW.
    subtract_signed_saturated_16 = signed_16 |a, b| a.saturating_sub(b);
    /// PSUBUSB.
    subtract_saturated_8 = unsigned_8 |a, b| a.saturating_sub(b);
    /// PSUBUSW.
    subtract_saturated_16 = unsigned_16 |a, b| a.saturating_sub(b);
    /// PMULLW.
    multiply_16 = signed_16 |a, b| a.wrapping_mul(b);
    /// PMULHW.
    multiply_high_signed_16 = signed_16 |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16;
    /// PMULHUW.
    multiply_high_16 = unsigned_16 |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16;
    /// PMULHRSW.
    multiply_rounded_16 = signed_16 |a, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16;
    /// PMULLD.
    multiply_32 = signed_32 |a, b| a.wrapping_mul(b);
    /// PCMPGTB.
    greater_8 = signed_8 |a, b| -i8::from(a > b);
    /// PCMPGTW.
    greater_16 = signed_16 |a, b| -i16::from(a > b);
    /// PCMPGTD.
    greater_32 = signed_32 |a, b| -i32::from(a > b);
    /// PMINSB.
    least_signed_8 = signed_8 |a, b| a.min(b);
    /// PMINSW.
    least_signed_16 = signed_16 |a, b| a.min(b);
    /// PMINSD.
    least_signed_32 = signed_32 |a, b| a.min(b);
    /// PMINUW.
    least_16 = unsigned_16 |a, b| a.min(b);
    /// PMINUD.
    least_32 = unsigned_32 |a, b| a.min(b);
    /// PMAXSB.
    greatest_signed_8 = signed_8 |a, b| a.max(b);
    /// PMAXSW.
    greatest_signed_16 = signed_16 |a, b| a.max(b);
    /// PMAXSD.
    greatest_signed_32 = signed_32 |a, b| a.max(b);
    /// PMAXUW.
    greatest_16 = unsigned_16 |a, b| a.max(b);
    /// PMAXUD.
    greatest_32 = unsigned_32 |a, b| a.max(b);
    /// PAVGB.
    average_8 = unsigned_8 |a, b| (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
    /// PAVGW.
    average_16 = unsigned_16 |a, b| (u32::from(a) + u32::from(b)).div_ceil(2) as u16;
    /// PABSB; the first operand is the destination.
    absolute_8 = signed_8 |_a, b| b.wrapping_abs();
    /// PABSW.
    absolute_16 = signed_16 |_a, b| b.wrapping_abs();
    /// PABSD.
    absolute_32 = signed_32 |_a, b| b.wrapping_abs();
    /// PSIGNB.
    sign_8 = signed_8 |a, b| a.wrapping_mul(b.signum());
    /// PSIGNW.
    sign_16 = signed_16 |a, b| a.wrapping_mul(b.signum());
    /// PSIGND.
    sign_32 = signed_32 |a, b| a.wrapping_mul(b.signum());
}

/// Ones in the bytes of `a` that are less than those of `b`, unsigned.
#[inline(always)]
fn less_8(a: u64, b: u64) -> u64 {
    const SIGNS: u64 = 0x8080_8080_8080_8080;
    // A sign stays where the low seven bits of `a` are not less; signs of the operands decide where they differ.
    let not_less = (a | SIGNS) - (b & !SIGNS);
    let less = (!a & b | !(a ^ b) & !not_less) & SIGNS;
    (less >> 7) * 0xff
}

/// PMINUB.
#[inline(always)]
pub fn least_8(a: u64, b: u64) -> u64 {
    b ^ (a ^ b) & less_8(a, b)
}

/// PMAXUB.
#[inline(always)]
pub fn greatest_8(a: u64, b: u64) -> u64 {
    a ^ (a ^ b) & less_8(a, b)
}

/// PCMPGTQ.
#[inline(always)]
pub fn greater_64(a: u64, b: u64) -> u64 {
    u64::from(a as i64 > b as i64).wrapping_neg()
}

/// PMULUDQ.
#[inline(always)]
pub fn multiply_wide_32(a: u64, b: u64) -> u64 {
    (a & 0xffff_ffff) * (b & 0xffff_ffff)
}

/// PMULDQ.
#[inline(always)]
pub fn multiply_wide_signed_32(a: u64, b: u64) -> u64 {
    (i64::from(a as i32) * i64::from(b as i32)) as u64
}

/// Bits 16 `n` to 16 `n` + 15, signed.
#[inline(always)]
fn lane_16(value: u64, n: u32) -> i16 {
    (value >> (16 * n)) as i16
}

/// Bits 32 `n` to 32 `n` + 31, signed.
#[inline(always)]
fn lane_32(value: u64, n: u32) -> i32 {
    (value >> (32 * n)) as i32
}

/// Two 32-bit lanes, by number.
#[inline(always)]
fn two(lane: impl Fn(u32) -> i32) -> u64 {
    u64::from(lane(0) as u32) | u64::from(lane(1) as u32) << 32
}

/// Four 16-bit lanes, by number.
#[inline(always)]
fn four(lane: impl Fn(u32) -> i16) -> u64 {
    (0..4).fold(0, |all, n| all | u64::from(lane(n) as u16) << (16 * n))
}

/// PMADDWD.
#[inline(always)]
pub fn multiply_add_16(a: u64, b: u64) -> u64 {
    let product = |n| i32::from(lane_16(a, n)) * i32::from(lane_16(b, n));
    // Only four times the least number overflows, to the least number.
    two(|n| product(2 * n).wrapping_add(product(2 * n + 1)))
}

/// PMADDUBSW: bytes of `a` are unsigned, those of `b` signed.
#[inline(always)]
pub fn multiply_add_8(a: u64, b: u64) -> u64 {
    let product = |n: u32| i32::from((a >> (8 * n)) as u8) * i32::from((b >> (8 * n)) as i8);
    four(|n| saturate_16(product(2 * n) + product(2 * n + 1)))
}

/// PSADBW.
#[inline(always)]
pub fn sum_of_differences(a: u64, b: u64) -> u64 {
    a.to_le_bytes().iter().zip(b.to_le_bytes()).map(|(&a, b)| u64::from(a.abs_diff(b))).sum()
}

#[inline(always)]
fn saturate_16(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The lanes of `a`, then those of `b`, narrowed by a function.
#[inline(always)]
fn narrow_16_by(a: u64, b: u64, f: impl Fn(i16) -> u8) -> u64 {
    let byte = |n: usize| f(lane_16(if n < 4 { a } else { b }, n as u32 & 3));
    u64::from_le_bytes(core::array::from_fn(byte))
}

/// PACKSSWB.
#[inline(always)]
pub fn narrow_16_signed(a: u64, b: u64) -> u64 {
    narrow_16_by(a, b, |lane| lane.clamp(i8::MIN.into(), i8::MAX.into()) as u8)
}

/// PACKUSWB.
#[inline(always)]
pub fn narrow_16(a: u64, b: u64) -> u64 {
    narrow_16_by(a, b, |lane| lane.clamp(0, u8::MAX.into()) as u8)
}

/// PACKSSDW.
#[inline(always)]
pub fn narrow_32_signed(a: u64, b: u64) -> u64 {
    four(|n| saturate_16(lane_32(if n < 2 { a } else { b }, n & 1)))
}

/// PACKUSDW.
#[inline(always)]
pub fn narrow_32(a: u64, b: u64) -> u64 {
    four(|n| lane_32(if n < 2 { a } else { b }, n & 1).clamp(0, u16::MAX.into()) as i16)
}

/// The pairs of lanes of `a`, then those of `b`, combined by a function.
#[inline(always)]
fn pairs_16(a: u64, b: u64, f: impl Fn(i16, i16) -> i16) -> u64 {
    four(|n| {
        let (from, first) = (if n < 2 { a } else { b }, 2 * (n & 1));
        f(lane_16(from, first), lane_16(from, first + 1))
    })
}

/// PHADDW.
#[inline(always)]
pub fn add_pairs_16(a: u64, b: u64) -> u64 {
    pairs_16(a, b, i16::wrapping_add)
}

/// PHADDSW.
#[inline(always)]
pub fn add_pairs_saturated_16(a: u64, b: u64) -> u64 {
    pairs_16(a, b, i16::saturating_add)
}

/// PHSUBW.
#[inline(always)]
pub fn subtract_pairs_16(a: u64, b: u64) -> u64 {
    pairs_16(a, b, i16::wrapping_sub)
}

/// PHSUBSW.
#[inline(always)]
pub fn subtract_pairs_saturated_16(a: u64, b: u64) -> u64 {
    pairs_16(a, b, i16::saturating_sub)
}

/// PHADDD.
#[inline(always)]
pub fn add_pairs_32(a: u64, b: u64) -> u64 {
    let sum = |value| lane_32(value, 0).wrapping_add(lane_32(value, 1));
    two(|n| sum(if n == 0 { a } else { b }))
}

/// PHSUBD.
#[inline(always)]
pub fn subtract_pairs_32(a: u64, b: u64) -> u64 {
    let difference = |value| lane_32(value, 0).wrapping_sub(lane_32(value, 1));
    two(|n| difference(if n == 0 { a } else { b }))
}

/// PSLLW: lanes become zero if the count is not less than their width, as in all logical shifts.
#[inline(always)]
pub fn shift_left_16(value: u64, count: u64) -> u64 {
    if count > 15 { 0 } else { unsigned_16(value, 0, |lane, _| lane << count) }
}

/// PSLLD.
#[inline(always)]
pub fn shift_left_32(value: u64, count: u64) -> u64 {
    if count > 31 { 0 } else { unsigned_32(value, 0, |lane, _| lane << count) }
}

/// PSLLQ.
#[inline(always)]
pub fn shift_left_64(value: u64, count: u64) -> u64 {
    if count > 63 { 0 } else { value << count }
}

/// PSRLW.
#[inline(always)]
pub fn shift_right_16(value: u64, count: u64) -> u64 {
    if count > 15 { 0 } else { unsigned_16(value, 0, |lane, _| lane >> count) }
}

/// PSRLD.
#[inline(always)]
pub fn shift_right_32(value: u64, count: u64) -> u64 {
    if count > 31 { 0 } else { unsigned_32(value, 0, |lane, _| lane >> count) }
}

/// PSRLQ.
#[inline(always)]
pub fn shift_right_64(value: u64, count: u64) -> u64 {
    if count > 63 { 0 } else { value >> count }
}

/// PSRAW: counts from the width on are one less than the width.
#[inline(always)]
pub fn shift_right_signed_16(value: u64, count: u64) -> u64 {
    let count = count.min(15);
    signed_16(value, 0, |lane, _| lane >> count)
}

/// PSRAD.
#[inline(always)]
pub fn shift_right_signed_32(value: u64, count: u64) -> u64 {
    let count = count.min(31);
    signed_32(value, 0, |lane, _| lane >> count)
}
