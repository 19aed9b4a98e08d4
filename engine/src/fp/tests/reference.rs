//! A second, naive statement of the standard: exact results as big integers, rounded by definition.

use super::super::*;
use super::generate::{Encoding, Random, operand, partner, triple};
use super::{ROUNDINGS, ROUNDS};
use std::cmp::Ordering;

/// A natural number, least significant digit first, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Big(Vec<u32>);

impl Big {
    fn from_wide(value: u128) -> Self {
        Self((0..4).map(|i| (value >> (32 * i)) as u32).collect()).trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bit_length(&self) -> i32 {
        match self.0.last() {
            Some(top) => self.0.len() as i32 * 32 - top.leading_zeros() as i32,
            None => 0,
        }
    }

    fn to_wide(&self) -> u128 {
        assert!(self.bit_length() <= 128);
        self.0.iter().rev().fold(0, |value, &digit| value << 32 | u128::from(digit))
    }

    fn shl(&self, count: i32) -> Self {
        let (words, bits) = (count as usize / 32, count as u32 % 32);
        let mut digits = vec![0; words];
        let mut carry = 0u64;
        for &digit in &self.0 {
            carry |= u64::from(digit) << bits;
            digits.push(carry as u32);
            carry >>= 32;
        }
        digits.push(carry as u32);
        Self(digits).trimmed()
    }

    fn shr(&self, count: i32) -> Self {
        let (words, bits) = (count as usize / 32, count as u32 % 32);
        let digits = (words..self.0.len())
            .map(|i| {
                let pair = u64::from(self.0[i]) | u64::from(*self.0.get(i + 1).unwrap_or(&0)) << 32;
                (pair >> bits) as u32
            })
            .collect();
        Self(digits).trimmed()
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn add(&self, other: &Self) -> Self {
        let mut carry = 0u64;
        let mut digits = Vec::new();
        for i in 0..self.0.len().max(other.0.len()) {
            carry += u64::from(*self.0.get(i).unwrap_or(&0)) + u64::from(*other.0.get(i).unwrap_or(&0));
            digits.push(carry as u32);
            carry >>= 32;
        }
        digits.push(carry as u32);
        Self(digits).trimmed()
    }

    /// `self - other`, which is no greater.
    fn sub(&self, other: &Self) -> Self {
        let mut borrow = 0i64;
        let mut digits = Vec::new();
        for i in 0..self.0.len() {
            borrow += i64::from(self.0[i]) - i64::from(*other.0.get(i).unwrap_or(&0));
            digits.push(borrow as u32);
            borrow >>= 32;
        }
        assert_eq!(borrow, 0);
        Self(digits).trimmed()
    }
}

/// `±magnitude x 2^exponent`, or a little more in magnitude where `more`.
#[derive(Clone, Debug)]
struct Exact {
    sign: bool,
    magnitude: Big,
    exponent: i32,
    more: bool,
}

impl Exact {
    /// The value of a finite encoding.
    fn of<F: Encoding>(bits: F::Bits) -> Option<Self> {
        let wide = F::to_wide(bits);
        let biased = (wide >> F::STORED) as i32 & ((1 << F::EXPONENT_BITS) - 1);
        let stored = wide & ((1 << F::STORED) - 1);
        if biased == 2 * F::EMAX + 1 {
            return None;
        }
        let implicit = if biased == 0 || F::STORED == F::PRECISION { 0 } else { 1 << F::STORED };
        Some(Self {
            sign: wide >> (F::STORED + F::EXPONENT_BITS) != 0,
            magnitude: Big::from_wide(stored | implicit),
            exponent: biased.max(1) - F::EMAX - F::PRECISION as i32 + 1,
            more: false,
        })
    }

    fn add(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let a = self.magnitude.shl(self.exponent - exponent);
        let b = other.magnitude.shl(other.exponent - exponent);
        let (sign, magnitude) = if self.sign == other.sign {
            (self.sign, a.add(&b))
        } else if a.cmp(&b) != Ordering::Less {
            (self.sign, a.sub(&b))
        } else {
            (other.sign, b.sub(&a))
        };
        Self { sign, magnitude, exponent, more: false }
    }

    fn mul(&self, other: &Self) -> Self {
        let product = self.magnitude.to_wide() * (other.magnitude.to_wide() & u128::from(u64::MAX));
        Self {
            sign: self.sign != other.sign,
            magnitude: Big::from_wide(product),
            exponent: self.exponent + other.exponent,
            more: false,
        }
    }

    /// Long division, bit by bit, to 140 places.
    fn div(&self, other: &Self) -> Self {
        let divisor = other.magnitude.to_wide();
        let mut remainder = self.magnitude.to_wide();
        let mut quotient = Big::from_wide(remainder / divisor);
        remainder %= divisor;
        for _ in 0..140 {
            remainder <<= 1;
            let digit = remainder / divisor;
            quotient = quotient.shl(1).add(&Big::from_wide(digit));
            remainder %= divisor;
        }
        Self {
            sign: self.sign != other.sign,
            magnitude: quotient,
            exponent: self.exponent - other.exponent - 140,
            more: remainder != 0,
        }
    }

    /// Square root by its digits: each is the largest that keeps the square within the radicand.
    fn sqrt(&self) -> Self {
        let shift = 150 + (self.exponent & 1);
        let radicand = self.magnitude.shl(shift);
        let (mut root, mut square) = (Big(Vec::new()), Big(Vec::new()));
        for place in (0..(radicand.bit_length() + 1) / 2).rev() {
            // (root + 2^place)^2 = square + root 2^(place + 1) + 4^place
            let next = square.add(&root.shl(place + 1)).add(&Big::from_wide(1).shl(2 * place));
            if next.cmp(&radicand) != Ordering::Greater {
                root = root.add(&Big::from_wide(1).shl(place));
                square = next;
            }
        }
        let more = square != radicand;
        Self { sign: false, magnitude: root, exponent: (self.exponent - shift) / 2, more }
    }

    /// The nearest multiples of `2^quantum` in the given direction, and whether that is inexact.
    fn quantized(&self, rounding: Rounding, quantum: i32) -> (Big, bool) {
        let count = quantum - self.exponent;
        if count <= 0 {
            assert!(!self.more);
            return (self.magnitude.shl(-count), false);
        }
        let floor = self.magnitude.shr(count);
        let rest = self.magnitude.sub(&floor.shl(count));
        let half = match rest.cmp(&Big::from_wide(1).shl(count - 1)) {
            Ordering::Equal if self.more => Ordering::Greater,
            other => other,
        };
        let inexact = self.more || !rest.is_zero();
        let odd = !floor.is_zero() && floor.0[0] & 1 == 1;
        let up = match rounding {
            Rounding::NearestEven => half == Ordering::Greater || half == Ordering::Equal && odd,
            Rounding::NearestAway => half != Ordering::Less,
            Rounding::TowardZero => false,
            Rounding::Down => inexact && self.sign,
            Rounding::Up => inexact && !self.sign,
        };
        (if up { floor.add(&Big::from_wide(1)) } else { floor }, inexact)
    }

    /// Result and flags. `zero_sign` is that of an exact zero.
    fn rounded<F: Encoding>(&self, rounding: Rounding, zero_sign: bool) -> (u128, Flags) {
        let encode = |sign: bool, biased: i32, stored: u128| {
            u128::from(sign) << (F::STORED + F::EXPONENT_BITS) | (biased as u128) << F::STORED | stored
        };
        if self.magnitude.is_zero() {
            return (encode(zero_sign, 0, 0), Flags::empty());
        }
        let digits = F::PRECISION as i32;
        let leading = self.magnitude.bit_length() - 1 + self.exponent;
        // As if the exponent were unbounded: decides tininess and overflow.
        let quantum = leading - digits + 1;
        let leading_rounded = quantum + self.quantized(rounding, quantum).0.bit_length() - 1;
        let explicit = u128::from(F::STORED == F::PRECISION) << (F::PRECISION - 1);
        if leading_rounded > F::EMAX {
            let infinite = match rounding {
                Rounding::NearestEven | Rounding::NearestAway => true,
                Rounding::TowardZero => false,
                Rounding::Down => self.sign,
                Rounding::Up => !self.sign,
            };
            let infinity = encode(self.sign, 2 * F::EMAX + 1, explicit);
            let largest = encode(self.sign, 2 * F::EMAX, (1 << F::STORED) - 1);
            return (if infinite { infinity } else { largest }, Flags::OVERFLOW | Flags::INEXACT);
        }
        let quantum = leading.max(F::EMIN) - digits + 1;
        let (significand, inexact) = self.quantized(rounding, quantum);
        let mut flags = Flags::empty();
        flags.set(Flags::INEXACT, inexact);
        flags.set(Flags::UNDERFLOW, inexact && leading_rounded < F::EMIN);
        let length = significand.bit_length();
        if length < digits {
            return (encode(self.sign, 0, significand.to_wide()), flags);
        }
        let significand = significand.shr(length - digits).to_wide();
        let biased = quantum + length - 1 + F::EMAX;
        (encode(self.sign, biased, (significand & ((1 << (digits - 1)) - 1)) | explicit), flags)
    }
}

/// The flags that the reference knows of.
fn ieee(env: &Env) -> Flags {
    env.flags - Flags::DENORMAL_OPERAND
}

fn environment(rounding: Rounding) -> Env {
    Env::canonical(rounding, Flags::empty())
}

fn check<F: Encoding>(
    what: &str,
    rounding: Rounding,
    operands: &[F::Bits],
    expected: (u128, Flags),
    operation: impl Fn(&mut Env) -> F::Bits,
) {
    let mut env = environment(rounding);
    let result = F::to_wide(operation(&mut env));
    assert_eq!(
        (result, ieee(&env)),
        expected,
        "{what} {rounding:?} {operands:x?}: {result:x} instead of {:x}",
        expected.0
    );
}

/// The sign of an exact zero sum: that of the terms where they agree.
fn sum_sign(rounding: Rounding, a: &Exact, b: &Exact) -> bool {
    if a.sign == b.sign { a.sign } else { rounding == Rounding::Down }
}

fn two_operands<F: Encoding>(seed: u64, rounds: usize) {
    let mut random = Random(seed);
    for _ in 0..rounds {
        let a = operand::<F>(&mut random);
        let b = partner::<F>(&mut random, a);
        let (Some(x), Some(y)) = (Exact::of::<F>(a), Exact::of::<F>(b)) else { continue };
        let minus_y = Exact { sign: !y.sign, ..y.clone() };
        for rounding in ROUNDINGS {
            let sum = x.add(&y).rounded::<F>(rounding, sum_sign(rounding, &x, &y));
            check::<F>("add", rounding, &[a, b], sum, |env| soft::add::<F>(env, a, b));
            let difference = x.add(&minus_y).rounded::<F>(rounding, sum_sign(rounding, &x, &minus_y));
            check::<F>("sub", rounding, &[a, b], difference, |env| soft::sub::<F>(env, a, b));
            if F::PRECISION <= 64 {
                let product = x.mul(&y).rounded::<F>(rounding, x.sign != y.sign);
                check::<F>("mul", rounding, &[a, b], product, |env| soft::mul::<F>(env, a, b));
            }
            if !y.magnitude.is_zero() {
                let quotient = x.div(&y).rounded::<F>(rounding, x.sign != y.sign);
                check::<F>("div", rounding, &[a, b], quotient, |env| soft::div::<F>(env, a, b));
            }
            if !x.sign {
                let root = x.sqrt().rounded::<F>(rounding, false);
                check::<F>("sqrt", rounding, &[a], root, |env| soft::sqrt::<F>(env, a));
            }
        }
    }
}

#[test]
fn half_operations_are_exact() {
    two_operands::<F16>(1, ROUNDS / 4);
}

#[test]
fn single_operations_are_exact() {
    two_operands::<F32>(2, ROUNDS / 4);
}

#[test]
fn double_operations_are_exact() {
    two_operands::<F64>(3, ROUNDS / 4);
}

#[test]
fn extended_operations_are_exact() {
    two_operands::<F80>(4, ROUNDS / 16);
}

fn fused<F: Encoding>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS / 4 {
        let [a, b, c] = triple::<F>(&mut random);
        let (Some(x), Some(y), Some(z)) = (Exact::of::<F>(a), Exact::of::<F>(b), Exact::of::<F>(c)) else {
            continue;
        };
        let signs = random.next();
        let negate = Negate { product: signs & 1 != 0, addend: signs & 2 != 0 };
        let mut product = x.mul(&y);
        product.sign ^= negate.product;
        let addend = Exact { sign: z.sign ^ negate.addend, ..z };
        for rounding in ROUNDINGS {
            let sum = product.add(&addend).rounded::<F>(rounding, sum_sign(rounding, &product, &addend));
            check::<F>("fma", rounding, &[a, b, c], sum, |env| soft::fma::<F>(env, a, b, c, negate));
        }
    }
}

#[test]
fn fused_multiply_add_is_exact() {
    fused::<F16>(5);
    fused::<F32>(6);
    fused::<F64>(7);
}

fn conversions<F: Encoding, G: Encoding>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS / 8 {
        let a = operand::<F>(&mut random);
        let Some(x) = Exact::of::<F>(a) else { continue };
        for rounding in ROUNDINGS {
            let mut env = environment(rounding);
            let result = G::to_wide(convert::<F, G>(&mut env, a));
            let expected = x.rounded::<G>(rounding, x.sign);
            assert_eq!((result, ieee(&env)), expected, "{a:x?} {rounding:?}");
        }
    }
}

#[test]
fn conversions_between_formats_are_exact() {
    conversions::<F16, F32>(10);
    conversions::<F16, F64>(11);
    conversions::<F32, F16>(12);
    conversions::<F32, F64>(13);
    conversions::<F64, F16>(14);
    conversions::<F64, F32>(15);
    conversions::<F80, F32>(16);
    conversions::<F80, F64>(17);
    conversions::<F64, F80>(18);
}

fn to_integers<F: Encoding, T: Integer + TryFrom<i128>>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS / 8 {
        let a = operand::<F>(&mut random);
        let Some(x) = Exact::of::<F>(a) else { continue };
        for rounding in ROUNDINGS {
            let mut env = environment(rounding);
            let result = to_int::<F, T>(&mut env, rounding, a).map(Integer::split);
            let (magnitude, inexact) = x.quantized(rounding, 0);
            let small = magnitude.bit_length() <= 100;
            let value = if small { magnitude.to_wide() as i128 } else { i128::MAX };
            let value = if x.sign { -value } else { value };
            let expected = match T::try_from(value) {
                Ok(integer) => (Ok(integer.split()), if inexact { Flags::INEXACT } else { Flags::empty() }),
                Err(_) if x.sign => (Err(OutOfRange::Low), Flags::INVALID),
                Err(_) => (Err(OutOfRange::High), Flags::INVALID),
            };
            assert_eq!((result, ieee(&env)), expected, "{a:x?} {rounding:?}");
            if rounding == Rounding::TowardZero {
                let mut env = environment(Rounding::Up);
                let low = magnitude.0.first().copied().unwrap_or(0);
                let low = if x.sign { low.wrapping_neg() } else { low };
                assert_eq!(to_int_modular::<F>(&mut env, a), low as i32, "{a:x?}");
                let mut same = environment(rounding);
                let _ = to_int::<F, i32>(&mut same, rounding, a);
                assert_eq!(env.flags, same.flags, "{a:x?}");
            }
        }
    }
}

#[test]
fn conversions_to_integers_are_exact() {
    to_integers::<F16, i32>(20);
    to_integers::<F16, u64>(21);
    to_integers::<F32, i32>(22);
    to_integers::<F32, u32>(23);
    to_integers::<F32, i64>(24);
    to_integers::<F32, u64>(25);
    to_integers::<F64, i32>(26);
    to_integers::<F64, u32>(27);
    to_integers::<F64, i64>(28);
    to_integers::<F64, u64>(29);
    to_integers::<F80, i16>(30);
    to_integers::<F80, i64>(31);
}

fn from_integers<F: Encoding, T: Integer>(seed: u64, make: impl Fn(u64) -> T) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS / 8 {
        let noise = random.next() >> random.below(64) << random.below(64);
        let value = make(noise.wrapping_add(random.below(3)).wrapping_sub(1));
        let (sign, magnitude) = value.split();
        let exact =
            Exact { sign, magnitude: Big::from_wide(u128::from(magnitude)), exponent: 0, more: false };
        for rounding in ROUNDINGS {
            let mut env = environment(rounding);
            let result = F::to_wide(from_int::<F, T>(&mut env, value));
            assert_eq!((result, env.flags), exact.rounded::<F>(rounding, false), "{sign} {magnitude}");
        }
    }
}

#[test]
fn conversions_from_integers_are_exact() {
    from_integers::<F16, _>(40, |value| value as i32);
    from_integers::<F16, _>(41, |value| value);
    from_integers::<F32, _>(42, |value| value as i32);
    from_integers::<F32, _>(43, |value| value as u32);
    from_integers::<F32, _>(44, |value| value as i64);
    from_integers::<F32, _>(45, |value| value);
    from_integers::<F64, _>(46, |value| value as i32);
    from_integers::<F64, _>(47, |value| value as i64);
    from_integers::<F64, _>(48, |value| value);
    from_integers::<F80, _>(49, |value| value as i64);
}

fn integral<F: Encoding>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS / 8 {
        let a = operand::<F>(&mut random);
        let Some(x) = Exact::of::<F>(a) else { continue };
        for rounding in ROUNDINGS {
            let (magnitude, inexact) = x.quantized(rounding, 0);
            let rounded = Exact { magnitude, exponent: 0, ..x.clone() };
            let expected = rounded.rounded::<F>(rounding, x.sign).0;
            for report in [false, true] {
                let mut env = environment(Rounding::NearestEven);
                let result = F::to_wide(round_to_integral::<F>(&mut env, rounding, report, a));
                let flags = if inexact && report { Flags::INEXACT } else { Flags::empty() };
                assert_eq!((result, env.flags), (expected, flags), "{a:x?} {rounding:?}");
            }
        }
    }
}

#[test]
fn rounding_to_integers_is_exact() {
    integral::<F16>(50);
    integral::<F32>(51);
    integral::<F64>(52);
    integral::<F80>(53);
}
