//! Every operation means what `ir::eval` says.

use crate::builder::Builder;
use crate::expressions::{Expression, edges, every_operation, expressions, numbers};
use crate::setup::{region, vcpu};
use crate::toy::RAM;
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::host::regions::{Left, RegionHost};
use c2w_engine::ir::block::Op;
use c2w_engine::ir::region::{Region, Way, Ways};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

/// Where results are stored.
const RESULTS: u64 = RAM + 0x1000;

/// A region that stores the value of each expression: some in a block, from block to block.
fn storing(expressions: &[Expression]) -> Region {
    let chunks: Vec<_> = expressions.chunks(10).collect();
    let mut blocks = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let mut builder = Builder::default();
        for (i, expression) in chunk.iter().enumerate() {
            builder.insn();
            let value = expression.write(&mut builder);
            let addr = builder.push(Op::Const(RESULTS + 8 * (10 * number + i) as u64));
            builder.push(Op::Store { w: Width::W64, addr, value });
        }
        let way = if number + 1 < chunks.len() { Way::Block(number + 1) } else { Way::Out(4) };
        blocks.push((0, builder.finish(), Ways::One(way)));
    }
    region(blocks)
}

#[test]
fn every_operation_means_what_eval_says() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut all = every_operation();
    let strategy = expressions();
    all.extend((0..600).map(|_| strategy.new_tree(&mut runner).expect("expressions exist").current()));
    let (mut cpu, mut host) = vcpu(1 << 20);
    let code = host.compile(&storing(&all), 0).unwrap();
    let edges = edges();
    let mut operands: Vec<[u64; 3]> =
        edges.iter().flat_map(|&a| edges.iter().map(move |&b| [a, b, a ^ b])).collect();
    let numbers = [numbers().boxed(), numbers().boxed(), numbers().boxed()];
    operands.extend((0..500).map(|_| numbers.new_tree(&mut runner).expect("numbers exist").current()));
    for slots in operands {
        cpu.slots[..3].copy_from_slice(&slots);
        cpu.pc = c2w_engine::addr::Gva(RAM);
        let left = host.enter(&mut cpu, code, 1 << 20).unwrap();
        assert!(matches!(left, Left::Unlinked(_)), "{left:?}");
        assert_eq!(cpu.pc.0, RAM + 4);
        for (i, expression) in all.iter().enumerate() {
            let got = cpu.ram.read_u64(Gpa(RESULTS + 8 * i as u64)).unwrap();
            let want = expression.value(&slots);
            assert_eq!(got, want, "{expression:?} of {slots:#x?}: {got:#x}, not {want:#x}");
        }
    }
}
