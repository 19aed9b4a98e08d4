//! Loads, stores and atomics: alignment, page ends, rights, dirty pages, reservations.

use crate::toy::{BUS_ERROR, DMA, MISALIGNED, Op, PAGE_FAULT, RAM, RAM_PAGES, Toy, insn, machine, map};
use crate::toy::{UNDEFINED, run_to_trap};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT, Page, Width};
use c2w_engine::guest::Trap;
use c2w_engine::machine::Machine;
use c2w_engine::mem::tlb::Access;

const PAGE: u64 = RAM >> PAGE_SHIFT;
const BROKE: Trap = Trap::new(UNDEFINED, 0);
const DATA: u64 = RAM + 2 * PAGE_BYTES;

/// Stores register 1 at the address in register 2 and loads it again, wide and narrow.
const STORE_LOAD: [[u8; 4]; 4] =
    [insn(Op::Store, 1, 2, 0), insn(Op::Load, 3, 2, 0), insn(Op::Load32, 4, 2, 2), insn(Op::Break, 0, 0, 0)];

fn restart(m: &mut Machine<Toy>) -> Trap {
    m.cpu.pc = Gva(RAM);
    run_to_trap(m)
}

#[test]
fn accesses_of_any_alignment_and_across_pages() {
    let mut m = machine(&STORE_LOAD);
    for page in PAGE..PAGE + RAM_PAGES {
        map(&mut m.cpu, page, page);
    }
    // Neighbours in virtual memory that are none in physical memory.
    map(&mut m.cpu, PAGE + 3, PAGE + 9);
    for offset in (0..9).chain(PAGE_BYTES - 9..PAGE_BYTES + 9) {
        let value = 0x1122_3344_5566_7788 ^ offset;
        (m.cpu.slots[1], m.cpu.slots[2]) = (value, DATA + offset);
        assert_eq!(restart(&mut m), BROKE);
        assert_eq!(
            (m.cpu.slots[3], m.cpu.slots[4]),
            (value, value >> 16 & 0xffff_ffff),
            "offset {offset:#x}"
        );
    }
    // The last value was stored at offset 8 of the second page.
    assert_eq!(m.cpu.ram.read_u64(Gpa(RAM + 9 * PAGE_BYTES + 8)).unwrap(), m.cpu.slots[1]);
}

#[test]
fn a_fault_in_the_second_page_writes_nothing_into_the_first() {
    let mut m = machine(&STORE_LOAD);
    for page in PAGE..PAGE + RAM_PAGES {
        map(&mut m.cpu, page, page);
    }
    map(&mut m.cpu, PAGE + 3, 0);
    let end = DATA + PAGE_BYTES;
    (m.cpu.slots[1], m.cpu.slots[2]) = (u64::MAX, end - 4);
    assert_eq!(restart(&mut m), Trap::new(PAGE_FAULT, end));
    assert_eq!(m.cpu.guest.trap_pc, RAM);
    assert_eq!(m.cpu.ram.read_u32(Gpa(end - 4)).unwrap(), 0);
}

#[test]
fn nothing_answers_outside_ram_and_devices() {
    let mut m = machine(&STORE_LOAD);
    for address in [0, RAM - 8, RAM + RAM_PAGES * PAGE_BYTES, u64::MAX - 7, DMA + 0x100] {
        m.cpu.slots[2] = address;
        assert_eq!(restart(&mut m), Trap::new(BUS_ERROR, address));
    }
    // The last bytes of RAM and the first behind it.
    m.cpu.slots[2] = RAM + RAM_PAGES * PAGE_BYTES - 4;
    assert_eq!(restart(&mut m).cause, BUS_ERROR);
}

#[test]
fn stores_mark_pages_dirty_in_every_epoch() {
    let mut m = machine(&STORE_LOAD);
    let data = Page::of(Gpa(DATA));
    m.cpu.slots[2] = DATA;
    for _ in 0..3 {
        m.cpu.ram.clear_dirty();
        m.cpu.tlb.withhold_all_writes();
        assert_eq!(m.cpu.ram.dirty_pages().count(), 0);
        assert_eq!(restart(&mut m), BROKE);
        assert_eq!(m.cpu.ram.dirty_pages().collect::<Vec<_>>(), [data]);
    }
}

#[test]
fn loads_give_no_right_to_store() {
    let mut m = machine(&[insn(Op::Load, 3, 2, 0), insn(Op::Break, 0, 0, 0)]);
    m.cpu.ram.clear_dirty();
    m.cpu.slots[2] = DATA;
    assert_eq!(restart(&mut m), BROKE);
    let hit = |m: &mut Machine<Toy>, access| m.cpu.tlb.lookup(0, Gva(DATA), Width::W64, access).is_some();
    assert!(hit(&mut m, Access::Read) && !hit(&mut m, Access::Write));
    assert_eq!(m.cpu.ram.dirty_pages().count(), 0);
}

#[test]
fn code_pages_get_no_right_to_store() {
    let mut m = machine(&STORE_LOAD);
    m.cpu.slots[2] = RAM + 0x800;
    assert_eq!(restart(&mut m), BROKE);
    assert!(m.cpu.tlb.lookup(0, Gva(RAM + 0x800), Width::W64, Access::Read).is_some());
    assert!(m.cpu.tlb.lookup(0, Gva(RAM + 0x800), Width::W64, Access::Write).is_none());
    // A page that has a write tag loses it when code is decoded from it.
    m.cpu.slots[2] = DATA;
    assert_eq!(restart(&mut m), BROKE);
    assert!(m.cpu.tlb.lookup(0, Gva(DATA), Width::W64, Access::Write).is_some());
    m.cpu.ram.write(Gpa(DATA), &insn(Op::Break, 0, 0, 0)).unwrap();
    m.cpu.pc = Gva(DATA);
    assert_eq!(run_to_trap(&mut m), BROKE);
    assert!(m.cpu.tlb.lookup(0, Gva(DATA), Width::W64, Access::Write).is_none());
}

/// Load-reserved from the address in register 2, a store of register 5 to that in register 6, store-conditional of
/// register 1, which then says whether it failed, and another one.
const RESERVE: [[u8; 4]; 6] = [
    insn(Op::LoadReserved, 3, 2, 0),
    insn(Op::Store8, 5, 6, 0),
    insn(Op::StoreConditional, 1, 2, 0),
    insn(Op::Addi, 4, 0, 7),
    insn(Op::StoreConditional, 4, 2, 0),
    insn(Op::Break, 0, 0, 0),
];

#[test]
fn store_conditional_stores_once_unless_something_was_written() {
    // Where the store in between goes, directly or by DMA, and whether the store-conditional fails.
    let cases = [(DATA + 8, 0, 0), (DATA, 0, 1), (DATA + 7, 0, 1), (DMA, DATA + 8, 0), (DMA, DATA, 1)];
    for (store_to, dma_target, fails) in cases {
        let mut m = machine(&RESERVE);
        (m.cpu.slots[1], m.cpu.slots[2]) = (55, DATA);
        (m.cpu.slots[5], m.cpu.slots[6]) = (99, store_to);
        m.cpu.board.dma_target = dma_target;
        assert_eq!(restart(&mut m), BROKE);
        assert_eq!((m.cpu.slots[1], m.cpu.slots[4]), (fails, 1), "{store_to:#x} {dma_target:#x}");
        let stored = m.cpu.ram.read_u64(Gpa(DATA)).unwrap() == 55;
        assert_eq!(stored, fails == 0);
    }
}

#[test]
fn atomics_are_aligned() {
    for (op, value) in [(Op::LoadReserved, DATA + 4), (Op::StoreConditional, DATA + 1)] {
        let mut m = machine(&[insn(op, 1, 2, 0)]);
        m.cpu.slots[2] = value;
        assert_eq!(restart(&mut m), Trap::new(MISALIGNED, value));
    }
}
