//! Jumps to labels, in two bytes where the label is near: when all code is written that is known, and what stands behind such
//! jumps moves towards them.

use super::{Asm, Finished, Fixup, UNBOUND};
use core::ops::RangeInclusive;

/// Bytes of a displacement, and of a short jump.
const DISPLACEMENT: u32 = 4;
const SHORT: u32 = 2;
/// How far short jumps reach from their ends.
const REACH: RangeInclusive<i32> = i8::MIN as i32..=i8::MAX as i32;
/// Operation codes: of a jump, of a short one, and of short ones with a condition.
const JMP: u8 = 0xe9;
const SHORT_JMP: u8 = 0xeb;
const SHORT_JCC: u8 = 0x70;

/// What has moved: behind each place by how many bytes in all, in ascending order.
#[derive(Default)]
pub(super) struct Moves(Vec<(u32, u32)>);

impl Moves {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn push(&mut self, behind: u32, bytes: u32) {
        let before = self.0.last().map_or(0, |&(_, bytes)| bytes);
        self.0.push((behind, before + bytes));
    }

    /// Where it is now what stood at a place.
    fn of(&self, place: u32) -> u32 {
        let count = self.0.partition_point(|&(behind, _)| behind <= place);
        place - count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

impl Fixup {
    /// Where the jump ends.
    fn end(&self) -> u32 {
        self.place + DISPLACEMENT
    }

    /// Bytes of its operation code in this code: one, or two with a condition.
    fn opcode_bytes(&self, code: &[u8]) -> u32 {
        if code[self.place as usize - 1] == JMP { 1 } else { 2 }
    }
}

impl Asm {
    /// How far a jump goes.
    pub(super) fn distance(&self, jump: &Fixup) -> i32 {
        let target = self.labels[jump.label.0 as usize];
        assert!(target != UNBOUND, "every label that is jumped to is bound");
        self.moves.of(target).wrapping_sub(self.moves.of(jump.end())) as i32
    }

    /// The code with every jump to a label filled in, in two bytes if it is near and nobody changes where it leads; and what in it
    /// is still to be changed.
    ///
    /// # Panics
    /// If a label that is jumped to was not bound.
    pub fn finish_short(&mut self) -> Finished<'_> {
        while self.find_short() {
            let Self { code, fixups, moves, .. } = self;
            moves.clear();
            for jump in fixups.iter().filter(|jump| jump.is_short) {
                moves.push(jump.end(), jump.opcode_bytes(code) + DISPLACEMENT - SHORT);
            }
        }
        self.rewrite();
        for note in &mut self.notes {
            *note = self.moves.of(*note);
        }
        for place in &mut self.fixed {
            let now = self.moves.of(*place);
            let number =
                self.code[now as usize..].first_chunk_mut().expect("displacements stand in the code");
            *number = u32::from_le_bytes(*number).wrapping_add(*place - now).to_le_bytes();
            *place = now;
        }
        Finished { code: &self.code, notes: &self.notes, fixed: &self.fixed }
    }

    /// Where it is now what was written at a place of what is finished.
    pub fn moved(&self, place: usize) -> usize {
        self.moves.of(place as u32) as usize
    }

    /// Finds jumps that can be short as far as everything has moved; whether there are any. What they jump over only becomes less.
    fn find_short(&mut self) -> bool {
        let mut is_new = false;
        for index in 0..self.fixups.len() {
            let jump = &self.fixups[index];
            if !jump.is_short && !jump.is_patched && REACH.contains(&self.distance(jump)) {
                self.fixups[index].is_short = true;
                is_new = true;
            }
        }
        is_new
    }

    /// Moves the code together, with its jumps as they are to be.
    fn rewrite(&mut self) {
        let (mut from, mut to) = (0, 0);
        for index in 0..self.fixups.len() {
            let jump = &self.fixups[index];
            let (opcode_bytes, distance) = (jump.opcode_bytes(&self.code) as usize, self.distance(jump));
            let (place, end, is_short) = (jump.place as usize, jump.end() as usize, jump.is_short);
            let start = place - opcode_bytes;
            let last = self.code[place - 1];
            // With the operation code, which a short jump writes over.
            self.code.copy_within(from..place, to);
            to += start - from;
            if is_short {
                let opcode = if last == JMP { SHORT_JMP } else { SHORT_JCC | last & 0xf };
                self.code[to..to + SHORT as usize].copy_from_slice(&[opcode, distance as u8]);
                to += SHORT as usize;
            } else {
                to += opcode_bytes;
                self.code[to..to + DISPLACEMENT as usize].copy_from_slice(&distance.to_le_bytes());
                to += DISPLACEMENT as usize;
            }
            from = end;
        }
        self.code.copy_within(from.., to);
        self.code.truncate(to + self.code.len() - from);
    }
}
