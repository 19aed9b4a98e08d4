//! Paging (SDM 3A 4).

use super::guest::X86_64;
use c2w_engine::addr::{Gpa, Gva, Page};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::{Access, Translation};

/// Walks the page tables.
pub fn walk(_cpu: &mut Cpu<X86_64>, gva: Gva, _access: Access, _context: usize) -> Result<Translation, Trap> {
    Ok(Translation { page: Page::of(Gpa(gva.0)), read: true, write: true, execute: true, cacheable: true })
}

/// Makes the TLB use the address space of CR3.
pub fn select_space(cpu: &mut Cpu<X86_64>) {
    cpu.translations_changed();
}

/// Forgets every translation.
pub fn flush(cpu: &mut Cpu<X86_64>) {
    cpu.tlb.flush();
    cpu.translations_changed();
}
