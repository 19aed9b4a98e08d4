//! I/O ports: who may access which (SDM 1 19.5), and IN, OUT, INS and OUTS.

use super::guest::X86_64;
use super::helpers::address;
use super::insn::{Insn, SegmentCheck};
use super::regs::{self, RCX, RDI, RDX, RFLAGS, RSI};
use super::segment::SegmentRegister;
use super::{debug, flags, mode, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::Slot;
use c2w_engine::guest::Trap;

/// IOPL: the outermost privilege level that may access every port, and change IF.
pub fn privilege(cpu: &Cpu<X86_64>) -> u8 {
    ((cpu.slots[usize::from(RFLAGS.0)] & flags::IOPL) >> flags::IOPL.trailing_zeros()) as u8
}

/// Offset in a 32-bit or 64-bit TSS of the offset of the bitmap.
const BITMAP_OFFSET: u64 = 0x66;

/// #GP(0) unless the ports `port..` of an access of `w` may be accessed.
fn check(cpu: &mut Cpu<X86_64>, port: u16, w: Width) -> Result<(), Trap> {
    if cpu.guest.cpl <= privilege(cpu) {
        return Ok(());
    }
    let tr = cpu.guest.tr;
    let limit = u64::from(tr.limit);
    // Only TSSs of 32 and 64 bits have a bitmap.
    if !tr.attributes.is_present() || tr.attributes.kind() & 8 == 0 || limit < BITMAP_OFFSET + 1 {
        return Err(trap::protection(0));
    }
    let base = Gva(tr.base);
    let bitmap = cpu.load_in(base.offset(BITMAP_OFFSET), Width::W16, mode::SUPERVISOR)?;
    let first = bitmap + u64::from(port / 8);
    if first + 1 > limit {
        return Err(trap::protection(0));
    }
    // Two bytes hold the bits of any access.
    let bits = cpu.load_in(base.offset(first), Width::W16, mode::SUPERVISOR)? >> (port % 8);
    if bits & ((1 << w.bytes()) - 1) != 0 { Err(trap::protection(0)) } else { Ok(()) }
}

fn read(cpu: &mut Cpu<X86_64>, port: u16, w: Width) -> u64 {
    debug::note_port(cpu, port, w.bytes());
    let value = cpu.with_board(|board, env| board.port_read(port, w, env));
    cpu.recheck_interrupts();
    value & w.mask()
}

fn write(cpu: &mut Cpu<X86_64>, port: u16, w: Width, value: u64) {
    debug::note_port(cpu, port, w.bytes());
    cpu.with_board(|board, env| board.port_write(port, w, value & w.mask(), env));
    cpu.recheck_interrupts();
}

/// IN.
pub fn input(cpu: &mut Cpu<X86_64>, port: u16, w: Width) -> Result<u64, Trap> {
    check(cpu, port, w)?;
    Ok(read(cpu, port, w))
}

/// OUT.
pub fn output(cpu: &mut Cpu<X86_64>, port: u16, w: Width, value: u64) -> Result<(), Trap> {
    check(cpu, port, w)?;
    write(cpu, port, w, value);
    Ok(())
}

/// What INS and OUTS do, as a helper's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringForm(pub u64);

impl StringForm {
    const REP: u64 = 1 << 4;
    const LINEAR_32: u64 = 1 << 5;

    /// The form of an instruction: its widths, prefixes and segment.
    pub fn of(i: &Insn) -> Self {
        use super::insn::InsnFlags;
        let m = &i.memory;
        let mut form = i.w as u64 | (m.address_width as u64) << 2;
        if i.flags.intersects(InsnFlags::REP | InsnFlags::REPNE) {
            form |= Self::REP;
        }
        if m.linear_32 {
            form |= Self::LINEAR_32;
        }
        Self(form | u64::from(m.segment.0) << 8 | m.check.number() << 16)
    }

    fn w(self) -> Width {
        Width::ALL[(self.0 & 3) as usize]
    }

    fn address_width(self) -> Width {
        Width::ALL[(self.0 >> 2 & 3) as usize]
    }

    /// Linear address of the offset in an index register.
    fn linear(self, cpu: &Cpu<X86_64>, index: Slot) -> Result<Gva, Trap> {
        let offset = cpu.slots[usize::from(index.0)] & self.address_width().mask();
        let (segment, check) = (Slot((self.0 >> 8) as u8), SegmentCheck::from_number(self.0 >> 16 & 0xff));
        if segment == regs::NONE {
            return Ok(Gva(offset));
        }
        let register = SegmentRegister::from_number(segment.0.wrapping_sub(regs::ES_BASE.0));
        if let Some(register) = register
            && !check.is_none()
        {
            return address::linear(cpu, register, check, offset).map(Gva);
        }
        let linear = cpu.slots[usize::from(segment.0)].wrapping_add(offset);
        Ok(Gva(if self.0 & Self::LINEAR_32 != 0 { linear & 0xffff_ffff } else { linear }))
    }

    /// Whether there is nothing left to do.
    fn is_done(self, cpu: &Cpu<X86_64>) -> bool {
        self.0 & Self::REP != 0 && cpu.slots[usize::from(RCX.0)] & self.address_width().mask() == 0
    }

    /// Moves on by one element: 1 if there is another.
    fn advance(self, cpu: &mut Cpu<X86_64>, index: Slot) -> u64 {
        let down = cpu.slots[usize::from(RFLAGS.0)] & flags::DF != 0;
        let bytes = self.w().bytes();
        self.add(cpu, index, if down { bytes.wrapping_neg() } else { bytes });
        if self.0 & Self::REP == 0 {
            return 0;
        }
        self.add(cpu, RCX, u64::MAX);
        let again = !self.is_done(cpu);
        if again {
            debug::set_resume(cpu);
        }
        u64::from(again)
    }

    /// Adds to the part of a register that addresses use.
    fn add(self, cpu: &mut Cpu<X86_64>, slot: Slot, bytes: u64) {
        let slot = &mut cpu.slots[usize::from(slot.0)];
        let sum = slot.wrapping_add(bytes);
        *slot = match self.address_width() {
            Width::W64 => sum,
            Width::W32 => sum & 0xffff_ffff,
            w => *slot & !w.mask() | sum & w.mask(),
        };
    }
}

fn string_port(cpu: &Cpu<X86_64>) -> u16 {
    cpu.slots[usize::from(RDX.0)] as u16
}

/// One element of INS: 1 if another follows.
pub fn input_string(cpu: &mut Cpu<X86_64>, form: StringForm) -> Result<u64, Trap> {
    if form.is_done(cpu) {
        return Ok(0);
    }
    let (port, w) = (string_port(cpu), form.w());
    check(cpu, port, w)?;
    let gva = form.linear(cpu, RDI)?;
    // A port is not read for a value that cannot be stored.
    cpu.load_to_modify(gva, w)?;
    let value = read(cpu, port, w);
    cpu.store(gva, w, value)?;
    Ok(form.advance(cpu, RDI))
}

/// One element of OUTS: 1 if another follows.
pub fn output_string(cpu: &mut Cpu<X86_64>, form: StringForm) -> Result<u64, Trap> {
    if form.is_done(cpu) {
        return Ok(0);
    }
    let (port, w) = (string_port(cpu), form.w());
    check(cpu, port, w)?;
    let gva = form.linear(cpu, RSI)?;
    let value = cpu.load(gva, w)?;
    write(cpu, port, w, value);
    Ok(form.advance(cpu, RSI))
}
