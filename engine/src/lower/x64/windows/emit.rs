//! What is written between two turns of a loop.

use super::{ROOM_PLACE, Windows};
use crate::addr::Width::{W32, W64};
use crate::addr::{PAGE_BYTES, PAGE_MASK};
use crate::lower::windows::{MOST, PATIENCE, Sum, TURNS, WORTHWHILE, Window};
use crate::lower::x64::asm::{Alu, Asm, Cc, Group3, Label, Reg, Shift};
use crate::lower::x64::block::spill;
use crate::lower::x64::cold::Kept;
use crate::lower::x64::memory::ALONE;
use crate::lower::x64::plan::Plan;
use crate::lower::x64::stubs::Stubs;
use crate::lower::x64::{Request, field, slot};
use crate::vcpu::SPILLS;

/// Number of the place that counts turns down to the next look.
const TURNS_PLACE: u16 = SPILLS as u16 - 1;

impl Windows {
    /// Where the loop is entered.
    pub fn emit_entry(asm: &mut Asm) {
        asm.store_imm(W64, spill(TURNS_PLACE), TURNS);
    }

    /// Between two turns of the plain writing, `slow`: falls through to the other one if there is room for enough turns.
    pub fn emit_look(&self, asm: &mut Asm, plan: &Plan, stubs: &Stubs, request: Request<'_>, slow: Label) {
        let (vain, fast) = (asm.label(), asm.label());
        asm.alu_imm(Alu::Sub, W64, spill(TURNS_PLACE), 1);
        asm.jcc(Cc::NS, slow);
        let mut is_first = true;
        for (window, kept) in self.found.list.iter().zip(&self.kept) {
            emit_sum(&window.address, asm, plan);
            asm.mov(Reg::RDX, Reg::RCX);
            asm.mov_imm(Reg::RAX, u64::from(ALONE | (window.len_bytes as u32 - 1)));
            asm.call_fixed(stubs.look(request.context, window.writes));
            asm.jcc(Cc::NE, vain);
            kept.set(asm);
            if window.step != 0 {
                emit_turns(window, asm);
                if is_first {
                    asm.mov32(Reg::RSI, Reg::RDX);
                } else {
                    asm.alu(Alu::Cmp, W32, Reg::RDX, Reg::RSI);
                    asm.cmov(Cc::B, Reg::RSI, Reg::RDX);
                }
                is_first = false;
            }
        }
        if is_first {
            asm.mov_imm(Reg::RSI, MOST.into());
        }
        asm.alu_imm(Alu::Cmp, W32, Reg::RSI, WORTHWHILE);
        asm.jcc(Cc::B, vain);
        match self.room {
            Kept::Reg(reg) => asm.mov(reg, Reg::RSI),
            _ => asm.store(W64, spill(ROOM_PLACE), Reg::RSI),
        }
        asm.jmp(fast);
        asm.bind(vain);
        asm.store_imm(W64, spill(TURNS_PLACE), PATIENCE);
        asm.jmp(slow);
        asm.bind(fast);
    }

    /// Between two turns of the other writing: goes on if there is room for one more.
    pub fn emit_next(&self, asm: &mut Asm, fast: Label) {
        match self.room {
            Kept::Reg(reg) => asm.alu_imm(Alu::Sub, W64, reg, 1),
            _ => asm.alu_imm(Alu::Sub, W64, spill(ROOM_PLACE), 1),
        }
        asm.jcc(Cc::NS, fast);
    }
}

/// EDX = how many more turns stay in the page, or less, of the address in RDX.
fn emit_turns(window: &Window, asm: &mut Asm) {
    asm.alu_imm(Alu::And, W32, Reg::RDX, PAGE_MASK as i32);
    if window.step > 0 {
        asm.group3(Group3::Neg, W32, Reg::RDX);
        asm.alu_imm(Alu::Add, W32, Reg::RDX, PAGE_BYTES as i32 - window.len_bytes as i32);
    }
    let step = window.step.unsigned_abs();
    if step.is_power_of_two() {
        asm.shift_imm(Shift::Shr, W32, Reg::RDX, step.trailing_zeros() as u8);
    } else {
        // Rounded down twice, it is never too much.
        asm.imul_imm(W32, Reg::RDX, Reg::RDX, ((1 << 16) / step) as i32);
        asm.shift_imm(Shift::Shr, W32, Reg::RDX, 16);
    }
}

/// RCX = the sum, of what slots hold now.
fn emit_sum(sum: &Sum, asm: &mut Asm, plan: &Plan) {
    if sum.of_code {
        asm.load(W64, Reg::RCX, field!(page_base));
    } else {
        asm.mov_imm(Reg::RCX, 0);
    }
    for (of, shift) in sum.terms.into_iter().flatten() {
        match plan.home(of) {
            Some(home) => asm.mov(Reg::RAX, home),
            None => asm.load(W64, Reg::RAX, slot(of)),
        }
        if shift != 0 {
            asm.shift_imm(Shift::Shl, W64, Reg::RAX, shift);
        }
        asm.alu(Alu::Add, W64, Reg::RCX, Reg::RAX);
    }
    if sum.number != 0 {
        asm.alu_imm(Alu::Add, W64, Reg::RCX, sum.number as i32);
    }
}
