//! Address translation: page walks of Sv39 and Sv48 with Svadu, Svade, Svnapot and Svpbmt, and the fences that
//! forget translations (Priv. 4.3-4.6, 5).

use super::guest::Riscv64;
use super::pmp::Rights;
use super::regs::Privilege;
use super::spaces::SpaceKey;
use super::trap::{access_fault, illegal, page_fault};
use super::{envcfg, satp, spaces, status};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT, Page};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::{Access, Translation};

/// TLB context of U-mode.
pub const CONTEXT_U: usize = 0;
/// TLB context of S-mode that may not touch user pages, and of S-mode fetches.
pub const CONTEXT_S: usize = 1;
/// TLB context of S-mode loads and stores with SUM.
pub const CONTEXT_S_SUM: usize = 2;
/// TLB context of M-mode.
pub const CONTEXT_M: usize = 3;
/// Number of TLB contexts.
pub const CONTEXTS: usize = 4;

/// Bits of a page table entry (Priv. 4.4.1).
mod pte {
    pub const V: u64 = 1 << 0;
    pub const R: u64 = 1 << 1;
    pub const W: u64 = 1 << 2;
    pub const X: u64 = 1 << 3;
    pub const U: u64 = 1 << 4;
    pub const G: u64 = 1 << 5;
    pub const A: u64 = 1 << 6;
    pub const D: u64 = 1 << 7;
    pub const PPN_SHIFT: u32 = 10;
    pub const PPN: u64 = (1 << 44) - 1;
    pub const RESERVED: u64 = 0x7f << 54;
    pub const PBMT: u64 = 3 << 61;
    pub const N: u64 = 1 << 63;
}

/// Bits of the page number that a table level translates.
const LEVEL_BITS: u32 = 9;
/// Svnapot defines one size: 64 KiB, encoded as 1000 in the low page number bits (Priv. 5.1).
const NAPOT_ENCODING: u64 = 8;
/// Pages of a 64 KiB page.
const NAPOT_PAGES: u64 = 16;
/// Physical addresses have 56 bits.
const PHYSICAL_PAGES: u64 = 1 << (56 - PAGE_SHIFT);

/// The TLB context of loads and stores with this effective privilege.
pub fn data_context(privilege: Privilege, mstatus: u64) -> usize {
    match privilege {
        Privilege::User => CONTEXT_U,
        Privilege::Supervisor if mstatus & status::SUM != 0 => CONTEXT_S_SUM,
        Privilege::Supervisor => CONTEXT_S,
        Privilege::Machine => CONTEXT_M,
    }
}

/// The TLB context of fetches.
pub fn fetch_context(privilege: Privilege) -> usize {
    match privilege {
        Privilege::User => CONTEXT_U,
        Privilege::Supervisor => CONTEXT_S,
        Privilege::Machine => CONTEXT_M,
    }
}

/// The privilege whose rights a TLB context has.
pub fn context_privilege(context: usize) -> Privilege {
    match context {
        CONTEXT_U => Privilege::User,
        CONTEXT_M => Privilege::Machine,
        _ => Privilege::Supervisor,
    }
}

/// Translates the page of `gva` for an access in `context`.
pub fn walk(cpu: &mut Cpu<Riscv64>, gva: Gva, access: Access, context: usize) -> Result<Translation, Trap> {
    let privilege = context_privilege(context);
    let satp = cpu.guest.state.satp;
    let levels = if privilege == Privilege::Machine { 0 } else { satp::levels(satp) };
    let (page, rights, global) = if levels == 0 {
        if gva.0 >> PAGE_SHIFT >= PHYSICAL_PAGES {
            return Err(access_fault(gva, access));
        }
        (gva.0 >> PAGE_SHIFT, Rights::ALL, true)
    } else {
        walk_tables(cpu, gva, access, context, satp, levels)?
    };
    let gpa = Page(page).start().offset(gva.page_offset());
    let (protection, whole_page) = cpu.guest.pmp.page(gpa, privilege);
    if !protection.allow(access) {
        return Err(access_fault(gva, access));
    }
    Ok(Translation {
        page: Page(page),
        read: rights.read && protection.read,
        write: rights.write && protection.write,
        execute: rights.execute && protection.execute,
        cacheable: whole_page,
        global,
    })
}

/// The page and the rights that the tables give, `access` among them, and whether they give them in every address space.
fn walk_tables(
    cpu: &mut Cpu<Riscv64>,
    gva: Gva,
    access: Access,
    context: usize,
    satp: u64,
    levels: u32,
) -> Result<(u64, Rights, bool), Trap> {
    let fault = || Trap::new(page_fault(access), gva.0);
    let unused_bits = 64 - (PAGE_SHIFT + LEVEL_BITS * levels);
    if (gva.0 << unused_bits) as i64 >> unused_bits != gva.0 as i64 {
        return Err(fault());
    }
    let mut table = satp::root(satp);
    let mut global = false;
    for level in (0..levels).rev() {
        let shift = LEVEL_BITS * level;
        let index = gva.0 >> (PAGE_SHIFT + shift) & ((1 << LEVEL_BITS) - 1);
        let at = Page(table).start().offset(index * 8);
        let entry = read_entry(cpu, at).ok_or_else(|| access_fault(gva, access))?;
        let ppn = entry >> pte::PPN_SHIFT & pte::PPN;
        let is_leaf = entry & (pte::R | pte::W | pte::X) != 0;
        if entry & pte::V == 0 || entry & pte::RESERVED != 0 || entry & (pte::R | pte::W) == pte::W {
            return Err(fault());
        }
        // Priv. 4.3.1: what a global table maps is global.
        global |= entry & pte::G != 0;
        if !is_leaf {
            if entry & (pte::D | pte::A | pte::U | pte::PBMT | pte::N) != 0 {
                return Err(fault());
            }
            table = ppn;
            continue;
        }
        let pbmt = entry & pte::PBMT;
        let pbmt_allowed = cpu.guest.state.menvcfg & envcfg::PBMTE != 0 && pbmt != pte::PBMT;
        if pbmt != 0 && !pbmt_allowed {
            return Err(fault());
        }
        let pages = match (level, entry & pte::N != 0) {
            (0, true) if ppn & (NAPOT_PAGES - 1) == NAPOT_ENCODING => NAPOT_PAGES,
            (_, true) => return Err(fault()),
            (_, false) => 1 << shift,
        };
        // A page larger than the base page must be aligned; a NAPOT one is by its encoding.
        if entry & pte::N == 0 && ppn & (pages - 1) != 0 {
            return Err(fault());
        }
        let mxr = cpu.guest.state.mstatus & status::MXR != 0;
        let rights = rights(entry, context, mxr);
        if !rights.allow(access) {
            return Err(fault());
        }
        let entry = mark_used(cpu, at, entry, gva, access)?;
        if pages > 1 {
            let len_bytes = pages << PAGE_SHIFT;
            cpu.guest.spaces.note_large(gva, len_bytes);
        }
        let page = ppn & !(pages - 1) | gva.0 >> PAGE_SHIFT & (pages - 1);
        return Ok((page, Rights { write: rights.write && entry & pte::D != 0, ..rights }, global));
    }
    Err(fault())
}

/// What a leaf entry allows in `context`, its dirty bit aside.
fn rights(entry: u64, context: usize, mxr: bool) -> Rights {
    let user_page = entry & pte::U != 0;
    let (data, execute) = match context {
        CONTEXT_U => (user_page, user_page),
        CONTEXT_S_SUM => (true, !user_page),
        _ => (!user_page, !user_page),
    };
    Rights {
        read: data && (entry & pte::R != 0 || mxr && entry & pte::X != 0),
        write: data && entry & pte::W != 0,
        execute: execute && entry & pte::X != 0,
    }
}

/// Sets the accessed and dirty bits that `access` needs, or faults if software does that (Svade).
fn mark_used(cpu: &mut Cpu<Riscv64>, at: Gpa, entry: u64, gva: Gva, access: Access) -> Result<u64, Trap> {
    let needed = pte::A | if access == Access::Write { pte::D } else { 0 };
    if entry & needed == needed {
        return Ok(entry);
    }
    if cpu.guest.state.menvcfg & envcfg::ADUE == 0 {
        return Err(Trap::new(page_fault(access), gva.0));
    }
    let protection = cpu.guest.pmp.range(at, 8, Privilege::Supervisor).unwrap_or(Rights::NONE);
    let entry = entry | needed;
    if !protection.write || cpu.ram.write(at, &entry.to_le_bytes()).is_err() {
        return Err(access_fault(gva, access));
    }
    Ok(entry)
}

/// Reads a page table entry, as an S-mode load from RAM.
fn read_entry(cpu: &Cpu<Riscv64>, at: Gpa) -> Option<u64> {
    let protection = cpu.guest.pmp.range(at, 8, Privilege::Supervisor)?;
    if protection.read { cpu.ram.read_u64(at).ok() } else { None }
}

/// Longest range, in pages, that is forgotten page by page.
const MAX_FENCED_PAGES: u64 = 64;

/// Makes the TLB use the space of the current `satp` and MXR.
pub fn select_space(cpu: &mut Cpu<Riscv64>) {
    let state = &cpu.guest.state;
    let key = SpaceKey { satp: state.satp, mxr: state.mstatus & status::MXR != 0 };
    let shared = key.shared();
    cpu.guest.spaces.select(&mut cpu.tlb, key, shared);
    cpu.translations_changed();
}

/// Forgets every translation.
pub fn flush(cpu: &mut Cpu<Riscv64>) {
    cpu.guest.spaces.flush(&mut cpu.tlb);
    select_space(cpu);
}

/// Which operands of a fence are given: the first is an address, the second an address space identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceScope(pub u64);

impl FenceScope {
    /// rs1 is x0: all addresses.
    pub const ALL_ADDRESSES: u64 = 1;
    /// rs2 is x0: all address spaces.
    pub const ALL_SPACES: u64 = 2;
}

/// SFENCE.VMA and SINVAL.VMA.
pub fn sfence_vma(
    cpu: &mut Cpu<Riscv64>,
    gva: Gva,
    asid: u64,
    scope: FenceScope,
    raw: u64,
) -> Result<(), Trap> {
    let state = &cpu.guest.state;
    let forbidden = match state.privilege {
        Privilege::User => true,
        Privilege::Supervisor => state.mstatus & status::TVM != 0,
        Privilege::Machine => false,
    };
    if forbidden {
        return Err(illegal(raw));
    }
    let asid = (scope.0 & FenceScope::ALL_SPACES == 0).then_some(asid);
    if scope.0 & FenceScope::ALL_ADDRESSES != 0 {
        fence_all(cpu, asid);
    } else {
        fence_range(cpu, gva, PAGE_BYTES, asid);
    }
    Ok(())
}

/// Forgets the translations of the pages of `start..start + len_bytes`, in one address space or in all. A range that is
/// long, empty or wraps is everything.
pub fn fence_range(cpu: &mut Cpu<Riscv64>, start: Gva, len_bytes: u64, asid: Option<u64>) {
    let last = start.checked_offset(len_bytes.wrapping_sub(1));
    let Some(last) = last.filter(|_| (1..=MAX_FENCED_PAGES << PAGE_SHIFT).contains(&len_bytes)) else {
        return fence_all(cpu, asid);
    };
    for page in start.0 >> PAGE_SHIFT..=last.0 >> PAGE_SHIFT {
        cpu.guest.spaces.flush_page(&mut cpu.tlb, Gva(page << PAGE_SHIFT));
    }
    cpu.translations_changed();
}

fn fence_all(cpu: &mut Cpu<Riscv64>, asid: Option<u64>) {
    match asid {
        Some(asid) => spaces::flush_asid(&mut cpu.guest.spaces, asid & satp::ASID_MASK),
        None => cpu.guest.spaces.flush(&mut cpu.tlb),
    }
    select_space(cpu);
}

/// SFENCE.W.INVAL and SFENCE.INVAL.IR: SINVAL.VMA has nothing left to order, so only the privilege is checked.
pub fn sfence_inval(cpu: &Cpu<Riscv64>, raw: u64) -> Result<(), Trap> {
    if cpu.guest.state.privilege == Privilege::User { Err(illegal(raw)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
