//! Meanings of system instructions. Nearly all is done by helpers, which check what decoding could not.

use super::Done;
use super::integer::stack;
use super::operands::{Place, X86Emit};
use crate::x86_64::flags;
use crate::x86_64::helpers::system::Helper;
use crate::x86_64::insn::{Condition, Insn, Operand, SystemOp as Op};
use crate::x86_64::io::StringForm;
use crate::x86_64::regs::{
    GS_BASE, INTERRUPT_WAITS, KERNEL_GS_BASE, NO_SHADOW, RAX, RFLAGS, RSP, STI_SHADOW,
};
use crate::x86_64::segment::SegmentRegister;
use crate::x86_64::trap::{self, Kind, vector};
use c2w_engine::addr::Width::{self, W16, W32, W64};
use c2w_engine::emit::{Cond, Emit};

/// The meaning of an instruction.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    match op {
        // These are in every system call and interrupt of a guest; the others need not be part of the interpreter's loop.
        Op::CliAllowed => {
            clear_interrupt_flag(e);
            Ok(())
        }
        Op::StiAllowed => {
            set_interrupt_flag(e, i);
            Ok(())
        }
        Op::Swapgs => {
            swapgs(e);
            Ok(())
        }
        Op::Pushf => pushf(e, i),
        Op::Popf => popf(e, i),
        _ => rare(e, i, op),
    }
}

#[inline(never)]
fn rare<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    match op {
        Op::CliAllowed | Op::StiAllowed | Op::Swapgs | Op::Pushf | Op::Popf => Ok(()),
        Op::Cli => call(e, Helper::Cli, &[]),
        Op::Sti => call(e, Helper::Sti, &[]),
        Op::Arpl => arpl(e, i),
        Op::CallFar => call_far(e, i),
        Op::Clac => set_ac(e, 0),
        Op::Stac => set_ac(e, 1),
        Op::Clts => call(e, Helper::Clts, &[]),
        Op::Cpuid => call(e, Helper::Cpuid, &[]),
        Op::Hlt => call(e, Helper::Hlt, &[]),
        Op::In => input(e, i),
        Op::Out => output(e, i),
        Op::Ins => string(e, i, Helper::Ins),
        Op::Outs => string(e, i, Helper::Outs),
        Op::Int => {
            let len = e.imm(u64::from(i.len_bytes));
            Err(e.trap(trap::cause(Kind::Software, i.imm as u8), len))
        }
        Op::Int1 => {
            let len = e.imm(u64::from(i.len_bytes) | trap::NOT_BY_PROGRAM);
            Err(e.trap(trap::cause(Kind::Software, vector::DB), len))
        }
        Op::Into => {
            let overflow = flags::condition(e, Condition(0))?;
            let len = e.imm(u64::from(i.len_bytes));
            e.trap_if(overflow, trap::cause(Kind::Software, vector::OF), len)
        }
        Op::Invlpg => {
            let at = e.address(&i.memory)?;
            call(e, Helper::Invlpg, &[at])
        }
        Op::Invpcid => {
            let kind = register(e, i, 0);
            let at = e.address(&i.memory)?;
            call(e, Helper::Invpcid, &[kind, at])
        }
        Op::Iret => transfer_of_width(e, i, Helper::Iret),
        Op::JmpFar => {
            let (selector, offset) = far_pointer(e, i)?;
            transfer(e, Helper::JmpFar, &[selector, offset])
        }
        Op::RetFar => {
            let (w, released) = (e.imm(i.w as u64), e.imm(i.imm as u64));
            transfer(e, Helper::RetFar, &[w, released])
        }
        Op::Lar => ask(e, i, Helper::Lar),
        Op::Lsl => ask(e, i, Helper::Lsl),
        Op::Lgdt => load_table(e, i, Helper::Lgdt),
        Op::Lidt => load_table(e, i, Helper::Lidt),
        Op::Sgdt => store_table(e, i, Helper::Sgdt),
        Op::Sidt => store_table(e, i, Helper::Sidt),
        Op::Lldt => of_operand(e, i, Helper::Lldt),
        Op::Lmsw => of_operand(e, i, Helper::Lmsw),
        Op::Ltr => of_operand(e, i, Helper::Ltr),
        Op::Verr => of_operand(e, i, Helper::Verr),
        Op::Verw => of_operand(e, i, Helper::Verw),
        Op::Sldt => store(e, i, Helper::Sldt),
        Op::Smsw => store(e, i, Helper::Smsw),
        Op::Str => store(e, i, Helper::Str),
        Op::LoadFar(to) => load_far(e, i, to),
        Op::MovFromControl => read_numbered(e, i, Helper::ReadControl),
        Op::MovFromDebug => read_numbered(e, i, Helper::ReadDebug),
        Op::MovToControl => write_numbered(e, i, Helper::WriteControl),
        Op::MovToDebug => write_numbered(e, i, Helper::WriteDebug),
        Op::MovFromSegment => {
            let number = number(e, i, 1);
            let selector = e.helper(Helper::Selector.id(), &[number])?;
            let to = e.place(i, 0)?;
            e.write(to, selector)
        }
        Op::MovToSegment => {
            let (to, selector, holds) = (number(e, i, 0), e.operand(i, 1)?, e.imm(1));
            call(e, Helper::LoadSegment, &[to, selector, holds])
        }
        Op::PushSegment(from) => push_segment(e, i, from),
        Op::PopSegment(to) => pop_segment(e, i, to),
        Op::ReadBase(of) => {
            let number = e.imm(of as u64);
            let base = e.helper(Helper::ReadBase.id(), &[number])?;
            let to = e.place(i, 0)?;
            e.write(to, base)
        }
        Op::WriteBase(of) => {
            let (number, base) = (e.imm(of as u64), register(e, i, 0));
            call(e, Helper::WriteBase, &[number, base])
        }
        Op::Rdmsr => call(e, Helper::Rdmsr, &[]),
        Op::Wrmsr => call(e, Helper::Wrmsr, &[]),
        Op::Rdtsc => call(e, Helper::Rdtsc, &[]),
        Op::Rdtscp => call(e, Helper::Rdtscp, &[]),
        Op::Syscall => {
            let next = next(e, i);
            transfer(e, Helper::Syscall, &[next])
        }
        Op::Sysenter => transfer(e, Helper::Sysenter, &[]),
        Op::Sysexit => transfer_of_width(e, i, Helper::Sysexit),
        Op::Sysret => transfer_of_width(e, i, Helper::Sysret),
        Op::Wbinvd => call(e, Helper::Privileged, &[]),
        Op::Xgetbv => call(e, Helper::Xgetbv, &[]),
        Op::Xsetbv => call(e, Helper::Xsetbv, &[]),
    }
}

fn call<E: Emit>(e: &mut E, helper: Helper, args: &[E::Val]) -> Done<E> {
    e.helper(helper.id(), args).map(|_| ())
}

/// CLI at privilege level 0.
#[inline(always)]
fn clear_interrupt_flag<E: Emit>(e: &mut E) {
    let (old, others) = (e.get(RFLAGS), e.imm(!flags::IF));
    let new = e.and(W64, old, others);
    e.set(RFLAGS, new);
}

/// STI at privilege level 0: sets IF, and holds interrupts off for one more instruction if it was clear. The last
/// instruction of a block.
#[inline(always)]
fn set_interrupt_flag<E: Emit>(e: &mut E, i: &Insn) {
    let (old, flag, none) = (e.get(RFLAGS), e.imm(flags::IF), e.imm(NO_SHADOW));
    let (next, waits) = (next(e, i), e.get(INTERRUPT_WAITS));
    let was_set = e.and(W64, old, flag);
    let new = e.or(W64, old, flag);
    let shadow = e.select(was_set, none, next);
    e.set(STI_SHADOW, shadow);
    e.set(RFLAGS, new);
    e.look_if(waits);
}

/// SWAPGS at privilege level 0.
#[inline(always)]
fn swapgs<E: Emit>(e: &mut E) {
    let (base, other) = (e.get(GS_BASE), e.get(KERNEL_GS_BASE));
    e.set(GS_BASE, other);
    e.set(KERNEL_GS_BASE, base);
}

/// CLAC and STAC.
fn set_ac<E: Emit>(e: &mut E, value: u64) -> Done<E> {
    let value = e.imm(value);
    call(e, Helper::SetAc, &[value])
}

/// Continues where the helper says.
fn transfer<E: Emit>(e: &mut E, helper: Helper, args: &[E::Val]) -> Done<E> {
    let target = e.helper(helper.id(), args)?;
    e.jump(target);
    Ok(())
}

fn transfer_of_width<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let w = e.imm(i.w as u64);
    transfer(e, helper, &[w])
}

/// Linear address behind the instruction.
fn next<E: Emit>(e: &mut E, i: &Insn) -> E::Val {
    let (pc, len) = (e.pc(), e.imm(u64::from(i.len_bytes)));
    e.add(if i.ip_width == W64 { W64 } else { W32 }, pc, len)
}

/// Number of a segment, control or debug register.
fn number<E: Emit>(e: &mut E, i: &Insn, index: usize) -> E::Val {
    let number = match i.operands[index] {
        Operand::Numbered(number) => number,
        _ => 0,
    };
    e.imm(u64::from(number))
}

/// The whole of a register operand, zero-extended from its width.
fn register<E: Emit>(e: &mut E, i: &Insn, index: usize) -> E::Val {
    match i.operands[index] {
        Operand::Register { slot, w } => {
            let value = e.get(slot);
            e.zext(w, value)
        }
        _ => e.imm(0),
    }
}

/// The address `bytes` behind another one.
fn behind<E: Emit>(e: &mut E, i: &Insn, addr: E::Val, bytes: u64) -> E::Val {
    let bytes = e.imm(bytes);
    e.add(if i.memory.linear_32 { W32 } else { W64 }, addr, bytes)
}

/// ARPL: the first selector's RPL becomes at least that of the second.
fn arpl<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let to = e.place(i, 0)?;
    let old = e.read(to)?;
    let least = e.operand(i, 1)?;
    let (rpl, others) = (e.imm(3), e.imm(!3));
    let (has, needs) = (e.and(W64, old, rpl), e.and(W64, least, rpl));
    let below = e.compare(Cond::LtU, W64, has, needs);
    let cleared = e.and(W64, old, others);
    let raised = e.or(W64, cleared, needs);
    let value = e.select(below, raised, old);
    match to {
        // What stays as it is is not written.
        Place::Memory { addr, .. } => call(e, Helper::StoreIf, &[below, addr, value])?,
        to => e.write(to, value)?,
    }
    call(e, Helper::SetZero, &[below])
}

/// LAR and LSL: the destination is written if the descriptor may be asked about.
fn ask<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let selector = e.operand(i, 1)?;
    let answer = e.helper(helper.id(), &[selector])?;
    let Operand::Register { slot, w } = i.operands[0] else { return Ok(()) };
    let (old, last) = (e.get(slot), e.imm(63));
    let found = e.shr(W64, answer, last);
    let value = e.zext(if w == W16 { W16 } else { W32 }, answer);
    let value = if w == W16 {
        let others = e.imm(!W16.mask());
        let kept = e.and(W64, old, others);
        e.or(W64, kept, value)
    } else {
        value
    };
    let value = e.select(found, value, old);
    e.set(slot, value);
    Ok(())
}

/// Selector and offset of a far pointer in the code or in memory.
fn far_pointer<E: Emit>(e: &mut E, i: &Insn) -> Result<(E::Val, E::Val), E::Stop> {
    if i.operands[0] == Operand::Immediate {
        let (selector, offset) = (i.imm as u64 >> 32, i.imm as u64 & 0xffff_ffff);
        return Ok((e.imm(selector), e.imm(offset)));
    }
    load_pointer(e, i)
}

/// Selector and offset of a far pointer in memory.
fn load_pointer<E: Emit>(e: &mut E, i: &Insn) -> Result<(E::Val, E::Val), E::Stop> {
    let addr = e.address(&i.memory)?;
    let offset = e.load(i.w, addr)?;
    let addr = behind(e, i, addr, i.w.bytes());
    let selector = e.load(W16, addr)?;
    Ok((selector, offset))
}

fn call_far<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (selector, offset) = far_pointer(e, i)?;
    let (w, next) = (e.imm(i.w as u64), next(e, i));
    transfer(e, Helper::CallFar, &[selector, offset, w, next])
}

/// LDS and its kin.
fn load_far<E: Emit>(e: &mut E, i: &Insn, to: SegmentRegister) -> Done<E> {
    let (selector, offset) = load_pointer(e, i)?;
    let (number, holds) = (e.imm(to as u64), e.imm(0));
    e.helper(Helper::LoadSegment.id(), &[number, selector, holds])?;
    let to = e.place(i, 0)?;
    e.write(to, offset)
}

fn input<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (port, w) = (e.operand(i, 1)?, e.imm(i.w as u64));
    let value = e.helper(Helper::In.id(), &[port, w])?;
    e.set_gpr(RAX, i.w, value);
    Ok(())
}

fn output<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (port, w, value) = (e.operand(i, 0)?, e.imm(i.w as u64), e.get(RAX));
    call(e, Helper::Out, &[port, w, value])
}

/// INS and OUTS: one element, and then the same instruction again while REP says so.
fn string<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let form = e.imm(StringForm::of(i).0);
    let again = e.helper(helper.id(), &[form])?;
    e.branch_relative(again, 0);
    Ok(())
}

fn load_table<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let (at, w) = (e.address(&i.memory)?, e.imm(i.w as u64));
    call(e, helper, &[at, w])
}

fn store_table<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let at = e.address(&i.memory)?;
    call(e, helper, &[at])
}

fn of_operand<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let value = e.operand(i, 0)?;
    call(e, helper, &[value])
}

/// SLDT, SMSW, STR.
fn store<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let value = e.helper(helper.id(), &[])?;
    let to = e.place(i, 0)?;
    e.write(to, value)
}

fn read_numbered<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let number = number(e, i, 1);
    let value = e.helper(helper.id(), &[number])?;
    let to = e.place(i, 0)?;
    e.write(to, value)
}

fn write_numbered<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let (number, value) = (number(e, i, 0), register(e, i, 1));
    call(e, helper, &[number, value])
}

/// PUSH of a segment register: 32-bit ones write 16 bits only, as Intel's processors do.
fn push_segment<E: Emit>(e: &mut E, i: &Insn, from: SegmentRegister) -> Done<E> {
    let number = e.imm(from as u64);
    let selector = e.helper(Helper::Selector.id(), &[number])?;
    let stored = if i.w == W32 { W16 } else { i.w };
    stack::push_low(e, i, stored, selector)
}

fn pop_segment<E: Emit>(e: &mut E, i: &Insn, to: SegmentRegister) -> Done<E> {
    let (selector, new_top) = stack::top(e, i)?;
    let (number, holds) = (e.imm(to as u64), e.imm(1));
    e.helper(Helper::LoadSegment.id(), &[number, selector, holds])?;
    set_top(e, i.stack_width, new_top);
    Ok(())
}

#[inline(always)]
fn set_top<E: Emit>(e: &mut E, w: Width, new_top: E::Val) {
    e.set_gpr(RSP, w, new_top);
}

/// PUSHF. RF and VM are pushed as zeros; their slot never holds them.
#[inline(always)]
fn pushf<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (system, arithmetic) = (e.get(RFLAGS), flags::all(e)?);
    let value = e.or(W64, system, arithmetic);
    stack::push_value(e, i, value)
}

/// POPF.
#[inline(always)]
fn popf<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (value, new_top) = stack::top(e, i)?;
    let w = e.imm(i.w as u64);
    call(e, Helper::SetFlags, &[value, w])?;
    set_top(e, i.stack_width, new_top);
    Ok(())
}
