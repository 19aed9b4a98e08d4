//! The module of a region that says every operation, run by the dispatcher's in Node.js: the bytes that run natively run in a
//! browser's engine, too, and mean the same there.

#[path = "../../../engine/tests/compiled/builder.rs"]
#[allow(dead_code, reason = "shared with the engine's tests")]
mod builder;
#[path = "../../../engine/tests/compiled/expressions.rs"]
mod expressions;

use builder::Builder;
use c2w_conformance::riscv64::wasm_host;
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_decoders::riscv64::guest::Riscv64;
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, Width};
use c2w_engine::guest::Guest;
use c2w_engine::host::regions::{Left, RegionHost};
use c2w_engine::ir::block::Op;
use c2w_engine::ir::region::{Region, RegionBlock, Way, Ways};
use c2w_engine::lower::calls::{CallOut, unlinked};
use c2w_engine::lower::links::{Plan, links};
use c2w_engine::lower::wasm::abi::{ENTRY, LINKS, MEMORY, MODULE, TABLE};
use c2w_engine::lower::wasm::{Target, dispatcher, lower};
use c2w_packer::cache::Cache;
use c2w_packer::toolchain::node;
use expressions::{edges, every_operation, expressions, numbers};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::process::Command;

/// Where results are stored.
const RESULTS: u64 = RAM_BASE.0 + PAGE_BYTES;

fn storing(all: &[expressions::Expression]) -> Region {
    let chunks: Vec<_> = all.chunks(10).collect();
    let block = |(number, chunk): (usize, &&[expressions::Expression])| {
        let mut to = Builder::default();
        for (i, expression) in chunk.iter().enumerate() {
            to.insn();
            let value = expression.write(&mut to);
            let addr = to.push(Op::Const(RESULTS + 8 * (10 * number + i) as u64));
            to.push(Op::Store { w: Width::W64, addr, value });
        }
        let way = if number + 1 < chunks.len() { Way::Block(number + 1) } else { Way::Out(4) };
        RegionBlock {
            block: to.finish(),
            start: 0,
            insns: chunk.len() as u32,
            weight: 1,
            ways: Ways::One(way),
        }
    };
    Region { blocks: chunks.iter().enumerate().map(block).collect() }
}

#[test]
fn every_operation_means_the_same_in_node() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut all = every_operation();
    let strategy = expressions();
    all.extend((0..400).map(|_| strategy.new_tree(&mut runner).expect("expressions exist").current()));
    let region = storing(&all);
    let (mut cpu, mut host, layout) = wasm_host(16 * PAGE_BYTES);
    // A run warms the TLB, so that none in Node.js calls out; another calls out for nothing and leaves the countdown.
    let code = host.compile(&region, cpu.data_context()).unwrap();
    for _ in 0..2 {
        cpu.pc = Gva(RAM_BASE.0);
        assert!(matches!(host.enter(&mut cpu, code, 1 << 40).unwrap(), Left::Unlinked(_)));
    }

    let target = Target { layout, helpers: Riscv64::HELPERS, float_environment: Riscv64::FLOAT_ENVIRONMENT };
    let plan = Plan {
        data_context: cpu.data_context(),
        links: links(&region),
        first_link: 0,
        jumps: Vec::new(),
        is_brief: false,
    };
    let module = lower(&region, &target, &plan);
    let edges = edges();
    let mut operands: Vec<[u64; 3]> =
        edges.iter().flat_map(|&a| edges.iter().map(move |&b| [a, b, a ^ b])).collect();
    let three = [numbers().boxed(), numbers().boxed(), numbers().boxed()];
    operands.extend((0..200).map(|_| three.new_tree(&mut runner).expect("numbers exist").current()));

    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| scratch.path().join(name);
    fs::write(file("module"), module).unwrap();
    fs::write(file("dispatcher"), dispatcher::dispatcher(&layout)).unwrap();
    fs::write(file("memory"), host.image(&cpu)).unwrap();
    let bytes: Vec<u8> = operands.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    fs::write(file("operands"), bytes).unwrap();
    fs::write(file("run.mjs"), include_str!("run.mjs")).unwrap();
    let results = cpu.ram.host_page(c2w_engine::addr::Page::of(Gpa(RESULTS))) as u32;
    let calls: Vec<&str> = CallOut::ALL.iter().map(|call| call.name()).collect();
    let node = node(&Cache::of_user().unwrap()).unwrap();
    let status = Command::new(node)
        .arg(file("run.mjs"))
        .args([MODULE, MEMORY, TABLE, ENTRY, LINKS, &calls.join(",")])
        .args([layout.vcpu, layout.links, results, 8 * all.len() as u32].map(|number| number.to_string()))
        .arg(unlinked(0).to_string())
        .current_dir(scratch.path())
        .status()
        .unwrap();
    assert!(status.success(), "node: {status}");

    let got = fs::read(file("results")).unwrap();
    assert_eq!(got.len(), 8 * all.len() * operands.len());
    let mut got = got.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    for slots in &operands {
        for expression in &all {
            let (got, want) = (got.next().unwrap(), expression.value(slots));
            assert_eq!(got, want, "{expression:?} of {slots:#x?}: {got:#x}, not {want:#x}");
        }
    }
}
