//! Indirect jumps that stay in their region, and those that must not.

use crate::host::vcpu;
use crate::loops::statistics;
use crate::toy::{HANDLER, INTERRUPT, Op, RAM, RAM_PAGES, Toy, insn, machine};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::CompiledTranslator;
use c2w_engine::machine::{Exit, Machine};

/// Register 3 grows by 1 + 9 for each of what register 1 counts down; registers 4 and 5 lead to and fro.
const LOOP: [[u8; 4]; 9] = [
    insn(Op::Addi, 3, 3, 1),
    insn(Op::JumpTo, 4, 0, 0),
    insn(Op::Break, 0, 0, 0),
    insn(Op::Break, 0, 0, 0),
    insn(Op::Addi, 3, 3, 9),
    insn(Op::Addi, 1, 1, -1),
    insn(Op::BranchNe, 1, 0, 2),
    insn(Op::Break, 0, 0, 0),
    insn(Op::JumpTo, 5, 0, 0),
];

/// A machine that compiles at once what runs a second time.
fn translating(code: &[[u8; 4]]) -> Machine<Toy> {
    let (mut cpu, host) = vcpu(RAM_PAGES * PAGE_BYTES);
    cpu.guest.handler = HANDLER;
    cpu.ram.write(Gpa(RAM), code.as_flattened()).unwrap();
    let mut machine = Machine::new(cpu);
    machine.translate_by(AnyTranslator::Wasm(Box::new(CompiledTranslator::new(host, 1, false))));
    machine
}

/// At the start of the code, to run so many times.
fn prepare(m: &mut Machine<Toy>, registers: &[(usize, u64)]) {
    m.cpu.pc = Gva(RAM);
    registers.iter().for_each(|&(register, value)| m.cpu.slots[register] = value);
    m.cpu.ram.write(Gpa(HANDLER), &insn(Op::Jump, 0, 0, 0)).unwrap();
}

fn run_to_handler(m: &mut Machine<Toy>, budget: u64) {
    while m.cpu.pc.0 != HANDLER {
        assert_eq!(m.run(budget), Exit::Budget);
    }
}

const REGISTERS: [(usize, u64); 3] = [(1, 1000), (4, RAM + 16), (5, RAM)];

#[test]
fn a_loop_of_indirect_jumps_is_one_region() {
    let mut m = translating(&LOOP);
    // Each time that time is up, some region begins anew, and grows over what is known by then.
    for _ in 0..40 {
        prepare(&mut m, &REGISTERS);
        run_to_handler(&mut m, 100);
    }
    prepare(&mut m, &REGISTERS);
    let (sum, entries) = (m.cpu.slots[3], statistics(&m).entries);
    run_to_handler(&mut m, 1_000_000);
    assert_eq!(m.cpu.slots[3] - sum, 10_000);
    // It ends in the handler, where time is up once, and shortly before that.
    assert!(statistics(&m).entries - entries <= 4, "{:?}", statistics(&m));
}

#[test]
fn a_loop_of_indirect_jumps_is_left_when_its_time_is_up_and_interrupted() {
    let mut m = translating(&LOOP);
    prepare(&mut m, &[(1, u64::MAX), (4, RAM + 16), (5, RAM)]);
    for _ in 0..1000 {
        let before = m.cpu.retired;
        assert_eq!(m.run(100), Exit::Budget);
        assert!((100..110).contains(&(m.cpu.retired - before)));
    }
    let entries = statistics(&m).entries;
    (m.cpu.guest.enabled, m.cpu.guest.timer_ns) = (true, Some(0));
    assert_eq!(m.run(100), Exit::Budget);
    assert!(statistics(&m).entries <= entries + 2);
    assert_eq!((m.cpu.guest.traps, m.cpu.guest.cause, m.cpu.pc.0), (1, INTERRUPT.0, HANDLER));
    assert!((RAM..RAM + 36).contains(&m.cpu.guest.trap_pc));
}

/// Runs the same code by the interpreter, too.
fn does_what_the_interpreter_does(
    code: &[[u8; 4]],
    registers: &[(usize, u64)],
    also: impl Fn(&mut Machine<Toy>),
) {
    for budget in [1, 7, 100, 100_000] {
        let mut m = translating(code);
        let mut reference = machine(code);
        for m in [&mut m, &mut reference] {
            prepare(m, registers);
            also(m);
            run_to_handler(m, budget);
        }
        assert_eq!(m.cpu.slots[..16], reference.cpu.slots[..16], "{budget}");
        assert_eq!(m.cpu.guest.trap_pc, reference.cpu.guest.trap_pc, "{budget}");
        assert!(statistics(&m).retired > 0, "{budget}");
    }
}

#[test]
fn a_jump_into_code_that_was_just_overwritten_runs_the_new_code() {
    let code = [
        insn(Op::Addi, 3, 3, 1),
        // Somewhere, now and then to the number that is added where the jump leads.
        insn(Op::Store8, 6, 7, 0),
        insn(Op::JumpTo, 4, 0, 0),
        insn(Op::Break, 0, 0, 0),
        insn(Op::Addi, 3, 3, 9),
        insn(Op::Addi, 1, 1, -1),
        insn(Op::BranchNe, 1, 0, 2),
        insn(Op::Break, 0, 0, 0),
        insn(Op::Addi, 6, 6, 1),
        insn(Op::Load, 7, 9, 0),
        insn(Op::Addi, 9, 9, 8),
        insn(Op::JumpTo, 5, 0, 0),
    ];
    let data = RAM + 4 * PAGE_BYTES;
    for number in [RAM + 4 * 4 + 3, RAM + 3] {
        let registers = [(1, 300), (4, RAM + 16), (5, RAM), (6, 9), (7, number), (9, data)];
        does_what_the_interpreter_does(&code, &registers, |m| {
            let place = |n: u64| if n.is_multiple_of(50) { number } else { data + 8 * 400 };
            let places: Vec<u8> = (1..400).flat_map(|n| place(n).to_le_bytes()).collect();
            m.cpu.ram.write(Gpa(data), &places).unwrap();
        });
    }
}

#[test]
fn a_jump_into_a_page_that_was_just_mapped_otherwise_runs_the_new_code() {
    let page = |number: u64| (RAM + number * PAGE_BYTES) >> 12;
    let [here, there, other, seen] = [0, 2, 3, 5].map(page);
    let code = [
        // Registers 8 and 9 take turns.
        insn(Op::Addi, 10, 8, 0),
        insn(Op::Addi, 8, 9, 0),
        insn(Op::Addi, 9, 10, 0),
        insn(Op::Map, 7, 8, 0),
        insn(Op::JumpTo, 4, 0, 0),
        insn(Op::Addi, 1, 1, -1),
        insn(Op::BranchNe, 1, 0, -6),
        insn(Op::Break, 0, 0, 0),
    ];
    let registers = [(1, 300), (4, seen << 12), (5, RAM + 20), (7, seen), (8, there), (9, other)];
    does_what_the_interpreter_does(&code, &registers, |m| {
        m.cpu.guest.map.extend([(here, here), (HANDLER >> 12, HANDLER >> 12)]);
        for (page, number) in [(there, 1), (other, 100)] {
            let code = [insn(Op::Addi, 3, 3, number), insn(Op::JumpTo, 5, 0, 0)];
            m.cpu.ram.write(Gpa(page << 12), code.as_flattened()).unwrap();
        }
    });
}
