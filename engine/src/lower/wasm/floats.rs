//! Floating-point operations: the instructions that [`crate::lower::floats`] asks for. Every value is in a local until the
//! operation ends.

use super::code::aligned;
use super::function::Lowering;
use crate::emit::Slot;
use crate::ir::vector::boxed::BOX;
use crate::lower::floats::{Conversion, FloatCode, Form, Known, One, Relation, Two, look_again};
use crate::lower::moves::Bytes;
use wasm_encoder::{BlockType, InstructionSink, ValType};

/// The floating-point operations of a block.
#[derive(Default)]
pub(super) struct Floats {
    pub(super) known: Known,
    /// Zero while the environment is plain and nothing has called out.
    is_slow: Option<u32>,
    /// Conditions around what is being written.
    nesting: u32,
    /// Locals with the operation's values.
    values: Vec<u32>,
}

/// The type of a form's numbers.
fn number(form: Form) -> ValType {
    match form {
        Form::S => ValType::F32,
        Form::D => ValType::F64,
        Form::S4 | Form::D2 => ValType::V128,
    }
}

/// The type of their bits.
fn bits(form: Form) -> ValType {
    match form {
        Form::S => ValType::I32,
        Form::D => ValType::I64,
        Form::S4 | Form::D2 => ValType::V128,
    }
}

/// The type of a condition.
fn condition(form: Form) -> ValType {
    if form.is_vector() { ValType::V128 } else { ValType::I32 }
}

/// A number of bits in every lane.
fn every_lane(form: Form, bits: u64) -> i128 {
    let half = if form.is_single() { (bits & 0xffff_ffff) | bits << 32 } else { bits };
    (u128::from(half) << 64 | u128::from(half)) as i128
}

/// An instruction for each form.
macro_rules! by_form {
    ($put:expr, $form:expr, $s:ident $d:ident $s4:ident $d2:ident) => {{
        let mut put = $put;
        match $form {
            Form::S => put.$s(),
            Form::D => put.$d(),
            Form::S4 => put.$s4(),
            Form::D2 => put.$d2(),
        };
    }};
}

impl Lowering<'_> {
    /// Writes an operation: in line, as far as `write` can, and by a call-out. Either leaves a result of this type. The
    /// operands are in locals of pairs then.
    pub(super) fn in_line<T>(
        &mut self,
        operands: &[Slot],
        result: BlockType,
        write: impl FnOnce(&mut Self) -> Option<T>,
        call_out: impl FnOnce(&mut Self),
    ) -> Option<T> {
        operands.iter().for_each(|&operand| self.load_pair(operand));
        if self.float_environment.is_none() {
            call_out(self);
            return None;
        }
        self.floats.known.begin();
        let mark = self.code.mark();
        self.code.put().block(result).block(BlockType::Empty);
        let written = write(self);
        self.floats.values.drain(..).for_each(|local| self.code.release(local));
        if written.is_none() {
            self.code.back_to(mark);
            call_out(self);
            return None;
        }
        self.code.put().br(1).end();
        if self.floats.known.is_relied_on() {
            let is_slow = self.is_slow_local();
            self.code.put().i32_const(1).local_set(is_slow);
        }
        call_out(self);
        self.code.put().end();
        written
    }

    /// Where a loop begins with what is to be known: looks again unless it is.
    pub(super) fn look_at_head(&mut self) {
        if self.floats.known.is_nothing() {
            return;
        }
        let is_slow = self.is_slow();
        self.code.put().local_get(is_slow);
        self.begin_other(false);
        let wanted = self.floats.known.clone();
        look_again(self, &wanted);
        self.floats.values.drain(..).for_each(|local| self.code.release(local));
        self.end_other();
    }

    /// Whether a block begins with more than is known here.
    pub(super) fn knows_less_than(&self, block: usize) -> bool {
        !self.floats.known.is_enough_for(&self.known[block])
    }

    /// Says on the way to a block that does that it has to look again.
    pub(super) fn demand_look(&mut self) {
        let is_slow = self.is_slow_local();
        self.code.put().i32_const(1).local_set(is_slow);
    }

    fn is_slow_local(&mut self) -> u32 {
        *self.floats.is_slow.get_or_insert_with(|| self.code.local(ValType::I32))
    }

    /// Takes a value from the stack.
    fn taken(&mut self, ty: ValType) -> u32 {
        let local = self.code.temporary(ty);
        self.floats.values.push(local);
        self.code.put().local_set(local);
        local
    }

    /// Pushes values.
    fn push(&mut self, locals: &[u32]) -> InstructionSink<'_> {
        let mut put = self.code.put();
        for &local in locals {
            put.local_get(local);
        }
        put
    }

    fn push_integer(&mut self, form: Form, number: i64) -> InstructionSink<'_> {
        let mut put = self.code.put();
        match form {
            Form::S => put.i32_const(number as i32),
            Form::D => put.i64_const(number),
            Form::S4 | Form::D2 => put.v128_const(every_lane(form, number as u64)),
        };
        put
    }

    fn push_condition(&mut self, form: Form, condition: u32) {
        let mut put = self.push(&[condition]);
        match form {
            Form::S | Form::D => &mut put,
            Form::S4 => put.i32x4_bitmask(),
            Form::D2 => put.i64x2_bitmask(),
        };
    }
}

impl FloatCode for Lowering<'_> {
    /// A local.
    type Value = u32;

    fn known(&mut self) -> &mut Known {
        &mut self.floats.known
    }

    fn rounds(&self) -> bool {
        true
    }

    fn fuses(&self) -> bool {
        false
    }

    fn look(&mut self, mask: u64, plain: u64) {
        let is_slow = self.is_slow_local();
        let environment = self.float_environment.map_or(0, |Slot(slot)| self.layout.slot(slot));
        let mut put = self.code.put();
        put.i32_const(0).i32_load(aligned(environment, 2)).i32_const(mask as i32).i32_and();
        put.i32_const(plain as i32).i32_xor().local_set(is_slow);
    }

    fn is_slow(&mut self) -> u32 {
        // With a mask of all that it may be, for which hosts test it where it lies, without reading it twice.
        let is_slow = self.is_slow_local();
        self.push(&[is_slow]).i32_const(0xffff).i32_and();
        self.taken(ValType::I32)
    }

    fn slow_if(&mut self, form: Form, condition: u32) {
        let is_slow = self.is_slow_local();
        self.push_condition(form, condition);
        self.code.put().local_get(is_slow).i32_or().local_set(is_slow);
    }

    fn leave_if(&mut self, form: Form, condition: u32) {
        self.push_condition(form, condition);
        let depth = self.floats.nesting;
        self.code.rarely_br_if(depth);
    }

    fn rarely(&mut self, form: Form, condition: u32, write: impl FnOnce(&mut Self)) {
        self.push_condition(form, condition);
        self.code.expect_if(false, BlockType::Empty);
        self.floats.nesting += 1;
        write(self);
        self.floats.nesting -= 1;
        self.code.put().end();
    }

    fn read(&mut self, form: Form, slot: Slot) -> u32 {
        let pair = self.pair_local(slot);
        match form {
            Form::S => self.push(&[pair]).f32x4_extract_lane(0),
            Form::D => self.push(&[pair]).f64x2_extract_lane(0),
            Form::S4 | Form::D2 => return pair,
        };
        self.taken(number(form))
    }

    fn write(&mut self, form: Form, to: Slot, rest: Slot, value: u32) {
        let [to, rest] = [to, rest].map(|slot| self.pair_local(slot));
        match form {
            Form::S => self.push(&[rest, value]).f32x4_replace_lane(0),
            Form::D => self.push(&[rest, value]).f64x2_replace_lane(0),
            Form::S4 | Form::D2 => &mut self.push(&[value]),
        };
        self.code.put().local_set(to);
    }

    fn write_alone(&mut self, form: Form, to: Slot, value: u32) {
        let to = self.pair_local(to);
        let mut put = self.code.put();
        if form.is_single() {
            put.v128_const(i128::from(BOX)).local_get(value).f32x4_replace_lane(0);
        } else {
            put.v128_const(0).local_get(value).f64x2_replace_lane(0);
        }
        put.local_set(to);
    }

    fn has_no_box(&mut self, slot: Slot) -> u32 {
        let pair = self.pair_local(slot);
        self.push(&[pair]).i32x4_extract_lane(1).i32_const((BOX >> 32) as i32).i32_ne();
        self.taken(ValType::I32)
    }

    fn constant(&mut self, form: Form, value: f64) -> u32 {
        let mut put = self.code.put();
        match form {
            Form::S => put.f32_const((value as f32).into()),
            Form::D => put.f64_const(value.into()),
            Form::S4 => put.v128_const(every_lane(form, (value as f32).to_bits().into())),
            Form::D2 => put.v128_const(every_lane(form, value.to_bits())),
        };
        self.taken(number(form))
    }

    fn two(&mut self, op: Two, form: Form, a: u32, b: u32) -> u32 {
        match (op, form) {
            (Two::Less | Two::Greater, Form::S | Form::D) => {
                self.push(&[a, b, a, b]);
                let mut put = self.code.put();
                match (op, form) {
                    (Two::Less, Form::S) => put.f32_lt(),
                    (Two::Less, _) => put.f64_lt(),
                    (_, Form::S) => put.f32_gt(),
                    _ => put.f64_gt(),
                };
                put.select();
            }
            // The second operand where it is less, or greater.
            (Two::Less, _) => {
                by_form!(self.push(&[b, a]), form, f32_min f64_min f32x4_pmin f64x2_pmin);
            }
            (Two::Greater, _) => {
                by_form!(self.push(&[b, a]), form, f32_max f64_max f32x4_pmax f64x2_pmax);
            }
            _ => {
                let put = self.push(&[a, b]);
                match op {
                    Two::Add => by_form!(put, form, f32_add f64_add f32x4_add f64x2_add),
                    Two::Sub => by_form!(put, form, f32_sub f64_sub f32x4_sub f64x2_sub),
                    Two::Mul => by_form!(put, form, f32_mul f64_mul f32x4_mul f64x2_mul),
                    Two::Div => by_form!(put, form, f32_div f64_div f32x4_div f64x2_div),
                    Two::Minimum => by_form!(put, form, f32_min f64_min f32x4_min f64x2_min),
                    _ => by_form!(put, form, f32_max f64_max f32x4_max f64x2_max),
                };
            }
        }
        self.taken(number(form))
    }

    fn one(&mut self, op: One, form: Form, a: u32) -> u32 {
        let put = self.push(&[a]);
        match op {
            One::Sqrt => by_form!(put, form, f32_sqrt f64_sqrt f32x4_sqrt f64x2_sqrt),
            One::Abs => by_form!(put, form, f32_abs f64_abs f32x4_abs f64x2_abs),
            One::Negate => by_form!(put, form, f32_neg f64_neg f32x4_neg f64x2_neg),
            One::Nearest => by_form!(put, form, f32_nearest f64_nearest f32x4_nearest f64x2_nearest),
            One::Floor => by_form!(put, form, f32_floor f64_floor f32x4_floor f64x2_floor),
            One::Ceil => by_form!(put, form, f32_ceil f64_ceil f32x4_ceil f64x2_ceil),
            One::Truncate => by_form!(put, form, f32_trunc f64_trunc f32x4_trunc f64x2_trunc),
        };
        self.taken(number(form))
    }

    fn fused(&mut self, _form: Form, _numbers: [u32; 3]) -> u32 {
        unreachable!("wasm has no such instruction")
    }

    fn relation(&mut self, relation: Relation, form: Form, a: u32, b: u32) -> u32 {
        match relation {
            Relation::Equal => {
                by_form!(self.push(&[a, b]), form, f32_eq f64_eq f32x4_eq f64x2_eq);
            }
            Relation::Less => {
                by_form!(self.push(&[a, b]), form, f32_lt f64_lt f32x4_lt f64x2_lt);
            }
            Relation::LessOrEqual => {
                by_form!(self.push(&[a, b]), form, f32_le f64_le f32x4_le f64x2_le);
            }
            Relation::Unordered if a == b => {
                by_form!(self.push(&[a, a]), form, f32_ne f64_ne f32x4_ne f64x2_ne);
            }
            Relation::Unordered if form.is_vector() => {
                by_form!(self.push(&[a, a]), form, f32_ne f64_ne f32x4_ne f64x2_ne);
                by_form!(self.push(&[b, b]), form, f32_ne f64_ne f32x4_ne f64x2_ne);
                self.code.put().v128_or();
            }
            Relation::Unordered => {
                by_form!(self.push(&[a, b]), form, f32_lt f64_lt f32x4_lt f64x2_lt);
                by_form!(self.push(&[a, b]), form, f32_ge f64_ge f32x4_ge f64x2_ge);
                self.code.put().i32_or().i32_eqz();
            }
        }
        self.taken(condition(form))
    }

    fn bits(&mut self, form: Form, value: u32) -> u32 {
        match form {
            Form::S => self.push(&[value]).i32_reinterpret_f32(),
            Form::D => self.push(&[value]).i64_reinterpret_f64(),
            Form::S4 | Form::D2 => return value,
        };
        self.taken(bits(form))
    }

    fn shift_left(&mut self, form: Form, value: u32, by: u32) -> u32 {
        let by = by as i32;
        let mut put = self.push(&[value]);
        match form {
            Form::S => put.i32_const(by).i32_shl(),
            Form::D => put.i64_const(by.into()).i64_shl(),
            Form::S4 => put.i32_const(by).i32x4_shl(),
            Form::D2 => put.i32_const(by).i64x2_shl(),
        };
        self.taken(bits(form))
    }

    fn shift_right(&mut self, form: Form, value: u32, by: u32) -> u32 {
        let by = by as i32;
        let mut put = self.push(&[value]);
        match form {
            Form::S => put.i32_const(by).i32_shr_u(),
            Form::D => put.i64_const(by.into()).i64_shr_u(),
            Form::S4 => put.i32_const(by).i32x4_shr_u(),
            Form::D2 => put.i32_const(by).i64x2_shr_u(),
        };
        self.taken(bits(form))
    }

    fn add_integer(&mut self, form: Form, value: u32, number: i64) -> u32 {
        self.push(&[value]);
        by_form!(self.push_integer(form, number), form, i32_add i64_add i32x4_add i64x2_add);
        self.taken(bits(form))
    }

    fn and_integer(&mut self, form: Form, value: u32, number: i64) -> u32 {
        self.push(&[value]);
        by_form!(self.push_integer(form, number), form, i32_and i64_and v128_and v128_and);
        self.taken(bits(form))
    }

    fn equals_integer(&mut self, form: Form, value: u32, number: i64) -> u32 {
        self.push(&[value]);
        by_form!(self.push_integer(form, number), form, i32_eq i64_eq i32x4_eq i64x2_eq);
        self.taken(condition(form))
    }

    fn exceeds_integer(&mut self, form: Form, value: u32, number: i64) -> u32 {
        self.push(&[value]);
        by_form!(self.push_integer(form, number), form, i32_gt_s i64_gt_s i32x4_gt_s i64x2_gt_s);
        self.taken(condition(form))
    }

    fn either(&mut self, form: Form, a: u32, b: u32) -> u32 {
        by_form!(self.push(&[a, b]), form, i32_or i32_or v128_or v128_or);
        self.taken(condition(form))
    }

    fn both(&mut self, form: Form, a: u32, b: u32) -> u32 {
        by_form!(self.push(&[a, b]), form, i32_and i32_and v128_and v128_and);
        self.taken(condition(form))
    }

    fn not(&mut self, form: Form, value: u32) -> u32 {
        by_form!(self.push(&[value]), form, i32_eqz i32_eqz v128_not v128_not);
        self.taken(condition(form))
    }

    fn mask(&mut self, form: Form, value: u32) -> u32 {
        match form {
            Form::S => {
                self.code.put().i32_const(0).local_get(value).i32_sub().f32_reinterpret_i32();
            }
            Form::D => {
                self.code.put().i64_const(0).local_get(value).i64_extend_i32_u().i64_sub();
                self.code.put().f64_reinterpret_i64();
            }
            Form::S4 | Form::D2 => return value,
        }
        self.taken(number(form))
    }

    fn integer(&mut self, value: u32, yes: u64) -> u32 {
        let mut put = self.push(&[value]);
        put.i64_extend_i32_u();
        if yes != 1 {
            put.i64_const(yes as i64).i64_mul();
        }
        self.taken(ValType::I64)
    }

    fn or(&mut self, a: u32, b: u32) -> u32 {
        self.push(&[a, b]).i64_or();
        self.taken(ValType::I64)
    }

    fn single_to_double(&mut self, value: u32) -> u32 {
        self.push(&[value]).f64_promote_f32();
        self.taken(ValType::F64)
    }

    fn double_to_single(&mut self, value: u32) -> u32 {
        self.push(&[value]).f32_demote_f64();
        self.taken(ValType::F32)
    }

    fn integer_to_number(&mut self, form: Form, wide: bool, signed: bool, integer: u32) -> u32 {
        let mut put = self.push(&[integer]);
        match (form, wide, signed) {
            (Form::S, false, _) => put.i32_wrap_i64().f32_convert_i32_s(),
            (_, false, _) => put.i32_wrap_i64().f64_convert_i32_s(),
            (Form::S, _, true) => put.f32_convert_i64_s(),
            (Form::S, ..) => put.f32_convert_i64_u(),
            (_, _, true) => put.f64_convert_i64_s(),
            _ => put.f64_convert_i64_u(),
        };
        self.taken(number(form))
    }

    fn number_to_integer(&mut self, form: Form, wide: bool, value: u32) -> u32 {
        let mut put = self.push(&[value]);
        match (form, wide) {
            (Form::S, false) => put.i32_trunc_f32_s().i64_extend_i32_u(),
            (Form::S, _) => put.i64_trunc_f32_s(),
            (_, false) => put.i32_trunc_f64_s().i64_extend_i32_u(),
            _ => put.i64_trunc_f64_s(),
        };
        self.taken(ValType::I64)
    }

    fn convert(&mut self, conversion: Conversion, value: u32) -> u32 {
        let mut put = self.push(&[value]);
        match conversion {
            Conversion::SinglesToDoubles => put.f64x2_promote_low_f32x4(),
            Conversion::DoublesToSingles => put.f32x4_demote_f64x2_zero(),
            Conversion::IntegersToSingles => put.f32x4_convert_i32x4_s(),
            Conversion::IntegersToDoubles => put.f64x2_convert_low_i32x4_s(),
            Conversion::SinglesToIntegers => put.i32x4_trunc_sat_f32x4_s(),
            Conversion::DoublesToIntegers => put.i32x4_trunc_sat_f64x2_s_zero(),
        };
        self.taken(ValType::V128)
    }

    fn shuffled(&mut self, _form: Form, a: u32, b: u32, bytes: Bytes) -> u32 {
        self.push(&[a, b]).i8x16_shuffle(bytes);
        self.taken(ValType::V128)
    }
}
