//! Expressions over every operation: their meaning by `eval`, and as IR.

use crate::builder::Builder;
use c2w_engine::addr::Width;
use c2w_engine::emit::Slot;
use c2w_engine::ir::block::{Op, Value};
use c2w_engine::ir::eval;
use c2w_engine::ir::ops::{Binary, Cond, Unary};
use proptest::prelude::*;
use proptest::sample::select;

/// An expression over the slots 0, 1 and 2.
#[derive(Clone, Debug)]
pub enum Expression {
    Const(u64),
    Slot(u8),
    Binary(Binary, Width, Box<Expression>, Box<Expression>),
    Unary(Unary, Width, Box<Expression>),
    Compare(Cond, Width, Box<Expression>, Box<Expression>),
    Select(Box<Expression>, Box<Expression>, Box<Expression>),
}

use Expression as E;

impl Expression {
    pub fn value(&self, slots: &[u64; 3]) -> u64 {
        let value = |e: &E| e.value(slots);
        match self {
            E::Const(number) => *number,
            E::Slot(slot) => slots[usize::from(*slot)],
            E::Binary(op, w, a, b) => eval::binary(*op, *w, value(a), value(b)),
            E::Unary(op, w, a) => eval::unary(*op, *w, value(a)),
            E::Compare(cond, w, a, b) => u64::from(eval::compare(*cond, *w, value(a), value(b))),
            E::Select(cond, a, b) => value(if value(cond) != 0 { a } else { b }),
        }
    }

    pub fn write(&self, to: &mut Builder) -> Value {
        let op = match self {
            E::Const(number) => Op::Const(*number),
            E::Slot(slot) => Op::Get(Slot(*slot)),
            E::Binary(op, w, a, b) => Op::Binary { op: *op, w: *w, a: a.write(to), b: b.write(to) },
            E::Unary(op, w, a) => Op::Unary { op: *op, w: *w, a: a.write(to) },
            E::Compare(cond, w, a, b) => Op::Compare { cond: *cond, w: *w, a: a.write(to), b: b.write(to) },
            E::Select(cond, a, b) => Op::Select { cond: cond.write(to), a: a.write(to), b: b.write(to) },
        };
        to.push(op)
    }
}

fn widths() -> impl Strategy<Value = Width> {
    select(&Width::ALL[..])
}

/// Numbers at the edges of all widths.
pub fn edges() -> Vec<u64> {
    let mut edges = vec![0, 1, 2, 3, 7, 8, 31, 63, 0x0123_4567_89ab_cdef, 0x5555_5555_5555_5555];
    for bits in [8, 16, 32, 64] {
        let (sign, all) = (1u64 << (bits - 1), u64::MAX >> (64 - bits));
        edges.extend([sign, sign - 1, sign + 1, all, all - 1, all.wrapping_add(1), !(sign - 1)]);
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Any number, often one at an edge.
pub fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), select(edges()), any::<u8>().prop_map(u64::from)]
}

/// Any expression.
pub fn expressions() -> impl Strategy<Value = Expression> {
    let leaf =
        prop_oneof![numbers().prop_map(E::Const), (0..3u8).prop_map(E::Slot), (0..3u8).prop_map(E::Slot)];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            4 => (select(Binary::ALL), widths(), boxed(), boxed()).prop_map(|(op, w, a, b)| E::Binary(op, w, a, b)),
            2 => (select(Unary::ALL), widths(), boxed()).prop_map(|(op, w, a)| E::Unary(op, w, a)),
            1 => (select(Cond::ALL), widths(), boxed(), boxed()).prop_map(|(c, w, a, b)| E::Compare(c, w, a, b)),
            1 => (boxed(), boxed(), boxed()).prop_map(|(c, a, b)| E::Select(c, a, b)),
        ]
    })
}

/// Every operation at every width, on the slots.
pub fn every_operation() -> Vec<Expression> {
    let slot = |slot| Box::new(E::Slot(slot));
    let mut all = Vec::new();
    for w in Width::ALL {
        all.extend(Binary::ALL.iter().map(|&op| E::Binary(op, w, slot(0), slot(1))));
        all.extend(Unary::ALL.iter().map(|&op| E::Unary(op, w, slot(0))));
        all.extend(Cond::ALL.iter().map(|&cond| E::Compare(cond, w, slot(0), slot(1))));
    }
    all.push(E::Select(slot(0), slot(1), slot(2)));
    // Where they are conditions or narrow operands they are computed otherwise.
    for w in Width::ALL {
        for at in 0..all.len().min(33 * 4) {
            let whole = Box::new(all[at].clone());
            all.push(match w {
                Width::W8 => E::Select(whole, slot(1), slot(2)),
                w => E::Unary(if at % 2 == 0 { Unary::Sext } else { Unary::Zext }, w, whole),
            });
        }
    }
    all
}
