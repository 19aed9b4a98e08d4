//! Regions that are compiled together.

use crate::builder::Builder;
use crate::setup::{region, vcpu};
use crate::toy::RAM;
use c2w_engine::addr::{Gva, PAGE_BYTES, Width};
use c2w_engine::emit::Slot;
use c2w_engine::host::regions::{CodeId, Compiler, Left, RegionHost};
use c2w_engine::ir::block::Op;
use c2w_engine::ir::ops::Binary;
use c2w_engine::ir::region::{Region, Way, Ways};

/// Multiplies slot 0 by 3 as polynomials, adds a number and leaves to `to` in the page.
fn adding(number: u64, start: i64, to: i64) -> Region {
    let mut builder = Builder::default();
    builder.insn();
    let a = builder.push(Op::Get(Slot(0)));
    let b = builder.push(Op::Const(3));
    let a = builder.push(Op::Binary { op: Binary::ClMul, w: Width::W64, a, b });
    let b = builder.push(Op::Const(number));
    let value = builder.push(Op::Binary { op: Binary::Add, w: Width::W64, a, b });
    builder.push(Op::Set { slot: Slot(0), value });
    region(vec![(start, builder.finish(), Ways::One(Way::Out(to)))])
}

/// What [`adding`] makes of a number.
fn added(to: u64, number: u64) -> u64 {
    (to ^ to << 1) + number
}

#[test]
fn each_of_a_module_s_regions_has_its_own_links() {
    let (mut cpu, mut host) = vcpu(4 * PAGE_BYTES);
    // Something is before it, so that neither its regions nor its cells are the first.
    host.compile(&adding(9, 0x10, 0), 0).unwrap();
    let numbers = [1, 10, 100];
    let places = [0, 0x100, 0x200];
    let regions = [0, 1, 2].map(|n| {
        let region = adding(numbers[n], places[n], places[(n + 1) % 3]);
        let plan = host.plan(&region, 0).unwrap();
        (region, plan)
    });
    let compiled = host.compiler().compile_quickly(regions.into()).unwrap();
    let CodeId(first) = host.install(&compiled).unwrap();
    let code = [0, 1, 2].map(|n| CodeId(first + n));
    let mut want = 1;
    cpu.slots[0] = want;
    let mut cells = Vec::new();
    for n in 0..3 {
        cpu.pc = Gva(RAM + places[n] as u64);
        let Left::Unlinked(cell) = host.enter(&mut cpu, code[n], 100).unwrap() else { panic!("{n}") };
        want = added(want, numbers[n]);
        assert_eq!((cpu.slots[0], cpu.pc.0), (want, RAM + places[(n + 1) % 3] as u64), "{n}");
        cells.push(cell);
    }
    cells.iter().zip([1, 2, 0]).for_each(|(&cell, to)| host.link(cell, code[to]));
    let retired = cpu.retired;
    cpu.pc = Gva(RAM);
    assert_eq!(host.enter(&mut cpu, code[0], 6).unwrap(), Left::Countdown);
    want = [0, 1, 2, 0, 1, 2].into_iter().fold(want, |want, n| added(want, numbers[n]));
    assert_eq!((cpu.slots[0], cpu.retired - retired), (want, 6));
    host.unlink(code[1]);
    assert_eq!(host.enter(&mut cpu, code[0], 6).unwrap(), Left::Unlinked(cells[0]));
}
