//! Page walks as a table, accessed and dirty bits, and what instructions make the TLB forget.

use super::super::control::EFER_LMA;
use super::super::mode::{SUPERVISOR, USER};
use super::entry::{A, ADDRESS, D, G, P, PS, U, W, XD};
use super::*;
use crate::x86_64::testing::{cpu_with, word, write, write_words};
use Access::{Execute, Read, Write};

const ROOT: u64 = 0x1000;
/// Tables below the root, from the last level on.
const TABLES: [u64; 3] = [0x2000, 0x3000, 0x4000];
/// A page that the tests map.
const TARGET: u64 = 0x5000;
const PWU: u64 = P | W | U;
const AD: u64 = A | D;

fn paging(cr4: u64, efer: u64) -> State {
    let flat = State::flat_64(0);
    let efer = flat.efer & !EFER_NXE | efer;
    State { cr0: flat.cr0 | CR0_PG | CR0_WP, cr3: ROOT, cr4: flat.cr4 | cr4, efer, ..flat }
}

/// Place of the entry of `gva` at each level of long-mode tables.
fn place(gva: u64, level: usize) -> u64 {
    let table = if level == 3 { ROOT } else { TABLES[level] };
    table + 8 * (gva >> (12 + 9 * level) & 511)
}

/// Writes long-mode tables with `leaf` at `level`; entries above are `upper` with their tables.
fn map(cpu: &mut Cpu<X86_64>, gva: u64, level: usize, leaf: u64, upper: u64) {
    write_words(cpu, place(gva, level), &[leaf]);
    for above in level + 1..4 {
        write_words(cpu, place(gva, above), &[TABLES[above - 1] | upper]);
    }
}

fn text(result: Result<Translation, Trap>, gva: u64) -> String {
    match result {
        Ok(t) => {
            let rights = [(t.read, 'r'), (t.write, 'w'), (t.execute, 'x')];
            rights.iter().map(|&(on, c)| if on { c } else { '-' }).collect()
        }
        Err(trap) if trap::vector_of(trap.cause) == trap::vector::PF && trap.value == gva => {
            format!("{:#x}", trap::error_of(trap.cause).unwrap())
        }
        Err(trap) => format!("{trap:?}"),
    }
}

#[test]
fn rights() {
    const S: usize = SUPERVISOR;
    const AC: usize = SUPERVISOR_AC;
    let page = |flags| TARGET | flags;
    let (wp, nx, smep, smap) = (CR0_WP, EFER_NXE, CR4_SMEP, CR4_SMAP);
    /// Leaf, flags of the entries above it, context, access, CR0.WP, CR4, EFER: rights or the page fault's code.
    type Case = (u64, u64, usize, Access, u64, u64, u64, &'static str);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (page(PWU | AD), PWU, USER, Read, wp, 0, nx, "rwx"),
        (page(PWU | A), PWU, USER, Read, wp, 0, nx, "r-x"),
        (page(PWU), PWU, USER, Write, wp, 0, nx, "rwx"),
        (page(P | U | AD), PWU, USER, Read, wp, 0, nx, "r-x"),
        (page(P | U | AD), PWU, USER, Write, wp, 0, nx, "0x7"),
        (page(PWU | AD), P | U, USER, Write, wp, 0, nx, "0x7"),
        (page(PWU | AD), P | W, USER, Read, wp, 0, nx, "0x5"),
        (page(P | W | AD), PWU, USER, Execute, wp, 0, nx, "0x15"),
        (page(P | W | AD), PWU, USER, Execute, wp, 0, 0, "0x5"),
        (page(P | W | AD), PWU, USER, Execute, wp, smep, 0, "0x15"),
        (page(PWU | AD | XD), PWU, USER, Read, wp, 0, nx, "rw-"),
        (page(PWU | AD | XD), PWU, USER, Execute, wp, 0, nx, "0x15"),
        (page(PWU | AD), PWU | XD, USER, Execute, wp, 0, nx, "0x15"),
        (page(PWU | AD), PWU | XD, S, Read, wp, 0, nx, "rw-"),
        // Not present.
        (page(W | U | AD), PWU, USER, Read, wp, 0, nx, "0x4"),
        (page(W | U | AD), PWU, S, Write, wp, 0, nx, "0x2"),
        (page(PWU | AD), W | U, S, Execute, wp, 0, nx, "0x10"),
        (page(W | U) | 1 << 45, PWU, S, Read, wp, 0, nx, "0x0"),
        // Supervisors: write protection, SMEP and SMAP.
        (page(P | AD), PWU, S, Write, wp, 0, nx, "0x3"),
        (page(P | AD), PWU, S, Write, 0, 0, nx, "rwx"),
        (page(P | A), PWU, S, Read, 0, 0, nx, "r-x"),
        (page(P | U | AD), PWU, S, Write, 0, 0, nx, "rwx"),
        (page(PWU | AD), PWU, S, Execute, wp, 0, nx, "rwx"),
        (page(PWU | AD), PWU, S, Execute, wp, smep, nx, "0x11"),
        (page(PWU | AD), PWU, S, Read, wp, smep, nx, "rw-"),
        (page(PWU | AD), P | W, S, Execute, wp, smep, nx, "rwx"),
        (page(PWU | AD), PWU, S, Read, wp, smap, nx, "0x1"),
        (page(PWU | AD), PWU, S, Write, 0, smap, nx, "0x3"),
        (page(PWU | AD), PWU, S, Execute, wp, smap, nx, "--x"),
        (page(PWU | AD), PWU, AC, Read, wp, smap, nx, "rwx"),
        (page(P | U | AD), PWU, AC, Write, wp, smap, nx, "0x3"),
        (page(P | W | AD), PWU, S, Read, wp, smap | smep, nx, "rwx"),
        (page(PWU | AD), PWU, USER, Read, wp, smap | smep, nx, "rwx"),
        // Reserved bits, at the last level and above.
        (page(PWU | AD | XD), PWU, S, Read, wp, 0, 0, "0x9"),
        (page(PWU | AD) | 1 << 40, PWU, S, Read, wp, 0, nx, "0x9"),
        (page(PWU | AD) | 1 << 51, PWU, USER, Write, wp, 0, nx, "0xf"),
        (page(PWU | AD) | 0x7ff << 52, PWU, S, Read, wp, 0, nx, "rwx"),
        (page(PWU | AD | PS), PWU, S, Read, wp, 0, nx, "rwx"),
        (page(PWU | AD), PWU | 1 << 40, S, Execute, wp, 0, nx, "0x19"),
        (page(PWU | AD), PWU | XD, S, Read, wp, 0, 0, "0x9"),
    ];
    let gva = 0x7654_3210;
    for &(leaf, upper, context, access, cr0, cr4, efer, expected) in cases {
        let mut state = paging(cr4, efer);
        state.cr0 = state.cr0 & !CR0_WP | cr0;
        let mut cpu = cpu_with(state);
        map(&mut cpu, gva, 0, leaf, upper);
        let got = text(walk(&mut cpu, Gva(gva), access, context), gva);
        assert_eq!(
            got, expected,
            "{leaf:#x} {upper:#x} context {context} {access:?} {cr0:#x} {cr4:#x} {efer:#x}"
        );
    }
}

#[test]
fn pages_of_every_size() {
    // Address, level and leaf: physical address or the page fault's code.
    for (gva, level, leaf, expected) in [
        (0x1234_5678, 0, TARGET | PWU, Ok(0x5678)),
        (0x1234_5678, 1, 0x60_0000 | PWU | PS, Ok(0x74_5678)),
        (0x1234_5678, 2, 0x40_0000_0000 | PWU | PS, Ok(0x40_1234_5678)),
        (0x7fff_ffff_f123, 0, 0xff_ffff_f000 | PWU, Ok(0xff_ffff_f123)),
        (0xffff_8000_0000_0123, 0, TARGET | PWU, Ok(0x5123)),
        (0xffff_ffff_ffff_f123, 1, 0x20_0000 | PWU | PS, Ok(0x3f_f123)),
        // The page attribute bit of large pages is the lowest address bit; those above it are reserved.
        (0x1234_5678, 1, 0x60_0000 | PWU | PS | 1 << 12, Ok(0x74_5678)),
        (0x1234_5678, 1, 0x60_0000 | PWU | PS | 1 << 13, Err(9)),
        (0x1234_5678, 1, 0x60_0000 | PWU | PS | 1 << 20, Err(9)),
        (0x1234_5678, 2, PWU | PS | 1 << 12, Ok(0x1234_5678)),
        (0x1234_5678, 2, PWU | PS | 1 << 29, Err(9)),
        (0x1234_5678, 3, PWU | PS, Err(9)),
        // A table outside RAM reads as all ones.
        (0x1234_5678, 1, 0x80_0000_0000 | PWU, Err(9)),
    ] {
        let mut cpu = cpu_with(paging(0, EFER_NXE));
        map(&mut cpu, gva, level, leaf, PWU);
        let result = walk(&mut cpu, Gva(gva), Read, SUPERVISOR);
        let got = result.map(|t| t.page.start().0 | gva & 0xfff);
        assert_eq!(got, expected.map_err(|code| trap::page_fault(Gva(gva), code)), "{gva:#x} {leaf:#x}");
    }
}

#[test]
fn addresses_that_do_not_exist() {
    let mut cpu = cpu_with(paging(0, 0));
    for gva in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 0x1234_0000_0000_0000] {
        let gva = Gva(gva);
        assert_eq!(walk(&mut cpu, gva, Read, SUPERVISOR), Err(trap::non_canonical(gva)));
        assert_eq!(walk(&mut cpu, gva, Execute, SUPERVISOR), Err(trap::protection(0)));
    }
}

#[test]
fn only_accesses_that_succeed_set_accessed_and_dirty_bits() {
    let gva = 0x1234_5678;
    let entries = |cpu: &Cpu<X86_64>| [0, 1, 2, 3].map(|level| word(cpu, place(gva, level)) & AD);
    for (leaf, access, context, expected) in [
        (PWU, Read, USER, [A, A, A, A]),
        (PWU, Execute, USER, [A, A, A, A]),
        (PWU, Write, USER, [AD, A, A, A]),
        (PWU | A, Write, SUPERVISOR, [AD, A, A, A]),
        (P | U, Write, USER, [0; 4]),
        (P | W, Read, USER, [0; 4]),
        (W | U, Read, USER, [0; 4]),
    ] {
        let mut cpu = cpu_with(paging(0, EFER_NXE));
        map(&mut cpu, gva, 0, TARGET | leaf, PWU);
        let _ = walk(&mut cpu, Gva(gva), access, context);
        assert_eq!(entries(&cpu), expected, "{leaf:#x} {access:?}");
        assert_eq!(word(&cpu, place(gva, 0)) & !AD, TARGET | leaf & !A);
    }
    let mut cpu = cpu_with(paging(0, EFER_NXE));
    map(&mut cpu, gva, 1, PWU | PS, PWU);
    walk(&mut cpu, Gva(gva), Write, USER).unwrap();
    assert_eq!(entries(&cpu), [0, AD, A, A]);
}

#[test]
fn a_page_becomes_writable_in_the_tlb_when_it_is_dirty() {
    let mut cpu = cpu_with(paging(0, EFER_NXE));
    map(&mut cpu, 0x1_0000, 0, TARGET | PWU, PWU);
    cpu.load(Gva(0x1_0000), Width::W64).unwrap();
    let hit = |cpu: &mut Cpu<X86_64>| cpu.tlb.lookup(SUPERVISOR, Gva(0x1_0000), Width::W64, Write).is_some();
    assert!(!hit(&mut cpu));
    cpu.store(Gva(0x1_0000), Width::W64, 7).unwrap();
    assert!(hit(&mut cpu));
    assert_eq!((word(&cpu, TARGET), word(&cpu, place(0x1_0000, 0))), (7, TARGET | PWU | AD));
}

/// A state of 32-bit protected mode with paging.
fn protected(cr4: u64, efer: u64) -> State {
    let state = paging(cr4, efer);
    let cr4 = if cr4 & CR4_PAE == 0 { state.cr4 & !CR4_PAE } else { state.cr4 };
    let mut state = State { cr4, efer: state.efer & !EFER_LMA, ..state };
    state.segments[1] = crate::x86_64::segment::Segment::code_32(8, 0);
    state
}

#[test]
fn pages_of_32_bit_paging() {
    let gva = 0x1234_5678;
    let directory = ROOT + 4 * (gva >> 22);
    let table = TABLES[0] + 4 * (gva >> 12 & 0x3ff);
    // Directory entry, table entry, context, access, CR4: physical address or the page fault's code.
    for (upper, leaf, context, access, cr4, expected) in [
        (TABLES[0] | PWU, 0xffff_f000 | PWU, USER, Read, 0, Ok(0xffff_f678)),
        (TABLES[0] | PWU, TARGET | P | U, USER, Write, 0, Err(7)),
        (TABLES[0] | P | W, TARGET | PWU, USER, Read, 0, Err(5)),
        (TABLES[0] | PWU, TARGET | W, SUPERVISOR, Execute, 0, Err(0)),
        (TABLES[0] | PWU, TARGET | W, SUPERVISOR, Execute, CR4_SMEP, Err(0x10)),
        (TABLES[0] | PWU | PS, TARGET | PWU, USER, Read, 0, Ok(0x5678)),
        (0x40_0000 | PWU | PS, 0, USER, Read, CR4_PSE, Ok(0x40_0000 | gva & 0x3f_ffff)),
        (0x40_0000 | PWU | PS | 0xa5 << 13, 0, USER, Read, CR4_PSE, Ok(0xa5_0040_0000 | gva & 0x3f_ffff)),
        (0x40_0000 | PWU | PS | 1 << 21, 0, USER, Read, CR4_PSE, Err(0xd)),
        (0x40_0000 | P | U | PS, 0, USER, Write, CR4_PSE, Err(7)),
    ] {
        let mut cpu = cpu_with(protected(cr4, 0));
        write(&mut cpu, directory, &(upper as u32).to_le_bytes());
        write(&mut cpu, table, &(leaf as u32).to_le_bytes());
        // Linear addresses have 32 bits.
        let result = walk(&mut cpu, Gva(gva | 5 << 32), access, context);
        let got = result.map(|t| t.page.start().0 | gva & 0xfff);
        assert_eq!(got, expected.map_err(|code| trap::page_fault(Gva(gva), code)), "{upper:#x} {leaf:#x}");
        let marked = if expected.is_err() { 0 } else { A };
        assert_eq!(word(&cpu, directory) & AD, marked);
    }
}

#[test]
fn pages_of_pae_paging() {
    let gva = 0xc234_5678;
    let (directory, table) = (TABLES[1] + 8 * (gva >> 21 & 511), TABLES[0] + 8 * (gva >> 12 & 511));
    let code = |error| Err(trap::page_fault(Gva(gva), error));
    for (pointer, upper, leaf, expected) in [
        (TABLES[1] | P, TABLES[0] | PWU, 0x80_0000_5000 | PWU, Ok(0x80_0000_5678)),
        (TABLES[1] | P, 0x20_0000 | PWU | PS, 0, Ok(0x34_5678)),
        (TABLES[1] | P, 0x20_0000 | PWU | PS | 1 << 13, 0, code(9)),
        (TABLES[1] | P, TABLES[0] | PWU, TARGET | PWU | 1 << 52, code(9)),
        (TABLES[1] | P, TABLES[0] | PWU | 1 << 62, TARGET | PWU, code(9)),
        (TABLES[1] | P, TABLES[0] | PWU, TARGET | PWU | XD, Ok(0x5678)),
        (0, TABLES[0] | PWU, TARGET | PWU, code(0)),
        (TABLES[1] | P | W, 0, 0, Err(trap::protection(0))),
        (TABLES[1] | P | 1 << 40, 0, 0, Err(trap::protection(0))),
        (W, 0, 0, code(0)),
    ] {
        let mut cpu = cpu_with(protected(CR4_PAE, EFER_NXE));
        write_words(&mut cpu, ROOT + 0x20, &[0, 0, 0, pointer]);
        write_words(&mut cpu, directory, &[upper]);
        write_words(&mut cpu, table, &[leaf]);
        let result = write_cr3(&mut cpu, ROOT + 0x20).and_then(|()| {
            // What the table of four says now no longer counts.
            write_words(&mut cpu, ROOT + 0x20, &[0; 4]);
            walk(&mut cpu, Gva(gva), Read, SUPERVISOR)
        });
        let got = result.map(|t| t.page.start().0 | gva & 0xfff);
        assert_eq!(got, expected, "{pointer:#x} {upper:#x} {leaf:#x}");
    }
}

/// A vCPU whose TLB holds page 0x1_0000, mapped by a table that no longer says so: a load succeeds while it does.
fn cached(pcid: u64, cpl: u8, flags: u64) -> Cpu<X86_64> {
    let mut state = paging(CR4_PCIDE | CR4_PGE, 0);
    state.cr3 |= pcid;
    let flat = State::flat_64(cpl);
    (state.cpl, state.segments) = (cpl, flat.segments);
    let mut cpu = cpu_with(state);
    map(&mut cpu, 0x1_0000, 0, TARGET | PWU | flags, PWU);
    cpu.load(Gva(0x1_0000), Width::W64).unwrap();
    write_words(&mut cpu, place(0x1_0000, 0), &[0]);
    cpu
}

fn is_cached(cpu: &mut Cpu<X86_64>) -> bool {
    cpu.load(Gva(0x1_0000), Width::W64).is_ok()
}

fn invlpg(cpu: &mut Cpu<X86_64>, gva: u64) -> Result<(), Trap> {
    flush_page(cpu, Gva(gva));
    Ok(())
}

#[test]
fn what_is_forgotten() {
    type Change = fn(&mut Cpu<X86_64>) -> Result<(), Trap>;
    let cases: &[(&str, Change, bool)] = &[
        ("INVLPG", |cpu| invlpg(cpu, 0x1_0fff), false),
        ("INVLPG of another page", |cpu| invlpg(cpu, 0x1_1000), true),
        ("CR3", |cpu| write_cr3(cpu, ROOT | 5), false),
        ("CR3, keeping", |cpu| write_cr3(cpu, ROOT | 5 | 1 << 63), true),
        (
            "to another context and back",
            |cpu| {
                write_cr3(cpu, ROOT | 6)?;
                assert!(!is_cached(cpu));
                write_cr3(cpu, ROOT | 5 | 1 << 63)
            },
            true,
        ),
        (
            "to another context and back, flushing",
            |cpu| {
                write_cr3(cpu, ROOT | 6)?;
                write_cr3(cpu, ROOT | 5)
            },
            false,
        ),
        ("INVPCID of an address", |cpu| invpcid(cpu, 0, 5, Gva(0x1_0000)), false),
        ("INVPCID of a context", |cpu| invpcid(cpu, 1, 5, Gva(0)), false),
        ("INVPCID of another context", |cpu| invpcid(cpu, 1, 6, Gva(0)), true),
        ("INVPCID of all", |cpu| invpcid(cpu, 2, 0, Gva(0)), false),
        ("INVPCID of all but global ones", |cpu| invpcid(cpu, 3, 0, Gva(0)), false),
        (
            "CR4.PGE",
            |cpu| {
                let (cr0, cr4) = (cpu.guest.cr0, cpu.guest.cr4);
                cpu.guest.cr4 ^= CR4_PGE;
                control_changed(cpu, cr0, cr4);
                Ok(())
            },
            false,
        ),
        (
            "nothing",
            |cpu| {
                let (cr0, cr4) = (cpu.guest.cr0, cpu.guest.cr4);
                control_changed(cpu, cr0, cr4);
                Ok(())
            },
            true,
        ),
    ];
    for (name, change, stays) in cases {
        let mut cpu = cached(5, 3, 0);
        assert!(is_cached(&mut cpu));
        change(&mut cpu).unwrap();
        assert_eq!(is_cached(&mut cpu), *stays, "{name}");
    }
}

#[test]
fn a_kernel_keeps_what_is_global() {
    type Change = fn(&mut Cpu<X86_64>) -> Result<(), Trap>;
    fn control(cpu: &mut Cpu<X86_64>, cr0: u64, cr4: u64) -> Result<(), Trap> {
        let old = (cpu.guest.cr0, cpu.guest.cr4);
        cpu.guest.cr0 ^= cr0;
        cpu.guest.cr4 ^= cr4;
        control_changed(cpu, old.0, old.1);
        Ok(())
    }
    // What happens, and whether a page that is not global and one that is stay.
    let cases: &[(&str, Change, bool, bool)] = &[
        ("nothing", |_| Ok(()), true, true),
        ("INVLPG", |cpu| invlpg(cpu, 0x1_0000), false, false),
        ("CR3", |cpu| write_cr3(cpu, ROOT | 5), false, true),
        ("CR3, keeping", |cpu| write_cr3(cpu, ROOT | 5 | 1 << 63), true, true),
        ("another context", |cpu| write_cr3(cpu, ROOT | 6), false, true),
        ("INVPCID of a context", |cpu| invpcid(cpu, 1, 5, Gva(0)), false, true),
        ("INVPCID of all", |cpu| invpcid(cpu, 2, 0, Gva(0)), false, false),
        ("CR4.PGE", |cpu| control(cpu, 0, CR4_PGE), false, false),
        ("CR4.SMAP", |cpu| control(cpu, 0, CR4_SMAP), false, false),
        ("CR0.WP", |cpu| control(cpu, CR0_WP, 0), false, false),
    ];
    for (name, change, local, global) in cases {
        for (flags, stays) in [(0, local), (G, global)] {
            let mut cpu = cached(5, 0, flags);
            change(&mut cpu).unwrap();
            assert_eq!(is_cached(&mut cpu), *stays, "{name}, {flags:#x}");
        }
    }
    // Without CR4.PGE there are no global pages.
    let mut cpu = cached(5, 0, G);
    control(&mut cpu, 0, CR4_PGE).unwrap();
    map(&mut cpu, 0x1_0000, 0, TARGET | PWU | G, PWU);
    assert!(is_cached(&mut cpu));
    write_words(&mut cpu, place(0x1_0000, 0), &[0]);
    write_cr3(&mut cpu, ROOT | 6).unwrap();
    assert!(!is_cached(&mut cpu));
}

#[test]
fn large_pages_are_forgotten_as_a_whole() {
    let mut cpu = cpu_with(paging(0, 0));
    map(&mut cpu, 0x20_0000, 1, PWU | PS, PWU);
    cpu.load(Gva(0x20_3000), Width::W64).unwrap();
    write_words(&mut cpu, place(0x20_0000, 1), &[0]);
    assert!(cpu.load(Gva(0x20_3000), Width::W64).is_ok());
    flush_page(&mut cpu, Gva(0x3f_f000));
    assert!(cpu.load(Gva(0x20_3000), Width::W64).is_err());
}

#[test]
fn bad_operands_change_nothing() {
    let mut cpu = cached(5, 3, 0);
    let refused = Err(trap::protection(0));
    assert_eq!(write_cr3(&mut cpu, ROOT | 1 << 40), refused);
    assert_eq!(write_cr3(&mut cpu, ROOT | 1 << 62), refused);
    assert_eq!(invpcid(&mut cpu, 4, 0, Gva(0)), refused);
    assert_eq!(invpcid(&mut cpu, 2, 0x1000, Gva(0)), refused);
    assert_eq!(invpcid(&mut cpu, 0, 5, Gva(1 << 47)), refused);
    cpu.guest.cr4 &= !CR4_PCIDE;
    assert_eq!(invpcid(&mut cpu, 1, 5, Gva(0)), refused);
    assert_eq!(write_cr3(&mut cpu, ROOT | 1 << 63), refused);
    assert_eq!(cpu.guest.cr3 & ADDRESS, ROOT);
}

#[test]
fn compatibility_mode_wraps_addresses_without_remembering() {
    let mut state = paging(0, 0);
    state.cpl = 3;
    state.segments[1] = crate::x86_64::segment::Segment::code_32(0x1b, 3);
    let mut cpu = cpu_with(state);
    map(&mut cpu, 0, 0, TARGET | PWU, PWU);
    write_words(&mut cpu, TARGET, &[0x77]);
    assert_eq!(cpu.load(Gva(1 << 32), Width::W64), Ok(0x77));
    assert_eq!(cpu.tlb.lookup(USER, Gva(1 << 32), Width::W64, Read), None);
    assert_eq!(cpu.load_in(Gva(1 << 32), Width::W64, SUPERVISOR), Err(trap::page_fault(Gva(1 << 32), 0)));
}
