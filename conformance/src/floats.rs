//! Floating-point operations of the IR on a host, against the interpreter's: result and flags, for operands and environments
//! in which something is unusual, and chains of operations on them.

use crate::riscv64::random::Random;
use c2w_decoders::riscv64::float_env;
use c2w_decoders::riscv64::guest::Riscv64;
use c2w_decoders::riscv64::regs as riscv64_regs;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::regs as x86_64_regs;
use c2w_engine::addr::Width::W64;
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::{Slot, VectorExtract, VectorInsert, VectorOp};
use c2w_engine::guest::Guest;
use c2w_engine::host::regions::{Compiler, Left, RegionHost};
use c2w_engine::ir::block::{Block, Op, Value};
use c2w_engine::ir::ops::{Binary, Cond};
use c2w_engine::ir::region::{Region, RegionBlock, Way, Ways};
use c2w_engine::ir::vector::boxed::BOX;
use c2w_engine::lower::links::Plan;

/// A guest's side of it.
pub trait FloatGuest: Guest {
    /// Whether its numbers are alone in their registers.
    const ALONE: bool;
    /// Pairs of slots that are vector registers.
    fn register(number: u8) -> Slot;
    /// Where integers are.
    const INTEGER: Slot;
    /// Where loops are counted.
    const COUNTER: Slot;
    /// Contents of the slots of the environment; in the first ones it is plain.
    fn environments(cpu: &mut Cpu<Self>) -> Vec<Vec<(Slot, u64)>>;
}

impl FloatGuest for X86_64 {
    const ALONE: bool = false;
    const INTEGER: Slot = x86_64_regs::RAX;
    const COUNTER: Slot = x86_64_regs::RBX;

    fn register(number: u8) -> Slot {
        x86_64_regs::vector(number)
    }

    fn environments(_: &mut Cpu<Self>) -> Vec<Vec<(Slot, u64)>> {
        const PLAIN: u64 = 0x1fa0;
        let flags = (0..6).map(|flag| PLAIN | 1 << flag);
        let others = [PLAIN, 0x1f80, 0x3fa0, 0x5fa0, 0x7fa0, 0x9fa0, 0x1fe0, 0x9fe0, 0x1fbf, 0x1f9f];
        flags.chain(others).map(|mxcsr| vec![(x86_64_regs::MXCSR, mxcsr)]).collect()
    }
}

impl FloatGuest for Riscv64 {
    const ALONE: bool = true;
    const INTEGER: Slot = riscv64_regs::x(10);
    const COUNTER: Slot = riscv64_regs::x(11);

    fn register(number: u8) -> Slot {
        riscv64_regs::f(number)
    }

    fn environments(cpu: &mut Cpu<Self>) -> Vec<Vec<(Slot, u64)>> {
        let modes = [(0, 1), (0, 0), (0, 0x1f), (0, 0x1e), (0, 2), (1, 1), (2, 1), (3, 1), (1, 0)];
        let slots = [riscv64_regs::FRM, riscv64_regs::FLOAT_ENVIRONMENT];
        let environment = |(mode, flags)| {
            float_env::set_flags(cpu, flags);
            float_env::set_rounding_mode(cpu, mode);
            slots.map(|slot| (slot, cpu.slots[usize::from(slot.0)])).to_vec()
        };
        modes.map(environment).to_vec()
    }
}

/// An operation under test; registers are numbers.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Of two registers, into one.
    Vector(VectorOp, u8, [u8; 3]),
    /// The integer, into a register.
    Insert(VectorInsert, u8),
    /// Of two registers; the integer becomes the result.
    Extract(VectorExtract, [u8; 2]),
}

/// Singles in which something is unusual, or nearly so.
const SINGLES: [u32; 30] = [
    0,
    1 << 31,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x0080_0001,
    0x0100_0000,
    0x0180_0003,
    0x3f80_0000,
    0x3f80_0001,
    0xbf7f_ffff,
    0x3fc0_0000,
    0x4020_0000,
    0x3f00_0000,
    0x4b00_0001,
    0x4effffff,
    0x4f00_0000,
    0xcf00_0000,
    0x4f7f_ffff,
    0x5f00_0000,
    0xdf00_0001,
    0x7f00_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_1234,
    0xffa0_0001,
];

/// Doubles of the same kind, and some that are such as singles.
const DOUBLES: [u64; 38] = [
    0,
    1 << 63,
    1,
    0x8000_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x0020_0000_0000_0000,
    0x0030_0000_0000_0003,
    0x3ff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0xbfef_ffff_ffff_ffff,
    0x3ff8_0000_0000_0000,
    0x4004_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x3ff0_0000_1000_0000,
    0x3ff0_0000_1000_0001,
    0x4330_0000_0000_0001,
    0x41df_ffff_ffc0_0000,
    0x41df_ffff_ffe0_0000,
    0x41e0_0000_0000_0000,
    0xc1e0_0000_0000_0000,
    0xc1e0_0000_0010_0000,
    0x41ef_ffff_ffff_0000,
    0x43e0_0000_0000_0000,
    0xc3e0_0000_0000_0001,
    0x380f_ffff_ffff_ffff,
    0x3810_0000_0000_0000,
    0x36a0_0000_0000_0000,
    0x47ef_ffff_f000_0000,
    0x47f0_0000_0000_0000,
    0x7fe0_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_1234,
    0xfff4_0000_0000_0001,
];

/// Contents of a register: unusual numbers, often next to ordinary ones.
fn operand(random: &mut Random, alone: bool) -> [u64; 2] {
    let single = |random: &mut Random| match random.below(3) {
        0 => u64::from((random.draw() as f32 / 1e19).to_bits()),
        // Exponents that overflow and underflow now and then.
        1 => u64::from(random.draw() as u32),
        _ => u64::from(random.pick(&SINGLES)),
    };
    let double = |random: &mut Random| match random.below(3) {
        0 => (random.draw() as f64 / 1e19).to_bits(),
        1 => random.draw(),
        _ => random.pick(&DOUBLES),
    };
    if alone {
        let low = if random.below(2) == 0 { double(random) } else { BOX | single(random) };
        return [if random.below(16) == 0 { low >> 1 } else { low }, 0];
    }
    let half = |random: &mut Random| match random.below(2) {
        0 => double(random),
        _ => single(random) | single(random) << 32,
    };
    [half(random), half(random)]
}

/// Every pair of unusual numbers, each in all lanes or alone.
fn pairs(alone: bool) -> Vec<[[u64; 2]; 2]> {
    let whole = |low: u64| if alone { [low, 0] } else { [low, low] };
    let doubles: Vec<_> = DOUBLES.map(whole).to_vec();
    let above = |single: u32| if alone { BOX } else { u64::from(single) << 32 };
    let singles: Vec<_> = SINGLES.map(|single| whole(u64::from(single) | above(single))).to_vec();
    let all =
        |of: &[[u64; 2]]| -> Vec<_> { of.iter().flat_map(|&a| of.iter().map(move |&b| [a, b])).collect() };
    [all(&doubles), all(&singles)].concat()
}

/// A host, with a vCPU in its memory, and what it has compiled.
pub struct Bench<G: FloatGuest, H: RegionHost<G>> {
    cpu: Cpu<G>,
    host: H,
    environments: Vec<Vec<(Slot, u64)>>,
    compiled: u32,
}

impl<G: FloatGuest, H: RegionHost<G>> Bench<G, H> {
    /// One for this host.
    pub fn new(mut cpu: Cpu<G>, host: H) -> Self {
        let environments = G::environments(&mut cpu);
        // Nothing asks for a look, for which heads of loops would be left.
        cpu.attention.take();
        cpu.looked();
        Self { cpu, host, environments, compiled: 0 }
    }

    fn block(steps: &[Step]) -> Block {
        let mut ops = vec![Op::Insn { offset: 0, len_bytes: 4 }];
        for &step in steps {
            match step {
                Step::Vector(op, imm, registers) => {
                    let imm = if op.names_third_pair() { G::register(imm).0 } else { imm };
                    let [to, a, b] = registers.map(G::register);
                    ops.push(Op::Vector { op, imm, to, a, b });
                }
                Step::Insert(op, to) => {
                    ops.push(Op::Get(G::INTEGER));
                    let value = Value(ops.len() as u32 - 1);
                    ops.push(Op::VectorInsert { op, imm: 0, to: G::register(to), value });
                }
                Step::Extract(op, registers) => {
                    let [a, b] = registers.map(G::register);
                    ops.push(Op::VectorExtract { op, a, b });
                    let value = Value(ops.len() as u32 - 1);
                    ops.push(Op::Set { slot: G::INTEGER, value });
                }
            }
        }
        Block { ops, args: Vec::new(), len_bytes: 4 }
    }

    fn interpret(&mut self, steps: &[Step]) {
        let cpu = &mut self.cpu;
        for &step in steps {
            match step {
                Step::Vector(op, imm, registers) => {
                    let imm = if op.names_third_pair() { G::register(imm).0 } else { imm };
                    let [to, a, b] = registers.map(G::register);
                    cpu.run_vector(op, imm, to, a, b);
                }
                Step::Insert(op, to) => {
                    let value = cpu.slots[usize::from(G::INTEGER.0)];
                    cpu.run_vector_insert(op, 0, G::register(to), value);
                }
                Step::Extract(op, registers) => {
                    let [a, b] = registers.map(G::register);
                    cpu.slots[usize::from(G::INTEGER.0)] = cpu.run_vector_extract(op, a, b);
                }
            }
        }
    }

    /// Compiles steps, and runs them on the contents of registers 0 to 3 and the integer, in environments by their numbers.
    ///
    /// # Panics
    /// If they leave something else than the interpreter.
    pub fn check(&mut self, steps: &[Step], inputs: impl Iterator<Item = (usize, [[u64; 2]; 4], u64)>) {
        let block = Self::block(steps);
        let block = RegionBlock { block, start: 0, insns: 1, weight: 1, ways: Ways::One(Way::Out(4)) };
        let interpret = |this: &mut Self| this.interpret(steps);
        let region = Region { blocks: vec![block] };
        self.check_region(&format!("{steps:x?}"), region, Vec::new(), interpret, inputs);
    }

    fn check_region(
        &mut self,
        what: &str,
        region: Region,
        jumps: Vec<usize>,
        interpret: impl Fn(&mut Self),
        inputs: impl Iterator<Item = (usize, [[u64; 2]; 4], u64)>,
    ) {
        // Hosts have room for some thousands.
        if self.compiled == 4000 {
            self.host.discard().expect("all can be discarded");
            self.compiled = 0;
        }
        self.compiled += 1;
        let plan = self.host.plan(&region, 0).expect("there is room");
        let plan = Plan { jumps, ..plan };
        let compiled = self.host.compiler().compile(&region, plan).expect("regions are valid");
        let code = self.host.install(&compiled).expect("there is room");
        let start = self.cpu.pc;
        let before = self.cpu.slots.to_vec();
        for (environment, registers, integer) in inputs {
            let environment = self.environments[environment % self.environments.len()].clone();
            for &(slot, value) in &environment {
                self.cpu.slots[usize::from(slot.0)] = value;
            }
            for (number, value) in (0..).zip(registers) {
                self.cpu.set_vector(G::register(number), value);
            }
            self.cpu.slots[usize::from(G::INTEGER.0)] = integer;
            self.cpu.slots[usize::from(G::COUNTER.0)] = integer % 5;
            let input = self.cpu.slots.to_vec();
            self.cpu.pc = start;
            let left = self.host.enter(&mut self.cpu, code, 100).expect("regions run");
            assert!(matches!(left, Left::Unlinked(_)), "{what}: {left:?}");
            let got = self.cpu.slots.to_vec();
            self.cpu.slots.copy_from_slice(&input);
            interpret(self);
            for (slot, (got, want)) in got.iter().zip(self.cpu.slots.iter()).enumerate() {
                assert_eq!(
                    got, want,
                    "{what} of {registers:x?} and {integer:#x}: slot {slot} is {got:#x}, not {want:#x}; \
                     environment {environment:x?}"
                );
            }
        }
        self.cpu.slots.copy_from_slice(&before);
        self.cpu.pc = start;
    }

    /// What has been called out for.
    pub fn call_outs(&self) -> u64 {
        self.host.call_outs().all
    }

    /// Runs every operation on every pair of unusual numbers in every environment.
    pub fn every_operation(&mut self) {
        let pairs = pairs(G::ALONE);
        let integers =
            [0, 1, u64::MAX, 1 << 31, 1 << 63, (1 << 53) + 1, 0x7fff_ffff_ffff_fe00, 0x0123_4567_89ab_cdef];
        let environments = self.environments.len();
        let mut random = Random(3);
        let thirds: Vec<_> = pairs.iter().map(|_| operand(&mut random, G::ALONE)).collect();
        for &op in VectorOp::ALL.iter().filter(|op| op.is_float() && op.is_alone() == G::ALONE) {
            let immediates = match op {
                VectorOp::Cmpps | VectorOp::Cmppd | VectorOp::Cmpss | VectorOp::Cmpsd => 0..8,
                VectorOp::Roundps | VectorOp::Roundpd | VectorOp::Roundss | VectorOp::Roundsd => 0..16,
                // The register with the third number.
                _ if op.names_third_pair() => 2..3,
                _ => 0..1,
            };
            let many = immediates.len() > 1;
            for imm in immediates {
                let inputs = pairs.iter().zip(&thirds).enumerate().flat_map(|(number, (&[a, b], &c))| {
                    let environments = if many { number..number + 2 } else { 0..environments };
                    environments.map(move |environment| (environment, [a, b, c, [0; 2]], 0))
                });
                self.check(&[Step::Vector(op, imm, [3, 0, 1])], inputs);
            }
        }
        for &op in VectorInsert::ALL.iter().filter(|op| op.is_float() && op.is_alone() == G::ALONE) {
            let inputs = integers.iter().flat_map(|&integer| {
                (0..environments).map(move |environment| (environment, [[0, 0]; 4], integer))
            });
            self.check(&[Step::Insert(op, 3)], inputs);
        }
        for &op in VectorExtract::ALL.iter().filter(|op| op.is_float() && op.is_alone() == G::ALONE) {
            let inputs = pairs.iter().flat_map(|&[a, b]| {
                (0..environments).map(move |environment| (environment, [a, b, [0; 2], [0; 2]], 0))
            });
            self.check(&[Step::Extract(op, [0, 1])], inputs);
        }
    }

    /// Runs chains of operations, which know of each other's results.
    pub fn chains(&mut self, count: usize) {
        let mut random = Random(11);
        for _ in 0..count {
            let steps = steps::<G>(&mut random, 8);
            let inputs: Vec<_> = (0..40).map(|_| input::<G>(&mut random)).collect();
            self.check(&steps, inputs.into_iter());
        }
    }

    /// Runs loops of operations, whose blocks know of each other's results. One of two blocks leads to the loop, in every other
    /// region by an indirect jump, and by turns one of two is run in it.
    pub fn loops(&mut self, count: usize) {
        const WAYS_IN: [usize; 2] = [1, 2];
        const HEAD: usize = 3;
        const TURNS: [usize; 2] = [4, 5];
        const END: usize = 6;
        const AFTER: usize = 7;
        let mut random = Random(17);
        for round in 0..count {
            let jumps = round % 2 == 1;
            let steps: Vec<Vec<Step>> = (0..=AFTER)
                .map(|_| {
                    let length = random.below(4) as usize;
                    steps::<G>(&mut random, length)
                })
                .collect();
            let blocks = steps.iter().enumerate().map(|(number, steps)| {
                let mut block = Self::block(steps);
                let mut push = |op| {
                    block.ops.push(op);
                    Value(block.ops.len() as u32 - 1)
                };
                let start = 4 * number as i64;
                let to = |block: usize| 4 * block as i64 - start;
                let ways = match number {
                    0 | HEAD => {
                        let [odd, even] = if number == 0 { WAYS_IN } else { TURNS };
                        let (count, one) = (push(Op::Get(G::COUNTER)), push(Op::Const(1)));
                        let cond = push(Op::Binary { op: Binary::And, w: W64, a: count, b: one });
                        push(Op::BranchRelative { cond, displacement: to(odd) });
                        Ways::Branch { taken: Way::Block(odd), next: Way::Block(even) }
                    }
                    1 | 2 if jumps => {
                        let (pc, distance) = (push(Op::Pc), push(Op::Const(to(HEAD) as u64)));
                        let target = push(Op::Binary { op: Binary::Add, w: W64, a: pc, b: distance });
                        push(Op::Jump { target });
                        Ways::Indirect
                    }
                    1 | 2 => Ways::One(Way::Block(HEAD)),
                    END => {
                        let (count, one) = (push(Op::Get(G::COUNTER)), push(Op::Const(1)));
                        let less = push(Op::Binary { op: Binary::Sub, w: W64, a: count, b: one });
                        push(Op::Set { slot: G::COUNTER, value: less });
                        let zero = push(Op::Const(0));
                        let cond = push(Op::Compare { cond: Cond::LtS, w: W64, a: zero, b: less });
                        push(Op::BranchRelative { cond, displacement: to(HEAD) });
                        Ways::Branch { taken: Way::Block(HEAD), next: Way::Block(AFTER) }
                    }
                    AFTER => Ways::One(Way::Out(start + 4)),
                    _ => Ways::One(Way::Block(END)),
                };
                RegionBlock { block, start, insns: 1, weight: 1, ways }
            });
            let region = Region { blocks: blocks.collect() };
            let interpret = |this: &mut Self| {
                let counter = usize::from(G::COUNTER.0);
                let turn = |this: &Self| 1 - (this.cpu.slots[counter] & 1) as usize;
                this.interpret(&steps[0]);
                this.interpret(&steps[WAYS_IN[turn(this)]]);
                loop {
                    this.interpret(&steps[HEAD]);
                    this.interpret(&steps[TURNS[turn(this)]]);
                    this.interpret(&steps[END]);
                    let left = this.cpu.slots[counter].wrapping_sub(1);
                    this.cpu.slots[counter] = left;
                    if left as i64 <= 0 {
                        break;
                    }
                }
                this.interpret(&steps[AFTER]);
            };
            let inputs: Vec<_> = (0..40).map(|_| input::<G>(&mut random)).collect();
            let jumps = if jumps { vec![HEAD] } else { Vec::new() };
            self.check_region(&format!("{steps:x?}"), region, jumps, interpret, inputs.into_iter());
        }
    }
}

/// An environment, which is a plain one mostly, contents of registers, and an integer.
fn input<G: FloatGuest>(random: &mut Random) -> (usize, [[u64; 2]; 4], u64) {
    let environment = if random.below(4) == 0 { random.below(100) as usize } else { 0 };
    // Now and then all are ordinary.
    let ordinary = random.below(3) == 0;
    let register = |random: &mut Random| {
        let number = random.draw() as f64 / 1e19 + 0.125;
        let single = u64::from((number as f32).to_bits());
        match (ordinary, random.below(2), G::ALONE) {
            (false, ..) => operand(random, G::ALONE),
            (_, 0, true) => [BOX | single, 0],
            (_, _, true) => [number.to_bits(), 0],
            (_, 0, false) => [single | single << 32; 2],
            _ => [number.to_bits(); 2],
        }
    };
    let registers = [(); 4].map(|()| register(random));
    (environment, registers, random.draw() >> random.below(64))
}

/// Operations on four registers, and what moves numbers between them.
fn steps<G: FloatGuest>(random: &mut Random, length: usize) -> Vec<Step> {
    /// What moves numbers between operations.
    const MOVES: [VectorOp; 12] = [
        VectorOp::Copy,
        VectorOp::Movq,
        VectorOp::Movss,
        VectorOp::Movsd,
        VectorOp::Xor,
        VectorOp::Shufps,
        VectorOp::Shufpd,
        VectorOp::Pshufd,
        VectorOp::Punpckldq,
        VectorOp::Punpcklqdq,
        VectorOp::Movddup,
        VectorOp::Blendpd,
    ];
    const ALONE_MOVES: [VectorOp; 6] = [
        VectorOp::Copy,
        VectorOp::Box32,
        VectorOp::FmoveS,
        VectorOp::FnegS,
        VectorOp::FabsD,
        VectorOp::FnegD,
    ];
    let alone = G::ALONE;
    let moves: &[VectorOp] = if alone { &ALONE_MOVES } else { &MOVES };
    let floats: Vec<_> =
        VectorOp::ALL.iter().copied().filter(|op| op.is_float() && op.is_alone() == alone).collect();
    let inserts: Vec<_> =
        VectorInsert::ALL.iter().copied().filter(|op| op.is_float() && op.is_alone() == alone).collect();
    let extracts: Vec<_> =
        VectorExtract::ALL.iter().copied().filter(|op| op.is_float() && op.is_alone() == alone).collect();
    let register = |random: &mut Random| random.below(4) as u8;
    let step = |random: &mut Random| {
        let registers = [(); 3].map(|()| register(random));
        match random.below(10) {
            0 => Step::Insert(random.pick(&inserts), registers[0]),
            1 => Step::Extract(random.pick(&extracts), [registers[0], registers[1]]),
            2 | 3 => Step::Vector(random.pick(moves), random.draw() as u8, registers),
            _ => {
                let op = random.pick(&floats);
                let beyond = if op.names_third_pair() { 4 } else { 16 };
                Step::Vector(op, random.below(beyond) as u8, registers)
            }
        }
    };
    (0..length).map(|_| step(random)).collect()
}
