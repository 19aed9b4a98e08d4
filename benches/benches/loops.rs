//! Speed of both tiers on loops of both guests: nanoseconds per guest instruction are the time over the elements.

#![allow(missing_docs, reason = "criterion's macros write functions without")]

use c2w_conformance::{riscv64, x86_64};
use c2w_decoders::riscv64::asm::assemble;
use c2w_engine::guest::Guest;
use c2w_engine::machine::Machine;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Instructions a measurement runs.
const INSNS: u64 = 2_000_000;
/// Runs of a block before it is translated; `None`: the interpreter runs everything.
const TIERS: [(&str, Option<u32>); 2] = [("interpreter", None), ("native", Some(1))];

/// Measures a loop of a machine that `make` makes.
fn measure<G: Guest>(criterion: &mut Criterion, guest: &str, name: &str, make: impl Fn() -> Machine<G>) {
    for (tier, threshold) in TIERS {
        let mut group = criterion.benchmark_group(format!("{tier}_{guest}"));
        group.throughput(Throughput::Elements(INSNS));
        group.bench_function(name, |bencher| {
            let mut machine = make();
            if let Some(threshold) = threshold {
                assert!(machine.translate(threshold), "this host runs generated code");
            }
            bencher.iter(|| black_box(machine.run(INSNS)));
        });
        group.finish();
    }
}

fn loops(criterion: &mut Criterion) {
    for (name, text) in riscv64::loops::LOOPS {
        let image = assemble(text).expect("the loops assemble");
        measure(criterion, "riscv64", name, || riscv64::user_machine(&image));
    }
    for (name, insns) in x86_64::loops::LOOPS {
        measure(criterion, "x86_64", name, || x86_64::user_machine(&insns.concat()));
    }
}

criterion_group!(benches, loops);
criterion_main!(benches);
