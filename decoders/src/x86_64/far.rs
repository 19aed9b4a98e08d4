//! Far transfers: JMP, CALL and RET between segments, call gates, and IRET (SDM 2A CALL, IRET; 2B JMP, RET; 3A 5.8).
//!
//! Each gives the linear address to continue at. A transfer that faults has changed no register. There are no task
//! switches: task gates, TSSs as targets, and IRET with NT set raise #GP, as they do in long mode.

use super::descriptor::{self, Descriptor, Selector, Transfer, is_64_bit};
use super::flags::{self, ARITHMETIC};
use super::guest::X86_64;
use super::regs::{CS_BASE, RSP};
use super::segment::SegmentRegister;
use super::stack::Stack;
use super::{debug, exception, interrupt, io, mode, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Instruction pointer that a linear address in the present code segment has.
fn offset_of(cpu: &Cpu<X86_64>, linear: Gva) -> u64 {
    if is_64_bit(cpu) {
        return linear.0;
    }
    linear.0.wrapping_sub(cpu.slots[usize::from(CS_BASE.0)]) & 0xffff_ffff
}

/// Where a far pointer leads.
enum Target {
    /// A code segment.
    Code(Descriptor),
    /// A call gate.
    Gate(Gate),
}

/// A call gate and the code segment behind it.
struct Gate {
    code: Descriptor,
    offset: u64,
    /// What is pushed.
    w: Width,
    /// Parameters that a CALL to an inner level copies, of size `w`.
    parameters: u32,
}

fn target(cpu: &mut Cpu<X86_64>, selector: Selector) -> Result<Target, Trap> {
    let descriptor = descriptor::read_existing(cpu, selector)?;
    if descriptor.attributes().is_code_or_data() {
        descriptor::check_code(cpu, &descriptor, Transfer::Direct)?;
        return Ok(Target::Code(descriptor));
    }
    gate(cpu, &descriptor).map(Target::Gate)
}

/// Type of a 16-bit call gate.
const CALL_GATE_16: u16 = 4;
/// Type of a 32-bit call gate, and in long mode of a 64-bit one.
const CALL_GATE: u16 = 0xc;

/// Reads a call gate and the descriptor of the code segment behind it; who may go there is still to be checked.
fn gate(cpu: &mut Cpu<X86_64>, descriptor: &Descriptor) -> Result<Gate, Trap> {
    let (selector, attributes, bits) = (descriptor.selector, descriptor.attributes(), descriptor.bits);
    let fault = trap::protection(selector.error());
    let long = cpu.guest.is_long_mode();
    let w = match attributes.kind() {
        CALL_GATE if long => Width::W64,
        CALL_GATE => Width::W32,
        CALL_GATE_16 if !long => Width::W16,
        _ => return Err(fault),
    };
    if attributes.dpl() < cpu.guest.cpl || attributes.dpl() < selector.rpl() {
        return Err(fault);
    }
    if !attributes.is_present() {
        return Err(trap::not_present(selector.error()));
    }
    let offset = match w {
        Width::W16 => bits & 0xffff,
        Width::W32 => bits & 0xffff | bits >> 32 & 0xffff_0000,
        _ => bits & 0xffff | bits >> 32 & 0xffff_0000 | descriptor::read_upper_base(cpu, descriptor)?,
    };
    let code = descriptor::read_existing(cpu, Selector((bits >> 16) as u16))?;
    let parameters = if w == Width::W64 { 0 } else { (bits >> 32 & 0x1f) as u32 };
    Ok(Gate { code, offset, w, parameters })
}

/// Checks the code segment behind a call gate, to which a JMP may not change the privilege level.
fn check_gate_code(cpu: &Cpu<X86_64>, code: &Descriptor, is_call: bool) -> Result<(), Trap> {
    let attributes = code.attributes();
    let (cpl, dpl) = (cpu.guest.cpl, attributes.dpl());
    let allowed = if is_call || attributes.is_conforming() { dpl <= cpl } else { dpl == cpl };
    let size = !cpu.guest.is_long_mode() || attributes.is_long() && !attributes.is_big();
    if !attributes.is_code() || !allowed || !size {
        return Err(trap::protection(code.selector.error()));
    }
    if !attributes.is_present() {
        return Err(trap::not_present(code.selector.error()));
    }
    Ok(())
}

/// JMP to a selector and an offset.
pub fn jump(cpu: &mut Cpu<X86_64>, selector: Selector, offset: u64) -> Result<Gva, Trap> {
    let (code, offset) = match target(cpu, selector)? {
        Target::Code(code) => (code, offset),
        Target::Gate(gate) => {
            check_gate_code(cpu, &gate.code, false)?;
            (gate.code, gate.offset)
        }
    };
    let pc = descriptor::linear_ip(cpu, &code, offset)?;
    descriptor::mark_accessed(cpu, &code)?;
    let cpl = cpu.guest.cpl;
    descriptor::set_code(cpu, &code, cpl);
    Ok(pc)
}

/// CALL of a selector and an offset with operand size `w`, from before the linear address `next`.
pub fn call(
    cpu: &mut Cpu<X86_64>,
    selector: Selector,
    offset: u64,
    w: Width,
    next: Gva,
) -> Result<Gva, Trap> {
    let (code, offset, w, parameters) = match target(cpu, selector)? {
        Target::Code(code) => (code, offset, w, 0),
        Target::Gate(gate) => {
            check_gate_code(cpu, &gate.code, true)?;
            (gate.code, gate.offset, gate.w, gate.parameters)
        }
    };
    let (cpl, attributes) = (cpu.guest.cpl, code.attributes());
    let old_selector = u64::from(cpu.guest.segment(SegmentRegister::Cs).selector);
    let old_offset = offset_of(cpu, next);
    if !attributes.is_conforming() && attributes.dpl() < cpl {
        return call_inner(cpu, &code, offset, w, parameters, [old_selector, old_offset]);
    }
    let mut stack = Stack::current(cpu);
    stack.push(cpu, w, old_selector)?;
    stack.push(cpu, w, old_offset)?;
    let pc = descriptor::linear_ip(cpu, &code, offset)?;
    descriptor::mark_accessed(cpu, &code)?;
    stack.write_back(cpu);
    descriptor::set_code(cpu, &code, cpl);
    Ok(pc)
}

/// CALL through a gate to an inner privilege level, whose stack the TSS names.
fn call_inner(
    cpu: &mut Cpu<X86_64>,
    code: &Descriptor,
    offset: u64,
    w: Width,
    parameters: u32,
    return_to: [u64; 2],
) -> Result<Gva, Trap> {
    let cpl = code.attributes().dpl();
    let mut old = Stack::current(cpu);
    let old_segment = u64::from(cpu.guest.segment(SegmentRegister::Ss).selector);
    let old_pointer = old.pointer;
    let (mut stack, segment) = if cpu.guest.is_long_mode() {
        let pointer = exception::read_tss(cpu, 4 + 8 * u64::from(cpl), Width::W64)?;
        (Stack::flat(pointer, cpl), None)
    } else {
        let (stack, segment) = exception::inner_stack(cpu, cpl)?;
        (stack, Some(segment))
    };
    stack.push(cpu, w, old_segment)?;
    stack.push(cpu, w, old_pointer)?;
    let mut copied = [0; 31];
    let copied = &mut copied[..parameters as usize];
    for parameter in copied.iter_mut() {
        *parameter = old.pop(cpu, w)?;
    }
    for &parameter in copied.iter().rev() {
        stack.push(cpu, w, parameter)?;
    }
    for value in return_to {
        stack.push(cpu, w, value)?;
    }
    let pc = descriptor::linear_ip(cpu, code, offset)?;
    descriptor::mark_accessed(cpu, code)?;
    match segment {
        Some(segment) => descriptor::set(cpu, SegmentRegister::Ss, segment.segment(), segment.base()),
        None => descriptor::set_null(cpu, SegmentRegister::Ss, Selector(u16::from(cpl))),
    }
    stack.write_back(cpu);
    descriptor::set_code(cpu, code, cpl);
    Ok(pc)
}

/// The code and stack segment that a return goes to; without a stack segment the present one stays.
struct ReturnTo {
    pc: Gva,
    code: Descriptor,
    stack: Option<ReturnStack>,
}

struct ReturnStack {
    selector: Selector,
    /// `None` for the null selector.
    segment: Option<Descriptor>,
    pointer: u64,
}

impl ReturnStack {
    /// Checks the stack segment for code at the privilege level of `code` (SDM 2A IRET, 2B RET).
    fn new(cpu: &mut Cpu<X86_64>, code: &Descriptor, selector: u64, pointer: u64) -> Result<Self, Trap> {
        let (selector, cpl) = (Selector(selector as u16), code.selector.rpl());
        if selector.is_null() {
            let long = cpu.guest.is_long_mode() && code.attributes().is_long();
            if !long || cpl == 3 || selector.rpl() != cpl {
                return Err(trap::protection(0));
            }
            return Ok(Self { selector, segment: None, pointer });
        }
        let segment = descriptor::read_stack(cpu, selector, cpl, trap::protection)?;
        descriptor::mark_accessed(cpu, &segment)?;
        Ok(Self { selector, segment: Some(segment), pointer })
    }
}

/// Checks the code segment and the address that a return goes to.
fn return_code(cpu: &mut Cpu<X86_64>, selector: u64, offset: u64) -> Result<(Descriptor, Gva), Trap> {
    let descriptor = descriptor::read_existing(cpu, Selector(selector as u16))?;
    descriptor::check_code(cpu, &descriptor, Transfer::Return)?;
    let pc = descriptor::linear_ip(cpu, &descriptor, offset)?;
    descriptor::mark_accessed(cpu, &descriptor)?;
    Ok((descriptor, pc))
}

/// Writes the registers of a return, the stack pointer excepted if the stack segment stays.
fn finish_return(cpu: &mut Cpu<X86_64>, to: ReturnTo) -> Gva {
    let outer = to.code.selector.rpl() > cpu.guest.cpl;
    let long = cpu.guest.is_long_mode() && to.code.attributes().is_long();
    if let Some(stack) = to.stack {
        let is_16 = !long && stack.segment.is_some_and(|s| !s.attributes().is_big());
        let rsp = &mut cpu.slots[usize::from(RSP.0)];
        // A 16-bit stack has 16 bits of pointer: those above stay what they were (SDM 2A IRET).
        *rsp = if is_16 { *rsp & 0xffff_0000 | stack.pointer & 0xffff } else { stack.pointer };
        match stack.segment {
            Some(segment) => {
                descriptor::set(cpu, SegmentRegister::Ss, segment.segment(), segment.base());
            }
            None => descriptor::set_null(cpu, SegmentRegister::Ss, stack.selector),
        }
    }
    descriptor::set_code(cpu, &to.code, to.code.selector.rpl());
    if outer {
        descriptor::drop_inaccessible(cpu);
    }
    to.pc
}

/// RET with operand size `w` that releases `released` bytes of parameters.
pub fn ret(cpu: &mut Cpu<X86_64>, w: Width, released: u64) -> Result<Gva, Trap> {
    let mut stack = Stack::current(cpu);
    let offset = stack.pop(cpu, w)?;
    let selector = stack.pop(cpu, w)?;
    let (code, pc) = return_code(cpu, selector, offset)?;
    stack.release(released);
    if code.selector.rpl() == cpu.guest.cpl {
        stack.write_back(cpu);
        return Ok(finish_return(cpu, ReturnTo { pc, code, stack: None }));
    }
    let pointer = stack.pop(cpu, w)?;
    let selector = stack.pop(cpu, w)?;
    let mut to = ReturnStack::new(cpu, &code, selector, pointer)?;
    // The caller's copy of the parameters goes, too.
    to.pointer = to.pointer.wrapping_add(released) & w.mask();
    Ok(finish_return(cpu, ReturnTo { pc, code, stack: Some(to) }))
}

/// IRET with operand size `w`.
pub fn iret(cpu: &mut Cpu<X86_64>, w: Width) -> Result<Gva, Trap> {
    let old_flags = flags::rflags(cpu);
    if old_flags & flags::NT != 0 {
        return Err(trap::protection(0));
    }
    let mut stack = Stack::current(cpu);
    let offset = stack.pop(cpu, w)?;
    let selector = stack.pop(cpu, w)?;
    let new_flags = stack.pop(cpu, w)?;
    // There is no virtual 8086 mode to return to.
    if !cpu.guest.is_long_mode() && cpu.guest.cpl == 0 && new_flags & flags::VM != 0 {
        return Err(trap::protection(0));
    }
    let (code, pc) = return_code(cpu, selector, offset)?;
    let to_stack = if is_64_bit(cpu) || code.selector.rpl() > cpu.guest.cpl {
        let pointer = stack.pop(cpu, w)?;
        let selector = stack.pop(cpu, w)?;
        Some(ReturnStack::new(cpu, &code, selector, pointer)?)
    } else {
        stack.write_back(cpu);
        None
    };
    let mask = iret_flags(cpu, w);
    flags::set_rflags(cpu, old_flags & !mask | new_flags & mask);
    let pc = finish_return(cpu, ReturnTo { pc, code, stack: to_stack });
    if w != Width::W16 && new_flags & flags::RF != 0 {
        debug::set_resume(cpu);
    }
    mode::refresh(cpu);
    interrupt::unblock_nmi(cpu);
    Ok(pc)
}

/// The flags that IRET changes; RF, which lives elsewhere, is not among them.
fn iret_flags(cpu: &Cpu<X86_64>, w: Width) -> u64 {
    let mut mask = ARITHMETIC | flags::TF | flags::DF | flags::NT;
    if w != Width::W16 {
        mask |= flags::AC | flags::ID;
    }
    if cpu.guest.cpl <= io::privilege(cpu) {
        mask |= flags::IF;
    }
    if cpu.guest.cpl == 0 {
        mask |= flags::IOPL;
        if w != Width::W16 {
            mask |= flags::VIF | flags::VIP;
        }
    }
    mask
}

#[cfg(test)]
mod tests;
