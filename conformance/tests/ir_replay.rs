//! One meaning, two builders: a random block of riscv64 instructions run by the interpreter leaves the same machine
//! behind as its recorded IR, replayed or translated to code of this host. Every recorded block is verified, which proves that no instruction may trap
//! after it has written a register.

use c2w_conformance::riscv64::machine;
use c2w_conformance::riscv64::random::{Random, float};
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_decoders::riscv64::decode::Insn;
use c2w_decoders::riscv64::float_env;
use c2w_decoders::riscv64::guest::{HartState, Riscv64, resume};
use c2w_decoders::riscv64::insns::{Op, ROWS};
use c2w_decoders::riscv64::regs;
use c2w_decoders::riscv64::table::Operand;
use c2w_engine::addr::{Gpa, PAGE_BYTES, Page, Width};
use c2w_engine::cpu::{Cpu, Reservation};
use c2w_engine::eager::{BlockEnd, run_ir};
use c2w_engine::emit::SLOTS;
use c2w_engine::guest::Guest;
use c2w_engine::ir::block::Block;
use c2w_engine::ir::replay::Replay;
use c2w_engine::ir::verify::verify;
use c2w_engine::jit::Translator;
use c2w_engine::record::Recorder;
use c2w_engine::snapshot::CpuState;

const RAM_BYTES: u64 = 4 * PAGE_BYTES;
/// Blocks that begin with each line of the table.
const ROUNDS: u64 = 40;
/// Control and status registers with and without effects, and one that does not exist.
const CSRS: [u64; 12] = [0x001, 0x002, 0x003, 0x100, 0x105, 0x140, 0x180, 0x300, 0x304, 0x340, 0xc02, 0x5ff];

/// Decoded code.
struct Code {
    insns: Vec<Insn>,
    offsets: Vec<u16>,
    len_bytes: u16,
}

fn set_rounding_mode(cpu: &mut Cpu<Riscv64>, mode: u64) {
    float_env::set_rounding_mode(cpu, mode);
    resume(cpu);
}

/// Everything a block can change.
#[derive(Debug, PartialEq)]
struct Outcome {
    end: BlockEnd,
    slots: [u64; SLOTS],
    hart: HartState,
    reservation: Option<Reservation>,
    waiting: bool,
    contexts: (u16, usize, usize),
    written_code: Vec<Page>,
    memory: Vec<u8>,
}

#[test]
fn replayed_ir_is_the_instruction() {
    let mut random = Random(1);
    let [mut direct, mut replayed, mut translated] = [(); 3].map(|()| machine(RAM_BYTES).cpu);
    let mut translator =
        Translator::new::<Riscv64>(c2w_engine::jit::CODE_BYTES, 0).expect("this host runs generated code");
    let start = direct.save();
    let mut retired = vec![0; Op::ALL.len() + 1];
    for &op in Op::ALL {
        for _ in 0..ROUNDS {
            // The dynamic rounding mode is part of the mode that code is decoded in.
            direct.restore(&start).expect("the state is of this kind of machine");
            set_rounding_mode(&mut direct, random.pick(&[0, 0, 1, 2, 3, 4, 5]));
            let start = direct.save();
            let code = code(&mut random, op, &direct);
            let block = Riscv64::record(&code.insns, &code.offsets, code.len_bytes, &[]);
            verify(&block, Riscv64::HELPERS).unwrap_or_else(|error| panic!("{error}: {:?}", code.insns));
            assert_eq!(copied(&block), block, "{:?}", code.insns);

            let before = random.clone();
            prepare(&mut direct, &start, &mut random);
            let pc = direct.pc;
            let end = Riscv64::run_block(&mut direct, pc, code.len_bytes.into(), &code.insns, &code.offsets);
            let want = outcome(&mut direct, end);
            prepare(&mut replayed, &start, &mut before.clone());
            let end = run_ir(&mut replayed, pc, &block);
            let got = outcome(&mut replayed, end);
            assert!(want == got, "{:?}\n{}", code.insns, difference(&want, &got));
            prepare(&mut translated, &start, &mut before.clone());
            // What writes its own code is the interpreter's.
            if let Some(end) = translator.run_block(&mut translated, pc, &block) {
                let got = outcome(&mut translated, end);
                assert!(want == got, "translated: {:?}\n{}", code.insns, difference(&want, &got));
            }
            let done = match want.end {
                BlockEnd::Next(_) => code.insns.len(),
                BlockEnd::Trapped { index, .. } => index,
                BlockEnd::Cut { count, .. } => count,
            };
            code.insns[..done].iter().for_each(|insn| retired[insn.op as usize] += 1);
        }
    }
    let always_traps = |op: &Op| matches!(op, Op::Ecall | Op::Ebreak);
    let never: Vec<_> =
        Op::ALL.iter().filter(|op| !always_traps(op) && retired[**op as usize] == 0).collect();
    assert!(never.is_empty(), "never retired: {never:?}");
}

/// The block recorded again from its own IR: a recorder that is told the same words writes the same block.
fn copied(block: &Block) -> Block {
    let mut recorder = Recorder::new(Riscv64::HELPERS);
    let mut replay = Replay::new(block);
    while let Some(place) = replay.next_insn() {
        recorder.begin_insn(place.offset, place.len_bytes);
        if replay.insn(&mut recorder).is_err() {
            break;
        }
    }
    recorder.finish()
}

/// A block that begins with an instruction of line `op` and goes on with random ones.
fn code(random: &mut Random, op: Op, cpu: &Cpu<Riscv64>) -> Code {
    let mut bytes = word(random, op).to_le_bytes().to_vec();
    let mut code = Code { insns: Vec::new(), offsets: Vec::new(), len_bytes: 0 };
    loop {
        let decoded = Riscv64::decode(&bytes, cpu.mode()).expect("whole instructions are given");
        code.insns.push(decoded.insn);
        code.offsets.push(code.len_bytes);
        code.len_bytes += u16::from(decoded.len_bytes);
        if decoded.ends_block || random.below(4) == 0 {
            return code;
        }
        bytes = if random.below(4) == 0 {
            // Whatever this is: mostly compressed instructions.
            random.draw().to_le_bytes().to_vec()
        } else {
            let op = Op::ALL[random.below(Op::ALL.len() as u64) as usize];
            word(random, op).to_le_bytes().to_vec()
        };
    }
}

/// The bits of an instruction with random operands.
fn word(random: &mut Random, op: Op) -> u32 {
    let row = &ROWS[op as usize];
    let mut raw = random.draw() as u32 & !row.mask | row.bits;
    // Few different registers, so that instructions depend on each other.
    for operand in row.operands() {
        let mut put = |shift: u32, len: u32, value: u64| {
            raw = raw & !(((1 << len) - 1) << shift) | (value as u32) << shift;
        };
        match operand {
            Operand::Rd | Operand::Fd => put(7, 5, random.below(10)),
            Operand::Rs1 | Operand::Fs1 | Operand::MemAtomic => put(15, 5, random.below(10)),
            Operand::Rs2 | Operand::Fs2 => put(20, 5, random.below(10)),
            Operand::MemLoad => {
                put(15, 5, random.below(10));
                put(20, 12, random.below(32));
            }
            Operand::Csr => put(20, 12, CSRS[random.below(CSRS.len() as u64) as usize]),
            _ => {}
        }
    }
    raw
}

/// Puts a vCPU into a random state: the same for the same `random`.
fn prepare(cpu: &mut Cpu<Riscv64>, start: &CpuState<Riscv64>, random: &mut Random) {
    cpu.restore(start).expect("the state is of this kind of machine");
    let data = |random: &mut Random| RAM_BASE.0 + PAGE_BYTES + random.below(2 * PAGE_BYTES);
    for slot in 1..32 {
        cpu.slots[slot] = match random.below(6) {
            0 => data(random),
            1 | 2 => data(random) & !7,
            3 => random.below(64),
            4 => random.draw() as i32 as u64,
            _ => random.draw(),
        };
    }
    for number in 0..32 {
        let value = random.draw();
        // Numbers of all formats, boxed or not.
        let boxed = [value, value | 0xffff_ffff << 32, value | 0xffff_ffff_ffff << 16, value & 0x7ff << 52];
        let value = if random.below(4) == 0 { random.pick(&boxed) } else { float(random) };
        cpu.slots[regs::f(number).0 as usize] = value;
    }
    float_env::set_flags(cpu, random.below(32));
    cpu.guest.state.mepc = random.draw() & !1;
    cpu.guest.state.sepc = random.draw() & !1;
    for offset in (0..RAM_BYTES).step_by(8) {
        let value = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        cpu.ram.write(Gpa(RAM_BASE.0 + offset), &value.to_le_bytes()).expect("RAM has this size");
    }
    // No page has been left unwritten, so none holds code.
    cpu.ram.take_written_code();
    // Half of a page holds code, so that some stores end the block.
    cpu.note_code(Page::of(Gpa(RAM_BASE.0 + PAGE_BYTES)), 0, PAGE_BYTES / 2);
    if random.below(2) == 0 {
        let gpa = Gpa(cpu.slots[1 + random.below(9) as usize]);
        let width = if random.below(2) == 0 { Width::W32 } else { Width::W64 };
        if let Some(value) =
            cpu.ram.contains_page(Page::of(gpa)).then(|| cpu.physical_read(gpa, width)).flatten()
        {
            cpu.reservation = Some(Reservation { gpa, width, value });
        }
    }
}

fn outcome(cpu: &mut Cpu<Riscv64>, end: BlockEnd) -> Outcome {
    Outcome {
        end,
        slots: *cpu.slots,
        hart: cpu.guest.clone().into(),
        reservation: cpu.reservation,
        waiting: cpu.is_waiting(),
        contexts: (cpu.mode().0, cpu.fetch_context(), cpu.data_context()),
        written_code: cpu.ram.take_written_code(),
        memory: cpu.ram.slice(RAM_BASE, RAM_BYTES).expect("RAM has this size").to_vec(),
    }
}

/// The two outcomes without what they agree on.
fn difference(want: &Outcome, got: &Outcome) -> String {
    let slots: Vec<_> = (0..SLOTS)
        .filter(|&slot| want.slots[slot] != got.slots[slot])
        .map(|slot| format!("slot {slot}: {:#x}, replayed {:#x}", want.slots[slot], got.slots[slot]))
        .collect();
    format!(
        "{:?}, replayed {:?}\n{}\nhart {}, memory {}, rest {:?} {:?}",
        want.end,
        got.end,
        slots.join("\n"),
        want.hart == got.hart,
        want.memory == got.memory,
        (want.reservation, want.waiting, want.contexts, &want.written_code),
        (got.reservation, got.waiting, got.contexts, &got.written_code),
    )
}
