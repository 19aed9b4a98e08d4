//! Packed decimal integers: 18 digits, and the sign in the top bit of ten bytes (SDM 1 4.7).

use c2w_engine::fp::{self, Env, F80, Flags, OutOfRange};

const DIGITS: u32 = 18;
const SIGN: u128 = 1 << 79;
/// What FBSTP stores for numbers that do not fit.
const INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;

/// The number of a decimal integer. Digits above 9 count as what they are.
pub fn decode(bits: u128) -> u128 {
    let digit = |place: u32| (bits >> (4 * place)) as i64 & 15;
    let magnitude = (0..DIGITS).rev().fold(0, |value: i64, place| value * 10 + digit(place));
    let number = fp::from_int::<F80, i64>(&mut Env::default(), magnitude);
    if bits & SIGN != 0 { number | SIGN } else { number }
}

/// The decimal integer of a number.
pub fn encode(env: &mut Env, number: u128) -> u128 {
    let rounding = env.rounding;
    let before = env.flags;
    let magnitude = fp::to_int::<F80, i64>(env, rounding, number).map(i64::unsigned_abs);
    let magnitude = magnitude.and_then(|m| if m < 10u64.pow(DIGITS) { Ok(m) } else { Err(OutOfRange::High) });
    let Ok(mut rest) = magnitude else {
        env.flags = before | Flags::INVALID;
        return INDEFINITE;
    };
    let mut bits = number & SIGN;
    for place in 0..DIGITS {
        bits |= u128::from(rest % 10) << (4 * place);
        rest /= 10;
    }
    bits
}
