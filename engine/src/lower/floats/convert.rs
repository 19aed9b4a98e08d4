//! Conversions.

use super::checks::{leave_if_any, leave_if_subnormal, leave_if_unboxed, plain, zero};
use super::{Conversion, FloatCode, Form, One, Relation};
use crate::emit::{Slot, VectorOp};

/// Which integers a number may become. What lies just at an end may be left to the call-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Signed32,
    Signed64,
    Unsigned32,
    /// Of 64 bits, of which the highest is zero.
    Unsigned63,
}

impl Bound {
    /// The first number that is too large.
    const fn end(self) -> f64 {
        match self {
            Bound::Signed32 => (1u64 << 31) as f64,
            Bound::Unsigned32 => (1u64 << 32) as f64,
            Bound::Signed64 | Bound::Unsigned63 => (1u64 << 63) as f64,
        }
    }
}

/// The least double of which a single is normal, with room for rounding, and the first one that is too large likewise.
const SINGLES: [f64; 2] = [f32::MIN_POSITIVE as f64 * 2.0, f32::MAX as f64 / 2.0];

/// Whether the absolute values of numbers are not less than a number, or NaNs.
fn reaches<C: FloatCode>(c: &mut C, form: Form, value: C::Value, end: f64) -> C::Value {
    let absolute = c.one(One::Abs, form, value);
    let end = c.constant(form, end);
    let less = c.relation(Relation::Less, form, absolute, end);
    c.not(form, less)
}

/// A scalar as an integer, in a plain environment.
pub(super) fn number_to_integer<C: FloatCode>(
    c: &mut C,
    form: Form,
    nearest: bool,
    bound: Bound,
    value: C::Value,
) -> C::Value {
    let value = if nearest { c.one(One::Nearest, form, value) } else { value };
    let reaches = reaches(c, form, value, bound.end());
    c.leave_if(form, reaches);
    if matches!(bound, Bound::Unsigned32 | Bound::Unsigned63) {
        let least = c.constant(form, 0.0);
        let negative = c.relation(Relation::Less, form, value, least);
        c.leave_if(form, negative);
    }
    c.number_to_integer(form, bound != Bound::Signed32, value)
}

/// Conversions of vectors and between the formats; as [`super::compute::vector`], which knows what can be written.
pub(super) fn vector<C: FloatCode>(c: &mut C, op: VectorOp, [to, a, b]: [Slot; 3]) -> Option<Form> {
    use VectorOp as V;
    match op {
        V::Cvtdq2ps => {
            plain(c);
            let integers = c.read(Form::S4, b);
            let result = c.convert(Conversion::IntegersToSingles, integers);
            c.write(Form::S4, to, a, result);
            Some(Form::S4)
        }
        V::Cvtdq2pd => {
            let integers = c.read(Form::S4, b);
            let result = c.convert(Conversion::IntegersToDoubles, integers);
            c.write(Form::D2, to, a, result);
            Some(Form::D2)
        }
        V::Cvtps2dq => integers(c, Form::S4, Conversion::SinglesToIntegers, true, [to, a, b]),
        V::Cvttps2dq => integers(c, Form::S4, Conversion::SinglesToIntegers, false, [to, a, b]),
        V::Cvtpd2dq => integers(c, Form::D2, Conversion::DoublesToIntegers, true, [to, a, b]),
        V::Cvttpd2dq => integers(c, Form::D2, Conversion::DoublesToIntegers, false, [to, a, b]),
        V::Cvtps2pd => {
            let singles = c.read(Form::S4, b);
            let result = c.convert(Conversion::SinglesToDoubles, singles);
            // Subnormal singles are no subnormal doubles.
            let unordered = c.relation(Relation::Unordered, Form::D2, result, result);
            let normal = reaches(c, Form::D2, result, f32::MIN_POSITIVE.into());
            let is_zero = zero(c, Form::D2, result);
            let ordinary = c.either(Form::D2, normal, is_zero);
            let subnormal = c.not(Form::D2, ordinary);
            leave_if_any(c, Form::D2, &[unordered, subnormal]);
            c.write(Form::D2, to, a, result);
            // Nor are what calling out makes of them.
            Some(Form::D2)
        }
        V::Cvtss2sd | V::FcvtDS => {
            let single = c.read(Form::S, b);
            if op.is_alone() {
                leave_if_unboxed(c, &[(b, single)], false);
            } else {
                leave_if_subnormal(c, Form::S, &[(b, single)]);
            }
            let unordered = c.relation(Relation::Unordered, Form::S, single, single);
            c.leave_if(Form::S, unordered);
            let result = c.single_to_double(single);
            if op.is_alone() {
                c.write_alone(Form::D, to, result)
            } else {
                c.write(Form::D, to, a, result)
            }
            Some(Form::D)
        }
        V::Cvtsd2ss | V::FcvtSD => {
            plain(c);
            let double = c.read(Form::D, b);
            leave_unless_single(c, Form::D, double);
            let result = c.double_to_single(double);
            if op.is_alone() {
                c.write_alone(Form::S, to, result)
            } else {
                c.write(Form::S, to, a, result)
            }
            Some(Form::S)
        }
        V::Cvtpd2ps => {
            plain(c);
            let doubles = c.read(Form::D2, b);
            leave_unless_single(c, Form::D2, doubles);
            let result = c.convert(Conversion::DoublesToSingles, doubles);
            c.write(Form::S4, to, a, result);
            Some(Form::S4)
        }
        op => unreachable!("{} is no conversion", op.name()),
    }
}

/// Vectors as integers of 32 bits.
fn integers<C: FloatCode>(
    c: &mut C,
    form: Form,
    conversion: Conversion,
    nearest: bool,
    [to, a, b]: [Slot; 3],
) -> Option<Form> {
    plain(c);
    let mut numbers = c.read(form, b);
    if nearest {
        numbers = c.one(One::Nearest, form, numbers);
    }
    let reaches = reaches(c, form, numbers, Bound::Signed32.end());
    c.leave_if(form, reaches);
    let result = c.convert(conversion, numbers);
    c.write(Form::S4, to, a, result);
    None
}

/// Calls out unless doubles are zero or become normal singles.
fn leave_unless_single<C: FloatCode>(c: &mut C, form: Form, doubles: C::Value) {
    let [least, end] = SINGLES;
    let above = reaches(c, form, doubles, end);
    c.leave_if(form, above);
    let normal = reaches(c, form, doubles, least);
    let below = c.not(form, normal);
    c.rarely(form, below, |c| {
        let is_zero = zero(c, form, doubles);
        let not_zero = c.not(form, is_zero);
        let wrong = c.both(form, below, not_zero);
        c.leave_if(form, wrong);
    });
}
