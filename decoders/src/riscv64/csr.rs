//! Control and status registers: who may access which, what they read as and what a write does (Priv. 2, 3.1, 4.1).

use super::counters::{CY, IR, TM};
use super::guest::{Riscv64, mark_fp_dirty, update_mode};
use super::regs::{FpState, Privilege};
use super::trap::illegal;
use super::{envcfg, float_env, irq, mmu, satp, status, trap};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// RV64 with A B C D F I M S U (Priv. 3.1.1).
pub const MISA: u64 = 2 << 62 | letters("abcdfimsu");
/// Counters that counter-enable registers have a bit for.
const COUNTER_ENABLES: u64 = 0xffff_ffff;
/// Counters that can be stopped.
const INHIBITABLE: u64 = CY | IR;

const fn letters(names: &str) -> u64 {
    let mut bits = 0;
    let mut i = 0;
    while i < names.len() {
        bits |= 1 << (names.as_bytes()[i] - b'a');
        i += 1;
    }
    bits
}

/// What an instruction does with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsrOp {
    /// Reads only.
    Read,
    /// Replaces the value.
    Write(u64),
    /// Sets the bits.
    Set(u64),
    /// Clears the bits.
    Clear(u64),
}

/// Carries out a CSR instruction with the bits `raw`; gives the old value.
pub fn access(cpu: &mut Cpu<Riscv64>, number: u64, op: CsrOp, raw: u64) -> Result<u64, Trap> {
    let number = number as u16 & 0xfff;
    let allowed = may_access(cpu, number, op != CsrOp::Read);
    let old = if allowed { read(cpu, number) } else { None }.ok_or(illegal(raw))?;
    // Only bits that software wrote take part in a read-modify-write of pending interrupts (Priv. 3.1.9).
    let base = match number {
        MIP | SIP => irq::software(cpu),
        _ => old,
    };
    match op {
        CsrOp::Read => {}
        CsrOp::Write(value) => write(cpu, number, value),
        CsrOp::Set(mask) => write(cpu, number, base | mask),
        CsrOp::Clear(mask) => write(cpu, number, base & !mask),
    }
    Ok(old)
}

/// The rules that depend on the number and on enable bits.
fn may_access(cpu: &Cpu<Riscv64>, number: u16, writes: bool) -> bool {
    let state = &cpu.guest.state;
    let privilege = state.privilege;
    let lowest = number >> 8 & 3;
    let read_only = number >> 10 == 3;
    if (privilege as u16) < lowest || writes && read_only {
        return false;
    }
    match number {
        FFLAGS..=FCSR => status::fp(state.mstatus) != FpState::Off,
        CYCLE..=HPMCOUNTER31 => {
            let bit = 1 << (number & 31);
            match privilege {
                Privilege::Machine => true,
                Privilege::Supervisor => state.mcounteren & bit != 0,
                Privilege::User => state.mcounteren & state.scounteren & bit != 0,
            }
        }
        STIMECMP => privilege == Privilege::Machine || state.mcounteren & TM != 0 && state.has_stimecmp(),
        SATP => privilege != Privilege::Supervisor || state.mstatus & status::TVM == 0,
        _ => true,
    }
}

macro_rules! numbers {
    ($($name:ident = $number:literal;)*) => { $(const $name: u16 = $number;)* };
}

numbers! {
    FFLAGS = 0x001; FRM = 0x002; FCSR = 0x003;
    CYCLE = 0xc00; TIME = 0xc01; INSTRET = 0xc02; HPMCOUNTER3 = 0xc03; HPMCOUNTER31 = 0xc1f;
    SSTATUS = 0x100; SIE = 0x104; STVEC = 0x105; SCOUNTEREN = 0x106; SENVCFG = 0x10a;
    SSCRATCH = 0x140; SEPC = 0x141; SCAUSE = 0x142; STVAL = 0x143; SIP = 0x144; STIMECMP = 0x14d; SATP = 0x180;
    MVENDORID = 0xf11; MARCHID = 0xf12; MIMPID = 0xf13; MHARTID = 0xf14; MCONFIGPTR = 0xf15;
    MSTATUS = 0x300; MISA_CSR = 0x301; MEDELEG = 0x302; MIDELEG = 0x303; MIE = 0x304; MTVEC = 0x305;
    MCOUNTEREN = 0x306; MENVCFG = 0x30a; MCOUNTINHIBIT = 0x320; MHPMEVENT3 = 0x323; MHPMEVENT31 = 0x33f;
    MSCRATCH = 0x340; MEPC = 0x341; MCAUSE = 0x342; MTVAL = 0x343; MIP = 0x344;
    PMPCFG0 = 0x3a0; PMPCFG2 = 0x3a2; PMPADDR0 = 0x3b0; PMPADDR15 = 0x3bf;
    TSELECT = 0x7a0; TDATA1 = 0x7a1; TDATA2 = 0x7a2; TDATA3 = 0x7a3; TINFO = 0x7a4;
    MCYCLE = 0xb00; MINSTRET = 0xb02; MHPMCOUNTER3 = 0xb03; MHPMCOUNTER31 = 0xb1f;
}

/// The value of a register; `None` if there is no such register.
fn read(cpu: &mut Cpu<Riscv64>, number: u16) -> Option<u64> {
    let retired = cpu.retired;
    let fflags = float_env::flags(cpu);
    let frm = u64::from(float_env::rounding_mode(cpu));
    if matches!(number, TIME | MIP | SIP) {
        let now_ns = cpu.now_ns();
        if number == TIME {
            return Some(cpu.board.mtime(now_ns));
        }
        irq::tick(cpu, now_ns);
    }
    let state = &cpu.guest.state;
    Some(match number {
        FFLAGS => fflags,
        FRM => frm,
        FCSR => frm << 5 | fflags,
        CYCLE | MCYCLE => state.cycle.read(retired),
        INSTRET | MINSTRET => state.instret.read(retired),
        // No event counters and no triggers: they read as zero and ignore writes.
        HPMCOUNTER3..=HPMCOUNTER31 | MHPMCOUNTER3..=MHPMCOUNTER31 | MHPMEVENT3..=MHPMEVENT31 => 0,
        TSELECT | TDATA1 | TDATA2 | TDATA3 => 0,
        // The only trigger is of type 0, "none" (Debug 5.7.6).
        TINFO => 1,
        SSTATUS => status::read_s(state.mstatus),
        SIE => state.mie & state.mideleg,
        STVEC => state.stvec,
        SCOUNTEREN => state.scounteren,
        SENVCFG => state.senvcfg,
        SSCRATCH => state.sscratch,
        SEPC => state.sepc,
        SCAUSE => state.scause,
        STVAL => state.stval,
        SIP => irq::pending(cpu) & state.mideleg,
        STIMECMP => state.stimecmp,
        SATP => state.satp,
        // Not assigned: zero is allowed for all of these.
        MVENDORID | MARCHID | MIMPID | MCONFIGPTR => 0,
        MHARTID => state.hartid,
        MSTATUS => state.mstatus,
        MISA_CSR => MISA,
        MEDELEG => state.medeleg,
        MIDELEG => state.mideleg,
        MIE => state.mie,
        MTVEC => state.mtvec,
        MCOUNTEREN => state.mcounteren,
        MENVCFG => state.menvcfg,
        MCOUNTINHIBIT => state.mcountinhibit,
        MSCRATCH => state.mscratch,
        MEPC => state.mepc,
        MCAUSE => state.mcause,
        MTVAL => state.mtval,
        MIP => irq::pending(cpu),
        PMPCFG0 | PMPCFG2 => cpu.guest.pmp.read_cfg(pmp_first(number)),
        PMPADDR0..=PMPADDR15 => cpu.guest.pmp.read_addr((number - PMPADDR0) as usize),
        _ => return None,
    })
}

/// Index of the first entry in a protection configuration register.
fn pmp_first(number: u16) -> usize {
    4 * (number - PMPCFG0) as usize
}

/// Writes a register that exists. What is read-only in it keeps its value.
fn write(cpu: &mut Cpu<Riscv64>, number: u16, value: u64) {
    let retired = cpu.retired;
    let state = &mut cpu.guest.state;
    match number {
        FFLAGS => write_fp(cpu, Some(value), None),
        FRM => write_fp(cpu, None, Some(value)),
        FCSR => write_fp(cpu, Some(value), Some(value >> 5)),
        SSTATUS => write_status(cpu, |old| status::write_s(old, value)),
        MSTATUS => write_status(cpu, |old| status::write_m(old, value)),
        SIE => {
            state.mie = state.mie & !state.mideleg | value & state.mideleg;
            trap::recheck(cpu);
        }
        MIE => {
            state.mie = value & irq::ALL;
            trap::recheck(cpu);
        }
        SIP => {
            // Timer and external interrupts are read-only for S-mode (Priv. 4.1.3).
            let mask = state.mideleg & 1 << irq::SSI;
            irq::write(cpu, value, mask);
        }
        MIP => irq::write(cpu, value, irq::SUPERVISOR),
        MEDELEG => state.medeleg = value & trap::DELEGABLE,
        MIDELEG => {
            state.mideleg = value & irq::SUPERVISOR;
            cpu.recheck_interrupts();
        }
        // Mode 0 or 1; the reserved modes lose their high bit.
        STVEC => state.stvec = value & !2,
        MTVEC => state.mtvec = value & !2,
        SCOUNTEREN => state.scounteren = value & COUNTER_ENABLES,
        MCOUNTEREN => state.mcounteren = value & COUNTER_ENABLES,
        SENVCFG => state.senvcfg = envcfg::write(state.senvcfg, value, Privilege::Supervisor),
        MENVCFG => {
            state.menvcfg = envcfg::write(state.menvcfg, value, Privilege::Machine);
            mmu::flush(cpu);
            update_timer(cpu);
        }
        MCOUNTINHIBIT => {
            state.mcountinhibit = value & INHIBITABLE;
            state.cycle.set_stopped(retired, value & CY != 0);
            state.instret.set_stopped(retired, value & IR != 0);
        }
        MCYCLE => state.cycle.write(retired, value),
        MINSTRET => state.instret.write(retired, value),
        SSCRATCH => state.sscratch = value,
        MSCRATCH => state.mscratch = value,
        SEPC => state.sepc = value & !1,
        MEPC => state.mepc = value & !1,
        SCAUSE => state.scause = value,
        MCAUSE => state.mcause = value,
        STVAL => state.stval = value,
        MTVAL => state.mtval = value,
        STIMECMP => {
            state.stimecmp = value;
            update_timer(cpu);
        }
        SATP => {
            state.satp = satp::write(state.satp, value);
            mmu::select_space(cpu);
        }
        PMPCFG0 | PMPCFG2 => {
            cpu.guest.pmp.write_cfg(pmp_first(number), value);
            mmu::flush(cpu);
        }
        PMPADDR0..=PMPADDR15 => {
            cpu.guest.pmp.write_addr((number - PMPADDR0) as usize, value);
            mmu::flush(cpu);
        }
        // `misa` and the registers that read as constants.
        _ => {}
    }
}

fn update_timer(cpu: &mut Cpu<Riscv64>) {
    let now_ns = cpu.now_ns();
    irq::tick(cpu, now_ns);
    cpu.recheck_interrupts();
}

fn write_status(cpu: &mut Cpu<Riscv64>, written: impl FnOnce(u64) -> u64) {
    let old = cpu.guest.state.mstatus;
    let new = written(old);
    cpu.guest.state.mstatus = new;
    if (old ^ new) & status::MXR != 0 {
        mmu::select_space(cpu);
    }
    update_mode(cpu);
    trap::recheck(cpu);
}

fn write_fp(cpu: &mut Cpu<Riscv64>, fflags: Option<u64>, frm: Option<u64>) {
    if let Some(fflags) = fflags {
        float_env::set_flags(cpu, fflags);
    }
    if let Some(frm) = frm {
        float_env::set_rounding_mode(cpu, frm);
    }
    mark_fp_dirty(cpu);
}

#[cfg(test)]
mod tests;
