//! What every operation means, once: total functions over `u64`, nothing undefined.
//!
//! The interpreter calls these; every lowering is tested against them. Operands are truncated to the width,
//! results are zero-extended from it.

use super::ops::{Amo, Binary, Cond, Unary};
use crate::addr::Width;

/// The low `w` bits, sign-extended.
#[inline(always)]
pub const fn sign_extend(w: Width, value: u64) -> i64 {
    let unused = 64 - w.bits();
    (value << unused) as i64 >> unused
}

/// A two-operand operation.
#[inline(always)]
pub const fn binary(op: Binary, w: Width, a: u64, b: u64) -> u64 {
    let bits = w.bits();
    let count = (b as u32) & (bits - 1);
    let (ua, ub) = (a & w.mask(), b & w.mask());
    let (sa, sb) = (sign_extend(w, a), sign_extend(w, b));
    let result = match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::MulHighU => ((ua as u128 * ub as u128) >> bits) as u64,
        Binary::MulHighS => ((sa as i128 * sb as i128) >> bits) as u64,
        Binary::MulHighSu => ((sa as i128).wrapping_mul(ub as i128) >> bits) as u64,
        Binary::DivU => match ua.checked_div(ub) {
            Some(quotient) => quotient,
            None => u64::MAX,
        },
        Binary::DivS => {
            if sb == 0 {
                u64::MAX
            } else {
                sa.wrapping_div(sb) as u64
            }
        }
        Binary::RemU => match ua.checked_rem(ub) {
            Some(remainder) => remainder,
            None => ua,
        },
        Binary::RemS => {
            if sb == 0 {
                ua
            } else {
                sa.wrapping_rem(sb) as u64
            }
        }
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::Shl => a << count,
        Binary::ShrU => ua >> count,
        Binary::ShrS => (sa >> count) as u64,
        Binary::Rotl => rotate_left(w, ua, count),
        Binary::Rotr => rotate_left(w, ua, (bits - count) & (bits - 1)),
        Binary::ClMul => carryless_low(ua, ub),
        Binary::ClMulHigh => match w {
            // The lowest bit of the product of the mirrored operands is the highest of 127.
            Width::W64 => carryless_low(ua.reverse_bits(), ub.reverse_bits()).reverse_bits() >> 1,
            _ => carryless_low(ua, ub) >> bits,
        },
    };
    result & w.mask()
}

#[inline(always)]
const fn rotate_left(w: Width, value: u64, count: u32) -> u64 {
    match w {
        Width::W8 => (value as u8).rotate_left(count) as u64,
        Width::W16 => (value as u16).rotate_left(count) as u64,
        Width::W32 => (value as u32).rotate_left(count) as u64,
        Width::W64 => value.rotate_left(count),
    }
}

/// Low half of the product of polynomials over GF(2).
///
/// Every fourth bit of an operand is multiplied at a time: the three bits between take up the carries of a column's sum,
/// which is at most 16, and 16 only in the highest column, from where the carry leaves.
const fn carryless_low(a: u64, b: u64) -> u64 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let mut product = 0;
    let mut column = 0;
    while column < 4 {
        let mut sum = 0;
        let mut i = 0;
        while i < 4 {
            let (from_a, from_b) = (EVERY_FOURTH << i, EVERY_FOURTH << ((column + 4 - i) & 3));
            sum ^= (a & from_a).wrapping_mul(b & from_b);
            i += 1;
        }
        product |= sum & EVERY_FOURTH << column;
        column += 1;
    }
    product
}

/// A one-operand operation.
#[inline(always)]
pub const fn unary(op: Unary, w: Width, a: u64) -> u64 {
    let value = a & w.mask();
    match op {
        Unary::Zext => value,
        Unary::Sext => sign_extend(w, a) as u64,
        Unary::Clz => (value.leading_zeros() - (64 - w.bits())) as u64,
        Unary::Ctz => {
            let zeros = value.trailing_zeros();
            (if zeros < w.bits() { zeros } else { w.bits() }) as u64
        }
        Unary::Popcnt => value.count_ones() as u64,
        Unary::Bswap => value.swap_bytes() >> (64 - w.bits()),
    }
}

/// Whether the condition holds between the low `w` bits of two values.
#[inline(always)]
pub const fn compare(cond: Cond, w: Width, a: u64, b: u64) -> bool {
    let (ua, ub) = (a & w.mask(), b & w.mask());
    let (sa, sb) = (sign_extend(w, a), sign_extend(w, b));
    match cond {
        Cond::Eq => ua == ub,
        Cond::Ne => ua != ub,
        Cond::LtS => sa < sb,
        Cond::LtU => ua < ub,
        Cond::GeS => sa >= sb,
        Cond::GeU => ua >= ub,
    }
}

/// What an atomic memory operation writes, from the old content and the operand.
#[inline(always)]
pub const fn amo(op: Amo, w: Width, old: u64, operand: u64) -> u64 {
    let keep_old = match op {
        Amo::Swap => return operand & w.mask(),
        Amo::Add => return binary(Binary::Add, w, old, operand),
        Amo::And => return binary(Binary::And, w, old, operand),
        Amo::Or => return binary(Binary::Or, w, old, operand),
        Amo::Xor => return binary(Binary::Xor, w, old, operand),
        Amo::MinS => compare(Cond::LtS, w, old, operand),
        Amo::MaxS => compare(Cond::GeS, w, old, operand),
        Amo::MinU => compare(Cond::LtU, w, old, operand),
        Amo::MaxU => compare(Cond::GeU, w, old, operand),
    };
    (if keep_old { old } else { operand }) & w.mask()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Width::*;

    #[test]
    fn carryless_products_are_sums_of_shifts() {
        let mut operand = 0x0123_4567_89ab_cdef_u64;
        let mut draw = || {
            operand = operand.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            operand ^ operand >> 29
        };
        let drawn: Vec<_> = (0..1000).map(|_| (draw(), draw())).collect();
        for &(a, b) in drawn.iter().chain(&[(u64::MAX, u64::MAX), (1 << 63, 1 << 63)]) {
            for w in Width::ALL {
                let shifted = |bit: u32| u128::from(a & w.mask()) << bit;
                let set = (0..w.bits()).filter(|bit| b >> bit & 1 != 0);
                let product = set.map(shifted).fold(0, |sum, term| sum ^ term);
                let halves = (product as u64 & w.mask(), (product >> w.bits()) as u64 & w.mask());
                let got = (binary(Binary::ClMul, w, a, b), binary(Binary::ClMulHigh, w, a, b));
                assert_eq!(got, halves, "{w:?} {a:#x} {b:#x}");
            }
        }
    }

    #[test]
    fn edges() {
        use Binary::*;
        let cases = [
            (DivS, W32, 0x8000_0000, 0xffff_ffff, 0x8000_0000),
            (DivS, W64, 1 << 63, u64::MAX, 1 << 63),
            (RemS, W64, 1 << 63, u64::MAX, 0),
            (RemS, W32, 0xffff_fffb, 0, 0xffff_fffb),
            (DivU, W32, 7, 0, 0xffff_ffff),
            (RemU, W8, 0x1_07, 0, 7),
            (MulHighSu, W64, u64::MAX, u64::MAX, u64::MAX),
            (MulHighS, W32, 0xffff_ffff, 0xffff_ffff, 0),
            (MulHighU, W32, 0xffff_ffff, 0xffff_ffff, 0xffff_fffe),
            (ShrS, W32, 0x8000_0000, 33, 0xc000_0000),
            (Shl, W8, 0xff, 9, 0xfe),
            (Rotr, W32, 1, 1, 0x8000_0000),
            (Rotr, W16, 0x8001, 16, 0x8001),
            (ClMul, W64, 3, 3, 5),
            (ClMulHigh, W64, 1 << 63, 2, 1),
        ];
        for (op, w, a, b, want) in cases {
            assert_eq!(binary(op, w, a, b), want, "{} {w:?} {a:#x} {b:#x}", op.name());
        }
        assert_eq!(unary(Unary::Clz, W32, 0), 32);
        assert_eq!(unary(Unary::Ctz, W16, 0x10000), 16);
        assert_eq!(unary(Unary::Bswap, W32, 0x1122_3344), 0x4433_2211);
        assert_eq!(amo(Amo::MinS, W32, 0xffff_ffff, 1), 0xffff_ffff);
        assert_eq!(amo(Amo::MaxU, W32, 0xffff_ffff, 1), 0xffff_ffff);
    }
}
