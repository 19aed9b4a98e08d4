//! Meanings of x87 instructions, and of those that save and restore x87 and vector state.

use super::Done;
use super::operands::X86Emit;
use crate::x86_64::flags::{self, Kind};
use crate::x86_64::helpers::x87::{ERROR_SUMMARY, Helper};
use crate::x86_64::insn::{Insn, Operand, StackOp, X87Op};
use crate::x86_64::regs::{self, RAX, RDX, X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS};
use crate::x86_64::trap;
use c2w_engine::addr::Width::{W16, W32, W64};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: X87Op) -> Done<E> {
    match op {
        X87Op::Fnignored => Ok(()),
        X87Op::Fninit => call(e, Helper::Init, &[]),
        X87Op::Fnclex => call(e, Helper::Clear, &[]),
        X87Op::Fwait => call(e, Helper::Wait, &[]),
        X87Op::Fnop => {
            wait(e)?;
            note(e, i, None);
            Ok(())
        }
        X87Op::Fnstcw => {
            let (word, to) = (e.get(X87_CONTROL), e.place(i, 0)?);
            e.write(to, word)
        }
        X87Op::Fnstsw => {
            let (word, to) = (e.get(X87_STATUS), e.place(i, 0)?);
            e.write(to, word)
        }
        X87Op::Fldcw => {
            wait(e)?;
            let word = e.operand(i, 0)?;
            call(e, Helper::LoadControl, &[word])
        }
        X87Op::Fnstenv => with_area(e, i, Helper::StoreEnvironment),
        X87Op::Fnsave => with_area(e, i, Helper::Save),
        X87Op::Fldenv => {
            wait(e)?;
            with_area(e, i, Helper::LoadEnvironment)
        }
        X87Op::Frstor => {
            wait(e)?;
            with_area(e, i, Helper::Restore)
        }
        X87Op::Fxsave => with_form(e, i, Helper::Fxsave),
        X87Op::Fxrstor => with_form(e, i, Helper::Fxrstor),
        X87Op::Xsave => with_components(e, i, Helper::Xsave),
        X87Op::Xrstor => with_components(e, i, Helper::Xrstor),
        X87Op::OnStack(op) => on_stack(e, i, op),
    }
}

#[inline(always)]
fn call<E: Emit>(e: &mut E, helper: Helper, args: &[E::Val]) -> Done<E> {
    e.helper(helper.id(), args).map(|_| ())
}

/// #MF if an unmasked exception waits: what every instruction whose name has no N does first (SDM 1 8.7). CR0.NE counts
/// as set.
#[inline(always)]
fn wait<E: Emit>(e: &mut E) -> Done<E> {
    let (status, summary) = (e.get(X87_STATUS), e.imm(u64::from(ERROR_SUMMARY)));
    let (waits, none) = (e.and(W16, status, summary), e.imm(0));
    e.trap_if(waits, trap::X87_ERROR, none)
}

/// A helper of (address, bytes of the operand).
#[inline(always)]
fn with_area<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let bytes = match i.operands[0] {
        Operand::WideMemory(bytes) => bytes,
        _ => 0,
    };
    let (at, bytes) = (e.address(&i.memory)?, e.imm(u64::from(bytes)));
    call(e, helper, &[at, bytes])
}

/// A helper of (address, form).
#[inline(always)]
fn with_form<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let (at, form) = (e.address(&i.memory)?, e.imm(i.imm as u64));
    call(e, helper, &[at, form])
}

/// A helper of (address, components in EDX:EAX, form).
#[inline(always)]
fn with_components<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let (low, high, count) = (e.get(RAX), e.get(RDX), e.imm(32));
    let (low, high) = (e.zext(W32, low), e.shl(W64, high, count));
    let components = e.or(W64, low, high);
    let (at, form) = (e.address(&i.memory)?, e.imm(i.imm as u64));
    call(e, helper, &[at, components, form])
}

/// Where the memory operand of an instruction on the stack is.
#[derive(Clone, Copy)]
struct Place<V> {
    offset: V,
    at: V,
}

#[inline(always)]
fn place<E: Emit>(e: &mut E, i: &Insn) -> Result<Option<Place<E::Val>>, E::Stop> {
    if !matches!(i.operands[0], Operand::Memory(_) | Operand::WideMemory(_)) {
        return Ok(None);
    }
    let offset = e.effective(&i.memory);
    let at = e.linear(&i.memory, offset)?;
    Ok(Some(Place { offset, at }))
}

/// The low and the high part of a memory operand.
#[inline(always)]
fn load<E: Emit>(e: &mut E, i: &Insn, at: E::Val) -> Result<[E::Val; 2], E::Stop> {
    match i.operands[0] {
        Operand::Memory(w) => Ok([e.load(w, at)?, e.imm(0)]),
        _ => {
            let low = e.load(W64, at)?;
            let eight = e.imm(8);
            let above = e.add(W64, at, eight);
            Ok([low, e.load(W16, above)?])
        }
    }
}

/// Notes which instruction is the last one on the stack: opcode, its offset in the code segment, and that of its memory
/// operand, if it has one.
#[inline(always)]
fn note<E: Emit>(e: &mut E, i: &Insn, place: Option<Place<E::Val>>) {
    let opcode = e.imm(i.imm as u64 >> 32);
    e.set(X87_OPCODE, opcode);
    let pc = e.pc();
    let offset = if i.ip_width == W64 {
        pc
    } else {
        let base = e.get(regs::CS_BASE);
        e.sub(W32, pc, base)
    };
    e.set(X87_IP, offset);
    if let Some(place) = place {
        e.set(X87_DP, place.offset);
    }
}

/// The meaning of an instruction on the stack: one helper, which traps only if it stores.
#[inline(always)]
fn on_stack<E: Emit>(e: &mut E, i: &Insn, op: StackOp) -> Done<E> {
    wait(e)?;
    let place = place(e, i)?;
    let operands = e.imm(i.imm as u64 & 0xffff_ffff);
    let helper = match op {
        StackOp::Load => return with_value(e, i, Helper::Load, place),
        StackOp::Arithmetic => return with_value(e, i, Helper::Arithmetic, place),
        StackOp::Compare => return with_value(e, i, Helper::Compare, place),
        StackOp::CompareFlags => {
            let result = e.helper(Helper::CompareFlags.id(), &[operands])?;
            let zero = e.imm(0);
            flags::produce(e, Kind::Flags, W64, result, zero, zero);
            note(e, i, None);
            return Ok(());
        }
        StackOp::MoveIf => {
            let condition = flags::condition(e, i.condition)?;
            e.helper(Helper::MoveIf.id(), &[operands, condition])?;
            note(e, i, None);
            return Ok(());
        }
        StackOp::Store => {
            if let Some(place) = place {
                e.helper(Helper::Store.id(), &[operands, place.at])?;
            }
            note(e, i, place);
            return Ok(());
        }
        StackOp::Constant => Helper::Constant,
        StackOp::Exchange => Helper::Exchange,
        StackOp::Free => Helper::Free,
        StackOp::Turn => Helper::Turn,
        StackOp::Examine => Helper::Examine,
        StackOp::StoreRegister => Helper::StoreRegister,
        StackOp::ChangeSign => Helper::ChangeSign,
        StackOp::Absolute => Helper::Absolute,
        StackOp::SquareRoot => Helper::SquareRoot,
        StackOp::Round => Helper::Round,
        StackOp::Extract => Helper::Extract,
        StackOp::Remainder => Helper::Remainder,
        StackOp::Scale => Helper::Scale,
        StackOp::Sine => Helper::Sine,
        StackOp::Cosine => Helper::Cosine,
        StackOp::SineAndCosine => Helper::SineAndCosine,
        StackOp::Tangent => Helper::Tangent,
        StackOp::Arctangent => Helper::Arctangent,
        StackOp::Exponential => Helper::Exponential,
        StackOp::Logarithm => Helper::Logarithm,
        StackOp::LogarithmPlus1 => Helper::LogarithmPlus1,
    };
    e.helper(helper.id(), &[operands])?;
    note(e, i, None);
    Ok(())
}

/// A helper of (operands, value low, value high).
#[inline(always)]
fn with_value<E: Emit>(e: &mut E, i: &Insn, helper: Helper, place: Option<Place<E::Val>>) -> Done<E> {
    let [low, high] = match place {
        Some(place) => load(e, i, place.at)?,
        None => [e.imm(0), e.imm(0)],
    };
    let operands = e.imm(i.imm as u64 & 0xffff_ffff);
    e.helper(helper.id(), &[operands, low, high])?;
    note(e, i, place);
    Ok(())
}
