//! Page walks as a table, and what fences forget.

use super::*;
use crate::riscv64::guest::{HartState, update_mode};
use crate::riscv64::pmp::PmpState;
use crate::riscv64::testing::cpu_with;
use c2w_engine::addr::Width;
use c2w_engine::machine::Machine;

const ROOT: u64 = 0x8000_1000;
/// One table for each level below the root.
const TABLES: [u64; 3] = [0x8000_2000, 0x8000_3000, 0x8000_4000];
const SV39: u64 = 8 << 60 | ROOT >> PAGE_SHIFT;
const SV48: u64 = 9 << 60 | ROOT >> PAGE_SHIFT;
/// A page of RAM that the tests map, aligned to 2 MiB.
const TARGET: u64 = 0x8000_0000;

use pte::{A, D, G, N, R, U, V, W, X};
const AD: u64 = A | D;
const RWX: u64 = R | W | X;

fn entry(target: u64, flags: u64) -> u64 {
    target >> PAGE_SHIFT << pte::PPN_SHIFT | flags
}

/// A hart in S-mode with `satp`, all memory open, and `gva` mapped by `leaf` at `level`.
fn mapped(satp: u64, gva: u64, level: u32, leaf: u64, state: HartState) -> Cpu<Riscv64> {
    let mut pmp = PmpState::default();
    (pmp.cfg[0], pmp.addr[0]) = (0x1f, (1 << 54) - 1);
    let mut cpu = cpu_with(HartState { satp, pmp, privilege: Privilege::Supervisor, ..state });
    let mut table = ROOT;
    for walked in (level..satp::levels(satp)).rev() {
        let at = table + 8 * (gva >> (PAGE_SHIFT + LEVEL_BITS * walked) & 511);
        let next = TABLES[walked.saturating_sub(1) as usize];
        let value = if walked == level { leaf } else { entry(next, V) };
        cpu.ram.write(Gpa(at), &value.to_le_bytes()).unwrap();
        table = next;
    }
    cpu
}

fn rights_text(t: Translation) -> String {
    [(t.read, 'r'), (t.write, 'w'), (t.execute, 'x')]
        .iter()
        .map(|&(on, c)| if on { c } else { '-' })
        .collect()
}

#[test]
fn leaf_entries() {
    const C: [usize; 3] = [CONTEXT_U, CONTEXT_S, CONTEXT_S_SUM];
    let t = |flags| entry(TARGET, flags);
    let napot = |flags| entry(0x8001_8000, flags) | N;
    let ppn_napot = entry(0x8001_0000, 0) | NAPOT_ENCODING << pte::PPN_SHIFT | N;
    use Access::{Execute, Read, Write};
    let (adue, pbmte, mxr) = (envcfg::ADUE, envcfg::PBMTE, status::MXR);
    // Leaf, its level, context, access, menvcfg, mstatus, rights or the fault.
    let cases: &[(u64, u32, usize, Access, u64, u64, &str)] = &[
        (t(V | RWX | AD), 0, C[1], Read, 0, 0, "rwx"),
        (t(V | R | AD), 0, C[1], Read, 0, 0, "r--"),
        (t(V | R | AD), 0, C[1], Write, 0, 0, "page"),
        (t(V | R | AD), 0, C[1], Execute, 0, 0, "page"),
        (t(V | X | AD), 0, C[1], Read, 0, 0, "page"),
        (t(V | X | AD), 0, C[1], Read, 0, mxr, "r-x"),
        (t(V | X | AD), 0, C[1], Execute, 0, 0, "--x"),
        (t(RWX | AD), 0, C[1], Read, 0, 0, "page"),
        (t(V | W | AD), 0, C[1], Write, 0, 0, "page"),
        (t(V | W | X | AD), 0, C[1], Write, 0, 0, "page"),
        // User pages.
        (t(V | RWX | AD | U), 0, C[0], Execute, 0, 0, "rwx"),
        (t(V | RWX | AD | U), 0, C[1], Read, 0, 0, "page"),
        (t(V | RWX | AD | U), 0, C[1], Execute, 0, 0, "page"),
        (t(V | RWX | AD | U), 0, C[2], Read, 0, 0, "rw-"),
        (t(V | RWX | AD | U), 0, C[2], Execute, 0, 0, "page"),
        (t(V | RWX | AD), 0, C[2], Write, 0, 0, "rwx"),
        (t(V | RWX | AD), 0, C[0], Read, 0, 0, "page"),
        // Accessed and dirty bits: a fault without ADUE, set with it.
        (t(V | RWX), 0, C[1], Read, 0, 0, "page"),
        (t(V | RWX | A), 0, C[1], Read, 0, 0, "r-x"),
        (t(V | RWX | A), 0, C[1], Write, 0, 0, "page"),
        (t(V | RWX), 0, C[1], Read, adue, 0, "r-x"),
        (t(V | RWX), 0, C[1], Write, adue, 0, "rwx"),
        (t(V | R), 0, C[1], Write, adue, 0, "page"),
        // Large pages must be aligned.
        (t(V | RWX | AD), 1, C[1], Read, 0, 0, "rwx"),
        (t(V | RWX | AD), 2, C[1], Read, 0, 0, "rwx"),
        (entry(TARGET + 0x1000, V | RWX | AD), 1, C[1], Read, 0, 0, "page"),
        (entry(TARGET + 0x20_0000, V | RWX | AD), 2, C[1], Read, 0, 0, "page"),
        // A table at the last level, and reserved bits in one above it.
        (t(V), 0, C[1], Read, 0, 0, "page"),
        (t(V | A), 1, C[1], Read, 0, 0, "page"),
        (t(V | U), 1, C[1], Read, 0, 0, "page"),
        (t(V) | N, 1, C[1], Read, 0, 0, "page"),
        (t(V | RWX | AD) | 1 << 54, 0, C[1], Read, 0, 0, "page"),
        (t(V | RWX | AD) | 1 << 60, 0, C[1], Read, 0, 0, "page"),
        // Memory types.
        (t(V | RWX | AD) | 1 << 61, 0, C[1], Read, 0, 0, "page"),
        (t(V | RWX | AD) | 1 << 61, 0, C[1], Read, pbmte, 0, "rwx"),
        (t(V | RWX | AD) | 3 << 61, 0, C[1], Read, pbmte, 0, "page"),
        // 64 KiB pages.
        (ppn_napot | V | RWX | AD, 0, C[1], Read, 0, 0, "rwx"),
        (napot(V | RWX | AD) | 1 << pte::PPN_SHIFT, 0, C[1], Read, 0, 0, "page"),
        (ppn_napot | V | RWX | AD, 1, C[1], Read, 0, 0, "page"),
        // A table outside RAM.
        (entry(0x4000_0000, V), 1, C[1], Read, 0, 0, "access"),
        (entry(0x4000_0000, V), 1, C[1], Execute, 0, 0, "access"),
    ];
    for &(leaf, level, context, access, menvcfg, mstatus, expected) in cases {
        let gva = Gva(0x7654_3210);
        let mstatus = status::write_m(status::RESET, mstatus);
        let state = HartState { menvcfg, mstatus, ..HartState::reset(0) };
        let mut cpu = mapped(SV39, gva.0, level, leaf, state);
        let got = match walk(&mut cpu, gva, access, context) {
            Ok(translation) => rights_text(translation),
            Err(trap) if trap == Trap::new(page_fault(access), gva.0) => "page".into(),
            Err(trap) if trap == access_fault(gva, access) => "access".into(),
            Err(trap) => format!("{trap:?}"),
        };
        assert_eq!(got, expected, "{leaf:#x} at level {level}, context {context}, {access:?}");
    }
}

#[test]
fn pages_of_every_size_and_mode() {
    let state = || HartState::reset(0);
    let leaf = entry(TARGET, V | RWX | AD);
    for (satp, gva, level, gpa) in [
        (SV39, 0x12_3456, 0, 0x8000_0456),
        (SV39, 0x12_3456, 1, 0x8012_3456),
        (SV39, 0x1234_5678, 2, 0x9234_5678),
        (SV39, 0xffff_ffff_ffff_f123, 0, 0x8000_0123),
        (SV39, 0xffff_ffc0_0000_0123, 0, 0x8000_0123),
        (SV48, 0x7fff_ffff_f123, 0, 0x8000_0123),
        (SV48, 0xffff_8000_0020_1123, 1, 0x8000_1123),
    ] {
        let mut cpu = mapped(satp, gva, level, leaf, state());
        let t = walk(&mut cpu, Gva(gva), Access::Read, CONTEXT_S).unwrap();
        assert_eq!(t.page.start().0 | gva & 0xfff, gpa, "{satp:#x} {gva:#x} level {level}");
    }
    for (satp, gva) in [
        (SV39, 0x40_0000_0000),
        (SV39, 0xffff_ffbf_ffff_ffff),
        (SV48, 0x8000_0000_0000),
        (SV48, 0xffff_7fff_ffff_ffff),
    ] {
        let mut cpu = mapped(satp, gva, 0, leaf, state());
        let fault = walk(&mut cpu, Gva(gva), Access::Read, CONTEXT_S).unwrap_err();
        assert_eq!(fault, Trap::new(page_fault(Access::Read), gva), "not canonical");
    }
    let napot = entry(0x8001_0000, V | RWX | AD) | NAPOT_ENCODING << pte::PPN_SHIFT | N;
    let mut cpu = mapped(SV39, 0x5_3456, 0, napot, state());
    let t = walk(&mut cpu, Gva(0x5_3456), Access::Read, CONTEXT_S).unwrap();
    assert_eq!(t.page.start(), Gpa(0x8001_3000), "the low page number bits come from the address");
    // Without translation only the 56 physical bits exist.
    let mut cpu = mapped(0, 0, 0, 0, state());
    assert_eq!(walk(&mut cpu, Gva(TARGET), Access::Write, CONTEXT_U).unwrap().page, Page(0x8_0000));
    assert_eq!(
        walk(&mut cpu, Gva(1 << 56), Access::Write, CONTEXT_M),
        Err(access_fault(Gva(1 << 56), Access::Write))
    );
}

#[test]
fn hardware_updates_reach_memory() {
    let state = HartState { menvcfg: envcfg::ADUE, ..HartState::reset(0) };
    let leaf = entry(TARGET, V | RWX);
    let mut cpu = mapped(SV39, 0, 0, leaf, state);
    let at = Gpa(TABLES[0]);
    walk(&mut cpu, Gva(0), Access::Read, CONTEXT_S).unwrap();
    assert_eq!(cpu.ram.read_u64(at), Ok(leaf | A));
    walk(&mut cpu, Gva(0), Access::Write, CONTEXT_S).unwrap();
    assert_eq!(cpu.ram.read_u64(at), Ok(leaf | A | D));
}

#[test]
fn protection_covers_tables_and_targets() {
    let leaf = entry(TARGET + 0x8000, V | RWX | AD);
    // A range without rights, first in the list: the page, its table, the upper half of the page, other memory.
    for (start, len_bytes, expected) in [
        (TARGET + 0x8000, 0x1000, Err(())),
        (TABLES[0], 0x1000, Err(())),
        (TARGET + 0x8800, 0x800, Ok(false)),
        (TARGET + 0x9000, 0x1000, Ok(true)),
    ] {
        let mut cpu = mapped(SV39, 0x10, 0, leaf, HartState::reset(0));
        cpu.guest.pmp.write_addr(1, (1 << 54) - 1);
        cpu.guest.pmp.write_cfg(0, 0x1f18);
        cpu.guest.pmp.write_addr(0, start >> 2 | ((len_bytes >> 3) - 1));
        let got = walk(&mut cpu, Gva(0x10), Access::Read, CONTEXT_S);
        let expected = expected.map_err(|()| access_fault(Gva(0x10), Access::Read));
        assert_eq!(got.map(|t| t.cacheable), expected, "{start:#x}");
    }
}

/// Reads through the TLB.
fn load(cpu: &mut Cpu<Riscv64>, gva: u64) -> Result<u64, Trap> {
    let context = cpu.data_context();
    match cpu.tlb.lookup(context, Gva(gva), Width::W64, Access::Read) {
        Some(_) => Ok(u64::MAX),
        None => cpu.load(Gva(gva), Width::W64),
    }
}

#[test]
fn fences_forget_what_they_name() {
    const CACHED: Result<u64, Trap> = Ok(u64::MAX);
    let all = FenceScope(FenceScope::ALL_ADDRESSES | FenceScope::ALL_SPACES);
    let space = FenceScope(FenceScope::ALL_ADDRESSES);
    let page = FenceScope(FenceScope::ALL_SPACES);
    // Level of the mapping, fence, its address and space, whether 0x1000 is still cached after it.
    for (level, scope, gva, asid, stays) in [
        (0, all, 0, 0, false),
        (0, space, 0, 5, false),
        (0, space, 0, 6, true),
        (0, page, 0x1008, 0, false),
        (0, page, 0x2000, 0, true),
        (0, FenceScope(0), 0x1000, 5, false),
        (1, page, 0x1000, 0, false),
        (1, page, 0x2000, 0, false),
        (1, page, 0x20_0000, 0, true),
    ] {
        let satp = SV39 | 5 << 44;
        let mut cpu = mapped(satp, 0x1000, level, entry(TARGET, V | RWX | AD), HartState::reset(0));
        assert_ne!(load(&mut cpu, 0x1000), CACHED);
        assert_eq!(load(&mut cpu, 0x1000), CACHED);
        sfence_vma(&mut cpu, Gva(gva), asid, scope, 0).unwrap();
        assert_eq!(load(&mut cpu, 0x1000) == CACHED, stays, "level {level} {scope:?} {gva:#x} {asid}");
    }
}

#[test]
fn another_space_and_back_flushes_nothing() {
    const CACHED: Result<u64, Trap> = Ok(u64::MAX);
    let satp = SV39 | 5 << 44;
    let mut cpu = mapped(satp, 0x1000, 0, entry(TARGET, V | RWX | AD | U), HartState::reset(0));
    cpu.guest.state.privilege = Privilege::User;
    update_mode(&mut cpu);
    load(&mut cpu, 0x1000).unwrap();
    cpu.guest.state.satp = SV39 | 6 << 44;
    select_space(&mut cpu);
    assert_eq!(cpu.tlb.lookup(CONTEXT_U, Gva(0x1000), Width::W64, Access::Read), None);
    cpu.guest.state.satp = satp;
    select_space(&mut cpu);
    assert_eq!(load(&mut cpu, 0x1000), CACHED);
}

#[test]
fn a_kernel_keeps_what_is_global() {
    type Change = fn(&mut Cpu<Riscv64>);
    fn switch(cpu: &mut Cpu<Riscv64>, satp: u64) {
        cpu.guest.state.satp = satp;
        select_space(cpu);
    }
    fn fence(cpu: &mut Cpu<Riscv64>, gva: u64, scope: u64) {
        sfence_vma(cpu, Gva(gva), 5, FenceScope(scope), 0).unwrap();
    }
    // What happens, and whether a page that is not global and one that is stay.
    let cases: &[(&str, Change, bool, bool)] = &[
        ("nothing", |cpu| select_space(cpu), true, true),
        ("another space", |cpu| switch(cpu, SV39 | 6 << 44), false, true),
        ("no translation", |cpu| switch(cpu, 0), false, false),
        ("a fence of the page", |cpu| fence(cpu, 0x1000, 0), false, false),
        ("a fence of the space", |cpu| fence(cpu, 0, FenceScope::ALL_ADDRESSES), false, true),
        ("a fence of all", |cpu| fence(cpu, 0, 3), false, false),
    ];
    for (name, change, local, global) in cases {
        for (flags, stays) in [(0, local), (G, global)] {
            let leaf = entry(TARGET, V | RWX | AD | flags);
            let mut cpu = mapped(SV39 | 5 << 44, 0x1000, 0, leaf, HartState::reset(0));
            load(&mut cpu, 0x1000).unwrap();
            change(&mut cpu);
            let hit = cpu.tlb.lookup(CONTEXT_S, Gva(0x1000), Width::W64, Access::Read);
            assert_eq!(hit.is_some(), *stays, "{name}, {flags:#x}");
        }
    }
}

#[test]
fn fences_are_privileged() {
    let allowed = |privilege, mstatus| {
        let mstatus = status::write_m(status::RESET, mstatus);
        let mut cpu = cpu_with(HartState { privilege, mstatus, ..HartState::reset(0) });
        update_mode(&mut cpu);
        let vma = sfence_vma(&mut cpu, Gva(0), 0, FenceScope(3), 7);
        let inval = sfence_inval(&cpu, 7);
        for result in [vma, inval] {
            assert!(result.is_ok() || result == Err(illegal(7)));
        }
        (vma.is_ok(), inval.is_ok())
    };
    assert_eq!(allowed(Privilege::User, 0), (false, false));
    assert_eq!(allowed(Privilege::Supervisor, 0), (true, true));
    assert_eq!(allowed(Privilege::Supervisor, status::TVM), (false, true));
    assert_eq!(allowed(Privilege::Machine, status::TVM), (true, true));
}

#[test]
fn a_walk_for_a_fetch_that_overwrites_code_is_seen_before_more_code_runs() {
    // The page of code is the last-level table of address 0x1000, too: its entry lies behind the instructions.
    const CODE: u64 = 0x8000_5000;
    const FAR: u64 = 0x8000_6000;
    let leaf = entry(0x8000_0000, V | RWX | AD);
    let state = HartState { menvcfg: envcfg::ADUE, ..HartState::reset(0) };
    let mut cpu = mapped(SV39, 0x8000_0000, 2, leaf, state);
    for (at, value) in [
        (ROOT, entry(TABLES[0], V)),
        (TABLES[0], entry(CODE, V)),
        // lui t0, 1; jalr zero, 0(t0)
        (CODE, 0x0002_8067_0000_12b7),
        (CODE + 8, entry(FAR, V | R | X)),
        // jal zero, 0
        (FAR, 0x6f),
    ] {
        cpu.ram.write(Gpa(at), &value.to_le_bytes()).unwrap();
    }
    cpu.pc = Gva(CODE);
    let mut machine = Machine::new(cpu);
    machine.run(100);
    assert_eq!(machine.cpu.pc, Gva(0x1000));
    assert_eq!(machine.cpu.ram.read_u64(Gpa(CODE + 8)).unwrap(), entry(FAR, V | R | X | A));
    assert_eq!(machine.statistics().invalidated_pages, 1);
}
