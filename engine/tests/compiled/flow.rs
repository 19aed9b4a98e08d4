//! Regions of any flow do what the interpreter does with their blocks, up to where they leave.

use crate::builder::Builder;
use crate::expressions::numbers;
use crate::setup::{region, vcpu};
use crate::toy::{RAM, RAM_PAGES, Toy, UNDEFINED, machine, map};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_ir};
use c2w_engine::emit::Slot;
use c2w_engine::guest::{HelperId, Trap};
use c2w_engine::host::regions::{Compiler, Left, RegionHost};
use c2w_engine::ir::block::{Block, Op, Value};
use c2w_engine::ir::ops::{Amo, Binary, Cond, Unary};
use c2w_engine::ir::region::{Region, Way, Ways};
use c2w_engine::ir::vector::{VectorExtract, VectorInsert, VectorOp};
use c2w_engine::lower::links::Plan;
use proptest::prelude::*;
use proptest::sample::select;

/// Registers that instructions use.
const REGISTERS: u8 = 6;
/// Bytes of code from the start of one block to that of the next.
const BLOCK_BYTES: i64 = 0x80;

/// An instruction. Addresses are registers, most of them brought into RAM.
#[derive(Clone, Debug)]
enum Insn {
    Const(u8, u64),
    Binary(Binary, Width, u8, u8, u8),
    Sext(Width, u8, u8),
    Pc(u8),
    Load(Width, u8, At),
    Store(Width, At, u8),
    Modify(Width, At, u8),
    Check(At, u16),
    Amo(Amo, Width, u8, At, u8),
    CompareExchange(Width, u8, At, u8),
    LoadReserved(Width, u8, At),
    StoreConditional(Width, u8, At, u8),
    TrapIf(u8, u8),
    Walk(u8, i64),
    Vector(VectorOp, u8, [u8; 3]),
    VectorLoad(u8, u8, At),
    VectorStore(u8, At, u8),
    VectorInsert(VectorInsert, u8, u8, u8),
    VectorExtract(VectorExtract, u8, [u8; 2]),
    /// A helper that the run loop has to look after.
    Enable(u8),
    /// A helper with a result.
    Return(u8),
}

/// Pairs of registers that are vectors, and some beyond. Operations on them are in line or call out, as hosts have it.
const PAIRS: [u8; 5] = [0, 2, 4, 8, 10];
const VECTOR_OPS: [VectorOp; 8] = [
    VectorOp::Copy,
    VectorOp::Paddd,
    VectorOp::Xor,
    VectorOp::Shufps,
    VectorOp::Movsd,
    VectorOp::FnegS,
    VectorOp::Pmaddubsw,
    VectorOp::Pblendvb,
];

/// An address: a register, anywhere or in RAM.
#[derive(Clone, Copy, Debug)]
struct At {
    register: u8,
    anywhere: bool,
    aligned: bool,
}

/// How a block ends; numbers of blocks are taken modulo their number, one more leads out.
#[derive(Clone, Debug)]
enum End {
    One(usize),
    Branch(Cond, Width, u8, u8, usize, usize),
    Jump(u8),
    /// To where a block may begin, of which there may be none.
    JumpToBlock(u8),
    Trap,
}

fn insns() -> impl Strategy<Value = Insn> {
    let r = || 0..REGISTERS;
    let w = || select(&Width::ALL[..]);
    let pair = || select(&PAIRS[..]);
    let length = || select(&[4u8, 8, 16][..]);
    let at = || {
        (0..REGISTERS, prop::bool::weighted(0.03), prop::bool::weighted(0.7))
            .prop_map(|(register, anywhere, aligned)| At { register, anywhere, aligned })
    };
    prop_oneof![
        2 => (r(), numbers()).prop_map(|(a, n)| Insn::Const(a, n)),
        8 => (select(Binary::ALL), w(), r(), r(), r()).prop_map(|(op, w, d, a, b)| Insn::Binary(op, w, d, a, b)),
        2 => (w(), r(), r()).prop_map(|(w, d, a)| Insn::Sext(w, d, a)),
        1 => r().prop_map(Insn::Pc),
        4 => (w(), r(), at()).prop_map(|(w, d, at)| Insn::Load(w, d, at)),
        4 => (w(), at(), r()).prop_map(|(w, at, a)| Insn::Store(w, at, a)),
        1 => (w(), at(), r()).prop_map(|(w, at, a)| Insn::Modify(w, at, a)),
        1 => (at(), 0..100u16).prop_map(|(at, n)| Insn::Check(at, n)),
        2 => (select(Amo::ALL), w(), r(), at(), r()).prop_map(|(op, w, d, at, a)| Insn::Amo(op, w, d, at, a)),
        1 => (w(), r(), at(), r()).prop_map(|(w, d, at, a)| Insn::CompareExchange(w, d, at, a)),
        1 => (w(), r(), at()).prop_map(|(w, d, at)| Insn::LoadReserved(w, d, at)),
        1 => (w(), r(), at(), r()).prop_map(|(w, d, at, a)| Insn::StoreConditional(w, d, at, a)),
        4 => (select(&VECTOR_OPS[..]), any::<u8>(), [pair(), pair(), pair()])
            .prop_map(|(op, imm, pairs)| Insn::Vector(op, imm, pairs)),
        2 => (length(), pair(), at()).prop_map(|(length, to, at)| Insn::VectorLoad(length, to, at)),
        2 => (length(), at(), pair()).prop_map(|(length, at, from)| Insn::VectorStore(length, at, from)),
        2 => (select(&[VectorInsert::Movq, VectorInsert::Pinsrq, VectorInsert::Pinsrw][..]), any::<u8>(), pair(), r())
            .prop_map(|(op, imm, to, a)| Insn::VectorInsert(op, imm, to, a)),
        2 => (select(&[VectorExtract::Pmovmskb, VectorExtract::Ptest][..]), r(), [pair(), pair()])
            .prop_map(|(op, d, pairs)| Insn::VectorExtract(op, d, pairs)),
        1 => (r(), r()).prop_map(|(a, b)| Insn::TrapIf(a, b)),
        1 => r().prop_map(Insn::Enable),
        1 => r().prop_map(Insn::Return),
    ]
}

fn ends() -> impl Strategy<Value = End> {
    let r = || 0..REGISTERS;
    let to = || 0..64usize;
    prop_oneof![
        3 => to().prop_map(End::One),
        8 => (select(Cond::ALL), select(&Width::ALL[..]), r(), r(), to(), to())
            .prop_map(|(c, w, a, b, taken, next)| End::Branch(c, w, a, b, taken, next)),
        1 => r().prop_map(End::Jump),
        4 => r().prop_map(End::JumpToBlock),
        1 => Just(End::Trap),
    ]
}

fn get(to: &mut Builder, register: u8) -> Value {
    to.push(Op::Get(Slot(register)))
}

fn set(to: &mut Builder, register: u8, value: Value) {
    to.push(Op::Set { slot: Slot(register), value });
}

impl At {
    fn write(self, to: &mut Builder) -> Value {
        let w = Width::W64;
        let register = get(to, self.register);
        if self.anywhere {
            return register;
        }
        let mask = to.push(Op::Const(if self.aligned { 0x7ff8 } else { 0x7fff }));
        let a = to.push(Op::Binary { op: Binary::And, w, a: register, b: mask });
        let start = to.push(Op::Const(RAM + 0x4000));
        to.push(Op::Binary { op: Binary::Add, w, a, b: start })
    }
}

impl Insn {
    fn write(&self, to: &mut Builder) {
        to.insn();
        match *self {
            Insn::Const(a, number) => {
                let value = to.push(Op::Const(number));
                set(to, a, value);
            }
            Insn::Binary(op, w, d, a, b) => {
                let (a, b) = (get(to, a), get(to, b));
                let value = to.push(Op::Binary { op, w, a, b });
                set(to, d, value);
            }
            Insn::Sext(w, d, a) => {
                let a = get(to, a);
                let value = to.push(Op::Unary { op: Unary::Sext, w, a });
                set(to, d, value);
            }
            Insn::Pc(d) => {
                let value = to.push(Op::Pc);
                set(to, d, value);
            }
            Insn::Load(w, d, at) => {
                let addr = at.write(to);
                let value = to.push(Op::Load { w, addr });
                set(to, d, value);
            }
            Insn::Store(w, at, a) => {
                let (addr, value) = (at.write(to), get(to, a));
                to.push(Op::Store { w, addr, value });
            }
            Insn::Modify(w, at, a) => {
                let (addr, b) = (at.write(to), get(to, a));
                let a = to.push(Op::LoadToModify { w, addr });
                let value = to.push(Op::Binary { op: Binary::Sub, w, a, b });
                to.push(Op::Store { w, addr, value });
            }
            Insn::Check(at, len_bytes) => {
                let addr = at.write(to);
                to.push(Op::CheckCrossingWrite { addr, len_bytes });
            }
            Insn::Amo(op, w, d, at, a) => {
                let (addr, value) = (at.write(to), get(to, a));
                let old = to.push(Op::Amo { op, w, addr, value });
                set(to, d, old);
            }
            Insn::CompareExchange(w, d, at, a) => {
                let (addr, expected, new) = (at.write(to), get(to, d), get(to, a));
                let old = to.push(Op::CompareExchange { w, addr, expected, new });
                set(to, d, old);
            }
            Insn::LoadReserved(w, d, at) => {
                let addr = at.write(to);
                let value = to.push(Op::LoadReserved { w, addr });
                set(to, d, value);
            }
            Insn::StoreConditional(w, d, at, a) => {
                let (addr, value) = (at.write(to), get(to, a));
                let failed = to.push(Op::StoreConditional { w, addr, value });
                set(to, d, failed);
            }
            Insn::TrapIf(a, b) => {
                let (a, value) = (get(to, a), get(to, b));
                let seven = to.push(Op::Const(7));
                let cond = to.push(Op::Compare { cond: Cond::Eq, w: Width::W8, a, b: seven });
                to.push(Op::TrapIf { cond, cause: UNDEFINED, value });
            }
            Insn::Walk(a, step) => {
                let w = Width::W64;
                let (before, step) = (get(to, a), to.push(Op::Const(step as u64)));
                let value = to.push(Op::Binary { op: Binary::Add, w, a: before, b: step });
                set(to, a, value);
            }
            Insn::Vector(op, imm, pairs) => {
                let [to_pair, a, b] = pairs.map(Slot);
                to.push(Op::Vector { op, imm, to: to_pair, a, b });
            }
            Insn::VectorLoad(len_bytes, pair, at) => {
                let addr = at.write(to);
                to.push(Op::VectorLoad { len_bytes, to: Slot(pair), addr });
            }
            Insn::VectorStore(len_bytes, at, pair) => {
                let addr = at.write(to);
                to.push(Op::VectorStore { len_bytes, addr, from: Slot(pair) });
            }
            Insn::VectorInsert(op, imm, pair, a) => {
                let value = get(to, a);
                to.push(Op::VectorInsert { op, imm, to: Slot(pair), value });
            }
            Insn::VectorExtract(op, d, pairs) => {
                let [a, b] = pairs.map(Slot);
                let value = to.push(Op::VectorExtract { op, a, b });
                set(to, d, value);
            }
            Insn::Enable(a) => {
                let a = get(to, a);
                to.call(HelperId(2), &[a]);
            }
            Insn::Return(d) => {
                let value = to.call(HelperId(3), &[]);
                set(to, d, value);
            }
        }
    }
}

impl Builder {
    fn call(&mut self, id: HelperId, args: &[Value]) -> Value {
        let args = self.arguments(args);
        self.push(Op::Helper { id, args })
    }
}

fn build(program: &[(Vec<Insn>, End)]) -> Region {
    let count = program.len();
    let block = |(number, (insns, end)): (usize, &(Vec<Insn>, End))| {
        let start = number as i64 * BLOCK_BYTES;
        let mut to = Builder::default();
        insns.iter().for_each(|insn| insn.write(&mut to));
        let at = start + 4 * insns.len() as i64;
        let way = |to: usize| match to % (count + 2) {
            to if to < count => (Way::Block(to), to as i64 * BLOCK_BYTES),
            to if to == count => (Way::Out(0xf00), 0xf00),
            _ => (Way::Out(0x1f00), 0x1f00),
        };
        to.insn();
        let ways = match *end {
            End::One(target) => {
                let (way, target) = way(target);
                to.push(Op::JumpRelative { displacement: target - at });
                Ways::One(way)
            }
            End::Branch(cond, w, a, b, taken, next) => {
                let (a, b) = (get(&mut to, a), get(&mut to, b));
                let cond = to.push(Op::Compare { cond, w, a, b });
                let (taken, target) = way(taken);
                to.push(Op::BranchRelative { cond, displacement: target - at });
                Ways::Branch { taken, next: way(next).0 }
            }
            End::Jump(a) => {
                let target = get(&mut to, a);
                to.push(Op::Jump { target });
                Ways::Indirect
            }
            End::JumpToBlock(a) => {
                let a = get(&mut to, a);
                let w = Width::W64;
                let b = to.push(Op::Const(7 * BLOCK_BYTES as u64));
                let a = to.push(Op::Binary { op: Binary::And, w, a, b });
                let b = to.push(Op::Const(RAM));
                let target = to.push(Op::Binary { op: Binary::Add, w, a, b });
                to.push(Op::Jump { target });
                Ways::Indirect
            }
            End::Trap => {
                let value = to.push(Op::Pc);
                to.push(Op::Trap { cause: UNDEFINED, value });
                Ways::None
            }
        };
        (start, to.finish(), ways)
    };
    region(program.iter().enumerate().map(block).collect())
}

/// The first instructions of a block.
fn first(block: &Block, insns: u64) -> Block {
    let mut starts = block.ops.iter().enumerate().filter_map(|(at, op)| Some((at, op.insn_offset()?)));
    match starts.nth(insns as usize) {
        Some((at, offset)) => {
            Block { ops: block.ops[..at].to_vec(), args: block.args.clone(), len_bytes: offset }
        }
        None => block.clone(),
    }
}

/// Interprets a region, whose indirect jumps may lead to some of its blocks, until `insns` have retired, and then the next
/// instruction if it is to trap; the trap.
fn interpret(
    cpu: &mut Cpu<Toy>,
    (region, jumps): (&Region, &[usize]),
    insns: u64,
    traps: bool,
) -> Option<Trap> {
    let total = insns + u64::from(traps);
    let mut number = 0;
    let mut done = 0;
    loop {
        let block = &region.blocks[number];
        let pc = Gva(RAM.wrapping_add_signed(block.start));
        cpu.pc = pc;
        if done == total {
            return None;
        }
        let count = u64::from(block.insns).min(total - done);
        cpu.retired += count;
        let next = match run_ir(cpu, pc, &first(&block.block, count)) {
            BlockEnd::Next(next) => next,
            BlockEnd::Trapped { index, trap } => {
                assert!(traps && done + index as u64 == insns, "{trap:?} after {done} + {index} of {insns}");
                cpu.retired -= count - index as u64;
                cpu.pc = pc.offset(4 * index as u64);
                return Some(trap);
            }
            end => panic!("{end:?} after {done} of {insns} instructions"),
        };
        done += count;
        if count < u64::from(block.insns) {
            cpu.pc = next;
            return None;
        }
        let at = pc.offset(4 * (u64::from(block.insns) - 1));
        let way = match (block.ways, block.block.ops.last()) {
            (Ways::One(way), _) => way,
            (Ways::Branch { taken, .. }, Some(&Op::BranchRelative { displacement, .. }))
                if at.0.wrapping_add_signed(displacement) == next.0 =>
            {
                taken
            }
            (Ways::Branch { next, .. }, _) => next,
            _ => {
                let place = next.0.wrapping_sub(RAM) as i64;
                let inside = jumps.iter().find(|&&block| region.blocks[block].start == place);
                inside.map_or(Way::Out(place), |&block| Way::Block(block))
            }
        };
        match way {
            Way::Block(to) => number = to,
            Way::Out(offset) => {
                assert_eq!(done, total, "the region was left too late");
                cpu.pc = Gva(RAM.wrapping_add_signed(offset));
                return None;
            }
        }
    }
}

fn memory(cpu: &Cpu<Toy>) -> &[u8] {
    cpu.ram.slice(Gpa(RAM), RAM_PAGES * PAGE_BYTES).unwrap()
}

/// Registers that loops walk through memory with, those that they compute with, the one that counts turns down, and one that is
/// 0.
const WALKERS: [u8; 2] = [0, 1];
const OTHERS: [u8; 2] = [2, 5];
const TURNS: u8 = 3;
const ZERO: u8 = 4;

/// Instructions of a loop that walks through memory, which do not write what it walks with.
fn walks() -> impl Strategy<Value = Insn> {
    let w = || select(&Width::ALL[..]);
    let r = || select(&OTHERS[..]);
    let pair = || select(&[8u8, 10][..]);
    let length = || select(&[4u8, 8, 16][..]);
    let at = || select(&WALKERS[..]).prop_map(|register| At { register, anywhere: true, aligned: false });
    prop_oneof![
        4 => (w(), r(), at()).prop_map(|(w, d, at)| Insn::Load(w, d, at)),
        4 => (w(), at(), r()).prop_map(|(w, at, a)| Insn::Store(w, at, a)),
        1 => (w(), at(), r()).prop_map(|(w, at, a)| Insn::Modify(w, at, a)),
        2 => (length(), pair(), at()).prop_map(|(length, to, at)| Insn::VectorLoad(length, to, at)),
        2 => (length(), at(), pair()).prop_map(|(length, at, from)| Insn::VectorStore(length, at, from)),
        2 => (select(&VECTOR_OPS[..]), any::<u8>(), [pair(), pair(), pair()])
            .prop_map(|(op, imm, pairs)| Insn::Vector(op, imm, pairs)),
        2 => (select(Binary::ALL), w(), r(), r(), r()).prop_map(|(op, w, d, a, b)| Insn::Binary(op, w, d, a, b)),
        5 => (select(&WALKERS[..]), select(&[-24i64, -8, -1, 1, 8, 16, 40][..]))
            .prop_map(|(a, step)| Insn::Walk(a, step)),
    ]
}

/// Compiles a region and enters it with each budget in turn: it leaves what the interpreter does. `pages` are those of RAM in the
/// order in which they are mapped, if they are.
fn check(
    region: &Region,
    jumps: Vec<usize>,
    pages: &[u64],
    registers: [u64; REGISTERS as usize],
    budgets: Vec<u64>,
) -> Result<(), TestCaseError> {
    let (mut cpu, mut host) = vcpu(RAM_PAGES * PAGE_BYTES);
    let mut reference = machine(&[]).cpu;
    let image = memory(&reference).to_vec();
    cpu.ram.write(Gpa(RAM), &image).unwrap();
    for cpu in [&mut cpu, &mut reference] {
        cpu.slots[..registers.len()].copy_from_slice(&registers);
        cpu.guest.trap_pc = 0x0123_4567;
        let first = RAM / PAGE_BYTES;
        pages.iter().zip(first..).for_each(|(page, at)| map(cpu, at, first + page));
    }
    let plan = Plan { jumps: jumps.clone(), ..host.plan(region, 0).unwrap() };
    let code = host.install(&host.compiler().compile(region, plan).unwrap()).unwrap();
    for budget in budgets {
        cpu.pc = Gva(RAM);
        let before = cpu.retired;
        let left = host.enter(&mut cpu, code, budget).unwrap();
        let retired = cpu.retired - before;
        // Only heads of loops look; blocks in between are run to the next.
        prop_assert!(retired <= budget + region.insns());
        let trap = interpret(&mut reference, (region, &jumps), retired, matches!(left, Left::Trapped(_)));
        match left {
            Left::Trapped(got) => prop_assert_eq!(trap, Some(got)),
            Left::Countdown | Left::Jump | Left::Unlinked(_) | Left::Interpret => prop_assert_eq!(trap, None),
        }
        prop_assert_eq!(cpu.pc, reference.pc, "{:?}", left);
        prop_assert_eq!(cpu.retired, reference.retired);
        prop_assert_eq!(&cpu.slots[..12], &reference.slots[..12], "{:?}", left);
        prop_assert!(memory(&cpu) == memory(&reference));
        prop_assert_eq!(cpu.reservation, reference.reservation);
        prop_assert_eq!(&cpu.guest, &reference.guest);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn regions_do_what_the_interpreter_does(
        program in prop::collection::vec((prop::collection::vec(insns(), 0..8), ends()), 1..10),
        registers in prop::array::uniform6(numbers()),
        jumps in prop::collection::vec(prop::bool::weighted(0.7), 10),
        budgets in prop::collection::vec(0..400u64, 1..4),
    ) {
        let region = build(&program);
        let jumps = (0..region.blocks.len()).filter(|&block| jumps[block]).collect();
        check(&region, jumps, &[], registers, budgets)?;
    }

    #[test]
    fn loops_that_walk_through_memory_do_what_the_interpreter_does(
        mut insns in prop::collection::vec(walks(), 1..10),
        starts in prop::array::uniform2(RAM..RAM + RAM_PAGES * PAGE_BYTES),
        others in prop::array::uniform2(numbers()),
        turns in 1..3000u64,
        pages in Just((0..RAM_PAGES).collect::<Vec<_>>()).prop_shuffle(),
        budgets in prop::collection::vec(0..20_000u64, 1..4),
    ) {
        insns.push(Insn::Walk(TURNS, -1));
        let region = build(&[(insns, End::Branch(Cond::Ne, Width::W64, TURNS, ZERO, 0, 1))]);
        check(&region, Vec::new(), &pages, [starts[0], starts[1], others[0], turns, 0, others[1]], budgets)?;
    }
}
