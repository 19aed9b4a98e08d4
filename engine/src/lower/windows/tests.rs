//! Which loops have windows, and which they are.

use super::*;
use crate::addr::Width::{self, W64};
use crate::emit::Slot;
use crate::ir::block::Block;
use crate::ir::ops::Cond;

const A: Slot = Slot(4);
const B: Slot = Slot(5);

/// A loop over operations behind its first instruction, that goes around while the first value is not 0.
fn region(ops: &[Op]) -> Region {
    let first = [Op::Insn { offset: 0, len_bytes: 4 }, Op::Get(A), Op::Get(B)];
    let last = Op::BranchRelative { cond: Value(1), displacement: 0 };
    let ops = first.into_iter().chain(ops.iter().copied()).chain([last]).collect();
    let block = Block { ops, args: Vec::new(), len_bytes: 4 };
    let ways = Ways::Branch { taken: Way::Block(0), next: Way::Out(4) };
    Region { blocks: vec![RegionBlock { block, start: 0, insns: 1, weight: 256, ways }] }
}

/// Address, length, writes and step of a window.
type Shown = (i64, i64, bool, i64);

/// The windows of a loop, and what is void.
fn windows(ops: &[Op]) -> Option<(Vec<Shown>, Vec<usize>)> {
    let region = region(ops);
    let mut windows = Windows::default();
    windows.find(&region, 0, &|_| false).then(|| {
        let list = windows.list.iter();
        let list = list.map(|window| (window.address.number, window.len_bytes, window.writes, window.step));
        let void = (0..region.blocks[0].block.ops.len()).filter(|&at| windows.is_void(at));
        (list.collect(), void.collect())
    })
}

fn add(a: u32, b: u32) -> Op {
    Op::Binary { op: Binary::Add, w: W64, a: Value(a), b: Value(b) }
}

fn load(addr: u32) -> Op {
    Op::Load { w: W64, addr: Value(addr) }
}

fn set(slot: Slot, value: u32) -> Op {
    Op::Set { slot, value: Value(value) }
}

// The first operation has number 3; 1 and 2 are what the slots held before.

#[test]
fn accesses_that_keep_their_distance_are_one_window() {
    // [a + 8] and, behind a += 16, [a - 24] to be written; [b], which stays.
    let ops = [
        Op::Const(8),
        add(1, 3),
        load(4),
        Op::Const(16),
        add(1, 6),
        set(A, 7),
        Op::Const(24),
        Op::Binary { op: Binary::Sub, w: W64, a: Value(7), b: Value(9) },
        Op::Store { w: Width::W32, addr: Value(10), value: Value(5) },
        load(2),
    ];
    assert_eq!(windows(&ops), Some((vec![(-8, 24, true, 16), (0, 8, false, 0)], vec![])));
}

#[test]
fn sums_of_slots_move_by_what_each_does() {
    // [a + 8 * b] with a -= 4 and b += 1.
    let ops = [
        Op::Const(3),
        Op::Binary { op: Binary::Shl, w: W64, a: Value(2), b: Value(3) },
        add(4, 1),
        load(5),
        Op::Const(-4i64 as u64),
        add(1, 7),
        set(A, 8),
        Op::Const(1),
        add(10, 2),
        set(B, 11),
    ];
    assert_eq!(windows(&ops), Some((vec![(0, 8, false, 4)], vec![])));
}

#[test]
fn what_moves_otherwise_or_too_far_has_no_windows() {
    let cases: [(&str, &[Op]); 6] = [
        ("nothing is accessed", &[]),
        ("by a slot", &[load(1), add(1, 2), set(A, 4)]),
        ("by what was loaded", &[load(1), set(A, 3)]),
        ("to what is no sum", &[Op::Unary { op: crate::emit::Unary::Popcnt, w: W64, a: Value(1) }, load(3)]),
        ("too far", &[load(1), Op::Const(STEP as u64 + 1), add(1, 4), set(A, 5)]),
        ("beside an access of another kind", &[load(1), Op::LoadReserved { w: W64, addr: Value(1) }]),
    ];
    for (name, ops) in cases {
        assert_eq!(windows(ops), None, "{name}");
    }
    let stays = [load(1), Op::Const(STEP as u64), add(1, 4), set(A, 5)];
    assert!(windows(&stays).is_some());
}

#[test]
fn a_trap_of_low_bits_that_stay_does_not_occur_again() {
    let trap = |step| {
        let ops = [
            Op::Const(15),
            Op::Binary { op: Binary::And, w: W64, a: Value(1), b: Value(3) },
            Op::TrapIf { cond: Value(4), cause: crate::guest::TrapCause(13), value: Value(3) },
            load(1),
            Op::Const(step),
            add(1, 7),
            set(A, 8),
        ];
        windows(&ops).expect("it has a window").1
    };
    assert_eq!(trap(32), [5]);
    assert_eq!(trap(-16i64 as u64), [5]);
    assert!(trap(8).is_empty());
    // A trap that any other condition has may occur.
    let ops = [Op::Compare { cond: Cond::Eq, w: W64, a: Value(1), b: Value(2) }, load(1)];
    let ops =
        [&ops[..], &[Op::TrapIf { cond: Value(3), cause: crate::guest::TrapCause(13), value: Value(1) }]];
    assert_eq!(windows(&ops.concat()), Some((vec![(0, 8, false, 0)], vec![])));
}
