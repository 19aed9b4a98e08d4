//! Single step and breakpoints: DR0 to DR7, TF and RF (SDM 3B 18.2, 18.3).
//!
//! While anything is on, blocks are one instruction long and [`super::interrupt::pending`] looks at every boundary.
//! Pages with watched bytes never get into the TLB, so that every access to them passes [`note_access`].

use super::guest::X86_64;
use super::state::{DebugRegisters, State};
use super::trap::{self, Kind, vector};
use super::{control, flags, mmu, mode, regs};
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::Access;

/// DR6: a debug register was accessed although DR7.GD forbids it.
const DR6_BD: u64 = 1 << 13;
/// DR6: single step.
const DR6_BS: u64 = 1 << 14;
/// Bits of DR6 that always read as one.
const DR6_ONES: u64 = 0xffff_0ff0;
/// Bits of DR6 that software can write.
const DR6_WRITABLE: u64 = 0xe00f;
/// DR7: the enable bits of all breakpoints.
const DR7_ENABLES: u64 = 0xff;
/// DR7: accesses to debug registers raise #DB.
const DR7_GD: u64 = 1 << 13;
/// Bit of DR7 that always reads as one.
const DR7_ONES: u64 = 1 << 10;
/// Bits of DR7 that software can write.
const DR7_WRITABLE: u64 = 0xffff_23ff;

/// What a breakpoint watches: the R/W field of DR7.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watched {
    Execution,
    Writes,
    Ports,
    Accesses,
}

/// One enabled breakpoint.
struct Breakpoint {
    /// Its bit in DR6.
    bit: u64,
    watched: Watched,
    first: u64,
    last: u64,
}

impl DebugRegisters {
    /// The registers after reset.
    pub const RESET: Self =
        Self { address: [0; 4], status: DR6_ONES, control: DR7_ONES, hits: 0, step_from: None };

    /// Whether these are values that the registers can have.
    pub fn is_possible(&self) -> bool {
        let status = self.status & !DR6_WRITABLE == DR6_ONES;
        status && self.control & !DR7_WRITABLE == DR7_ONES && self.hits & !0xf == 0
    }

    /// The enabled breakpoints.
    fn breakpoints(&self) -> impl Iterator<Item = Breakpoint> + '_ {
        (0..4).filter(|n| self.control >> (2 * n) & 3 != 0).map(|n| {
            let field = self.control >> (16 + 4 * n);
            let watched = [Watched::Execution, Watched::Writes, Watched::Ports, Watched::Accesses]
                [(field & 3) as usize];
            let len_bytes = [1, 2, 8, 4][(field >> 2 & 3) as usize];
            let first = self.address[n] & !(len_bytes - 1);
            Breakpoint { bit: 1 << n, watched, first, last: first | (len_bytes - 1) }
        })
    }

    /// Whether there is a data breakpoint in the page of an address.
    pub fn watches_page(&self, gva: Gva) -> bool {
        let data = |b: &Breakpoint| matches!(b.watched, Watched::Writes | Watched::Accesses);
        self.control & DR7_ENABLES != 0
            && self.breakpoints().any(|b| data(&b) && Gva(b.first).page_start() == gva.page_start())
    }

    /// Bits for DR6 of the breakpoints on `first..=last` that watch one of `kinds`.
    fn hit(&self, first: u64, last: u64, kinds: &[Watched]) -> u64 {
        let hits =
            self.breakpoints().filter(|b| kinds.contains(&b.watched) && first <= b.last && b.first <= last);
        hits.fold(0, |bits, b| bits | b.bit)
    }
}

impl State {
    /// Whether something has to be looked at after every instruction, given RFLAGS.
    #[inline]
    pub fn needs_stepping(&self, rflags: u64) -> bool {
        rflags & flags::TF != 0 || self.debug.control & DR7_ENABLES != 0 || self.step_once
    }
}

/// #DB: `kind` says whether before or after an instruction, `bits` are set in DR6.
fn exception(kind: Kind, bits: u64) -> Trap {
    Trap::new(trap::cause(kind, vector::DB), bits)
}

/// Notes a data access to bytes of a page on which there is a breakpoint.
pub fn note_access(cpu: &mut Cpu<X86_64>, gva: Gva, len_bytes: u64, access: Access) {
    let kinds: &[Watched] = match access {
        Access::Read => &[Watched::Accesses],
        Access::Write => &[Watched::Writes, Watched::Accesses],
        Access::Execute => return,
    };
    let hits = cpu.guest.debug.hit(gva.0, gva.0.saturating_add(len_bytes - 1), kinds);
    note_hits(cpu, hits);
}

/// Notes an access of IN, OUT, INS or OUTS to `len_bytes` from a port.
pub fn note_port(cpu: &mut Cpu<X86_64>, port: u16, len_bytes: u64) {
    if cpu.guest.debug.control & DR7_ENABLES != 0 && cpu.guest.cr4 & control::CR4_DE != 0 {
        let first = u64::from(port);
        let hits = cpu.guest.debug.hit(first, first + len_bytes - 1, &[Watched::Ports]);
        note_hits(cpu, hits);
    }
}

fn note_hits(cpu: &mut Cpu<X86_64>, hits: u64) {
    if hits != 0 {
        cpu.guest.debug.hits |= hits;
        cpu.recheck_interrupts();
    }
}

/// The #DB for what the last instruction did, if it did something: data breakpoints and single step.
pub(super) fn take_traps(cpu: &mut Cpu<X86_64>) -> Option<Trap> {
    let retired = cpu.retired;
    let debug = &mut cpu.guest.debug;
    let mut bits = core::mem::take(&mut debug.hits);
    // Nothing has retired since if the instruction is still to come.
    if debug.step_from.is_some_and(|from| retired > from) {
        debug.step_from = None;
        bits |= DR6_BS;
    }
    (bits != 0).then(|| exception(Kind::Trap, bits))
}

/// The #DB for the next instruction's address, if there is a breakpoint on it and RF is clear.
pub(super) fn take_breakpoint(cpu: &Cpu<X86_64>) -> Option<Trap> {
    let debug = &cpu.guest.debug;
    if debug.control & DR7_ENABLES == 0 || resumes(cpu) {
        return None;
    }
    let bits = debug.hit(cpu.pc.0, cpu.pc.0, &[Watched::Execution]);
    (bits != 0).then(|| exception(Kind::Fault, bits))
}

/// Whether #DB is one of those raised before an instruction because of its address, which leave RF as it was.
pub(super) fn is_breakpoint(trap: Trap) -> bool {
    trap.cause == trap::fault(vector::DB) && trap.value & DR6_BD == 0
}

/// What entering the handler of #DB does to DR6 and DR7.
pub(super) fn entered(cpu: &mut Cpu<X86_64>, bits: u64) {
    let debug = &mut cpu.guest.debug;
    debug.status |= bits & DR6_WRITABLE;
    debug.control &= !DR7_GD;
}

/// Prepares the single step of the next instruction if TF is set.
pub(super) fn begin_step(cpu: &mut Cpu<X86_64>) {
    let on = cpu.slots[usize::from(regs::RFLAGS.0)] & flags::TF != 0;
    cpu.guest.debug.step_from = on.then_some(cpu.retired);
}

/// For SYSCALL and SYSRET, which end with a single step if TF is set after them: call it when RFLAGS is written, from
/// the last instruction of a block.
pub fn step_as_after(cpu: &mut Cpu<X86_64>) {
    let on = cpu.slots[usize::from(regs::RFLAGS.0)] & flags::TF != 0;
    cpu.guest.debug.step_from = on.then(|| cpu.retired.wrapping_sub(1));
    cpu.recheck_interrupts();
}

/// Sets RF until the next instruction is complete: IRET that pops it as one, and string instructions that will go on
/// with another iteration. Call it from the last instruction of a block; RF is never set in the slot of RFLAGS.
pub fn set_resume(cpu: &mut Cpu<X86_64>) {
    cpu.guest.resume_at = Some(cpu.retired);
}

/// RF now, between instructions.
pub(super) fn resumes(cpu: &Cpu<X86_64>) -> bool {
    cpu.guest.resume_at == Some(cpu.retired)
}

/// Number of the register that MOV DR accesses: DR4 and DR5 are DR6 and DR7 unless CR4.DE is set.
fn number(cpu: &Cpu<X86_64>, number: u8) -> Result<u8, Trap> {
    match number {
        4 | 5 if cpu.guest.cr4 & control::CR4_DE != 0 => Err(trap::plain(trap::UNDEFINED)),
        4 | 5 => Ok(number + 2),
        0..8 => Ok(number),
        _ => Err(trap::plain(trap::UNDEFINED)),
    }
}

/// #DB if DR7.GD guards the debug registers.
fn guard(cpu: &Cpu<X86_64>) -> Result<(), Trap> {
    if cpu.guest.debug.control & DR7_GD != 0 { Err(exception(Kind::Fault, DR6_BD)) } else { Ok(()) }
}

/// MOV from DR`n` at CPL 0.
pub fn read(cpu: &Cpu<X86_64>, n: u8) -> Result<u64, Trap> {
    let n = number(cpu, n)?;
    guard(cpu)?;
    let debug = &cpu.guest.debug;
    Ok(match n {
        6 => debug.status,
        7 => debug.control,
        n => debug.address[usize::from(n & 3)],
    })
}

/// MOV to DR`n` at CPL 0. It ends a block.
pub fn write(cpu: &mut Cpu<X86_64>, n: u8, value: u64) -> Result<(), Trap> {
    let n = number(cpu, n)?;
    guard(cpu)?;
    if n >= 6 && value >> 32 != 0 {
        return Err(trap::protection(0));
    }
    let debug = &mut cpu.guest.debug;
    let was_on = debug.control & DR7_ENABLES != 0;
    match n {
        6 => debug.status = value & DR6_WRITABLE | DR6_ONES,
        7 => debug.control = value & DR7_WRITABLE | DR7_ONES,
        n => debug.address[usize::from(n & 3)] = value,
    }
    if was_on || debug.control & DR7_ENABLES != 0 {
        // Which pages the TLB may hold has changed.
        mmu::flush(cpu);
        mode::refresh(cpu);
        cpu.recheck_interrupts();
    }
    Ok(())
}
