//! Helpers of system instructions. Those that give an address give the linear one to continue at.

use super::{READS, REGISTERS, TRAPPING, helpers};
use crate::x86_64::control::{CR0_TS, CR4_FSGSBASE, CR4_OSXSAVE, CR4_TSD, CR4_UMIP};
use crate::x86_64::descriptor::{self, Selector, is_64_bit, is_canonical};
use crate::x86_64::guest::X86_64;
use crate::x86_64::io::{self, StringForm};
use crate::x86_64::regs::{RAX, RBX, RCX, RDX, RFLAGS};
use crate::x86_64::segment::{SegmentRegister, SystemSegment, TableRegister};
use crate::x86_64::{control, cpuid, debug, far, flags, interrupt, mmu, mode, msr, system_calls, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::Slot;
use c2w_engine::guest::{HelperEffects, Trap};

const ALL: HelperEffects = HelperEffects::ALL;

helpers! { super::FIRST_SYSTEM;
    /// (selector, offset, width, linear address behind): gives an address.
    CallFar = "call_far", ALL, call_far;
    /// ().
    Cli = "cli", TRAPPING, cli;
    /// ().
    Clts = "clts", TRAPPING, clts;
    /// ().
    Cpuid = "cpuid", REGISTERS, cpuid;
    /// (): waits for an interrupt.
    Hlt = "hlt", TRAPPING, hlt;
    /// (port, width): gives what was read.
    In = "in", ALL, input;
    /// ([`StringForm`]): 1 if there is more to do.
    Ins = "ins", ALL, |cpu, [form, ..]: [u64; 4]| io::input_string(cpu, StringForm(form));
    /// (type, address of the descriptor).
    Invpcid = "invpcid", ALL, invpcid;
    /// (linear address).
    Invlpg = "invlpg", TRAPPING, invlpg;
    /// (width): gives an address.
    Iret = "iret", ALL, |cpu, [w, ..]: [u64; 4]| far::iret(cpu, width(w)).map(|pc| pc.0);
    /// (selector, offset): gives an address.
    JmpFar = "jmp_far", ALL, jump_far;
    /// (selector): access rights with bit 63 set, or 0; ZF says which.
    Lar = "lar", ALL, lar;
    /// (address, width).
    Lgdt = "lgdt", ALL, lgdt;
    /// (address, width).
    Lidt = "lidt", ALL, lidt;
    /// (selector).
    Lldt = "lldt", ALL, lldt;
    /// (value).
    Lmsw = "lmsw", TRAPPING, lmsw;
    /// (segment register, selector, 1 if SS holds interrupts off).
    LoadSegment = "load_segment", ALL, load_segment;
    /// (selector): limit with bit 63 set, or 0; ZF says which.
    Lsl = "lsl", ALL, lsl;
    /// (selector).
    Ltr = "ltr", ALL, ltr;
    /// (number): gives the register.
    ReadControl = "read_control", TRAPPING, read_control;
    /// (number, value).
    WriteControl = "write_control", ALL, write_control;
    /// (number): gives the register.
    ReadDebug = "read_debug", TRAPPING, read_debug;
    /// (number, value).
    WriteDebug = "write_debug", TRAPPING, write_debug;
    /// (port, width, value).
    Out = "out", ALL, output;
    /// ([`StringForm`]): 1 if there is more to do.
    Outs = "outs", ALL, |cpu, [form, ..]: [u64; 4]| io::output_string(cpu, StringForm(form));
    /// (value, width): POPF's write of the flags.
    SetFlags = "set_flags", REGISTERS, set_flags;
    /// (segment register): gives its base.
    ReadBase = "read_base", TRAPPING, read_base;
    /// (segment register, base).
    WriteBase = "write_base", TRAPPING, write_base;
    /// ().
    Rdmsr = "rdmsr", TRAPPING, rdmsr;
    /// ().
    Wrmsr = "wrmsr", ALL, wrmsr;
    /// ().
    Rdtsc = "rdtsc", TRAPPING, rdtsc;
    /// ().
    Rdtscp = "rdtscp", TRAPPING, rdtscp;
    /// (width, bytes released): gives an address.
    RetFar = "ret_far", ALL, |cpu, [w, bytes, ..]: [u64; 4]| far::ret(cpu, width(w), bytes).map(|pc| pc.0);
    /// (segment register): its selector.
    Selector = "selector", READS, selector;
    /// (1 or 0): sets AC to it.
    SetAc = "set_ac", TRAPPING, set_ac;
    /// (1 or 0, address, word): stores the word if 1.
    StoreIf = "store_if", ALL, store_if;
    /// (1 or 0): sets ZF to it.
    SetZero = "set_zero", REGISTERS, set_zero;
    /// (address): stores GDTR.
    Sgdt = "sgdt", ALL, |cpu, [at, ..]: [u64; 4]| store_table(cpu, at, |cpu| cpu.guest.gdtr);
    /// (address): stores IDTR.
    Sidt = "sidt", ALL, |cpu, [at, ..]: [u64; 4]| store_table(cpu, at, |cpu| cpu.guest.idtr);
    /// (): LDTR's selector.
    Sldt = "sldt", TRAPPING, |cpu, _| with_umip(cpu, |cpu| u64::from(cpu.guest.ldtr.selector));
    /// (): CR0.
    Smsw = "smsw", TRAPPING, |cpu, _| with_umip(cpu, |cpu| cpu.guest.cr0);
    /// ().
    Sti = "sti", TRAPPING, sti;
    /// (): TR's selector.
    Str = "str", TRAPPING, |cpu, _| with_umip(cpu, |cpu| u64::from(cpu.guest.tr.selector));
    /// (address behind): gives an address.
    Syscall = "syscall", TRAPPING, |cpu, [next, ..]: [u64; 4]| system_calls::syscall(cpu, next).map(|pc| pc.0);
    /// (): gives an address.
    Sysenter = "sysenter", TRAPPING, |cpu, _| system_calls::sysenter(cpu).map(|pc| pc.0);
    /// (width): gives an address.
    Sysexit = "sysexit", TRAPPING, |cpu, [w, ..]: [u64; 4]| system_calls::sysexit(cpu, width(w)).map(|pc| pc.0);
    /// (width): gives an address.
    Sysret = "sysret", TRAPPING, |cpu, [w, ..]: [u64; 4]| system_calls::sysret(cpu, width(w)).map(|pc| pc.0);
    /// (selector): ZF says whether it can be read.
    Verr = "verr", ALL, verr;
    /// (selector): ZF says whether it can be written.
    Verw = "verw", ALL, verw;
    /// (): what has no effect but is privileged.
    Privileged = "privileged", super::CHECKING, |cpu, _| supervisor(cpu).map(|()| 0);
    /// ().
    Xgetbv = "xgetbv", TRAPPING, xgetbv;
    /// ().
    Xsetbv = "xsetbv", TRAPPING, xsetbv;
}

type Args = [u64; 4];

fn width(number: u64) -> Width {
    Width::ALL[(number & 3) as usize]
}

fn get(cpu: &Cpu<X86_64>, slot: Slot) -> u64 {
    cpu.slots[usize::from(slot.0)]
}

fn set(cpu: &mut Cpu<X86_64>, slot: Slot, value: u64) {
    cpu.slots[usize::from(slot.0)] = value;
}

/// EDX:EAX.
fn get_pair(cpu: &Cpu<X86_64>) -> u64 {
    get(cpu, RDX) << 32 | get(cpu, RAX) & 0xffff_ffff
}

fn set_pair(cpu: &mut Cpu<X86_64>, value: u64) {
    set(cpu, RAX, value & 0xffff_ffff);
    set(cpu, RDX, value >> 32);
}

/// #GP(0) unless CPL is 0. Decoding has seen to CPL 3.
fn supervisor(cpu: &Cpu<X86_64>) -> Result<(), Trap> {
    if cpu.guest.cpl != 0 { Err(trap::protection(0)) } else { Ok(()) }
}

fn undefined_if(condition: bool) -> Result<(), Trap> {
    if condition { Err(trap::plain(trap::UNDEFINED)) } else { Ok(()) }
}

fn segment_register(number: u64) -> SegmentRegister {
    SegmentRegister::from_number(number as u8).unwrap_or(SegmentRegister::Ds)
}

fn jump_far(cpu: &mut Cpu<X86_64>, [selector, offset, ..]: Args) -> Result<u64, Trap> {
    far::jump(cpu, Selector(selector as u16), offset).map(|pc| pc.0)
}

fn call_far(cpu: &mut Cpu<X86_64>, [selector, offset, w, next]: Args) -> Result<u64, Trap> {
    far::call(cpu, Selector(selector as u16), offset, width(w), Gva(next)).map(|pc| pc.0)
}

/// #GP(0) if CPL is outside IOPL: CLI and STI.
fn check_interrupt_flag(cpu: &Cpu<X86_64>) -> Result<(), Trap> {
    if cpu.guest.cpl > io::privilege(cpu) { Err(trap::protection(0)) } else { Ok(()) }
}

fn cli(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    check_interrupt_flag(cpu)?;
    cpu.slots[usize::from(RFLAGS.0)] &= !flags::IF;
    Ok(0)
}

fn sti(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    check_interrupt_flag(cpu)?;
    interrupt::enable(cpu);
    Ok(0)
}

/// POPF (SDM 2B): who is outside IOPL keeps IF, who is not at level 0 keeps IOPL.
fn set_flags(cpu: &mut Cpu<X86_64>, [value, w, ..]: Args) -> Result<u64, Trap> {
    let mut mask = flags::ARITHMETIC | flags::TF | flags::DF | flags::NT;
    if width(w) != Width::W16 {
        mask |= flags::AC | flags::ID;
    }
    if cpu.guest.cpl <= io::privilege(cpu) {
        mask |= flags::IF;
    }
    if cpu.guest.cpl == 0 {
        mask |= flags::IOPL;
    }
    let old = flags::rflags(cpu);
    let new = old & !mask | value & mask;
    flags::set_rflags(cpu, new);
    if (old ^ new) & (flags::TF | flags::AC) != 0 {
        mode::refresh(cpu);
    }
    if (old & !new) & flags::TF != 0 || new & !old & flags::IF != 0 || new & flags::TF != 0 {
        interrupt::enabled(cpu);
    }
    Ok(0)
}

fn set_ac(cpu: &mut Cpu<X86_64>, [value, ..]: Args) -> Result<u64, Trap> {
    undefined_if(cpu.guest.cpl != 0)?;
    let slot = &mut cpu.slots[usize::from(RFLAGS.0)];
    *slot = *slot & !flags::AC | if value != 0 { flags::AC } else { 0 };
    mode::refresh(cpu);
    Ok(0)
}

fn set_zero(cpu: &mut Cpu<X86_64>, [value, ..]: Args) -> Result<u64, Trap> {
    let old = flags::rflags(cpu);
    flags::set_rflags(cpu, old & !flags::ZF | if value != 0 { flags::ZF } else { 0 });
    Ok(0)
}

fn clts(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    cpu.guest.cr0 &= !CR0_TS;
    mode::refresh(cpu);
    Ok(0)
}

fn cpuid(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    let values = cpuid::leaf(cpu, get(cpu, RAX) as u32, get(cpu, RCX) as u32);
    for (slot, value) in [RAX, RBX, RCX, RDX].into_iter().zip(values) {
        set(cpu, slot, u64::from(value));
    }
    Ok(0)
}

fn hlt(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    cpu.wait();
    Ok(0)
}

fn input(cpu: &mut Cpu<X86_64>, [port, w, ..]: Args) -> Result<u64, Trap> {
    io::input(cpu, port as u16, width(w))
}

fn output(cpu: &mut Cpu<X86_64>, [port, w, value, _]: Args) -> Result<u64, Trap> {
    io::output(cpu, port as u16, width(w), value).map(|()| 0)
}

fn invlpg(cpu: &mut Cpu<X86_64>, [gva, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    mmu::flush_page(cpu, Gva(gva));
    Ok(0)
}

fn invpcid(cpu: &mut Cpu<X86_64>, [kind, at, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    let pcid = cpu.load(Gva(at), Width::W64)?;
    let gva = cpu.load(Gva(at).offset(8), Width::W64)?;
    mmu::invpcid(cpu, kind, pcid, Gva(gva)).map(|()| 0)
}

/// Reads the operand of LGDT or LIDT.
fn load_table(cpu: &mut Cpu<X86_64>, at: u64, w: Width) -> Result<TableRegister, Trap> {
    supervisor(cpu)?;
    let limit = cpu.load(Gva(at), Width::W16)? as u16;
    let base = match w {
        Width::W64 => cpu.load(Gva(at).offset(2), w)?,
        _ => cpu.load(Gva(at).offset(2), Width::W32)?,
    };
    let base = if w == Width::W16 { base & 0xff_ffff } else { base };
    if is_canonical(base) { Ok(TableRegister { base, limit }) } else { Err(trap::protection(0)) }
}

fn lgdt(cpu: &mut Cpu<X86_64>, [at, w, ..]: Args) -> Result<u64, Trap> {
    cpu.guest.gdtr = load_table(cpu, at, width(w))?;
    Ok(0)
}

fn lidt(cpu: &mut Cpu<X86_64>, [at, w, ..]: Args) -> Result<u64, Trap> {
    cpu.guest.idtr = load_table(cpu, at, width(w))?;
    Ok(0)
}

/// What user mode may not see if CR4.UMIP is set.
fn with_umip<R>(cpu: &mut Cpu<X86_64>, read: fn(&mut Cpu<X86_64>) -> R) -> Result<R, Trap> {
    if cpu.guest.cpl != 0 && cpu.guest.cr4 & CR4_UMIP != 0 {
        return Err(trap::protection(0));
    }
    Ok(read(cpu))
}

fn store_if(cpu: &mut Cpu<X86_64>, [wanted, at, word, ..]: [u64; 4]) -> Result<u64, Trap> {
    if wanted != 0 {
        cpu.store(Gva(at), Width::W16, word)?;
    }
    Ok(0)
}

/// SGDT and SIDT.
fn store_table(
    cpu: &mut Cpu<X86_64>,
    at: u64,
    table: fn(&mut Cpu<X86_64>) -> TableRegister,
) -> Result<u64, Trap> {
    let table = with_umip(cpu, table)?;
    let at = Gva(at);
    let base_width = if is_64_bit(cpu) { Width::W64 } else { Width::W32 };
    cpu.check_crossing_write(at, 2 + base_width.bytes())?;
    cpu.store(at, Width::W16, u64::from(table.limit))?;
    cpu.store(at.offset(2), base_width, table.base)?;
    Ok(0)
}

/// The system descriptor of a selector for LLDT or LTR, of one of the types, with its base.
fn system_segment(
    cpu: &mut Cpu<X86_64>,
    selector: Selector,
    kinds: &[u16],
) -> Result<(descriptor::Descriptor, SystemSegment), Trap> {
    let fault = trap::protection(selector.error());
    if selector.is_local() {
        return Err(fault);
    }
    let found = descriptor::read(cpu, selector)?.ok_or(fault)?;
    let attributes = found.attributes();
    if attributes.is_code_or_data() || !kinds.contains(&attributes.kind()) {
        return Err(fault);
    }
    if !attributes.is_present() {
        return Err(trap::not_present(selector.error()));
    }
    let mut base = found.base();
    if cpu.guest.is_long_mode() {
        base |= descriptor::read_upper_base(cpu, &found)?;
        if !is_canonical(base) {
            return Err(fault);
        }
    }
    Ok((found, SystemSegment { selector: selector.0, base, limit: found.limit(), attributes }))
}

/// Type of an LDT.
const LDT: u16 = 2;
/// Types of available TSSs of 16 bits, and of 32 bits or, in long mode, 64.
const TSS_16: u16 = 1;
const TSS: u16 = 9;
/// Bit of the type of a TSS: in use.
const BUSY: u64 = 2;

fn lldt(cpu: &mut Cpu<X86_64>, [selector, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    let selector = Selector(selector as u16);
    cpu.guest.ldtr = if selector.is_null() {
        SystemSegment { selector: selector.0, ..SystemSegment::default() }
    } else {
        system_segment(cpu, selector, &[LDT])?.1
    };
    Ok(0)
}

fn ltr(cpu: &mut Cpu<X86_64>, [selector, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    let selector = Selector(selector as u16);
    if selector.is_null() {
        return Err(trap::protection(0));
    }
    let kinds: &[u16] = if cpu.guest.is_long_mode() { &[TSS] } else { &[TSS_16, TSS] };
    let (found, mut segment) = system_segment(cpu, selector, kinds)?;
    cpu.store_in(found.address.offset(5), Width::W8, found.bits >> 40 | BUSY, mode::SUPERVISOR)?;
    segment.attributes.0 |= BUSY as u16;
    cpu.guest.tr = segment;
    Ok(0)
}

fn lmsw(cpu: &mut Cpu<X86_64>, [value, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    control::load_machine_status(cpu, value as u16).map(|()| 0)
}

fn load_segment(cpu: &mut Cpu<X86_64>, [register, selector, holds, _]: Args) -> Result<u64, Trap> {
    let register = segment_register(register);
    descriptor::load(cpu, register, Selector(selector as u16))?;
    if register == SegmentRegister::Ss && holds != 0 {
        interrupt::hold_after_stack_load(cpu);
    }
    Ok(0)
}

fn selector(cpu: &mut Cpu<X86_64>, [register, ..]: Args) -> Result<u64, Trap> {
    Ok(u64::from(cpu.guest.segment(segment_register(register)).selector))
}

/// The descriptor of a selector that LAR, LSL, VERR or VERW ask about, if they may know it: `system` are the types of
/// system descriptors that count.
fn visible(
    cpu: &mut Cpu<X86_64>,
    selector: u64,
    system: &[u16],
) -> Result<Option<descriptor::Descriptor>, Trap> {
    let selector = Selector(selector as u16);
    if selector.is_null() {
        return Ok(None);
    }
    let Some(found) = descriptor::read(cpu, selector)? else { return Ok(None) };
    let attributes = found.attributes();
    let known = attributes.is_code_or_data() || system.contains(&attributes.kind());
    let open =
        attributes.is_conforming() || attributes.dpl() >= cpu.guest.cpl && attributes.dpl() >= selector.rpl();
    Ok((known && open).then_some(found))
}

/// Sets ZF and gives the value with bit 63 set if there is one, else 0.
fn found(cpu: &mut Cpu<X86_64>, value: Option<u32>) -> Result<u64, Trap> {
    set_zero(cpu, [u64::from(value.is_some()), 0, 0, 0])?;
    Ok(value.map_or(0, |value| 1 << 63 | u64::from(value)))
}

fn lar(cpu: &mut Cpu<X86_64>, [selector, ..]: Args) -> Result<u64, Trap> {
    let long = cpu.guest.is_long_mode();
    let system: &[u16] = if long { &[2, 9, 0xb, 0xc] } else { &[1, 2, 3, 4, 5, 9, 0xb, 0xc] };
    let descriptor = visible(cpu, selector, system)?;
    found(cpu, descriptor.map(|d| (d.bits >> 32) as u32 & 0x00f0_ff00))
}

fn lsl(cpu: &mut Cpu<X86_64>, [selector, ..]: Args) -> Result<u64, Trap> {
    let long = cpu.guest.is_long_mode();
    let system: &[u16] = if long { &[2, 9, 0xb] } else { &[1, 2, 3, 9, 0xb] };
    let descriptor = visible(cpu, selector, system)?;
    found(cpu, descriptor.map(|d| d.limit()))
}

fn verr(cpu: &mut Cpu<X86_64>, [selector, ..]: Args) -> Result<u64, Trap> {
    let descriptor = visible(cpu, selector, &[])?;
    let readable = descriptor.is_some_and(|d| d.attributes().is_readable());
    set_zero(cpu, [u64::from(readable), 0, 0, 0])
}

fn verw(cpu: &mut Cpu<X86_64>, [selector, ..]: Args) -> Result<u64, Trap> {
    let descriptor = visible(cpu, selector, &[])?;
    let writable = descriptor.is_some_and(|d| d.attributes().is_writable());
    set_zero(cpu, [u64::from(writable), 0, 0, 0])
}

fn read_control(cpu: &mut Cpu<X86_64>, [number, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    control::read(cpu, number as u8)
}

fn write_control(cpu: &mut Cpu<X86_64>, [number, value, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    control::write(cpu, number as u8, value).map(|()| 0)
}

fn read_debug(cpu: &mut Cpu<X86_64>, [number, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    debug::read(cpu, number as u8)
}

fn write_debug(cpu: &mut Cpu<X86_64>, [number, value, ..]: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    debug::write(cpu, number as u8, value).map(|()| 0)
}

fn read_base(cpu: &mut Cpu<X86_64>, [register, ..]: Args) -> Result<u64, Trap> {
    undefined_if(cpu.guest.cr4 & CR4_FSGSBASE == 0)?;
    Ok(get(cpu, segment_register(register).base_slot()))
}

fn write_base(cpu: &mut Cpu<X86_64>, [register, base, ..]: Args) -> Result<u64, Trap> {
    undefined_if(cpu.guest.cr4 & CR4_FSGSBASE == 0)?;
    if !is_canonical(base) {
        return Err(trap::protection(0));
    }
    set(cpu, segment_register(register).base_slot(), base);
    Ok(0)
}

fn rdmsr(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    let value = msr::read(cpu, get(cpu, RCX) as u32)?;
    set_pair(cpu, value);
    Ok(0)
}

fn wrmsr(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    supervisor(cpu)?;
    msr::write(cpu, get(cpu, RCX) as u32, get_pair(cpu)).map(|()| 0)
}

fn rdtsc(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    if cpu.guest.cpl != 0 && cpu.guest.cr4 & CR4_TSD != 0 {
        return Err(trap::protection(0));
    }
    let value = msr::tsc(cpu);
    set_pair(cpu, value);
    Ok(0)
}

fn rdtscp(cpu: &mut Cpu<X86_64>, args: Args) -> Result<u64, Trap> {
    rdtsc(cpu, args)?;
    let aux = cpu.guest.msrs.tsc_aux;
    set(cpu, RCX, aux);
    Ok(0)
}

fn xgetbv(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    undefined_if(cpu.guest.cr4 & CR4_OSXSAVE == 0)?;
    let value = control::read_extended(cpu, get(cpu, RCX) as u32)?;
    set_pair(cpu, value);
    Ok(0)
}

fn xsetbv(cpu: &mut Cpu<X86_64>, _: Args) -> Result<u64, Trap> {
    undefined_if(cpu.guest.cr4 & CR4_OSXSAVE == 0)?;
    supervisor(cpu)?;
    control::write_extended(cpu, get(cpu, RCX) as u32, get_pair(cpu)).map(|()| 0)
}

#[cfg(test)]
mod tests;
