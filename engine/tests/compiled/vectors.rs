//! Every operation on vectors, but those on floating-point numbers, means what `ir::vector` says.

use crate::builder::Builder;
use crate::setup::{region, vcpu};
use crate::toy::RAM;
use c2w_engine::addr::{Gpa, Gva, Width};
use c2w_engine::emit::Slot;
use c2w_engine::host::regions::{Left, RegionHost};
use c2w_engine::ir::block::Op;
use c2w_engine::ir::region::{Way, Ways};
use c2w_engine::ir::vector::{self, Vector, VectorExtract, VectorInsert, VectorOp};

/// Pairs of slots that hold the operands.
const A: Slot = Slot(8);
const B: Slot = Slot(10);
const TO: Slot = Slot(12);
/// Where results that are numbers go, as the pair of a vector does.
const NUMBER: Slot = Slot(14);
/// Immediates that select, shift and reach beyond.
const IMMEDIATES: &[u8] = &[0, 1, 7, 8, 0x1b, 15, 16, 0x1f, 33, 63, 64, 0x93, 0xe4, 0xff];

/// Numbers that differ in every lane, and the ends of every lane's range.
fn operands() -> Vec<Vector> {
    let mut state = 0x0123_4567_89ab_cdef_u64;
    let mut draw = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state ^ state >> 29
    };
    let mut all = vec![
        [0, 0],
        [u64::MAX, u64::MAX],
        [0x8000_8000_8000_8000, 0x7fff_7fff_7fff_7fff],
        [0x8080_8080_7f7f_7f7f, 0x8000_0000_7fff_ffff],
        [1 << 63, (1 << 63) - 1],
        [0x0706_0504_0302_0100, 0x8f0e_0d0c_7b0a_0908],
    ];
    all.extend((0..10).map(|_| [draw(), draw()]));
    all
}

/// Runs an operation on every pair of operands, `TO` being a copy of one before it, and gives what it left there and in
/// `NUMBER` to `check` with the operands.
fn on_all(what: &str, op: impl Fn(&mut Builder) -> Op, check: impl Fn(Vector, Vector, Vector, u64)) {
    let (mut cpu, mut host) = vcpu(1 << 16);
    let mut builder = Builder::default();
    builder.insn();
    // The operand is in a local only, and the result is read again.
    let low = builder.push(Op::Get(A));
    builder.push(Op::Set { slot: A, value: low });
    let before = builder.push(Op::Get(TO));
    let op = op(&mut builder);
    let value = builder.push(op);
    if op.result().is_some() {
        builder.push(Op::Set { slot: NUMBER, value });
    }
    builder.insn();
    let after = builder.push(Op::Get(TO));
    builder.push(Op::Set { slot: Slot(1), value: after });
    builder.push(Op::Set { slot: Slot(2), value: before });
    let code = host
        .compile(&region(vec![(0, builder.finish(), Ways::One(Way::Out(8)))]), 0)
        .expect("regions are valid");
    for a in operands() {
        for b in operands() {
            let to = [a[1], b[0]];
            for (slot, value) in [(A, a), (B, b), (TO, to)] {
                cpu.set_vector(slot, value);
            }
            cpu.pc = Gva(RAM);
            let left = host.enter(&mut cpu, code, 100).unwrap();
            assert!(matches!(left, Left::Unlinked(_)), "{what}: {left:?}");
            assert_eq!((cpu.slots[1], cpu.slots[2]), (cpu.vector(TO)[0], to[0]), "{what}: slots follow");
            check(a, b, cpu.vector(TO), cpu.slots[usize::from(NUMBER.0)]);
        }
    }
}

#[test]
fn operations_on_vectors() {
    for &op in VectorOp::ALL.iter().filter(|op| !op.is_float()) {
        for &imm in IMMEDIATES {
            let what = format!("{} {imm}", op.name());
            on_all(
                &what,
                |_| Op::Vector { op, imm, to: TO, a: A, b: B },
                |a, b, got, _| {
                    let want = vector::vector(op, imm, [a[1], b[0]], a, b);
                    assert_eq!(got, want, "{what} of {a:x?} and {b:x?}: {got:x?}, not {want:x?}");
                },
            );
        }
    }
}

#[test]
fn operations_between_vectors_and_numbers() {
    for &op in VectorInsert::ALL.iter().filter(|op| !op.is_float()) {
        for &imm in IMMEDIATES {
            on_all(
                op.name(),
                |builder| {
                    let value = builder.push(Op::Get(B));
                    Op::VectorInsert { op, imm, to: TO, value }
                },
                |a, b, got, _| {
                    let want = vector::vector_insert(op, imm, [a[1], b[0]], b[0]);
                    assert_eq!(got, want, "{} {imm} of {b:x?}", op.name());
                },
            );
        }
    }
    for &op in VectorExtract::ALL.iter().filter(|op| !op.is_float()) {
        on_all(
            op.name(),
            |_| Op::VectorExtract { op, a: A, b: B },
            |a, b, _, got| {
                assert_eq!(got, vector::vector_extract(op, a, b), "{} of {a:x?} and {b:x?}", op.name())
            },
        );
    }
}

#[test]
fn vectors_in_memory() {
    const PAGE: u64 = 0x1000;
    let (mut cpu, mut host) = vcpu(1 << 16);
    for len_bytes in [4, 8, 16] {
        let mut builder = Builder::default();
        builder.insn();
        let from = builder.push(Op::Get(Slot(0)));
        builder.push(Op::VectorLoad { len_bytes, to: TO, addr: from });
        builder.insn();
        let to = builder.push(Op::Get(Slot(1)));
        builder.push(Op::VectorStore { len_bytes, addr: to, from: TO });
        let blocks = vec![(0, builder.finish(), Ways::One(Way::Out(8)))];
        let code = host.compile(&region(blocks), 0).expect("regions are valid");
        // Inside of pages, up to their ends, and across them, which the host does.
        for distance in [0, 3, PAGE - 16, PAGE - 8, PAGE - 7, PAGE - 4, PAGE - 1] {
            let (from, to) = (RAM + 2 * PAGE + distance, RAM + 5 * PAGE + distance);
            let bytes: [u8; 16] = std::array::from_fn(|at| 0x81 + at as u8 * 3 + len_bytes);
            cpu.ram.write(Gpa(from), &bytes).unwrap();
            cpu.ram.write(Gpa(to), &[0; 16]).unwrap();
            // The second time the translations are known.
            for _ in 0..2 {
                (cpu.slots[0], cpu.slots[1]) = (from, to);
                cpu.set_vector(TO, [u64::MAX; 2]);
                cpu.pc = Gva(RAM);
                let left = host.enter(&mut cpu, code, 100).unwrap();
                assert!(matches!(left, Left::Unlinked(_)), "{left:?}");
                let mut want = [0; 16];
                want[..usize::from(len_bytes)].copy_from_slice(&bytes[..usize::from(len_bytes)]);
                assert_eq!(cpu.ram.slice(Gpa(to), 16).unwrap(), want, "{len_bytes} bytes at {distance:#x}");
                let [low, high] = cpu.vector(TO);
                assert_eq!((u128::from(high) << 64 | u128::from(low)).to_le_bytes(), want);
                assert_eq!(cpu.load(Gva(to), Width::W8).unwrap(), u64::from(want[0]));
            }
        }
    }
}
