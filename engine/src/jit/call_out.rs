//! What generated code calls out for: everything that it does not do in line, over the vCPU as the interpreter has it.

use crate::addr::{Gva, Page, Width};
use crate::cpu::Cpu;
use crate::guest::{Guest, Trap};
use crate::ir::block::Op;
use crate::ir::eval;
use crate::mem::tlb::Access;

/// Why generated code is left in the middle of a block: nothing of the instruction has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It raises an exception.
    Trap(Trap),
    /// The interpreter is to run it: it writes code, perhaps the code that runs.
    Interpret,
    /// It is to be run later: the run loop has something to look at.
    Look,
}

impl From<Trap> for Leave {
    fn from(trap: Trap) -> Self {
        Leave::Trap(trap)
    }
}

/// Carries out an operation, but for helpers.
///
/// # Errors
/// The code that called out is to be left.
pub fn carry_out<G: Guest>(cpu: &mut Cpu<G>, op: &Op, operands: [u64; 4]) -> Result<u64, Leave> {
    let [a, b, c, _] = operands;
    match *op {
        Op::Load { w, .. } => {
            keep_to_memory(cpu, Gva(a), w.bytes(), Access::Read)?;
            Ok(cpu.load(Gva(a), w)?)
        }
        Op::LoadToModify { w, .. } => {
            keep_to_memory(cpu, Gva(a), w.bytes(), Access::Write)?;
            Ok(cpu.load_to_modify(Gva(a), w)?)
        }
        Op::Store { w, .. } => {
            keep_to_memory(cpu, Gva(a), w.bytes(), Access::Write)?;
            cpu.store(Gva(a), w, b)?;
            Ok(0)
        }
        Op::CheckCrossingWrite { len_bytes, .. } => {
            cpu.check_crossing_write(Gva(a), len_bytes.into())?;
            Ok(0)
        }
        Op::Amo { op, w, .. } => modify(cpu, w, a, |old| eval::amo(op, w, old, b)),
        Op::CompareExchange { w, .. } => modify(cpu, w, a, |old| if old == b & w.mask() { c } else { old }),
        Op::LoadReserved { w, .. } => {
            keep_to_memory(cpu, Gva(a), w.bytes(), Access::Read)?;
            Ok(cpu.load_reserved(Gva(a), w)?)
        }
        Op::StoreConditional { w, .. } => {
            keep_to_memory(cpu, Gva(a), w.bytes(), Access::Write)?;
            Ok(cpu.store_conditional(Gva(a), w, b)?)
        }
        Op::VectorLoad { len_bytes, to, .. } => {
            keep_to_memory(cpu, Gva(a), len_bytes.into(), Access::Read)?;
            let value = cpu.load_vector(Gva(a), len_bytes)?;
            cpu.set_vector(to, value);
            Ok(0)
        }
        Op::VectorStore { len_bytes, from, .. } => {
            keep_to_memory(cpu, Gva(a), len_bytes.into(), Access::Write)?;
            cpu.store_vector(Gva(a), len_bytes, cpu.vector(from))?;
            Ok(0)
        }
        Op::Vector { op, imm, to, a, b } => {
            cpu.run_vector(op, imm, to, a, b);
            Ok(0)
        }
        Op::VectorInsert { op, imm, to, .. } => {
            cpu.run_vector_insert(op, imm, to, a);
            Ok(0)
        }
        Op::VectorExtract { op, a, b } => Ok(cpu.run_vector_extract(op, a, b)),
        Op::LookIf { .. } => {
            cpu.recheck_interrupts();
            Ok(0)
        }
        Op::Trap { cause, .. } | Op::TrapIf { cause, .. } => Err(Leave::Trap(Trap::new(cause, a))),
        Op::Binary { op, w, .. } => Ok(eval::binary(op, w, a, b)),
        Op::Unary { op, w, .. } => Ok(eval::unary(op, w, a)),
        _ => Err(Leave::Look),
    }
}

fn modify<G: Guest>(cpu: &mut Cpu<G>, w: Width, addr: u64, f: impl FnOnce(u64) -> u64) -> Result<u64, Leave> {
    keep_to_memory(cpu, Gva(addr), w.bytes(), Access::Write)?;
    // Both pages of a crossing access are checked before either is touched, and nothing else runs in between.
    let old = cpu.atomic_read(Gva(addr), w)?;
    cpu.store(Gva(addr), w, f(old))?;
    Ok(old)
}

/// Leaves if an access reaches a device, which may do anything, or overwrites code: the code that runs may be concerned,
/// and only the interpreter stops between any two instructions. An access that traps is let through, for the trap.
fn keep_to_memory<G: Guest>(cpu: &mut Cpu<G>, gva: Gva, all_bytes: u64, access: Access) -> Result<(), Leave> {
    let mut done = 0;
    while done < all_bytes {
        let at = gva.offset(done);
        let len_bytes = (all_bytes - done).min(at.bytes_to_page_end());
        let context = cpu.data_context();
        // A page whose writes are watched may be read.
        let host = cpu.tlb.lookup(context, at.page_start(), Width::W8, Access::Read);
        let gpa = match host {
            Some(host) if access == Access::Write => cpu.ram.gpa_of_host(host).offset(at.page_offset()),
            _ => match cpu.translate(at, access, context) {
                Ok(gpa) => gpa,
                Err(_) => return Ok(()),
            },
        };
        if !cpu.ram.contains_page(Page::of(gpa)) || access == Access::Write && cpu.ram.is_code(gpa, len_bytes)
        {
            return Err(Leave::Interpret);
        }
        done += len_bytes;
    }
    Ok(())
}
