//! Cached code follows the bytes and the mapping it came from.

use crate::toy::{DMA, HANDLER, Op, PAGE_FAULT, RAM, Toy, UNDEFINED, insn, machine, map, run_to_trap};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT};
use c2w_engine::guest::Trap;
use c2w_engine::machine::Machine;

const PAGE: u64 = RAM >> PAGE_SHIFT;
const BROKE: Trap = Trap::new(UNDEFINED, 0);

fn place(machine: &mut Machine<Toy>, at: u64, code: &[[u8; 4]]) {
    machine.cpu.ram.write(Gpa(at), code.as_flattened()).unwrap();
}

/// Runs from `pc` to the trap at its end and gives register 3.
fn run_from(machine: &mut Machine<Toy>, pc: u64) -> u64 {
    machine.cpu.pc = Gva(pc);
    assert_eq!(run_to_trap(machine), BROKE);
    machine.cpu.slots[3]
}

/// Identity-maps every page of RAM.
fn map_all(machine: &mut Machine<Toy>) {
    for page in PAGE..=HANDLER >> PAGE_SHIFT {
        map(&mut machine.cpu, page, page);
    }
}

/// Puts the byte in register 1 into the immediate of the third instruction, through the address in register 2.
const PATCH_NEXT: [[u8; 4]; 4] =
    [insn(Op::Addi, 4, 4, 1), insn(Op::Store8, 1, 2, 0), insn(Op::Addi, 3, 0, 1), insn(Op::Break, 0, 0, 0)];

#[test]
fn a_store_into_its_own_block_is_seen_by_the_next_instruction() {
    let mut m = machine(&PATCH_NEXT);
    m.cpu.slots[2] = RAM + 11;
    for n in [7, 9] {
        m.cpu.slots[1] = n;
        assert_eq!(run_from(&mut m, RAM), n);
    }
    assert_eq!(m.statistics().invalidated_pages, 2);
}

#[test]
fn dma_into_its_own_block_is_seen_by_the_next_instruction() {
    let mut m = machine(&PATCH_NEXT);
    m.cpu.slots[2] = DMA;
    m.cpu.board.dma_target = RAM + 11;
    for n in [7, 9] {
        m.cpu.slots[1] = n;
        assert_eq!(run_from(&mut m, RAM), n);
    }
}

#[test]
fn writes_from_outside_a_run_are_seen() {
    let mut m = machine(&[insn(Op::Addi, 3, 0, 1), insn(Op::Break, 0, 0, 0)]);
    assert_eq!(run_from(&mut m, RAM), 1);
    m.cpu.ram.write(Gpa(RAM + 3), &[2]).unwrap();
    assert_eq!(run_from(&mut m, RAM), 2);
}

#[test]
fn data_beside_code_invalidates_nothing() {
    let mut m = machine(&PATCH_NEXT);
    m.cpu.slots[2] = RAM + 0x800;
    for _ in 0..3 {
        assert_eq!(run_from(&mut m, RAM), 1);
    }
    assert_eq!(m.statistics().invalidated_pages, 0);
    assert_eq!(m.statistics().decoded, 4);
}

#[test]
fn a_store_to_code_in_another_page_is_seen() {
    let mut m = machine(&[insn(Op::Store8, 1, 2, 0), insn(Op::JumpTo, 5, 0, 0)]);
    let other = RAM + PAGE_BYTES;
    place(&mut m, other, &[insn(Op::Addi, 3, 0, 1), insn(Op::Break, 0, 0, 0)]);
    (m.cpu.slots[2], m.cpu.slots[5]) = (other + 3, other);
    for n in [1, 5, 6] {
        m.cpu.slots[1] = n;
        assert_eq!(run_from(&mut m, RAM), n);
    }
}

#[test]
fn code_is_found_under_every_alias_and_changes_under_all() {
    let mut m = machine(&PATCH_NEXT);
    map_all(&mut m);
    // The code is mapped a second time, and the store goes through a third mapping.
    let (alias, window) = (0x800, 0x900);
    map(&mut m.cpu, alias, PAGE);
    map(&mut m.cpu, window, PAGE);
    m.cpu.slots[2] = (window << PAGE_SHIFT) + 11;
    for (n, page) in [(3, PAGE), (4, alias), (5, PAGE)] {
        m.cpu.slots[1] = n;
        assert_eq!(run_from(&mut m, page << PAGE_SHIFT), n);
    }
}

#[test]
fn an_instruction_across_pages_follows_the_second_page() {
    let mut m = machine(&[]);
    map_all(&mut m);
    // The immediate, 2 bytes into the second page's part, tells the pages apart.
    let start = RAM + PAGE_BYTES - 2;
    let [op, a, b, _] = insn(Op::Addi, 3, 0, 0);
    m.cpu.ram.write(Gpa(start), &[op, a]).unwrap();
    for (page, n) in [(PAGE + 4, 4), (PAGE + 5, 5)] {
        m.cpu.ram.write(Gpa(page << PAGE_SHIFT), &[b, n]).unwrap();
        m.cpu.ram.write(Gpa((page << PAGE_SHIFT) + 2), &insn(Op::Break, 0, 0, 0)).unwrap();
    }
    let second = PAGE + 1;
    for _ in 0..2 {
        map(&mut m.cpu, second, 0);
        m.cpu.pc = Gva(start);
        assert_eq!(run_to_trap(&mut m), Trap::new(PAGE_FAULT, second << PAGE_SHIFT));
        assert_eq!(m.cpu.guest.trap_pc, start);
        for (page, n) in [(PAGE + 4, 4), (PAGE + 5, 5), (PAGE + 4, 4)] {
            map(&mut m.cpu, second, page);
            assert_eq!(run_from(&mut m, start), n);
        }
    }
    m.cpu.ram.write(Gpa(((PAGE + 4) << PAGE_SHIFT) + 1), &[6]).unwrap();
    assert_eq!(run_from(&mut m, start), 6);
}

#[test]
fn links_inside_a_page_do_not_outlive_its_mapping() {
    let code = |n| [insn(Op::Map, 1, 2, 0), insn(Op::Addi, 3, 0, n), insn(Op::Break, 0, 0, 0)];
    let mut m = machine(&code(1));
    map_all(&mut m);
    place(&mut m, RAM + PAGE_BYTES, &code(2));
    m.cpu.slots[1] = PAGE;
    for (to, n) in [(PAGE, 1), (PAGE, 1), (PAGE + 1, 2), (PAGE, 1), (PAGE + 1, 2)] {
        m.cpu.slots[2] = to;
        assert_eq!(run_from(&mut m, RAM), n, "the page is mapped to {to:#x}");
    }
}

#[test]
fn what_trap_delivery_writes_over_cached_code_is_seen() {
    // The low word of this address is the instruction `r3 = r1`.
    let at = RAM + 0x301;
    let mut m = machine(&[]);
    place(&mut m, at, &[insn(Op::Break, 0, 0, 0)]);
    place(&mut m, HANDLER, &[insn(Op::Addi, 3, 0, 5), insn(Op::Jump, 0, 0, 0)]);
    m.cpu.slots[1] = 77;
    for (stack, result) in [(0, 5), (HANDLER, 77)] {
        m.cpu.guest.trap_stack = stack;
        m.cpu.pc = Gva(at);
        m.run(10);
        assert_eq!(m.cpu.slots[3], result);
    }
}

#[test]
fn undefined_bytes_trap_where_they_are() {
    let mut m = machine(&[insn(Op::Addi, 3, 0, 1), [0xff; 4]]);
    assert_eq!(run_to_trap(&mut m), BROKE);
    assert_eq!(m.cpu.guest.trap_pc, RAM + 4);
}
