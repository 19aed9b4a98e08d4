//! Arithmetic, comparisons and choices; which operation is which.

use super::checks::{
    leave_for_result, leave_if_any, leave_if_subnormal, leave_if_unboxed, not_finite, plain, subnormals,
};
use super::convert::{self, Bound};
use super::{FloatCode, Form, One, Relation, Two};
use crate::emit::{Slot, VectorExtract, VectorInsert, VectorOp};
use crate::ir::vector::{CARRY, ZERO};
use crate::lower::moves::moved_bytes;

/// What an operation is.
#[derive(Clone, Copy)]
enum Work {
    /// Of `a` and `b`.
    Two(Two),
    Sqrt,
    Choice(Two),
    /// Differences and sums by turns.
    Alternating,
    /// Of neighbours.
    Neighbours(Two),
    Round,
    Compare,
    /// The conversions of [`convert::vector`].
    Convert,
    /// A product, perhaps negated, plus a third number, perhaps negated.
    Fused {
        product: bool,
        addend: bool,
    },
}

const fn fused(product: bool, addend: bool) -> Work {
    Work::Fused { product, addend }
}

/// What an operation is, and of which numbers.
fn work(op: VectorOp) -> Option<(Work, Form)> {
    use Form::{D, D2, S, S4};
    use VectorOp as V;
    Some(match op {
        V::Addps => (Work::Two(Two::Add), S4),
        V::Addpd => (Work::Two(Two::Add), D2),
        V::Addss | V::FaddS => (Work::Two(Two::Add), S),
        V::Addsd | V::FaddD => (Work::Two(Two::Add), D),
        V::Subps => (Work::Two(Two::Sub), S4),
        V::Subpd => (Work::Two(Two::Sub), D2),
        V::Subss | V::FsubS => (Work::Two(Two::Sub), S),
        V::Subsd | V::FsubD => (Work::Two(Two::Sub), D),
        V::Mulps => (Work::Two(Two::Mul), S4),
        V::Mulpd => (Work::Two(Two::Mul), D2),
        V::Mulss | V::FmulS => (Work::Two(Two::Mul), S),
        V::Mulsd | V::FmulD => (Work::Two(Two::Mul), D),
        V::Divps => (Work::Two(Two::Div), S4),
        V::Divpd => (Work::Two(Two::Div), D2),
        V::Divss | V::FdivS => (Work::Two(Two::Div), S),
        V::Divsd | V::FdivD => (Work::Two(Two::Div), D),
        V::Sqrtps => (Work::Sqrt, S4),
        V::Sqrtpd => (Work::Sqrt, D2),
        V::Sqrtss | V::FsqrtS => (Work::Sqrt, S),
        V::Sqrtsd | V::FsqrtD => (Work::Sqrt, D),
        V::Minps => (Work::Choice(Two::Less), S4),
        V::Minpd => (Work::Choice(Two::Less), D2),
        V::Minss => (Work::Choice(Two::Less), S),
        V::Minsd => (Work::Choice(Two::Less), D),
        V::Maxps => (Work::Choice(Two::Greater), S4),
        V::Maxpd => (Work::Choice(Two::Greater), D2),
        V::Maxss => (Work::Choice(Two::Greater), S),
        V::Maxsd => (Work::Choice(Two::Greater), D),
        V::FminS => (Work::Choice(Two::Minimum), S),
        V::FminD => (Work::Choice(Two::Minimum), D),
        V::FmaxS => (Work::Choice(Two::Maximum), S),
        V::FmaxD => (Work::Choice(Two::Maximum), D),
        V::Addsubps => (Work::Alternating, S4),
        V::Addsubpd => (Work::Alternating, D2),
        V::Haddps => (Work::Neighbours(Two::Add), S4),
        V::Haddpd => (Work::Neighbours(Two::Add), D2),
        V::Hsubps => (Work::Neighbours(Two::Sub), S4),
        V::Hsubpd => (Work::Neighbours(Two::Sub), D2),
        V::Roundps => (Work::Round, S4),
        V::Roundpd => (Work::Round, D2),
        V::Roundss => (Work::Round, S),
        V::Roundsd => (Work::Round, D),
        V::Cmpps => (Work::Compare, S4),
        V::Cmppd => (Work::Compare, D2),
        V::Cmpss => (Work::Compare, S),
        V::Cmpsd => (Work::Compare, D),
        // The form is that of the operand; integers count as singles.
        V::Cvtdq2ps | V::Cvtdq2pd | V::Cvtps2dq | V::Cvttps2dq | V::Cvtps2pd => (Work::Convert, S4),
        V::Cvtpd2dq | V::Cvttpd2dq | V::Cvtpd2ps => (Work::Convert, D2),
        V::Cvtss2sd | V::FcvtDS => (Work::Convert, S),
        V::Cvtsd2ss | V::FcvtSD => (Work::Convert, D),
        V::FmaddS => (fused(false, false), S),
        V::FmaddD => (fused(false, false), D),
        V::FmsubS => (fused(false, true), S),
        V::FmsubD => (fused(false, true), D),
        V::FnmsubS => (fused(true, false), S),
        V::FnmsubD => (fused(true, false), D),
        V::FnmaddS => (fused(true, true), S),
        V::FnmaddD => (fused(true, true), D),
        _ => return None,
    })
}

/// Writes an operation; `None`, and nothing is written, if it takes a call-out. The form is that of the result if none of its
/// numbers is subnormal.
pub(in super::super) fn vector<C: FloatCode>(
    c: &mut C,
    op: VectorOp,
    imm: u8,
    [to, a, b]: [Slot; 3],
) -> Option<Option<Form>> {
    let (work, form) = work(op)?;
    let alone = op.is_alone();
    let rounds = matches!(work, Work::Round) || matches!(op, VectorOp::Cvtps2dq | VectorOp::Cvtpd2dq);
    let fuses = matches!((work, form), (Work::Fused { .. }, Form::D));
    if rounds && !c.rounds() || fuses && !c.fuses() {
        return None;
    }
    let put =
        |c: &mut C, value| if alone { c.write_alone(form, to, value) } else { c.write(form, to, a, value) };
    let ordinary = match work {
        Work::Two(two) => {
            plain(c);
            let operands = operands(c, form, alone, &[a, b], true);
            let conditions = if alone { Vec::new() } else { subnormals(c, form, &operands) };
            let [x, y] = [operands[0].1, operands[1].1];
            let result = c.two(two, form, x, y);
            leave_for_result(c, (two, form), conditions, [x, y], result);
            put(c, result);
            Some(form)
        }
        Work::Sqrt => {
            plain(c);
            let operands = operands(c, form, alone, &[b], true);
            let mut conditions = if alone { Vec::new() } else { subnormals(c, form, &operands) };
            let result = c.one(One::Sqrt, form, operands[0].1);
            conditions.push(not_finite(c, form, result));
            leave_if_any(c, form, &conditions);
            put(c, result);
            Some(form)
        }
        Work::Choice(two) => {
            let [x, y] = comparable(c, form, alone, [a, b]);
            let result = c.two(two, form, x, y);
            put(c, result);
            // It is one of the operands.
            c.known().looked.then_some(form)
        }
        Work::Alternating => {
            plain(c);
            let operands = operands(c, form, alone, &[a, b], true);
            let conditions = subnormals(c, form, &operands);
            let [x, y] = [operands[0].1, operands[1].1];
            let [sums, differences] = [Two::Add, Two::Sub].map(|two| c.two(two, form, x, y));
            let (blend, lanes) = match form {
                Form::S4 => (VectorOp::Blendps, 0b1010),
                _ => (VectorOp::Blendpd, 0b10),
            };
            let result = shuffled(c, form, (blend, lanes), [differences, sums]);
            leave_for_result(c, (Two::Add, form), conditions, [x, y], result);
            put(c, result);
            Some(form)
        }
        Work::Neighbours(two) => {
            plain(c);
            let operands = operands(c, form, alone, &[a, b], true);
            let conditions = subnormals(c, form, &operands);
            let both = [operands[0].1, operands[1].1];
            let (shuffle, first, second) = match form {
                Form::S4 => (VectorOp::Shufps, 0b10_00_10_00, 0b11_01_11_01),
                _ => (VectorOp::Shufpd, 0b00, 0b11),
            };
            let [x, y] = [first, second].map(|lanes| shuffled(c, form, (shuffle, lanes), both));
            let result = c.two(two, form, x, y);
            leave_for_result(c, (two, form), conditions, [x, y], result);
            put(c, result);
            Some(form)
        }
        Work::Round => {
            // A direction of its own, and inexact is not raised: subnormal numbers are all that the environment is asked about.
            if imm & 0b1100 == 0b1000 {
                let value = c.read(form, b);
                leave_if_subnormal(c, form, &[(b, value)]);
                round(c, form, imm, to, a, value);
            } else {
                plain(c);
                let value = c.read(form, b);
                round(c, form, imm, to, a, value);
            }
            None
        }
        Work::Compare => {
            let [x, y] = comparable(c, form, alone, [a, b]);
            let answer = predicate(c, form, imm, x, y);
            let mask = c.mask(form, answer);
            put(c, mask);
            None
        }
        Work::Convert => convert::vector(c, op, [to, a, b]),
        Work::Fused { product, addend } => {
            plain(c);
            let operands = operands(c, form, alone, &[a, b, Slot(imm)], true);
            let [mut x, y, mut z] = [0, 1, 2].map(|at| operands[at].1);
            for (negates, number) in [(product, &mut x), (addend, &mut z)] {
                if negates {
                    *number = c.one(One::Negate, form, *number);
                }
            }
            let result =
                if c.fuses() { c.fused(form, [x, y, z]) } else { multiply_and_add_singles(c, [x, y, z]) };
            leave_for_result(c, (Two::Mul, form), Vec::new(), [x, y], result);
            put(c, result);
            None
        }
    };
    Some(result_of(c, alone, ordinary))
}

/// What is to be known of a result: nothing of numbers that are alone, for which nobody asks.
fn result_of(c: &mut impl FloatCode, alone: bool, ordinary: Option<Form>) -> Option<Form> {
    let ordinary = ordinary.filter(|_| !alone);
    if ordinary.is_some() {
        c.known().rely();
    }
    ordinary
}

/// Numbers of pairs of slots, which have their boxes. `plain` as in [`leave_if_unboxed`].
fn operands<C: FloatCode>(
    c: &mut C,
    form: Form,
    alone: bool,
    slots: &[Slot],
    plain: bool,
) -> Vec<(Slot, C::Value)> {
    let mut operands: Vec<(Slot, C::Value)> = Vec::with_capacity(slots.len());
    for &slot in slots {
        let read = operands.iter().find(|operand| operand.0 == slot).map(|operand| operand.1);
        let value = read.unwrap_or_else(|| c.read(form, slot));
        operands.push((slot, value));
    }
    if alone && form.is_single() {
        leave_if_unboxed(c, &operands, plain);
    }
    operands
}

/// The numbers of two pairs of slots, none of which is a NaN or, unless they are alone, subnormal.
fn comparable<C: FloatCode>(c: &mut C, form: Form, alone: bool, slots: [Slot; 2]) -> [C::Value; 2] {
    let operands = operands(c, form, alone, &slots, false);
    if !alone {
        leave_if_subnormal(c, form, &operands);
    }
    let [x, y] = [operands[0].1, operands[1].1];
    let unordered = c.relation(Relation::Unordered, form, x, y);
    c.leave_if(form, unordered);
    [x, y]
}

/// CMPPS's predicates, of which those beyond the first eight differ in NaNs and flags only (SDM 2A, table 3-1).
fn predicate<C: FloatCode>(c: &mut C, form: Form, imm: u8, x: C::Value, y: C::Value) -> C::Value {
    match imm & 7 {
        0 => c.relation(Relation::Equal, form, x, y),
        1 => c.relation(Relation::Less, form, x, y),
        2 => c.relation(Relation::LessOrEqual, form, x, y),
        3 => c.relation(Relation::Unordered, form, x, y),
        4 => {
            let equal = c.relation(Relation::Equal, form, x, y);
            c.not(form, equal)
        }
        5 => c.relation(Relation::LessOrEqual, form, y, x),
        6 => c.relation(Relation::Less, form, y, x),
        _ => {
            let unordered = c.relation(Relation::Unordered, form, x, y);
            c.not(form, unordered)
        }
    }
}

/// ROUNDPS and its like, as the immediate says or to nearest (SDM 2B, table 4-21).
fn round<C: FloatCode>(c: &mut C, form: Form, imm: u8, to: Slot, rest: Slot, value: C::Value) {
    let one = match imm & 7 {
        1 => One::Floor,
        2 => One::Ceil,
        3 => One::Truncate,
        _ => One::Nearest,
    };
    let unordered = c.relation(Relation::Unordered, form, value, value);
    c.leave_if(form, unordered);
    let result = c.one(one, form, value);
    c.write(form, to, rest, result);
}

fn shuffled<C: FloatCode>(
    c: &mut C,
    form: Form,
    (op, imm): (VectorOp, u8),
    [a, b]: [C::Value; 2],
) -> C::Value {
    c.shuffled(form, a, b, moved_bytes(op, imm).expect("it only moves bytes"))
}

/// `a` times `b` plus `c` of singles, rounded once. The product is exact as a double. Rounding the sum twice, to double
/// and then to single, differs from rounding it once only where the first result lies in the middle between two singles.
fn multiply_and_add_singles<C: FloatCode>(c: &mut C, singles: [C::Value; 3]) -> C::Value {
    // What of a double is cut off, and that of a number in the middle.
    const BELOW: i64 = (1 << 29) - 1;
    const MIDDLE: i64 = 1 << 28;
    let [x, y, z] = singles.map(|single| c.single_to_double(single));
    let product = c.two(Two::Mul, Form::D, x, y);
    let sum = c.two(Two::Add, Form::D, product, z);
    let bits = c.bits(Form::D, sum);
    let below = c.and_integer(Form::D, bits, BELOW);
    let is_middle = c.equals_integer(Form::D, below, MIDDLE);
    c.leave_if(Form::D, is_middle);
    c.double_to_single(sum)
}

/// Writes an operation that puts an integer into a pair of slots; as [`vector`].
pub(in super::super) fn insert<C: FloatCode>(
    c: &mut C,
    op: VectorInsert,
    to: Slot,
    integer: C::Value,
) -> Option<Option<Form>> {
    use VectorInsert as V;
    let (form, wide, signed) = match op {
        V::Cvtsi2ss => (Form::S, false, true),
        V::Cvtsi2ssWide | V::FcvtSL => (Form::S, true, true),
        V::Cvtsi2sd => (Form::D, false, true),
        V::Cvtsi2sdWide | V::FcvtDL => (Form::D, true, true),
        V::FcvtSLu => (Form::S, true, false),
        V::FcvtDLu => (Form::D, true, false),
        _ => return None,
    };
    // A double holds every integer of 32 bits.
    if wide || form.is_single() {
        plain(c);
    }
    let value = c.integer_to_number(form, wide, signed, integer);
    if op.is_alone() {
        c.write_alone(form, to, value)
    } else {
        c.write(form, to, to, value)
    }
    Some(result_of(c, op.is_alone(), Some(form)))
}

/// Writes an operation whose result is an integer; `None`, and nothing is written, if it takes a call-out.
pub(in super::super) fn extract<C: FloatCode>(
    c: &mut C,
    op: VectorExtract,
    a: Slot,
    b: Slot,
) -> Option<C::Value> {
    use Form::{D, S};
    use VectorExtract as V;
    let alone = op.is_alone();
    let compare = |c: &mut C, form, relation| {
        let [x, y] = comparable(c, form, alone, [a, b]);
        let answer = c.relation(relation, form, x, y);
        Some(c.integer(answer, 1))
    };
    let (form, nearest, bound) = match op {
        V::Comiss | V::Ucomiss | V::Comisd | V::Ucomisd => {
            let form = if matches!(op, V::Comiss | V::Ucomiss) { S } else { D };
            let [x, y] = comparable(c, form, alone, [a, b]);
            let less = c.relation(Relation::Less, form, x, y);
            let equal = c.relation(Relation::Equal, form, x, y);
            let [less, equal] = [(less, CARRY), (equal, ZERO)].map(|(answer, flag)| c.integer(answer, flag));
            return Some(c.or(less, equal));
        }
        V::FeqS => return compare(c, S, Relation::Equal),
        V::FeqD => return compare(c, D, Relation::Equal),
        V::FltS => return compare(c, S, Relation::Less),
        V::FltD => return compare(c, D, Relation::Less),
        V::FleS => return compare(c, S, Relation::LessOrEqual),
        V::FleD => return compare(c, D, Relation::LessOrEqual),
        V::Cvtss2si | V::FcvtWS => (S, true, Bound::Signed32),
        V::Cvttss2si | V::FtruncWS => (S, false, Bound::Signed32),
        V::Cvtsd2si | V::FcvtWD => (D, true, Bound::Signed32),
        V::Cvttsd2si | V::FtruncWD => (D, false, Bound::Signed32),
        V::Cvtss2siWide | V::FcvtLS => (S, true, Bound::Signed64),
        V::Cvttss2siWide | V::FtruncLS => (S, false, Bound::Signed64),
        V::Cvtsd2siWide | V::FcvtLD => (D, true, Bound::Signed64),
        V::Cvttsd2siWide | V::FtruncLD => (D, false, Bound::Signed64),
        V::FtruncWuS => (S, false, Bound::Unsigned32),
        V::FtruncWuD => (D, false, Bound::Unsigned32),
        V::FtruncLuS => (S, false, Bound::Unsigned63),
        V::FtruncLuD => (D, false, Bound::Unsigned63),
        _ => return None,
    };
    if nearest && !c.rounds() {
        return None;
    }
    plain(c);
    let value = operands(c, form, alone, &[b], true)[0].1;
    Some(convert::number_to_integer(c, form, nearest, bound, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_something() {
        for &op in VectorOp::ALL {
            assert_eq!(work(op).is_some(), op.is_float(), "{}", op.name());
        }
    }
}
