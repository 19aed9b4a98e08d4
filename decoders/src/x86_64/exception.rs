//! Delivery of exceptions and interrupts through the IDT (SDM 3A 6).
//!
//! Registers are written when nothing can fault any more; a fault on the way is an exception of its own, which becomes
//! a double fault or a reset where the manual says so. Task gates do not exist: they raise #GP as other types of
//! descriptors do that are no gates.

use super::descriptor::{self, Descriptor, Selector, linear_ip, mark_accessed, set_code};
use super::guest::X86_64;
use super::segment::{Attributes, SegmentRegister};
use super::stack::Stack;
use super::trap::{self, Kind, vector};
use super::{debug, flags, interrupt, mode, operand, regs};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::device::Request;
use c2w_engine::mem::tlb::Access;

/// Bit of an error code: the event did not come from the instruction itself.
const EXT: u16 = 1 << 0;
/// Bit of an error code: the rest is a vector, not a selector.
const IDT: u16 = 1 << 1;

/// What a fault during delivery makes of an exception (SDM 3A table 6-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

/// Something to be delivered.
#[derive(Clone, Copy, Debug)]
struct Event {
    vector: u8,
    error: Option<u16>,
    severity: Severity,
    /// INT n, INT3 or INTO: the gate must be open to the present privilege level.
    by_program: bool,
    /// RF is set in the pushed flags.
    resumes: bool,
    /// Non-maskable: further ones wait for IRET.
    blocks_nmi: bool,
    /// Bytes from `cpu.pc` to where the handler returns.
    skipped_bytes: u64,
}

impl Event {
    /// The event of a trap at the instruction or boundary `cpu.pc`.
    fn of(cpu: &Cpu<X86_64>, trap: Trap) -> Self {
        let (kind, number) = (trap::kind_of(trap.cause), trap::vector_of(trap.cause));
        let severity = match (kind, number) {
            (Kind::Fault, vector::PF) => Severity::PageFault,
            (Kind::Fault, vector::DF) => Severity::DoubleFault,
            (Kind::Fault, vector::DE | vector::TS | vector::NP | vector::SS | vector::GP) => {
                Severity::Contributory
            }
            _ => Severity::Benign,
        };
        let refused = kind == Kind::Fault && !debug::is_breakpoint(trap);
        Self {
            vector: number,
            error: trap::error_of(trap.cause),
            severity,
            by_program: kind == Kind::Software && trap.value & trap::NOT_BY_PROGRAM == 0,
            resumes: refused || kind != Kind::Software && debug::resumes(cpu),
            blocks_nmi: kind == Kind::Interrupt && number == vector::NMI,
            skipped_bytes: if kind == Kind::Software { trap.value & trap::LENGTH } else { 0 },
        }
    }

    /// What is delivered instead if a fault ends the delivery; `None` is a triple fault.
    fn after(&self, cpu: &Cpu<X86_64>, fault: Trap) -> Option<Self> {
        use Severity::{Contributory, DoubleFault, PageFault};
        let mut second = Self::of(cpu, fault);
        match (self.severity, second.severity) {
            (DoubleFault, Contributory | PageFault) => None,
            (Contributory, Contributory) | (PageFault, Contributory | PageFault) => {
                Some(Self::of(cpu, trap::plain(trap::fault_with(vector::DF, 0))))
            }
            _ => {
                // The code of a page fault has no such bit.
                if second.severity == Contributory && !self.by_program {
                    second.error = second.error.map(|error| error | EXT);
                }
                Some(second)
            }
        }
    }
}

/// Enters the handler of a trap.
pub fn deliver(cpu: &mut Cpu<X86_64>, trap: Trap) {
    let trap = settle(cpu, trap);
    if trap::kind_of(trap.cause) == Kind::Fault {
        // What did not happen hit no breakpoints.
        cpu.guest.debug.hits = 0;
    }
    deliver_chain(cpu, trap);
    // The first instruction of the handler may have a breakpoint, too, and pushing may have hit one.
    if cpu.request.is_none()
        && let Some(trap) = debug::take_traps(cpu).or_else(|| debug::take_breakpoint(cpu))
    {
        deliver_chain(cpu, trap);
    }
    interrupt::enabled(cpu);
}

/// Delivers a trap, or what comes of it.
fn deliver_chain(cpu: &mut Cpu<X86_64>, trap: Trap) {
    note(cpu, trap);
    let mut event = Event::of(cpu, trap);
    while let Err(fault) = enter(cpu, &event) {
        note(cpu, fault);
        match event.after(cpu, fault) {
            Some(next) => event = next,
            None => {
                cpu.request = Some(Request::Reset);
                cpu.recheck_interrupts();
                return;
            }
        }
    }
}

/// Writes the registers that say more about an exception, whether or not its handler is reached.
fn note(cpu: &mut Cpu<X86_64>, trap: Trap) {
    match (trap::kind_of(trap.cause), trap::vector_of(trap.cause)) {
        (Kind::Fault, vector::PF) => cpu.guest.cr2 = trap.value,
        (Kind::Fault | Kind::Trap, vector::DB) => debug::entered(cpu, trap.value),
        _ => {}
    }
}

/// The exception that a trap of the instruction at `cpu.pc` stands for, as far as that is found out only now.
pub fn settle(cpu: &mut Cpu<X86_64>, trap: Trap) -> Trap {
    if trap::is_non_canonical(trap.cause) {
        return name_segment(cpu, Gva(trap.value));
    }
    if trap::is_call_target(trap.cause) {
        let top = Gva(cpu.slots[usize::from(regs::RSP.0)].wrapping_sub(Width::W64.bytes()));
        let pushed = cpu.translate(top, Access::Write, cpu.data_context());
        return match pushed.and_then(|_| cpu.check_crossing_write(top, Width::W64.bytes())) {
            Ok(()) => trap::protection(0),
            Err(first) => settle(cpu, first),
        };
    }
    if trap::is_page_fault(trap.cause) && operand::leaves_lower_half(cpu, Gva(trap.value)) {
        return name_segment(cpu, Gva(trap.value));
    }
    trap
}

/// #GP(0) for an address that is not canonical, but #SS(0) if the instruction accessed the stack segment.
fn name_segment(cpu: &mut Cpu<X86_64>, gva: Gva) -> Trap {
    if operand::is_on_stack(cpu, gva) { trap::stack_fault(0) } else { trap::protection(0) }
}

/// A gate of the IDT.
struct Gate {
    selector: Selector,
    offset: u64,
    attributes: Attributes,
    /// Number of the stack in the TSS; 0 is none. Only in long mode.
    stack: u8,
}

/// Gate types (SDM 3A table 3-2): of 16 and 32 bits, the latter of 64 bits in long mode. The low bit says that it is a
/// trap gate, which leaves IF alone.
const GATE_16: u16 = 6;
const GATE_32: u16 = 14;

impl Gate {
    /// The gate of an event, which may be entered.
    fn read(cpu: &mut Cpu<X86_64>, event: &Event) -> Result<Self, Trap> {
        let long = cpu.guest.is_long_mode();
        let len_bytes = if long { 16 } else { 8 };
        let first = u64::from(event.vector) * len_bytes;
        let error = u16::from(event.vector) << 3 | IDT;
        let idtr = cpu.guest.idtr;
        if first + len_bytes - 1 > u64::from(idtr.limit) {
            return Err(trap::protection(error));
        }
        let at = Gva(idtr.base).offset(first);
        let low = cpu.load_in(at, Width::W64, mode::SUPERVISOR)?;
        let high = if long { cpu.load_in(at.offset(8), Width::W64, mode::SUPERVISOR)? } else { 0 };
        let attributes = Attributes::of_descriptor((low >> 32) as u32);
        let kind = attributes.kind() & !1;
        let is_gate = !attributes.is_code_or_data() && (kind == GATE_32 || kind == GATE_16 && !long);
        if !is_gate || event.by_program && attributes.dpl() < cpu.guest.cpl {
            return Err(trap::protection(error));
        }
        if !attributes.is_present() {
            return Err(trap::not_present(error));
        }
        let mut offset = low & 0xffff | high << 32;
        if kind == GATE_32 {
            offset |= low >> 32 & 0xffff_0000;
        }
        let stack = if long { (low >> 32 & 7) as u8 } else { 0 };
        Ok(Self { selector: Selector((low >> 16) as u16), offset, attributes, stack })
    }

    /// Size of what is pushed.
    fn width(&self, long: bool) -> Width {
        match self.attributes.kind() & !1 {
            GATE_16 => Width::W16,
            _ if long => Width::W64,
            _ => Width::W32,
        }
    }

    /// Interrupts are disabled in the handler.
    fn disables_interrupts(&self) -> bool {
        self.attributes.kind() & 1 == 0
    }

    /// The handler's code segment and privilege level.
    fn code(&self, cpu: &mut Cpu<X86_64>) -> Result<(Descriptor, u8), Trap> {
        let code = descriptor::read_existing(cpu, self.selector)?;
        let (attributes, cpl) = (code.attributes(), cpu.guest.cpl);
        let wrong_size = cpu.guest.is_long_mode() && (!attributes.is_long() || attributes.is_big());
        if !attributes.is_code() || attributes.dpl() > cpl || wrong_size {
            return Err(trap::protection(self.selector.error()));
        }
        if !attributes.is_present() {
            return Err(trap::not_present(self.selector.error()));
        }
        Ok((code, if attributes.is_conforming() { cpl } else { attributes.dpl() }))
    }
}

/// Enters the handler of an event, or does nothing and gives the fault that prevents it.
fn enter(cpu: &mut Cpu<X86_64>, event: &Event) -> Result<(), Trap> {
    let gate = Gate::read(cpu, event)?;
    let (code, cpl) = gate.code(cpu)?;
    let long = cpu.guest.is_long_mode();
    let inner = cpl != cpu.guest.cpl;
    let (mut stack, stack_segment) = if long {
        (long_stack(cpu, gate.stack, cpl, inner)?, None)
    } else if inner {
        let (stack, segment) = inner_stack(cpu, cpl)?;
        (stack, Some(segment))
    } else {
        (Stack::current(cpu), None)
    };
    mark_accessed(cpu, &code)?;
    push_frame(cpu, event, &mut stack, gate.width(long), long || inner)?;
    let pc = linear_ip(cpu, &code, gate.offset)?;

    if let Some(segment) = stack_segment {
        descriptor::set(cpu, SegmentRegister::Ss, segment.segment(), segment.base());
    } else if inner {
        descriptor::set_null(cpu, SegmentRegister::Ss, Selector(u16::from(cpl)));
    }
    stack.write_back(cpu);
    let interrupt_flag = if gate.disables_interrupts() { flags::IF } else { 0 };
    cpu.slots[usize::from(regs::RFLAGS.0)] &= !(flags::TF | flags::NT | flags::VM | interrupt_flag);
    cpu.slots[usize::from(regs::STI_SHADOW.0)] = regs::NO_SHADOW;
    let guest = &mut cpu.guest.state;
    guest.nmi_blocked |= event.blocks_nmi;
    (guest.debug.step_from, guest.shadow_at, guest.resume_at) = (None, None, None);
    guest.step_once = false;
    set_code(cpu, &code, cpl);
    cpu.pc = pc;
    Ok(())
}

/// Pushes what the handler returns to, and the error code.
fn push_frame(
    cpu: &mut Cpu<X86_64>,
    event: &Event,
    stack: &mut Stack,
    w: Width,
    with_stack: bool,
) -> Result<(), Trap> {
    let selector = |cpu: &Cpu<X86_64>, register| u64::from(cpu.guest.segment(register).selector);
    let resume = if event.resumes { flags::RF } else { 0 };
    let rflags = flags::rflags(cpu) & !flags::RF | resume;
    let ip = cpu.pc.0.wrapping_sub(cpu.slots[usize::from(regs::CS_BASE.0)]).wrapping_add(event.skipped_bytes);
    if with_stack {
        let (ss, sp) = (selector(cpu, SegmentRegister::Ss), cpu.slots[usize::from(regs::RSP.0)]);
        stack.push(cpu, w, ss)?;
        stack.push(cpu, w, sp)?;
    }
    stack.push(cpu, w, rflags)?;
    let cs = selector(cpu, SegmentRegister::Cs);
    stack.push(cpu, w, cs)?;
    // Outside of 64-bit code the instruction pointer has 32 bits.
    let ip = if descriptor::is_64_bit(cpu) { ip } else { ip & 0xffff_ffff };
    stack.push(cpu, w, ip)?;
    if let Some(error) = event.error {
        stack.push(cpu, w, u64::from(error))?;
    }
    Ok(())
}

/// The handler's stack in long mode: one that the gate names, that of the inner privilege level, or the present one,
/// always aligned (SDM 3A 6.14).
fn long_stack(cpu: &mut Cpu<X86_64>, number: u8, cpl: u8, inner: bool) -> Result<Stack, Trap> {
    let pointer = match number {
        0 if !inner => cpu.slots[usize::from(regs::RSP.0)],
        0 => read_tss(cpu, 4 + 8 * u64::from(cpl), Width::W64)?,
        number => read_tss(cpu, 0x24 + 8 * u64::from(number - 1), Width::W64)?,
    };
    if !descriptor::is_canonical(pointer) {
        return Err(trap::stack_fault(0));
    }
    Ok(Stack::flat(pointer & !15, cpl))
}

/// The stack of an inner privilege level outside of long mode, and its segment (SDM 3A 5.8.5).
pub fn inner_stack(cpu: &mut Cpu<X86_64>, cpl: u8) -> Result<(Stack, Descriptor), Trap> {
    let (pointer, selector) = if cpu.guest.tr.attributes.kind() & 8 != 0 {
        let at = 4 + 8 * u64::from(cpl);
        // The selector is checked with the pointer: the limit counts for both.
        let selector = read_tss(cpu, at + 4, Width::W16)?;
        (read_tss(cpu, at, Width::W32)?, selector)
    } else {
        let at = 2 + 4 * u64::from(cpl);
        let selector = read_tss(cpu, at + 2, Width::W16)?;
        (read_tss(cpu, at, Width::W16)?, selector)
    };
    let selector = Selector(selector as u16);
    if selector.is_null() {
        return Err(trap::invalid_tss(0));
    }
    let segment = descriptor::read_stack(cpu, selector, cpl, trap::invalid_tss)?;
    mark_accessed(cpu, &segment)?;
    Ok((Stack::in_segment(&segment, pointer, cpl), segment))
}

/// Reads from the TSS: #TS(selector of TR) past its limit.
pub fn read_tss(cpu: &mut Cpu<X86_64>, offset: u64, w: Width) -> Result<u64, Trap> {
    let tr = cpu.guest.tr;
    if offset + w.bytes() - 1 > u64::from(tr.limit) {
        return Err(trap::invalid_tss(Selector(tr.selector).error()));
    }
    cpu.load_in(Gva(tr.base).offset(offset), w, mode::SUPERVISOR)
}

#[cfg(test)]
mod tests;
