//! Meanings of x87 instructions, and of those that save and restore x87 and vector state.

use super::Done;
use super::operands::X86Emit;
use crate::x86_64::helpers::x87::{ERROR_SUMMARY, Helper};
use crate::x86_64::insn::{Insn, Operand, X87Op};
use crate::x86_64::regs::{RAX, RDX, X87_CONTROL, X87_STATUS};
use crate::x86_64::trap;
use c2w_engine::addr::Width::{W16, W32, W64};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: X87Op) -> Done<E> {
    match op {
        X87Op::Fninit => call(e, Helper::Init, &[]),
        X87Op::Fnclex => call(e, Helper::Clear, &[]),
        X87Op::Fwait => call(e, Helper::Wait, &[]),
        X87Op::Fnop => wait(e),
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
