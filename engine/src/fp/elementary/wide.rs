//! Numbers of 128 significant bits with an exponent that never overflows: what elementary functions compute in.
//!
//! Operations truncate; each is off by less than two units of bit 0. Fractions in fixed point, for series, are
//! multiples of 2^-127 ([`ONE`]) below 2.

use crate::fp::format::Parts;

/// One, in fixed point.
pub const ONE: u128 = 1 << 127;

/// `(-1)^sign x significand / 2^127 x 2^exponent`. The significand has its top bit set, or is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    pub sign: bool,
    pub exponent: i32,
    pub significand: u128,
}

/// The high half of a product.
pub fn multiply_high(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (cross, other) = (a1 * b0, a0 * b1);
    let middle = ((a0 * b0) >> 64) + (cross & LOW) + (other & LOW);
    a1 * b1 + (cross >> 64) + (other >> 64) + (middle >> 64)
}

impl Wide {
    /// `significand / 2^127 x 2^exponent`, of any significand.
    pub fn new(sign: bool, exponent: i32, significand: u128) -> Self {
        if significand == 0 {
            return Self { sign, exponent: 0, significand };
        }
        let shift = significand.leading_zeros();
        Self { sign, exponent: exponent - shift as i32, significand: significand << shift }
    }

    /// A finite number.
    pub fn of(parts: &Parts) -> Self {
        Self::new(parts.sign, parts.exponent, u128::from(parts.significand) << 64)
    }

    /// A small integer.
    pub fn integer(value: i32) -> Self {
        Self::new(value < 0, 127, u128::from(value.unsigned_abs()))
    }

    pub fn is_zero(&self) -> bool {
        self.significand == 0
    }

    pub fn negated(self) -> Self {
        Self { sign: !self.sign, ..self }
    }

    /// With another sign.
    pub fn with_sign(self, sign: bool) -> Self {
        Self { sign, ..self }
    }

    /// Times a power of two.
    pub fn scaled(self, power: i32) -> Self {
        Self { exponent: self.exponent + power, ..self }
    }

    pub fn mul(self, other: Self) -> Self {
        let product = multiply_high(self.significand, other.significand);
        Self::new(self.sign ^ other.sign, self.exponent + other.exponent + 1, product)
    }

    /// Quotient; the divisor is not zero.
    pub fn div(self, other: Self) -> Self {
        if self.is_zero() {
            return Self { sign: self.sign ^ other.sign, ..self };
        }
        let divisor = other.significand;
        let (mut quotient, mut rest) = (0u128, self.significand);
        let mut exponent = self.exponent - other.exponent;
        // The first digit is a one.
        if rest < divisor {
            exponent -= 1;
            quotient = 1;
            rest = (rest << 1).wrapping_sub(divisor);
        } else {
            quotient |= 1;
            rest -= divisor;
        }
        for _ in 0..127 {
            let carry = rest >> 127 != 0;
            rest <<= 1;
            quotient <<= 1;
            if carry || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1;
            }
        }
        Self { sign: self.sign ^ other.sign, exponent, significand: quotient }
    }

    pub fn add(self, other: Self) -> Self {
        if self.is_zero() {
            return other;
        }
        if other.is_zero() {
            return self;
        }
        let rank = |value: &Self| (value.exponent, value.significand);
        let (large, small) = if rank(&self) >= rank(&other) { (self, other) } else { (other, self) };
        let distance = large.exponent.abs_diff(small.exponent);
        let low = small.significand.checked_shr(distance).unwrap_or(0);
        if large.sign != small.sign {
            return Self::new(large.sign, large.exponent, large.significand - low);
        }
        match large.significand.checked_add(low) {
            Some(sum) => Self { significand: sum, ..large },
            None => {
                let sum = large.significand.wrapping_add(low) >> 1 | ONE;
                Self { exponent: large.exponent + 1, significand: sum, ..large }
            }
        }
    }

    pub fn sub(self, other: Self) -> Self {
        self.add(other.negated())
    }

    /// The magnitude as a multiple of 2^-128; it is below one.
    pub fn fraction(&self) -> u128 {
        let shift = (-1i32).wrapping_sub(self.exponent);
        self.significand.checked_shr(shift as u32).unwrap_or(0)
    }

    /// The next number toward zero if this one looks exact: an approximation that the exact result is below of.
    pub fn just_below(self) -> Self {
        if self.is_zero() || self.significand as u64 != 0 {
            return self;
        }
        Self::new(self.sign, self.exponent, self.significand - 1)
    }

    /// Likewise away from zero.
    pub fn just_above(self) -> Self {
        if self.is_zero() || self.significand as u64 != 0 {
            return self;
        }
        Self { significand: self.significand | 1, ..self }
    }
}
