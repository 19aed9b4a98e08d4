//! Floating-point operations: the instructions that [`crate::lower::floats`] asks for.

use super::LAYOUT;
use super::function::Lowering;
use crate::emit::Slot;
use crate::ir::vector::boxed::BOX;
use crate::lower::floats::{Conversion, FloatCode, Form, Known, One, Relation, Two};
use crate::lower::moves::Bytes;
use cranelift_codegen::ir::{
    self as clif, Endianness, InstBuilder, MemFlagsData, Type,
    condcodes::{FloatCC, IntCC},
    types,
};
use cranelift_frontend::Variable;

/// The floating-point operations of a block.
#[derive(Default)]
pub(super) struct Floats {
    pub(super) known: Known,
    /// Zero while the environment is plain and nothing has called out.
    is_slow: Option<Variable>,
    /// Where the operation being written calls out.
    slow: Option<clif::Block>,
}

/// The type of a form's numbers.
fn number(form: Form) -> Type {
    match form {
        Form::S => types::F32,
        Form::D => types::F64,
        Form::S4 => types::F32X4,
        Form::D2 => types::F64X2,
    }
}

/// All numbers of a pair instead of the low one.
fn whole(form: Form) -> Form {
    if form.is_single() { Form::S4 } else { Form::D2 }
}

/// The type of their bits.
fn integer(form: Form) -> Type {
    match form {
        Form::S => types::I32,
        Form::D => types::I64,
        Form::S4 => types::I32X4,
        Form::D2 => types::I64X2,
    }
}

impl Lowering<'_, '_> {
    /// Writes an operation: in line, as far as `write` can, and by a call-out; both or neither give a result. The operands are
    /// in variables of pairs then.
    pub(super) fn in_line<T>(
        &mut self,
        operands: &[Slot],
        write: impl FnOnce(&mut Self) -> Option<(T, Option<clif::Value>)>,
        call_out: impl FnOnce(&mut Self) -> Option<clif::Value>,
    ) -> (Option<T>, Option<clif::Value>) {
        operands.iter().for_each(|&operand| self.load_pair(operand));
        if self.target.float_environment.is_none() {
            return (None, call_out(self));
        }
        self.floats.known.begin();
        let [slow, done] = [(); 2].map(|()| self.build.create_block());
        self.floats.slow = Some(slow);
        let Some((written, result)) = write(self) else { return (None, call_out(self)) };
        let results = result.map(|result| {
            self.build.append_block_param(done, types::I64);
            clif::BlockArg::from(result)
        });
        self.build.ins().jump(done, results.as_slice());
        self.build.set_cold_block(slow);
        self.build.switch_to_block(slow);
        if self.floats.known.is_relied_on() {
            let is_slow = self.is_slow_variable();
            let yes = self.build.ins().iconst(types::I8, 1);
            self.build.def_var(is_slow, yes);
        }
        let called = call_out(self).map(clif::BlockArg::from);
        self.build.ins().jump(done, called.as_slice());
        self.build.switch_to_block(done);
        (Some(written), self.build.block_params(done).first().copied())
    }

    fn is_slow_variable(&mut self) -> Variable {
        *self.floats.is_slow.get_or_insert_with(|| self.build.declare_var(types::I8))
    }

    /// The same bits as another type.
    pub(super) fn cast(&mut self, ty: Type, value: clif::Value) -> clif::Value {
        if self.build.func.dfg.value_type(value) == ty {
            return value;
        }
        let little = MemFlagsData::new().with_endianness(Endianness::Little);
        self.build.ins().bitcast(ty, little, value)
    }

    /// What a branch can use.
    fn any(&mut self, form: Form, condition: clif::Value) -> clif::Value {
        if form.is_vector() { self.build.ins().vhigh_bits(types::I32, condition) } else { condition }
    }

    /// An integer in every lane.
    fn every_lane(&mut self, form: Form, number: i64) -> clif::Value {
        let bytes = match form {
            Form::S => return self.build.ins().iconst(types::I32, number & 0xffff_ffff),
            Form::D => return self.build.ins().iconst(types::I64, number),
            Form::S4 => (number as u32).to_le_bytes().repeat(4),
            Form::D2 => number.to_le_bytes().repeat(2),
        };
        let constant = self.build.func.dfg.constants.insert(bytes.into());
        self.build.ins().vconst(integer(form), constant)
    }
}

impl FloatCode for Lowering<'_, '_> {
    type Value = clif::Value;

    fn known(&mut self) -> &mut Known {
        &mut self.floats.known
    }

    fn rounds(&self) -> bool {
        self.target.rounds
    }

    fn fuses(&self) -> bool {
        self.target.fuses
    }

    fn look(&mut self, mask: u64, plain: u64) {
        let is_slow = self.is_slow_variable();
        let slot = self.target.float_environment.map_or(0, |Slot(slot)| LAYOUT.slot(slot));
        let environment = self.load_own(slot);
        let masked = self.build.ins().band_imm_s(environment, mask as i64);
        let differs = self.build.ins().icmp_imm_s(IntCC::NotEqual, masked, plain as i64);
        self.build.def_var(is_slow, differs);
    }

    fn is_slow(&mut self) -> clif::Value {
        let is_slow = self.is_slow_variable();
        self.build.use_var(is_slow)
    }

    fn slow_if(&mut self, form: Form, condition: clif::Value) {
        let condition = self.any(form, condition);
        let is_slow = self.is_slow_variable();
        let (before, yes) = (self.build.use_var(is_slow), self.build.ins().iconst(types::I8, 1));
        let now = self.build.ins().select(condition, yes, before);
        self.build.def_var(is_slow, now);
    }

    fn leave_if(&mut self, form: Form, condition: clif::Value) {
        let condition = self.any(form, condition);
        let (slow, next) = (self.floats.slow, self.build.create_block());
        let slow = slow.expect("an operation is being written");
        self.build.ins().brif(condition, slow, &[], next, &[]);
        self.build.switch_to_block(next);
    }

    fn rarely(&mut self, form: Form, condition: clif::Value, write: impl FnOnce(&mut Self)) {
        let condition = self.any(form, condition);
        let [rare, next] = [(); 2].map(|()| self.build.create_block());
        self.build.set_cold_block(rare);
        self.build.ins().brif(condition, rare, &[], next, &[]);
        self.build.switch_to_block(rare);
        write(self);
        self.build.ins().jump(next, &[]);
        self.build.switch_to_block(next);
    }

    fn read(&mut self, form: Form, slot: Slot) -> clif::Value {
        match form {
            Form::S | Form::D => {
                let vector = self.read(whole(form), slot);
                self.build.ins().extractlane(vector, 0)
            }
            Form::S4 | Form::D2 => self.pair(number(form), slot),
        }
    }

    fn write(&mut self, form: Form, to: Slot, rest: Slot, value: clif::Value) {
        let vector = match form {
            Form::S | Form::D => {
                let rest = self.read(whole(form), rest);
                self.build.ins().insertlane(rest, value, 0)
            }
            Form::S4 | Form::D2 => value,
        };
        self.define_pair(to, vector);
    }

    fn write_alone(&mut self, form: Form, to: Slot, value: clif::Value) {
        let vector = if form.is_single() {
            let bytes = u128::from(BOX).to_le_bytes().to_vec();
            let constant = self.build.func.dfg.constants.insert(bytes.into());
            let boxes = self.build.ins().vconst(types::F32X4, constant);
            self.build.ins().insertlane(boxes, value, 0)
        } else {
            self.build.ins().scalar_to_vector(types::F64X2, value)
        };
        self.define_pair(to, vector);
    }

    fn has_no_box(&mut self, slot: Slot) -> clif::Value {
        let vector = self.pair(types::I32X4, slot);
        let above = self.build.ins().extractlane(vector, 1);
        self.build.ins().icmp_imm_s(IntCC::NotEqual, above, i64::from((BOX >> 32) as i32))
    }

    fn constant(&mut self, form: Form, value: f64) -> clif::Value {
        match form {
            Form::S => self.build.ins().f32const(value as f32),
            Form::D => self.build.ins().f64const(value),
            Form::S4 | Form::D2 => {
                let bits =
                    if form == Form::S4 { (value as f32).to_bits().into() } else { value.to_bits() as i64 };
                let bits = self.every_lane(form, bits);
                self.cast(number(form), bits)
            }
        }
    }

    fn two(&mut self, op: Two, form: Form, a: clif::Value, b: clif::Value) -> clif::Value {
        let code = match op {
            Two::Add => return self.build.ins().fadd(a, b),
            Two::Sub => return self.build.ins().fsub(a, b),
            Two::Mul => return self.build.ins().fmul(a, b),
            Two::Div => return self.build.ins().fdiv(a, b),
            Two::Minimum => return self.build.ins().fmin(a, b),
            Two::Maximum => return self.build.ins().fmax(a, b),
            Two::Less => FloatCC::LessThan,
            Two::Greater => FloatCC::GreaterThan,
        };
        let first = self.build.ins().fcmp(code, a, b);
        if form.is_vector() {
            let first = self.cast(number(form), first);
            self.build.ins().bitselect(first, a, b)
        } else {
            self.build.ins().select(first, a, b)
        }
    }

    fn one(&mut self, op: One, _form: Form, a: clif::Value) -> clif::Value {
        let ins = self.build.ins();
        match op {
            One::Sqrt => ins.sqrt(a),
            One::Abs => ins.fabs(a),
            One::Negate => ins.fneg(a),
            One::Nearest => ins.nearest(a),
            One::Floor => ins.floor(a),
            One::Ceil => ins.ceil(a),
            One::Truncate => ins.trunc(a),
        }
    }

    fn fused(&mut self, _form: Form, [a, b, c]: [clif::Value; 3]) -> clif::Value {
        self.build.ins().fma(a, b, c)
    }

    fn relation(&mut self, relation: Relation, _form: Form, a: clif::Value, b: clif::Value) -> clif::Value {
        let code = match relation {
            Relation::Equal => FloatCC::Equal,
            Relation::Less => FloatCC::LessThan,
            Relation::LessOrEqual => FloatCC::LessThanOrEqual,
            Relation::Unordered => FloatCC::Unordered,
        };
        self.build.ins().fcmp(code, a, b)
    }

    fn bits(&mut self, form: Form, value: clif::Value) -> clif::Value {
        self.cast(integer(form), value)
    }

    fn shift_left(&mut self, _form: Form, bits: clif::Value, by: u32) -> clif::Value {
        let by = self.build.ins().iconst(types::I32, i64::from(by));
        self.build.ins().ishl(bits, by)
    }

    fn shift_right(&mut self, _form: Form, bits: clif::Value, by: u32) -> clif::Value {
        let by = self.build.ins().iconst(types::I32, i64::from(by));
        self.build.ins().ushr(bits, by)
    }

    fn add_integer(&mut self, form: Form, bits: clif::Value, number: i64) -> clif::Value {
        let number = self.every_lane(form, number);
        self.build.ins().iadd(bits, number)
    }

    fn and_integer(&mut self, form: Form, bits: clif::Value, number: i64) -> clif::Value {
        let number = self.every_lane(form, number);
        self.build.ins().band(bits, number)
    }

    fn equals_integer(&mut self, form: Form, bits: clif::Value, number: i64) -> clif::Value {
        let number = self.every_lane(form, number);
        self.build.ins().icmp(IntCC::Equal, bits, number)
    }

    fn exceeds_integer(&mut self, form: Form, bits: clif::Value, number: i64) -> clif::Value {
        let number = self.every_lane(form, number);
        self.build.ins().icmp(IntCC::SignedGreaterThan, bits, number)
    }

    fn either(&mut self, _form: Form, a: clif::Value, b: clif::Value) -> clif::Value {
        self.build.ins().bor(a, b)
    }

    fn both(&mut self, _form: Form, a: clif::Value, b: clif::Value) -> clif::Value {
        self.build.ins().band(a, b)
    }

    fn not(&mut self, form: Form, condition: clif::Value) -> clif::Value {
        if form.is_vector() {
            self.build.ins().bnot(condition)
        } else {
            self.build.ins().icmp_imm_s(IntCC::Equal, condition, 0)
        }
    }

    fn mask(&mut self, form: Form, condition: clif::Value) -> clif::Value {
        let ones =
            if form.is_vector() { condition } else { self.build.ins().bmask(integer(form), condition) };
        self.cast(number(form), ones)
    }

    fn integer(&mut self, condition: clif::Value, yes: u64) -> clif::Value {
        let one = self.build.ins().uextend(types::I64, condition);
        if yes == 1 { one } else { self.build.ins().imul_imm_s(one, yes as i64) }
    }

    fn or(&mut self, a: clif::Value, b: clif::Value) -> clif::Value {
        self.build.ins().bor(a, b)
    }

    fn single_to_double(&mut self, value: clif::Value) -> clif::Value {
        self.build.ins().fpromote(types::F64, value)
    }

    fn double_to_single(&mut self, value: clif::Value) -> clif::Value {
        self.build.ins().fdemote(types::F32, value)
    }

    fn integer_to_number(
        &mut self,
        form: Form,
        wide: bool,
        signed: bool,
        integer: clif::Value,
    ) -> clif::Value {
        let integer = if wide { integer } else { self.build.ins().ireduce(types::I32, integer) };
        if signed {
            self.build.ins().fcvt_from_sint(number(form), integer)
        } else {
            self.build.ins().fcvt_from_uint(number(form), integer)
        }
    }

    fn number_to_integer(&mut self, _form: Form, wide: bool, value: clif::Value) -> clif::Value {
        if wide {
            return self.build.ins().fcvt_to_sint(types::I64, value);
        }
        let narrow = self.build.ins().fcvt_to_sint(types::I32, value);
        self.build.ins().uextend(types::I64, narrow)
    }

    fn convert(&mut self, conversion: Conversion, value: clif::Value) -> clif::Value {
        match conversion {
            Conversion::SinglesToDoubles => self.build.ins().fvpromote_low(value),
            Conversion::DoublesToSingles => self.build.ins().fvdemote(value),
            Conversion::IntegersToSingles => {
                let integers = self.cast(types::I32X4, value);
                self.build.ins().fcvt_from_sint(types::F32X4, integers)
            }
            Conversion::IntegersToDoubles => {
                let integers = self.cast(types::I32X4, value);
                let wide = self.build.ins().swiden_low(integers);
                self.build.ins().fcvt_from_sint(types::F64X2, wide)
            }
            Conversion::SinglesToIntegers => self.build.ins().fcvt_to_sint_sat(types::I32X4, value),
            Conversion::DoublesToIntegers => {
                let wide = self.build.ins().fcvt_to_sint_sat(types::I64X2, value);
                let zeros = self.every_lane(Form::D2, 0);
                self.build.ins().snarrow(wide, zeros)
            }
        }
    }

    fn shuffled(&mut self, form: Form, a: clif::Value, b: clif::Value, bytes: Bytes) -> clif::Value {
        let [a, b] = [a, b].map(|vector| self.cast(types::I8X16, vector));
        let shuffled = self.shuffle(a, b, bytes);
        self.cast(number(form), shuffled)
    }
}
