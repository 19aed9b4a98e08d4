//! What an operation is the same as, as far as the block before it tells: nothing is computed that is there already.
//!
//! Guests of 64 bits that compute in 32 extend every result, and put rotations together from shifts.

use crate::addr::Width::{self, W32, W64};
use crate::ir::block::{Block, Op, Value};
use crate::ir::ops::{Binary, Cond, Unary};

/// How many operations back an operand of an extension still is at hand: further away, it would be kept for this alone.
const AT_HAND: u32 = 12;
/// How deep is looked into what a value was computed from.
const DEPTH: u32 = 3;

/// What an operation of width `w` may use in place of an operand, of which it reads the low bits only.
pub(super) fn low_bits(block: &Block, w: Width, mut value: Value) -> Value {
    while let Op::Unary { op: Unary::Sext | Unary::Zext, w: of, a } = *block.definition(value)
        && of >= w
        && value.0 + AT_HAND >= block.ops.len() as u32
    {
        value = a;
    }
    value
}

/// The value behind all extensions from `w` bits or more.
fn without_extensions(block: &Block, w: Width, mut value: Value) -> Value {
    while let Op::Unary { op: Unary::Sext | Unary::Zext, w: of, a } = *block.definition(value)
        && of >= w
    {
        value = a;
    }
    value
}

/// Whether a value is what extending it would give.
pub(super) fn is_extended(block: &Block, op: Unary, w: Width, value: Value) -> bool {
    match op {
        Unary::Zext => w == W64 || is_zero_extended(block, w, value),
        Unary::Sext => w == W64 || is_sign_extended(block, w, value, DEPTH),
        _ => false,
    }
}

/// Whether no bit above the low `w` is set.
fn is_zero_extended(block: &Block, w: Width, value: Value) -> bool {
    match *block.definition(value) {
        Op::Const(number) => number & !w.mask() == 0,
        Op::Unary { op: Unary::Sext, .. } => false,
        Op::Binary { w: of, .. } | Op::Unary { w: of, .. } | Op::Load { w: of, .. } => of <= w,
        Op::LoadToModify { w: of, .. } => of <= w,
        Op::Compare { .. } => true,
        _ => false,
    }
}

/// Whether all bits above the low `w` are as the highest of those.
fn is_sign_extended(block: &Block, w: Width, value: Value, depth: u32) -> bool {
    let is = |value| depth > 0 && is_sign_extended(block, w, value, depth - 1);
    match *block.definition(value) {
        Op::Const(number) => crate::ir::eval::sign_extend(w, number) as u64 == number,
        Op::Unary { op: Unary::Sext, w: of, .. } => of <= w,
        Op::Binary { op: Binary::ShrU, w: of, b, .. } if of == w => {
            block.constant(b).is_some_and(|count| count & u64::from(of.bits() - 1) != 0)
        }
        Op::Binary { op: Binary::And | Binary::Or | Binary::Xor, w: W64, a, b } => is(a) && is(b),
        Op::Binary { w: of, .. } | Op::Unary { w: of, .. } | Op::Load { w: of, .. } => of < w,
        Op::Compare { .. } => true,
        Op::Select { a, b, .. } => is(a) && is(b),
        _ => false,
    }
}

/// A value and how far it is rotated to the right, in which width.
pub(super) struct Rotation {
    pub of: Value,
    pub w: Width,
    pub right: u32,
}

/// The rotation that two shifts of one value make when they are put together in 64 bits. What it gives is extended by its
/// sign.
pub(super) fn rotation(block: &Block, a: Value, b: Value) -> Option<Rotation> {
    let left = |value| {
        let (w, value) = match *block.definition(value) {
            Op::Unary { op: Unary::Sext, w: W32, a } => (W32, a),
            _ => (W64, value),
        };
        shift(block, Binary::Shl, value).filter(|&(of, ..)| of == w)
    };
    let right = |value| shift(block, Binary::ShrU, value);
    let ((w, x, up), (same_w, y, down)) = left(a).zip(right(b)).or_else(|| left(b).zip(right(a)))?;
    let is_same = without_extensions(block, w, x) == without_extensions(block, w, y);
    (w == same_w && is_same && up + down == w.bits()).then_some(Rotation { of: x, w, right: down })
}

/// Width, operand and distance of a shift by a constant.
fn shift(block: &Block, by: Binary, value: Value) -> Option<(Width, Value, u32)> {
    match *block.definition(value) {
        Op::Binary { op, w, a, b } if op == by => Some((w, a, block.constant(b)? as u32 & (w.bits() - 1))),
        _ => None,
    }
}

/// What an operation gives that needs no operation of its own, or a simpler one.
pub(super) enum Simpler {
    Number(u64),
    Extension(Unary, Width, Value),
}

/// The same as an operation on two values, if it is simpler.
pub(super) fn simpler(block: &Block, op: Binary, w: Width, a: Value, b: Value) -> Option<Simpler> {
    use Simpler::{Extension, Number};
    match op {
        Binary::And | Binary::Or if a == b => Some(Extension(Unary::Zext, w, a)),
        Binary::Xor | Binary::Sub if a == b => Some(Number(0)),
        Binary::ShrU | Binary::ShrS => {
            let (of, x, up) = shift(block, Binary::Shl, a)?;
            let down = block.constant(b)? as u32 & (w.bits() - 1);
            if of != w || up != down {
                return None;
            }
            let kept = [Width::W8, Width::W16, W32].into_iter().find(|kept| kept.bits() + up == w.bits())?;
            // In fewer than 64 bits, what is above the operation is to be 0.
            match (op, w) {
                (Binary::ShrU, _) => Some(Extension(Unary::Zext, kept, x)),
                (_, W64) => Some(Extension(Unary::Sext, kept, x)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The comparison that tells whether another one holds, or does not, where that is asked for.
pub(super) fn repeated(block: &Block, cond: Cond, a: Value, b: Value) -> Option<Op> {
    let Op::Compare { cond: inner, w, a: x, b: y } = *block.definition(a) else { return None };
    if block.constant(b) != Some(0) || a.0 + AT_HAND < block.ops.len() as u32 {
        return None;
    }
    match cond {
        Cond::Eq => Some(Op::Compare { cond: inner.negated(), w, a: x, b: y }),
        Cond::Ne => Some(Op::Compare { cond: inner, w, a: x, b: y }),
        _ => None,
    }
}
