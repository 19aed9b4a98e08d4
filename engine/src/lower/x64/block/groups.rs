//! Accesses that share one look at the TLB: those of a block whose addresses differ by what is known.
//!
//! The first of a group asks for the page of all of them at once, for the kind of access that all of them need, and keeps
//! how far the host's memory is from the guest's. The others take it from there. Where that is not known, because they lie in
//! two pages, because the TLB has not that page, or because the run loop has been called in between, each looks by itself.

use super::{Emitter, Scratch};
use crate::addr::Width::W64;
use crate::emit::Binary;
use crate::ir::block::{Block, Op, Value};
use crate::lower::x64::cold::{KEPT, Kept};

/// Most bytes from the first to the last of a group: the more, the likelier they lie in two pages.
const REACH: i64 = 256;
/// How many sums an address is followed through.
const DEPTH: usize = 8;
/// No group.
const ALONE: u16 = u16::MAX;

/// What the addresses of a group start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Value(Value),
    /// The code itself.
    Code,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    root: Root,
    /// Of the bytes, from the root.
    first: i64,
    end: i64,
    writes: bool,
    /// The operation that looks, and how far from the root it does.
    leader: u32,
    offset: i64,
    last: u32,
    /// Where the distance is.
    pub kept: Kept,
}

/// How an access comes to its distance.
#[derive(Clone, Copy, Debug)]
pub(in crate::lower::x64) enum Share {
    /// By itself.
    None,
    /// It looks for its group: from so far to so far behind its own address, to write if so.
    First { from: i32, to: i32, writes: bool, keep: Kept },
    /// It is kept.
    Next(Kept),
}

/// Groups of a block.
#[derive(Default)]
pub(super) struct Groups {
    /// For each operation the number of its group.
    of: Vec<u16>,
    list: Vec<Group>,
}

impl Groups {
    /// Leaves all accesses to themselves.
    pub fn find_none(&mut self, block: &Block) {
        self.list.clear();
        self.of.clear();
        self.of.resize(block.ops.len(), ALONE);
    }

    pub fn find(&mut self, block: &Block) {
        self.find_none(block);
        let mut open = 0;
        for (at, op) in block.ops.iter().enumerate() {
            let (addr, len_bytes, writes) = match *op {
                Op::Load { w, addr } => (addr, w.bytes(), false),
                Op::LoadToModify { w, addr } | Op::Store { w, addr, .. } => (addr, w.bytes(), true),
                Op::VectorLoad { len_bytes, addr, .. } => (addr, len_bytes.into(), false),
                Op::VectorStore { len_bytes, addr, .. } => (addr, len_bytes.into(), true),
                // The run loop may do anything to memory.
                Op::Helper { .. }
                | Op::LookIf { .. }
                | Op::Amo { .. }
                | Op::CompareExchange { .. }
                | Op::LoadReserved { .. }
                | Op::StoreConditional { .. } => {
                    open = self.list.len();
                    continue;
                }
                _ => continue,
            };
            let (root, offset) = root(block, addr);
            let end = offset.wrapping_add(len_bytes as i64);
            let fits = |group: &Group| {
                group.root == root && end.max(group.end).wrapping_sub(offset.min(group.first)) <= REACH
            };
            let number = match self.list[open..].iter().rposition(fits) {
                Some(number) => open + number,
                None => {
                    let (leader, last, kept) = (at as u32, at as u32, Kept::Nowhere);
                    self.list.push(Group { root, first: offset, end, writes, leader, offset, last, kept });
                    self.list.len() - 1
                }
            };
            let group = &mut self.list[number];
            group.first = group.first.min(offset);
            group.end = group.end.max(end);
            group.writes |= writes;
            group.last = at as u32;
            self.of[at] = u16::try_from(number).unwrap_or(ALONE);
        }
    }
}

/// What an address starts from, and how far it is from there.
fn root(block: &Block, mut addr: Value) -> (Root, i64) {
    let mut offset = 0i64;
    for _ in 0..DEPTH {
        let (a, distance) = match *block.definition(addr) {
            Op::Pc => {
                let mut before = block.ops[..addr.0 as usize].iter().rev();
                let insn = before.find_map(Op::insn_offset).unwrap_or(0);
                return (Root::Code, offset.wrapping_add(insn.into()));
            }
            Op::Binary { op: Binary::Add, w: W64, a, b } => (a, block.constant(b)),
            Op::Binary { op: Binary::Sub, w: W64, a, b } => (a, block.constant(b).map(u64::wrapping_neg)),
            _ => break,
        };
        let Some(distance) = distance else { break };
        offset = offset.wrapping_add_unsigned(distance);
        addr = a;
    }
    (Root::Value(addr), offset)
}

impl Scratch {
    fn group(&self, number: u16) -> &Group {
        &self.groups.list[usize::from(number)]
    }
}

impl Emitter<'_> {
    /// How the access at hand comes to its distance. Ask when all else that it needs is in registers.
    pub(in crate::lower::x64) fn share(&mut self) -> Share {
        let number = self.s.groups.of[self.at as usize];
        if number == ALONE {
            return Share::None;
        }
        let Group { first, end, writes, leader, offset, last, kept, .. } = *self.s.group(number);
        if leader != self.at {
            return if kept == Kept::Nowhere { Share::None } else { Share::Next(kept) };
        }
        let Some(place) = self.keeps.iter().position(|&keeps| keeps == ALONE) else { return Share::None };
        if last == leader {
            return Share::None;
        }
        let keep = match self.free() {
            Some(reg) => {
                self.refs[usize::from(reg.0)] = 1;
                Kept::Reg(reg)
            }
            None => {
                let spill = self.free_spill();
                self.spills[usize::from(spill)] = 1;
                Kept::Spill(spill)
            }
        };
        self.keeps[place] = number;
        self.s.groups.list[usize::from(number)].kept = keep;
        let [from, to] = [first, end - 1].map(|at| (at - offset) as i32);
        Share::First { from, to, writes, keep }
    }

    /// The last access of a group needs its distance no more afterwards.
    pub(in crate::lower::x64) fn end_share(&mut self) {
        let number = self.s.groups.of[self.at as usize];
        if number == ALONE || self.s.group(number).last != self.at {
            return;
        }
        match self.s.group(number).kept {
            Kept::Nowhere => return,
            Kept::Reg(reg) => self.refs[usize::from(reg.0)] = 0,
            Kept::Spill(place) => self.spills[usize::from(place)] = 0,
        }
        self.keeps.iter_mut().filter(|keeps| **keeps == number).for_each(|keeps| *keeps = ALONE);
    }

    /// All distances that are kept.
    pub(super) fn kept(&self) -> [Kept; KEPT] {
        self.keeps.map(|number| if number == ALONE { Kept::Nowhere } else { self.s.group(number).kept })
    }

    /// What a register keeps, if it keeps a distance, is to be elsewhere.
    pub(super) fn keep_elsewhere(&mut self, from: Kept, to: Kept) {
        for number in self.keeps {
            if number != ALONE && self.s.group(number).kept == from {
                self.s.groups.list[usize::from(number)].kept = to;
            }
        }
    }

    /// No distance is kept.
    pub(super) const NOTHING_KEPT: [u16; KEPT] = [ALONE; KEPT];
}
