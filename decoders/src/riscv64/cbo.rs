//! Cache-block operations (Unpriv. "CMO" extensions). There is no cache, so only CBO.ZERO does something; the others
//! check what they are allowed to touch.

use super::guest::Riscv64;
use super::trap::{access_fault, illegal};
use super::{envcfg, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::Access;

/// Bytes of a cache block, as the device tree says.
pub const BLOCK_BYTES: u64 = 64;

/// A cache-management operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CboKind {
    /// CBO.CLEAN or CBO.FLUSH.
    Clean,
    /// CBO.INVAL.
    Invalidate,
}

fn check_allowed(cpu: &Cpu<Riscv64>, field: u64, raw: u64) -> Result<(), Trap> {
    let state = &cpu.guest.state;
    let allowed = envcfg::allows(field, state.privilege, state.menvcfg, state.senvcfg);
    if allowed { Ok(()) } else { Err(illegal(raw)) }
}

/// CBO.ZERO: the block that holds `gva` becomes zero.
pub fn zero(cpu: &mut Cpu<Riscv64>, gva: Gva, raw: u64) -> Result<(), Trap> {
    check_allowed(cpu, envcfg::CBZE, raw)?;
    let gpa = cpu.translate(gva, Access::Write, cpu.data_context())?;
    let block = c2w_engine::addr::Gpa(gpa.0 & !(BLOCK_BYTES - 1));
    if cpu.ram.write(block, &[0; BLOCK_BYTES as usize]).is_ok() {
        return Ok(());
    }
    for offset in (0..BLOCK_BYTES).step_by(8) {
        let done = cpu.physical_write(block.offset(offset), Width::W64, 0);
        done.ok_or_else(|| access_fault(gva, Access::Write))?;
    }
    Ok(())
}

/// CBO.CLEAN, CBO.FLUSH and CBO.INVAL: allowed where a load or a store is, faults are those of a store.
pub fn manage(cpu: &mut Cpu<Riscv64>, kind: CboKind, gva: Gva, raw: u64) -> Result<(), Trap> {
    let field = match kind {
        CboKind::Clean => envcfg::CBCFE,
        CboKind::Invalidate => envcfg::CBIE,
    };
    check_allowed(cpu, field, raw)?;
    match cpu.translate(gva, Access::Read, cpu.data_context()) {
        Ok(_) => Ok(()),
        Err(Trap { cause: trap::LOAD_PAGE_FAULT, value }) => Err(Trap::new(trap::STORE_PAGE_FAULT, value)),
        Err(Trap { cause: trap::LOAD_FAULT, value }) => Err(Trap::new(trap::STORE_FAULT, value)),
        Err(other) => Err(other),
    }
}
