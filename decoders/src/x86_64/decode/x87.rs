//! x87 instructions, and those that save and restore x87 and vector state: which there are, and what decoding resolves
//! for them.

use super::{Class, Source};
use crate::x86_64::helpers::x87::{
    Arithmetic, Comparison, Form, Operands, Source as From, TRUNCATING, UNCHECKED,
};
use crate::x86_64::insn::{Condition, Insn, Op};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::trap;
use c2w_engine::addr::Width;
use c2w_engine::guest::TrapCause;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};

/// What an x87 instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum X87Op {
    Fldcw,
    Fldenv,
    Fnclex,
    /// FNENI, FNDISI and FNSETPM, which do nothing since the 80387 (SDM 3B 23.18).
    Fnignored,
    Fninit,
    Fnop,
    Fnsave,
    Fnstcw,
    Fnstenv,
    Fnstsw,
    Frstor,
    Fwait,
    /// FXRSTOR in the form that is the immediate.
    Fxrstor,
    /// FXSAVE likewise.
    Fxsave,
    /// XRSTOR likewise.
    Xrstor,
    /// XSAVE, XSAVEOPT and XSAVEC likewise.
    Xsave,
    /// An instruction on the stack. The immediate holds its [`Operands`], and its opcode in bits 32 to 42.
    OnStack(StackOp),
}

/// What an instruction on the stack does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum StackOp {
    Load,
    Constant,
    Exchange,
    MoveIf,
    Free,
    Turn,
    Arithmetic,
    Compare,
    CompareFlags,
    Examine,
    Store,
    StoreRegister,
    ChangeSign,
    Absolute,
    SquareRoot,
    Round,
    Extract,
    Remainder,
    Scale,
    Sine,
    Cosine,
    SineAndCosine,
    Tangent,
    Arctangent,
    Exponential,
    Logarithm,
    LogarithmPlus1,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let mnemonic = source.insn.mnemonic();
    let on_stack = || on_stack(source.insn).map(|(op, _)| X87Op::OnStack(op));
    let Some(op) = control(mnemonic).or_else(on_stack) else { return Ok(None) };
    // FWAIT and the XSAVE family look at control registers themselves, in an order of their own.
    let looks_itself = matches!(op, X87Op::Fwait | X87Op::Xsave | X87Op::Xrstor);
    if !looks_itself && source.mode.contains(ModeBits::NO_X87) {
        return Err(trap::NO_FPU);
    }
    // These load MXCSR, which code is decoded under.
    let class = if matches!(op, X87Op::Fxrstor | X87Op::Xrstor) { Class::last } else { Class::plain };
    Ok(Some(class(Op::X87(op))))
}

/// Resolves what only these instructions have.
pub fn finish(insn: &mut Insn, op: X87Op, source: &Source<'_>) -> Result<(), TrapCause> {
    if source.insn.has_lock_prefix() {
        return Err(trap::UNDEFINED);
    }
    match op {
        X87Op::Fxsave | X87Op::Fxrstor | X87Op::Xsave | X87Op::Xrstor => {
            insn.imm = form(source).bits() as i64;
        }
        X87Op::Fnop => insn.imm = i64::from(opcode(source)) << 32,
        X87Op::OnStack(_) => {
            let (_, operands) = on_stack(source.insn).ok_or(trap::UNDEFINED)?;
            insn.imm = operands.bits() as i64 | i64::from(opcode(source)) << 32;
            insn.condition = condition(source.insn.mnemonic());
        }
        _ => {}
    }
    Ok(())
}

/// Low bits of the first opcode byte and all of the second (SDM 1 8.1.9).
fn opcode(source: &Source<'_>) -> u16 {
    // No prefix looks like an x87 opcode.
    match source.bytes.iter().position(|byte| byte & 0xf8 == 0xd8) {
        Some(at) => {
            let second = source.bytes.get(at + 1).copied().unwrap_or(0);
            u16::from(source.bytes[at] & 7) << 8 | u16::from(second)
        }
        None => 0,
    }
}

fn form(source: &Source<'_>) -> Form {
    use Mnemonic::{Fxrstor64, Fxsave64, Xrstor64, Xsave64, Xsavec, Xsavec64, Xsaveopt, Xsaveopt64};
    let mnemonic = source.insn.mnemonic();
    let wide = matches!(mnemonic, Fxsave64 | Fxrstor64 | Xsave64 | Xsaveopt64 | Xsavec64 | Xrstor64);
    let mut form = Form::empty();
    form.set(Form::WIDE_POINTERS, wide);
    form.set(Form::SIXTEEN, source.mode.code_width() == Width::W64);
    form.set(Form::OPTIMIZED, matches!(mnemonic, Xsaveopt | Xsaveopt64));
    form.set(Form::COMPACTED, matches!(mnemonic, Xsavec | Xsavec64));
    form
}

fn control(mnemonic: Mnemonic) -> Option<X87Op> {
    use X87Op as Op;
    Some(match mnemonic {
        Mnemonic::Fldcw => Op::Fldcw,
        Mnemonic::Fldenv => Op::Fldenv,
        Mnemonic::Fnclex => Op::Fnclex,
        Mnemonic::Fneni | Mnemonic::Fndisi | Mnemonic::Fnsetpm => Op::Fnignored,
        Mnemonic::Fninit => Op::Fninit,
        Mnemonic::Fnop => Op::Fnop,
        Mnemonic::Fnsave => Op::Fnsave,
        Mnemonic::Fnstcw => Op::Fnstcw,
        Mnemonic::Fnstenv => Op::Fnstenv,
        Mnemonic::Fnstsw => Op::Fnstsw,
        Mnemonic::Frstor => Op::Frstor,
        Mnemonic::Wait => Op::Fwait,
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => Op::Fxrstor,
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => Op::Fxsave,
        Mnemonic::Xrstor | Mnemonic::Xrstor64 => Op::Xrstor,
        Mnemonic::Xsave
        | Mnemonic::Xsave64
        | Mnemonic::Xsaveopt
        | Mnemonic::Xsaveopt64
        | Mnemonic::Xsavec
        | Mnemonic::Xsavec64 => Op::Xsave,
        _ => return None,
    })
}

/// The condition of FCMOVcc, as encodings number conditions.
fn condition(mnemonic: Mnemonic) -> Condition {
    Condition(match mnemonic {
        Mnemonic::Fcmovb => 2,
        Mnemonic::Fcmovnb => 3,
        Mnemonic::Fcmove => 4,
        Mnemonic::Fcmovne => 5,
        Mnemonic::Fcmovbe => 6,
        Mnemonic::Fcmovnbe => 7,
        Mnemonic::Fcmovu => 10,
        Mnemonic::Fcmovnu => 11,
        _ => 0,
    })
}

/// What memory holds, or that there is none.
fn memory_source(insn: &Instruction) -> From {
    match insn.memory_size() {
        MemorySize::Float32 => From::Single,
        MemorySize::Float64 => From::Double,
        MemorySize::Float80 => From::Extended,
        MemorySize::Int16 => From::Int16,
        MemorySize::Int32 => From::Int32,
        MemorySize::Int64 => From::Int64,
        MemorySize::Bcd => From::Decimal,
        _ => From::Stack,
    }
}

/// Operation and operands of an instruction on the stack.
fn on_stack(insn: &Instruction) -> Option<(StackOp, Operands)> {
    use Mnemonic as M;
    let number = |index: u32| match insn.op_kind(index) {
        OpKind::Register if insn.op_register(index).is_st() => insn.op_register(index).number() as u8,
        _ => 0,
    };
    let count = insn.op_count();
    let first = if count > 0 { number(0) } else { 0 };
    // Instructions that name no registers work on ST(1) and ST(0).
    let second = match count {
        0 => 1,
        1 => first,
        _ => number(1),
    };
    let plain =
        Operands { operation: 0, source: memory_source(insn), index: second, into_index: false, pops: 0 };
    let arithmetic = |operation: Arithmetic, pops| {
        let into_index = first != 0 || pops != 0;
        let index = if into_index { first } else { second };
        let operands = Operands { operation: operation as u8, index, into_index, pops, ..plain };
        Some((StackOp::Arithmetic, operands))
    };
    let compare = |op: StackOp, comparison: Comparison, pops| {
        Some((op, Operands { operation: comparison as u8, pops, ..plain }))
    };
    let store = |operation, pops| {
        let op = if plain.source == From::Stack { StackOp::StoreRegister } else { StackOp::Store };
        // FST ST(i) is decoded with the destination first.
        Some((op, Operands { operation, index: first, pops, ..plain }))
    };
    let constant = |operation| Some((StackOp::Constant, Operands { operation, ..plain }));
    let function = |op| Some((op, plain));
    match insn.mnemonic() {
        M::Fld | M::Fild | M::Fbld => function(StackOp::Load),
        M::Fld1 => constant(0),
        M::Fldl2t => constant(1),
        M::Fldl2e => constant(2),
        M::Fldpi => constant(3),
        M::Fldlg2 => constant(4),
        M::Fldln2 => constant(5),
        M::Fldz => constant(6),
        M::Fadd | M::Fiadd => arithmetic(Arithmetic::Add, 0),
        M::Faddp => arithmetic(Arithmetic::Add, 1),
        M::Fmul | M::Fimul => arithmetic(Arithmetic::Multiply, 0),
        M::Fmulp => arithmetic(Arithmetic::Multiply, 1),
        M::Fsub | M::Fisub => arithmetic(Arithmetic::Subtract, 0),
        M::Fsubp => arithmetic(Arithmetic::Subtract, 1),
        M::Fsubr | M::Fisubr => arithmetic(Arithmetic::SubtractReversed, 0),
        M::Fsubrp => arithmetic(Arithmetic::SubtractReversed, 1),
        M::Fdiv | M::Fidiv => arithmetic(Arithmetic::Divide, 0),
        M::Fdivp => arithmetic(Arithmetic::Divide, 1),
        M::Fdivr | M::Fidivr => arithmetic(Arithmetic::DivideReversed, 0),
        M::Fdivrp => arithmetic(Arithmetic::DivideReversed, 1),
        M::Fcom | M::Ficom => compare(StackOp::Compare, Comparison::Ordered, 0),
        M::Fcomp | M::Ficomp => compare(StackOp::Compare, Comparison::Ordered, 1),
        M::Fcompp => compare(StackOp::Compare, Comparison::Ordered, 2),
        M::Fucom => compare(StackOp::Compare, Comparison::Unordered, 0),
        M::Fucomp => compare(StackOp::Compare, Comparison::Unordered, 1),
        M::Fucompp => compare(StackOp::Compare, Comparison::Unordered, 2),
        M::Ftst => compare(StackOp::Compare, Comparison::Test, 0),
        M::Fcomi => compare(StackOp::CompareFlags, Comparison::Ordered, 0),
        M::Fcomip => compare(StackOp::CompareFlags, Comparison::Ordered, 1),
        M::Fucomi => compare(StackOp::CompareFlags, Comparison::Unordered, 0),
        M::Fucomip => compare(StackOp::CompareFlags, Comparison::Unordered, 1),
        M::Fxam => function(StackOp::Examine),
        M::Fst | M::Fist => store(0, 0),
        M::Fstp | M::Fistp | M::Fbstp => store(0, 1),
        M::Fstpnce => store(UNCHECKED, 1),
        M::Fisttp => store(TRUNCATING, 1),
        M::Fxch => function(StackOp::Exchange),
        M::Fcmovb
        | M::Fcmovnb
        | M::Fcmove
        | M::Fcmovne
        | M::Fcmovbe
        | M::Fcmovnbe
        | M::Fcmovu
        | M::Fcmovnu => function(StackOp::MoveIf),
        M::Ffree => function(StackOp::Free),
        M::Ffreep => Some((StackOp::Free, Operands { pops: 1, ..plain })),
        M::Fincstp => Some((StackOp::Turn, Operands { index: 1, ..plain })),
        M::Fdecstp => Some((StackOp::Turn, Operands { index: 7, ..plain })),
        M::Fchs => function(StackOp::ChangeSign),
        M::Fabs => function(StackOp::Absolute),
        M::Fsqrt => function(StackOp::SquareRoot),
        M::Frndint => function(StackOp::Round),
        M::Fxtract => function(StackOp::Extract),
        M::Fprem => function(StackOp::Remainder),
        M::Fprem1 => Some((StackOp::Remainder, Operands { operation: 1, ..plain })),
        M::Fscale => function(StackOp::Scale),
        M::Fsin => function(StackOp::Sine),
        M::Fcos => function(StackOp::Cosine),
        M::Fsincos => function(StackOp::SineAndCosine),
        M::Fptan => function(StackOp::Tangent),
        M::Fpatan => function(StackOp::Arctangent),
        M::F2xm1 => function(StackOp::Exponential),
        M::Fyl2x => function(StackOp::Logarithm),
        M::Fyl2xp1 => function(StackOp::LogarithmPlus1),
        _ => None,
    }
}
