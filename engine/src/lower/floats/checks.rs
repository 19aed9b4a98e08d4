//! Checks of environments, operands and results.
//!
//! x86 has a flag for subnormal operands, which operations on numbers that are alone in their pairs of slots do not know
//! ([`crate::ir::vector::boxed`]): a guest that has those has that flag raised always, or not at all.

use super::{FloatCode, Form, Known, Relation, Two};
use crate::emit::Slot;

/// Of MXCSR: inexact was raised.
const INEXACT: u64 = 1 << 5;
/// Subnormal operands are zeros.
const FLUSH_OPERANDS: u64 = 1 << 6;
/// The direction of rounding; none of the bits is to nearest.
const ROUNDING: u64 = 3 << 13;
/// Subnormal results become zeros.
const FLUSH_RESULTS: u64 = 1 << 15;

/// Calls out unless the environment is plain and nothing has called out since that was looked.
pub(super) fn plain(c: &mut impl FloatCode) {
    if !c.known().looked {
        look(c);
        c.known().looked = true;
    }
    let slow = c.is_slow();
    c.leave_if(Form::S, slow);
}

fn look(c: &mut impl FloatCode) {
    c.look(INEXACT | FLUSH_OPERANDS | ROUNDING | FLUSH_RESULTS, INEXACT);
}

/// Sets the block's local anew: to whether anything is not so that is to be known.
pub(in super::super) fn look_again(c: &mut impl FloatCode, wanted: &Known) {
    look(c);
    for (slot, form) in wanted.ordinary() {
        let value = c.read(form, slot);
        let subnormal = subnormal(c, form, value);
        c.slow_if(form, subnormal);
    }
    for slot in wanted.boxed() {
        let unboxed = c.has_no_box(slot);
        c.slow_if(Form::S, unboxed);
    }
}

/// Whether numbers are subnormal; the least normal ones are taken for such.
fn subnormal<C: FloatCode>(c: &mut C, form: Form, value: C::Value) -> C::Value {
    let bits = c.bits(form, value);
    let doubled = c.shift_left(form, bits, 1);
    if form == Form::D {
        // Less one, they and no others have no bit left of their exponent: zero has all.
        let less = c.add_integer(form, doubled, -1);
        let exponent = c.shift_right(form, less, form.exponent_shift());
        return c.equals_integer(form, exponent, 0);
    }
    // Moved to just below the end of the signed numbers, they are those above where zero comes to lie.
    let zero = from_end(form, 1);
    let moved = c.add_integer(form, doubled, zero);
    c.exceeds_integer(form, moved, zero)
}

/// How far bits without their sign, doubled, are moved up so that those of this exponent begin where signed numbers end. One
/// double alone is better off with shifts: no instruction has constants of its size.
const fn from_end(form: Form, exponent: i64) -> i64 {
    let end = if form.is_single() { 1 << 31 } else { i64::MIN };
    end.wrapping_sub(exponent << form.exponent_shift())
}

fn exponent<C: FloatCode>(c: &mut C, form: Form, value: C::Value) -> C::Value {
    let bits = c.bits(form, value);
    let doubled = c.shift_left(form, bits, 1);
    c.shift_right(form, doubled, form.exponent_shift())
}

/// Whether numbers are infinite or NaNs.
pub(super) fn not_finite<C: FloatCode>(c: &mut C, form: Form, value: C::Value) -> C::Value {
    let exponent = exponent(c, form, value);
    c.equals_integer(form, exponent, form.highest_exponent())
}

/// Whether numbers are not normal, or so close to the least normal ones that rounding may have made them of subnormal ones.
pub(super) fn not_normal<C: FloatCode>(c: &mut C, form: Form, value: C::Value) -> C::Value {
    let highest = form.highest_exponent();
    let bits = c.bits(form, value);
    if form == Form::D {
        // The sign is above the exponent.
        let exponent = c.shift_right(form, bits, form.exponent_shift() - 1);
        let above = c.add_integer(form, exponent, -2);
        let wrapped = c.and_integer(form, above, highest);
        return c.exceeds_integer(form, wrapped, highest - 3);
    }
    // The lowest two exponents end where the signed numbers do, and the highest one comes to lie just before them.
    let doubled = c.shift_left(form, bits, 1);
    let moved = c.add_integer(form, doubled, from_end(form, 2));
    c.exceeds_integer(form, moved, from_end(form, 3) - 1)
}

pub(super) fn zero<C: FloatCode>(c: &mut C, form: Form, value: C::Value) -> C::Value {
    let zero = c.constant(form, 0.0);
    c.relation(Relation::Equal, form, value, zero)
}

/// Calls out if any of the conditions holds.
pub(super) fn leave_if_any<C: FloatCode>(c: &mut C, form: Form, conditions: &[C::Value]) {
    if form.is_vector() {
        if let Some((&first, others)) = conditions.split_first() {
            let any = others.iter().fold(first, |any, &other| c.either(form, any, other));
            c.leave_if(form, any);
        }
    } else {
        conditions.iter().for_each(|&condition| c.leave_if(form, condition));
    }
}

/// Operands of an operation: the pairs of slots, and the numbers in them.
pub(super) type Operands<'a, C> = &'a [(Slot, <C as FloatCode>::Value)];

fn distinct<C: FloatCode>(operands: Operands<'_, C>) -> Vec<(Slot, C::Value)> {
    let mut all: Vec<(Slot, C::Value)> = Vec::new();
    for &operand in operands {
        if !all.iter().any(|other| other.0 == operand.0) {
            all.push(operand);
        }
    }
    all
}

/// Whether operands are subnormal, of an operation that calls out for such: those that are not known to be ordinary, and
/// are then.
pub(super) fn subnormals<C: FloatCode>(c: &mut C, form: Form, operands: Operands<'_, C>) -> Vec<C::Value> {
    let mut conditions = Vec::new();
    for (slot, value) in distinct::<C>(operands) {
        if !c.known().is_ordinary(form, slot) {
            conditions.push(subnormal(c, form, value));
            c.known().note_ordinary(form, slot);
        }
    }
    conditions
}

/// Calls out for operands that are subnormal, whatever the environment: what is known of them, which holds while nothing has
/// called out, is checked where something has.
pub(super) fn leave_if_subnormal<C: FloatCode>(c: &mut C, form: Form, operands: Operands<'_, C>) {
    let operands = distinct::<C>(operands);
    let (known, unknown): (Vec<_>, Vec<_>) =
        operands.into_iter().partition(|&(slot, _)| c.known().is_ordinary(form, slot));
    if !known.is_empty() && c.known().looked {
        let slow = c.is_slow();
        c.rarely(Form::S, slow, |c| {
            let conditions: Vec<_> = known.iter().map(|&(_, value)| subnormal(c, form, value)).collect();
            leave_if_any(c, form, &conditions);
        });
    }
    let conditions: Vec<_> = unknown.iter().map(|&(_, value)| subnormal(c, form, value)).collect();
    leave_if_any(c, form, &conditions);
    if c.known().looked {
        unknown.iter().for_each(|&(slot, _)| c.known().note_ordinary(form, slot));
    }
}

/// Calls out for singles without a box. `plain` says that the operation calls out in any environment that is not plain.
pub(super) fn leave_if_unboxed<C: FloatCode>(c: &mut C, operands: Operands<'_, C>, plain: bool) {
    for (slot, _) in distinct::<C>(operands) {
        let known = c.known().is_boxed(slot);
        if !known {
            let unboxed = c.has_no_box(slot);
            c.leave_if(Form::S, unboxed);
            if plain {
                c.known().note_boxed(slot);
            }
        } else if !plain && c.known().looked {
            let slow = c.is_slow();
            c.rarely(Form::S, slow, |c| {
                let unboxed = c.has_no_box(slot);
                c.leave_if(Form::S, unboxed);
            });
        }
    }
}

/// Calls out unless a result is what arithmetic of ordinary numbers gives without another flag than inexact: a normal number,
/// or exactly zero. `conditions` are others for which to call out.
pub(super) fn leave_for_result<C: FloatCode>(
    c: &mut C,
    (op, form): (Two, Form),
    conditions: Vec<C::Value>,
    [a, b]: [C::Value; 2],
    result: C::Value,
) {
    let unusual = not_normal(c, form, result);
    // A product is exactly zero if a factor is, a quotient if the dividend is, and no sum underflows.
    let inexact = |c: &mut C| {
        let mut exact = zero(c, form, result);
        if matches!(op, Two::Mul | Two::Div) {
            let mut operand = zero(c, form, a);
            if op == Two::Mul {
                let other = zero(c, form, b);
                operand = c.either(form, operand, other);
            }
            exact = c.both(form, exact, operand);
        }
        c.not(form, exact)
    };
    if form.is_vector() {
        let subnormal = conditions.into_iter().reduce(|any, other| c.either(form, any, other));
        let any = subnormal.map_or(unusual, |subnormal| c.either(form, subnormal, unusual));
        c.rarely(form, any, |c| {
            let inexact = inexact(c);
            let wrong = c.both(form, inexact, unusual);
            let wrong = subnormal.map_or(wrong, |subnormal| c.either(form, subnormal, wrong));
            c.leave_if(form, wrong);
        });
    } else {
        leave_if_any(c, form, &conditions);
        c.rarely(form, unusual, |c| {
            let inexact = inexact(c);
            c.leave_if(form, inexact);
        });
    }
}
