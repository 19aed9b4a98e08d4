//! Operations on the lanes of vectors: what each does stands in SDM 2 under the instruction that says it.

use super::{Vector, each, from_bytes, to_bytes};

/// A vector as lanes and back, and a function applied to the lanes of two.
macro_rules! by_lane {
    ($($name:ident, $split:ident, $join:ident, $lane:ident, $count:literal;)*) => {$(
        #[inline(always)]
        pub(super) fn $split(vector: Vector) -> [$lane; $count] {
            let bytes = to_bytes(vector);
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$lane>() }>();
            each(|n| $lane::from_le_bytes(chunks[n]))
        }

        #[inline(always)]
        #[allow(dead_code, reason = "not every kind of lanes is joined")]
        pub(super) fn $join(lanes: [$lane; $count]) -> Vector {
            let mut bytes = [0; 16];
            let (chunks, _) = bytes.as_chunks_mut::<{ size_of::<$lane>() }>();
            for (to, lane) in chunks.iter_mut().zip(lanes) {
                *to = lane.to_le_bytes();
            }
            from_bytes(bytes)
        }

        #[inline(always)]
        fn $name(a: Vector, b: Vector, f: impl Fn($lane, $lane) -> $lane) -> Vector {
            let (a, b) = ($split(a), $split(b));
            $join(each(|n| f(a[n], b[n])))
        }
    )*};
}
by_lane! {
    signed_8, split_signed_8, join_signed_8, i8, 16;
    signed_16, split_signed_16, join_signed_16, i16, 8;
    signed_32, split_signed_32, join_signed_32, i32, 4;
    signed_64, split_signed_64, join_signed_64, i64, 2;
    unsigned_8, split_8, join_8, u8, 16;
    unsigned_16, split_16, join_16, u16, 8;
    unsigned_32, split_32, join_32, u32, 4;
    unsigned_64, split_64, join_64, u64, 2;
}

/// Names functions that apply an expression to each lane.
macro_rules! lane_functions {
    ($($(#[$doc:meta])* $name:ident = $by:ident |$a:ident, $b:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(a: Vector, b: Vector) -> Vector {
            $by(a, b, |$a, $b| $value)
        }
    )*};
}

lane_functions! {
    /// PADDB.
    add_8 = unsigned_8 |a, b| a.wrapping_add(b);
    /// PADDW.
    add_16 = unsigned_16 |a, b| a.wrapping_add(b);
    /// PADDD.
    add_32 = unsigned_32 |a, b| a.wrapping_add(b);
    /// PADDQ.
    add_64 = unsigned_64 |a, b| a.wrapping_add(b);
    /// PSUBB.
    subtract_8 = unsigned_8 |a, b| a.wrapping_sub(b);
    /// PSUBW.
    subtract_16 = unsigned_16 |a, b| a.wrapping_sub(b);
    /// PSUBD.
    subtract_32 = unsigned_32 |a, b| a.wrapping_sub(b);
    /// PSUBQ.
    subtract_64 = unsigned_64 |a, b| a.wrapping_sub(b);
    /// PCMPEQB.
    equal_8 = unsigned_8 |a, b| u8::from(a == b).wrapping_neg();
    /// PCMPEQW.
    equal_16 = unsigned_16 |a, b| u16::from(a == b).wrapping_neg();
    /// PCMPEQD.
    equal_32 = unsigned_32 |a, b| u32::from(a == b).wrapping_neg();
    /// PCMPEQQ.
    equal_64 = unsigned_64 |a, b| u64::from(a == b).wrapping_neg();
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
    /// PCMPGTQ.
    greater_64 = signed_64 |a, b| -i64::from(a > b);
    /// PMULUDQ.
    multiply_wide_32 = unsigned_64 |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff);
    /// PMULDQ.
    multiply_wide_signed_32 = signed_64 |a, b| i64::from(a as i32) * i64::from(b as i32);
    /// PMINUB.
    least_8 = unsigned_8 |a, b| a.min(b);
    /// PMAXUB.
    greatest_8 = unsigned_8 |a, b| a.max(b);
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

/// PMADDWD.
#[inline(always)]
pub fn multiply_add_16(a: Vector, b: Vector) -> Vector {
    let (a, b) = (split_signed_16(a), split_signed_16(b));
    let product = |n: usize| i32::from(a[n]) * i32::from(b[n]);
    // Only four times the least number overflows, to the least number.
    join_signed_32(each(|n| product(2 * n).wrapping_add(product(2 * n + 1))))
}

/// PMADDUBSW: bytes of `a` are unsigned, those of `b` signed.
#[inline(always)]
pub fn multiply_add_8(a: Vector, b: Vector) -> Vector {
    let (a, b) = (split_8(a), split_signed_8(b));
    let product = |n: usize| i32::from(a[n]) * i32::from(b[n]);
    join_signed_16(each(|n| saturate_16(product(2 * n) + product(2 * n + 1))))
}

/// PSADBW.
#[inline(always)]
pub fn sum_of_differences(a: Vector, b: Vector) -> Vector {
    let sum = |a: u64, b: u64| {
        a.to_le_bytes().iter().zip(b.to_le_bytes()).map(|(&a, b)| u64::from(a.abs_diff(b))).sum()
    };
    [sum(a[0], b[0]), sum(a[1], b[1])]
}

#[inline(always)]
fn saturate_16(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The lanes of `a`, then those of `b`, narrowed by a function.
#[inline(always)]
fn narrow_16_by(a: Vector, b: Vector, f: impl Fn(i16) -> u8) -> Vector {
    let (a, b) = (split_signed_16(a), split_signed_16(b));
    join_8(each(|n| f(if n < 8 { a[n] } else { b[n - 8] })))
}

/// PACKSSWB.
#[inline(always)]
pub fn narrow_16_signed(a: Vector, b: Vector) -> Vector {
    narrow_16_by(a, b, |lane| lane.clamp(i8::MIN.into(), i8::MAX.into()) as u8)
}

/// PACKUSWB.
#[inline(always)]
pub fn narrow_16(a: Vector, b: Vector) -> Vector {
    narrow_16_by(a, b, |lane| lane.clamp(0, u8::MAX.into()) as u8)
}

#[inline(always)]
fn narrow_32_by(a: Vector, b: Vector, f: impl Fn(i32) -> u16) -> Vector {
    let (a, b) = (split_signed_32(a), split_signed_32(b));
    join_16(each(|n| f(if n < 4 { a[n] } else { b[n - 4] })))
}

/// PACKSSDW.
#[inline(always)]
pub fn narrow_32_signed(a: Vector, b: Vector) -> Vector {
    narrow_32_by(a, b, |lane| saturate_16(lane) as u16)
}

/// PACKUSDW.
#[inline(always)]
pub fn narrow_32(a: Vector, b: Vector) -> Vector {
    narrow_32_by(a, b, |lane| lane.clamp(0, u16::MAX.into()) as u16)
}

/// The pairs of lanes of `a`, then those of `b`, combined by a function.
#[inline(always)]
fn pairs_16(a: Vector, b: Vector, f: impl Fn(i16, i16) -> i16) -> Vector {
    let (a, b) = (split_signed_16(a), split_signed_16(b));
    let lane = |n: usize| if n < 8 { a[n] } else { b[n - 8] };
    join_signed_16(each(|n| f(lane(2 * n), lane(2 * n + 1))))
}

#[inline(always)]
fn pairs_32(a: Vector, b: Vector, f: impl Fn(u32, u32) -> u32) -> Vector {
    let (a, b) = (split_32(a), split_32(b));
    let lane = |n: usize| if n < 4 { a[n] } else { b[n - 4] };
    join_32(each(|n| f(lane(2 * n), lane(2 * n + 1))))
}

/// PHADDW.
#[inline(always)]
pub fn add_pairs_16(a: Vector, b: Vector) -> Vector {
    pairs_16(a, b, i16::wrapping_add)
}

/// PHADDSW.
#[inline(always)]
pub fn add_pairs_saturated_16(a: Vector, b: Vector) -> Vector {
    pairs_16(a, b, i16::saturating_add)
}

/// PHSUBW.
#[inline(always)]
pub fn subtract_pairs_16(a: Vector, b: Vector) -> Vector {
    pairs_16(a, b, i16::wrapping_sub)
}

/// PHSUBSW.
#[inline(always)]
pub fn subtract_pairs_saturated_16(a: Vector, b: Vector) -> Vector {
    pairs_16(a, b, i16::saturating_sub)
}

/// PHADDD.
#[inline(always)]
pub fn add_pairs_32(a: Vector, b: Vector) -> Vector {
    pairs_32(a, b, u32::wrapping_add)
}

/// PHSUBD.
#[inline(always)]
pub fn subtract_pairs_32(a: Vector, b: Vector) -> Vector {
    pairs_32(a, b, u32::wrapping_sub)
}

/// PSLLW: lanes become zero if the count is not less than their width, as in all logical shifts.
#[inline(always)]
pub fn shift_left_16(value: Vector, count: u64) -> Vector {
    if count > 15 { [0; 2] } else { unsigned_16(value, value, |lane, _| lane << count) }
}

/// PSLLD.
#[inline(always)]
pub fn shift_left_32(value: Vector, count: u64) -> Vector {
    if count > 31 { [0; 2] } else { unsigned_32(value, value, |lane, _| lane << count) }
}

/// PSLLQ.
#[inline(always)]
pub fn shift_left_64(value: Vector, count: u64) -> Vector {
    if count > 63 { [0; 2] } else { value.map(|half| half << count) }
}

/// PSRLW.
#[inline(always)]
pub fn shift_right_16(value: Vector, count: u64) -> Vector {
    if count > 15 { [0; 2] } else { unsigned_16(value, value, |lane, _| lane >> count) }
}

/// PSRLD.
#[inline(always)]
pub fn shift_right_32(value: Vector, count: u64) -> Vector {
    if count > 31 { [0; 2] } else { unsigned_32(value, value, |lane, _| lane >> count) }
}

/// PSRLQ.
#[inline(always)]
pub fn shift_right_64(value: Vector, count: u64) -> Vector {
    if count > 63 { [0; 2] } else { value.map(|half| half >> count) }
}

/// PSRAW: counts from the width on are one less than the width.
#[inline(always)]
pub fn shift_right_signed_16(value: Vector, count: u64) -> Vector {
    let count = count.min(15);
    signed_16(value, value, |lane, _| lane >> count)
}

/// PSRAD.
#[inline(always)]
pub fn shift_right_signed_32(value: Vector, count: u64) -> Vector {
    let count = count.min(31);
    signed_32(value, value, |lane, _| lane >> count)
}
