//! Paging: walks of 4-level, PAE and 32-bit page tables, and the instructions that forget translations (SDM 3A 4).
//!
//! Accessed and dirty bits are set only by walks that end without a fault. Memory types are ignored: caches cannot be
//! observed. Page tables are read from RAM; elsewhere they read as all ones.

use super::control::{CR0_PG, CR0_WP, CR4_PAE, CR4_PCIDE, CR4_PGE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_NXE};
use super::descriptor::is_canonical;
use super::guest::X86_64;
use super::mode::{ModeBits, SUPERVISOR_AC, USER_ALIGNED, is_user};
use super::spaces::{self, SpaceKey};
use super::state::State;
use super::trap;
use c2w_engine::addr::{Gpa, Gva, PAGE_SHIFT, Page, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::{Access, Translation};

/// Bits of a physical address (CPUID 8000_0008).
pub const PHYSICAL_BITS: u32 = 40;

/// Bits of a page table entry (SDM 3A 4.5).
mod entry {
    use super::PHYSICAL_BITS;
    pub const P: u64 = 1 << 0;
    pub const W: u64 = 1 << 1;
    pub const U: u64 = 1 << 2;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    pub const PS: u64 = 1 << 7;
    pub const G: u64 = 1 << 8;
    pub const XD: u64 = 1 << 63;
    /// Physical address of a table or page.
    pub const ADDRESS: u64 = (1 << PHYSICAL_BITS) - (1 << 12);
    /// Address bits that do not exist.
    pub const NO_ADDRESS: u64 = (1 << 52) - (1 << PHYSICAL_BITS);
    /// In PAE paging these bits do not exist either (SDM 3A 4.4.2).
    pub const NO_PAE: u64 = (1 << 63) - (1 << 52);
    /// Reserved in a page-directory-pointer-table entry of PAE paging (SDM 3A 4.4.1).
    pub const NO_PDPTE: u64 = XD | NO_PAE | NO_ADDRESS | 0x1e6;
}

/// Bits of a page fault's error code (SDM 3A 4.7).
mod error {
    pub const P: u16 = 1 << 0;
    pub const W: u16 = 1 << 1;
    pub const U: u16 = 1 << 2;
    pub const RSVD: u16 = 1 << 3;
    pub const I: u16 = 1 << 4;
}

/// Bits of the linear address that a table with 8-byte entries translates.
const LEVEL_BITS: u32 = 9;
/// Levels of long-mode page tables.
const LEVELS: usize = 4;

/// What an access asks of the tables.
#[derive(Clone, Copy)]
struct Request {
    gva: Gva,
    access: Access,
    context: usize,
}

/// A page that the tables map, before what was asked for is checked.
struct Leaf {
    /// The entries that led to it, the last of which maps the page; of the others only the places count.
    path: [(Gpa, u64); LEVELS],
    /// How many entries there are.
    count: usize,
    /// U, W and XD as all entries together give them.
    rights: u64,
    /// Size of the page, as a power of two.
    shift: u32,
    /// Physical address of its first byte.
    gpa: u64,
    entry_width: Width,
}

/// Translates the page of `gva` for an access in `context`.
pub fn walk(cpu: &mut Cpu<X86_64>, gva: Gva, access: Access, context: usize) -> Result<Translation, Trap> {
    let guest = &cpu.guest;
    let mut linear = gva;
    if !guest.is_long_mode() || is_user(context) && gva.0 >> 32 != 0 && is_compatibility(cpu) {
        linear = Gva(gva.0 & 0xffff_ffff);
    } else if !is_canonical(gva.0) {
        let fetch = access == Access::Execute;
        return Err(if fetch { trap::protection(0) } else { trap::non_canonical(gva) });
    }
    // A truncated address is another one in 64-bit mode, which has the same address space.
    let cacheable = linear == gva && !guest.debug.watches_page(gva) && context != USER_ALIGNED;
    if guest.cr0 & CR0_PG == 0 {
        let page = Page(linear.0 >> PAGE_SHIFT);
        return Ok(Translation { page, read: true, write: true, execute: true, cacheable, global: true });
    }
    let request = Request { gva: linear, access, context };
    let leaf = if guest.cr4 & CR4_PAE != 0 { walk_wide(cpu, request) } else { walk_32(cpu, request) }?;
    let translation = grant(cpu, request, &leaf)?;
    Ok(Translation { cacheable, ..translation })
}

/// Whether code is 32-bit or 16-bit.
fn is_compatibility(cpu: &Cpu<X86_64>) -> bool {
    ModeBits::of(cpu.mode()).code_width() != Width::W64
}

/// #PF for a request; `bits` are those that the tables decide.
fn fault(state: &State, request: Request, bits: u16) -> Trap {
    let fetches_known = state.cr4 & CR4_SMEP != 0 || state.cr4 & CR4_PAE != 0 && state.efer & EFER_NXE != 0;
    let access = match request.access {
        Access::Read => 0,
        Access::Write => error::W,
        Access::Execute if fetches_known => error::I,
        Access::Execute => 0,
    };
    let user = if is_user(request.context) { error::U } else { 0 };
    trap::page_fault(request.gva, bits | access | user)
}

/// Bits of entries that must be zero at each level, from the last one on: for tables, then for large pages.
const RESERVED: [[u64; 2]; LEVELS] = [
    [entry::NO_ADDRESS; 2],
    [entry::NO_ADDRESS, entry::NO_ADDRESS | ((1 << 21) - (1 << 13))],
    [entry::NO_ADDRESS, entry::NO_ADDRESS | ((1 << 30) - (1 << 13))],
    [entry::NO_ADDRESS, u64::MAX],
];

/// Walks tables of 8-byte entries: 4 levels in long mode, the last 2 with PAE.
fn walk_wide(cpu: &Cpu<X86_64>, request: Request) -> Result<Leaf, Trap> {
    let state = &cpu.guest.state;
    let gva = request.gva.0;
    let (mut table, levels, mut reserved) = if state.is_long_mode() {
        (state.cr3 & entry::ADDRESS, LEVELS, 0)
    } else {
        let pdpte = state.pdptes[(gva >> 30 & 3) as usize];
        if pdpte & entry::P == 0 {
            return Err(fault(state, request, 0));
        }
        (pdpte & entry::ADDRESS, 2, entry::NO_PAE)
    };
    if state.efer & EFER_NXE == 0 {
        reserved |= entry::XD;
    }
    let mut path = [(Gpa(0), 0); LEVELS];
    let mut rights = entry::U | entry::W;
    for level in (0..levels).rev() {
        let shift = PAGE_SHIFT + LEVEL_BITS * level as u32;
        let at = Gpa(table + 8 * (gva >> shift & ((1 << LEVEL_BITS) - 1)));
        let found = cpu.ram.read_u64(at).unwrap_or(u64::MAX);
        if found & entry::P == 0 {
            return Err(fault(state, request, 0));
        }
        let is_large = level != 0 && found & entry::PS != 0;
        if found & (reserved | RESERVED[level][usize::from(is_large)]) != 0 {
            return Err(fault(state, request, error::P | error::RSVD));
        }
        let count = levels - level;
        path[count - 1] = (at, found);
        // A page is user's and writable if all entries say so, and not executable if one does.
        rights = rights & (found | entry::XD) | found & entry::XD;
        if level == 0 || is_large {
            let gpa = found & entry::ADDRESS & !((1 << shift) - 1);
            return Ok(Leaf { path, count, rights, shift, gpa, entry_width: Width::W64 });
        }
        table = found & entry::ADDRESS;
    }
    Err(fault(state, request, 0))
}

/// Walks tables of 4-byte entries (SDM 3A 4.3).
fn walk_32(cpu: &Cpu<X86_64>, request: Request) -> Result<Leaf, Trap> {
    let state = &cpu.guest.state;
    let gva = request.gva.0;
    let read = |at| u64::from(cpu.ram.read_u32(at).unwrap_or(u32::MAX));
    let directory_at = Gpa((state.cr3 & 0xffff_f000) + 4 * (gva >> 22));
    let directory = read(directory_at);
    if directory & entry::P == 0 {
        return Err(fault(state, request, 0));
    }
    let mut path = [(directory_at, directory), (Gpa(0), 0), (Gpa(0), 0), (Gpa(0), 0)];
    if directory & entry::PS != 0 && state.cr4 & CR4_PSE != 0 {
        // Bits 32 to 39 of the address are behind the flags (PSE-36).
        if directory & 1 << 21 != 0 {
            return Err(fault(state, request, error::P | error::RSVD));
        }
        let gpa = directory & 0xffc0_0000 | (directory >> 13 & 0xff) << 32;
        return Ok(Leaf { path, count: 1, rights: directory, shift: 22, gpa, entry_width: Width::W32 });
    }
    let at = Gpa((directory & 0xffff_f000) + 4 * (gva >> PAGE_SHIFT & 0x3ff));
    let found = read(at);
    if found & entry::P == 0 {
        return Err(fault(state, request, 0));
    }
    path[1] = (at, found);
    let rights = directory & found;
    let gpa = found & 0xffff_f000;
    Ok(Leaf { path, count: 2, rights, shift: PAGE_SHIFT, gpa, entry_width: Width::W32 })
}

/// Checks the rights of a page, sets accessed and dirty bits, and gives the translation.
fn grant(cpu: &mut Cpu<X86_64>, request: Request, leaf: &Leaf) -> Result<Translation, Trap> {
    let Request { gva, access, context } = request;
    let state = &cpu.guest.state;
    let has_global = state.cr4 & CR4_PGE != 0;
    let user_page = leaf.rights & entry::U != 0;
    let writable = leaf.rights & entry::W != 0;
    let executable = leaf.rights & entry::XD == 0;
    let (data, write, execute) = if is_user(context) {
        (user_page, writable, user_page)
    } else {
        let smap = state.cr4 & CR4_SMAP != 0 && context != SUPERVISOR_AC;
        let smep = state.cr4 & CR4_SMEP != 0;
        (!(user_page && smap), writable || state.cr0 & CR0_WP == 0, !(user_page && smep))
    };
    let (read, write, execute) = (data, data && write, execute && executable);
    let allowed = match access {
        Access::Read => read,
        Access::Write => write,
        Access::Execute => execute,
    };
    if !allowed {
        return Err(fault(state, request, error::P));
    }
    let last = leaf.count - 1;
    let dirty = if access == Access::Write { entry::D } else { 0 };
    for (i, &(at, found)) in leaf.path[..leaf.count].iter().enumerate() {
        let needed = entry::A | if i == last { dirty } else { 0 };
        if found & needed != needed {
            let bytes = (found | needed).to_le_bytes();
            // Tables outside RAM cannot be written; what they read as grants nothing that should be remembered.
            let _ = cpu.ram.write(at, &bytes[..leaf.entry_width.bytes() as usize]);
        }
    }
    if leaf.shift > PAGE_SHIFT {
        cpu.guest.spaces.note_large(gva, 1 << leaf.shift);
    }
    let page = Page((leaf.gpa | gva.0 & ((1 << leaf.shift) - 1)) >> PAGE_SHIFT);
    let is_dirty = (leaf.path[last].1 | dirty) & entry::D != 0;
    let global = has_global && leaf.path[last].1 & entry::G != 0;
    Ok(Translation { page, read, write: write && is_dirty, execute, cacheable: true, global })
}

/// Makes the TLB use the present address space.
pub fn select_space(cpu: &mut Cpu<X86_64>) {
    let key = SpaceKey::of(&cpu.guest.state);
    let control = key.control();
    cpu.guest.spaces.select(&mut cpu.tlb, key, control);
    cpu.translations_changed();
}

/// Forgets every translation.
pub fn flush(cpu: &mut Cpu<X86_64>) {
    cpu.guest.spaces.flush(&mut cpu.tlb);
    select_space(cpu);
}

/// INVLPG: forgets the page of `gva`, and all of it if it is a large one. Not canonical addresses have no page.
pub fn flush_page(cpu: &mut Cpu<X86_64>, gva: Gva) {
    cpu.guest.spaces.flush_page(&mut cpu.tlb, gva);
    cpu.translations_changed();
}

/// Forgets the translations of a process-context identifier; 0 without CR4.PCIDE.
fn flush_pcid(cpu: &mut Cpu<X86_64>, pcid: u64) {
    cpu.guest.spaces.flush_where(|key| key.pcid() == pcid);
    select_space(cpu);
}

/// INVPCID at CPL 0: `kind` is the register operand, then the two halves of the descriptor (SDM 2A INVPCID). Global
/// translations are forgotten with the others, which is allowed.
pub fn invpcid(cpu: &mut Cpu<X86_64>, kind: u64, pcid: u64, gva: Gva) -> Result<(), Trap> {
    let is_bad_pcid = pcid > spaces::PCID_MASK || kind < 2 && pcid != 0 && cpu.guest.cr4 & CR4_PCIDE == 0;
    if kind > 3 || is_bad_pcid || kind == 0 && !is_canonical(gva.0) {
        return Err(trap::protection(0));
    }
    match kind {
        0 => flush_page(cpu, gva),
        1 => flush_pcid(cpu, pcid),
        _ => flush(cpu),
    }
    Ok(())
}

/// CR3: the translations of the new identifier stay.
const CR3_NO_FLUSH: u64 = 1 << 63;

/// MOV to CR3 at CPL 0.
pub fn write_cr3(cpu: &mut Cpu<X86_64>, value: u64) -> Result<(), Trap> {
    let state = &cpu.guest.state;
    let tagged = state.cr4 & CR4_PCIDE != 0;
    let (value, keep) =
        if tagged { (value & !CR3_NO_FLUSH, value & CR3_NO_FLUSH != 0) } else { (value, false) };
    if value >> PHYSICAL_BITS != 0 {
        return Err(trap::protection(0));
    }
    if uses_pdptes(state) {
        cpu.guest.pdptes = read_pdptes(cpu, value)?;
    }
    cpu.guest.cr3 = value;
    if keep {
        select_space(cpu);
    } else {
        let pcid = spaces::pcid(&cpu.guest.state);
        flush_pcid(cpu, pcid);
    }
    Ok(())
}

/// Whether PAE paging is on: CR3 points to four entries that are read when it is written.
pub fn uses_pdptes(state: &State) -> bool {
    state.cr0 & CR0_PG != 0 && state.cr4 & CR4_PAE != 0 && !state.is_long_mode()
}

/// The page-directory-pointer-table entries at CR3: #GP(0) if reserved bits are set in one that is present. MOV to CR0
/// and CR4 that turn PAE paging on or change it read them before they write (SDM 3A 4.4.1).
pub fn read_pdptes(cpu: &Cpu<X86_64>, cr3: u64) -> Result<[u64; 4], Trap> {
    let table = cr3 & 0xffff_ffe0;
    let mut entries = [0; 4];
    for (i, found) in entries.iter_mut().enumerate() {
        *found = cpu.ram.read_u64(Gpa(table + 8 * i as u64)).unwrap_or(u64::MAX);
        if !is_pdpte(*found) {
            return Err(trap::protection(0));
        }
    }
    Ok(entries)
}

/// Whether an entry is one that [`read_pdptes`] takes.
pub fn is_pdpte(found: u64) -> bool {
    found & entry::P == 0 || found & entry::NO_PDPTE == 0
}

/// CR0, CR4 or EFER have changed from what these values are of the first two: translations follow.
pub fn control_changed(cpu: &mut Cpu<X86_64>, old_cr0: u64, old_cr4: u64) {
    let cr0 = (old_cr0 ^ cpu.guest.cr0) & CR0_PG;
    let cr4 = (old_cr4 ^ cpu.guest.cr4) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP);
    if cr0 | cr4 != 0 { flush(cpu) } else { select_space(cpu) }
}

#[cfg(test)]
mod tests;
