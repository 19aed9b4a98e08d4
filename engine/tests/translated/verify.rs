//! Lock step finds what translated code does wrong, says where, and finds nothing where there is nothing.

use crate::toy::{DMA, Op, RAM, Toy, insn, machine};
use c2w_engine::addr::{Gpa, PAGE_BYTES};
use c2w_engine::jit::verify::Divergence;
use c2w_engine::machine::{Exit, Machine};

/// Where loops work on memory.
const DATA: u64 = RAM + 4 * PAGE_BYTES;

/// A loop around `body` that counts in register 1, up to what register 2 says.
fn counting(body: &[[u8; 4]]) -> Vec<[u8; 4]> {
    let back = -(body.len() as i8 + 1);
    [body, &[insn(Op::Addi, 1, 1, 1), insn(Op::BranchNe, 1, 2, back), insn(Op::Jump, 0, 0, 0)]].concat()
}

fn verified(code: &[[u8; 4]]) -> Machine<Toy> {
    let mut machine = machine(code);
    machine.verify();
    machine.cpu.slots[2] = u64::MAX;
    machine.cpu.slots[6] = DATA;
    machine
}

fn run_to_divergence(machine: &mut Machine<Toy>) -> Divergence {
    for _ in 0..1000 {
        if machine.run(1000) == Exit::Diverged {
            return machine.divergence().expect("there is one").clone();
        }
    }
    panic!("nothing was found");
}

fn names(divergence: &Divergence) -> Vec<&str> {
    divergence.differences.iter().map(|difference| difference.name.as_str()).collect()
}

#[test]
fn a_wrong_result_is_found_where_it_happens() {
    let mut m = verified(&counting(&[insn(Op::Addi, 3, 3, 2), insn(Op::WrongAddi, 4, 3, 5)]));
    let divergence = run_to_divergence(&mut m);
    assert_eq!(divergence.pc.0, RAM + 4);
    assert_eq!(names(&divergence), ["slot 4"]);
    let suspects: Vec<u64> =
        divergence.steps.iter().filter(|step| step.suspect).map(|step| step.pc.0).collect();
    assert_eq!(suspects, [RAM + 4]);
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number");
    let difference = &divergence.differences[0];
    assert_eq!(number(&difference.translated), number(&difference.interpreted) + 1);
    let text = divergence.to_string();
    assert!(text.contains("slot 4") && text.contains("WrongAddi"), "{text}");
}

#[test]
fn a_wrong_way_is_found() {
    // Register 4 is 1 translated and 0 interpreted: the branch goes two ways.
    let body = [insn(Op::WrongAddi, 4, 0, 0), insn(Op::BranchNe, 4, 0, 2), insn(Op::Addi, 5, 5, 1)];
    let divergence = run_to_divergence(&mut verified(&counting(&body)));
    assert_eq!(divergence.pc.0, RAM);
    assert!(names(&divergence).contains(&"slot 4"), "{divergence}");
}

#[test]
fn a_store_to_a_wrong_place_is_found() {
    // To a page that is stored to all the time, and to one that nothing else is stored to.
    for (at, gap) in [(0, 0), (4, 127)] {
        let mut m = verified(&counting(&[insn(Op::Store, 1, 6, 0), insn(Op::WrongStore, 7, 8, 0)]));
        m.cpu.slots[7] = 0x1122_3344_5566_7788;
        m.cpu.slots[8] = DATA + at * PAGE_BYTES + 8 * gap;
        let divergence = run_to_divergence(&mut m);
        let wrong = DATA + at * PAGE_BYTES + 8 * gap + 8;
        assert_eq!(names(&divergence), [format!("physical {wrong:#x}")]);
        assert_eq!(divergence.differences[0].translated, "88 77 66 55 44 33 22 11");
        assert_eq!(divergence.differences[0].interpreted, "00 00 00 00 00 00 00 00");
    }
}

#[test]
fn right_code_is_right_and_goes_as_without_a_check() {
    // A load and a store in memory, a helper with effects on the system state, and a store to a device, which happens once.
    let bodies: [&[[u8; 4]]; 3] = [
        &[insn(Op::Load, 3, 6, 0), insn(Op::Addi, 3, 3, 1), insn(Op::Store, 3, 6, 0)],
        &[insn(Op::Enable, 0, 0, 0), insn(Op::Addi, 3, 3, 1)],
        &[insn(Op::Load, 4, 5, 0), insn(Op::Store8, 1, 5, 0), insn(Op::Addi, 3, 3, 1)],
    ];
    for body in bodies {
        let code = counting(body);
        let (mut checked, mut plain) = (verified(&code), machine(&code));
        for m in [&mut checked, &mut plain] {
            (m.cpu.slots[2], m.cpu.slots[6]) = (200_000, DATA);
            (m.cpu.slots[5], m.cpu.board.dma_target) = (DMA, DATA + PAGE_BYTES);
            for _ in 0..100 {
                assert_eq!(m.run(20_000), Exit::Budget);
            }
        }
        assert_eq!(checked.cpu.slots[1], 200_000);
        assert_eq!(*checked.cpu.slots, *plain.cpu.slots);
        assert_eq!(checked.cpu.guest, plain.cpu.guest);
        let memory = |m: &Machine<Toy>| m.cpu.ram.slice(Gpa(DATA), 2 * PAGE_BYTES).unwrap().to_vec();
        assert_eq!(memory(&checked), memory(&plain));
        let statistics = checked.verifier_statistics().expect("it checks");
        assert!(statistics.stretches > 5 && statistics.insns > 1000, "{statistics:?}");
    }
}
