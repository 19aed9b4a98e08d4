//! More code than the cache of decoded instructions keeps: what is oldest makes room, and what was translated from it is
//! found again.

#![cfg(all(unix, target_arch = "x86_64"))]

use c2w_conformance::riscv64::{HANDLER, user_machine};
use c2w_decoders::riscv64::asm::assemble;
use c2w_decoders::riscv64::board::RAM_BASE;

/// Instructions of a block but the last, and blocks: more than a million instructions.
const ADDITIONS: usize = 50;
const BLOCKS: usize = 25_000;
const ROUNDS: u64 = 3;

#[test]
fn code_that_makes_room_is_not_translated_again() {
    let block = "addi a0, a0, 1\n".repeat(ADDITIONS) + "jal zero, 4\n";
    let end = "addi s0, s0, -1\nbeq s0, zero, 8\njalr zero, 0(t0)\necall\n";
    let image = [assemble(&block).unwrap().repeat(BLOCKS), assemble(end).unwrap()].concat();
    let mut machine = user_machine(&image);
    assert!(machine.translate(1), "this host runs generated code");
    (machine.cpu.slots[5], machine.cpu.slots[8]) = (RAM_BASE.0, ROUNDS);
    while machine.cpu.pc != HANDLER {
        machine.run(1_000_000);
        assert!(machine.statistics().decoded_kept <= (1 << 20) + 64, "{:?}", machine.statistics());
    }
    assert_eq!(machine.cpu.slots[10], ROUNDS * (ADDITIONS * BLOCKS) as u64);
    let (decoded, translator) =
        (machine.statistics().decoded, machine.translator_statistics().expect("it translates"));
    // More than is kept; and what made room is run again without being decoded again.
    assert!((1 << 20..2 << 20).contains(&decoded), "{decoded}");
    assert_eq!(translator.dropped_generations, 0, "{translator:?}");
    // Pages begin in the middle of blocks.
    let blocks = (BLOCKS + image.len() / 4096 + 4) as u64;
    assert!(translator.regions <= blocks, "{blocks} blocks, {translator:?}");
}
