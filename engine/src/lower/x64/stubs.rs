//! Code that all regions share: entering and leaving, calling out, and looking an address up in the jump cache.

use super::asm::{Alu, Asm, Cc, Mem, Reg, Shift};
use super::{BIAS, COUNTDOWN, STATE, field};
use crate::addr::PAGE_MASK;
use crate::addr::Width::{W32, W64};
use crate::mem::jumps::{JUMP_ENTRIES, JUMP_FOLD, JumpEntry};
use crate::mem::tlb::Tlb;
use crate::vcpu::{EXIT_JUMP, EXIT_SITE, EXIT_UNLINKED, Vcpu};
use core::mem::{offset_of, size_of};

/// Where each of them is in the code that [`emit`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Stubs {
    /// A function of the System V ABI, of the address of a vCPU and that of code.
    pub enter: usize,
    /// What sites call.
    pub call_out: usize,
    /// Leaves; RAX says why.
    pub leave: usize,
    /// Goes on at the address in RAX.
    pub jump: usize,
    /// Leaves at the way out whose number is in RAX.
    pub unlinked: usize,
}

/// Registers that functions keep, besides RSP.
const KEPT: [Reg; 6] = [Reg::RBX, Reg::RBP, Reg::R12, Reg::R13, Reg::R14, Reg::R15];
/// log2 of the size of an entry of the jump cache.
const JUMP_SHIFT: u8 = size_of::<JumpEntry>().trailing_zeros() as u8;
const _: () = assert!(size_of::<JumpEntry>() == 1 << JUMP_SHIFT);

/// Writes them.
pub fn emit(asm: &mut Asm) -> Stubs {
    let leave = asm.label();
    let enter = asm.len();
    for reg in KEPT {
        asm.push(reg);
    }
    // Code runs with the stack aligned, as calls want it.
    asm.alu_imm(Alu::Sub, W64, Reg::RSP, 8);
    asm.lea(W64, STATE, Mem::at(Reg::RDI, BIAS as i32));
    asm.load(W64, COUNTDOWN, field!(countdown));
    asm.jmp_indirect(Reg::RSI);

    let leave_at = asm.len();
    asm.bind(leave);
    asm.store(W64, field!(exit), Reg::RAX);
    asm.store(W64, field!(countdown), COUNTDOWN);
    asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    for reg in KEPT.iter().rev() {
        asm.pop(*reg);
    }
    asm.ret();

    let call_out = asm.len();
    emit_call_out(asm, leave);

    let jump = asm.len();
    // The place of RAX in the jump cache, as `jump_place` says.
    let (other, miss) = (asm.label(), asm.label());
    asm.mov(Reg::RDX, Reg::RAX);
    asm.shift_imm(Shift::Shr, W64, Reg::RDX, JUMP_FOLD as u8);
    asm.alu(Alu::Xor, W32, Reg::RDX, Reg::RAX);
    asm.alu_imm(Alu::And, W32, Reg::RDX, JUMP_ENTRIES as i32 - 1);
    asm.shift_imm(Shift::Shl, W32, Reg::RDX, JUMP_SHIFT);
    let entry = |field: usize| {
        Mem::sum(STATE, Reg::RDX, (offset_of!(Vcpu, tlb) + offset_of!(Tlb, jumps) + field - BIAS) as i32)
    };
    // Its own entry, then the other one.
    for miss in [other, miss] {
        asm.alu(Alu::Cmp, W64, Reg::RAX, entry(offset_of!(JumpEntry, pc)));
        asm.jcc(Cc::NE, miss);
        asm.load(W64, Reg::RCX, field!(context_tag));
        asm.alu(Alu::Cmp, W64, Reg::RCX, entry(offset_of!(JumpEntry, tag)));
        asm.jcc(Cc::NE, miss);
        asm.alu_imm(Alu::And, W64, Reg::RAX, !(PAGE_MASK as i32));
        asm.store(W64, field!(page_base), Reg::RAX);
        asm.jmp_indirect(entry(offset_of!(JumpEntry, code)));
        asm.bind(miss);
        asm.alu_imm(Alu::Xor, W32, Reg::RDX, size_of::<JumpEntry>() as i32);
    }
    asm.store(W64, field!(pc), Reg::RAX);
    asm.mov_imm(Reg::RAX, EXIT_JUMP);
    asm.jmp(leave);

    let unlinked = asm.len();
    asm.alu_imm(Alu::Add, W64, Reg::RAX, EXIT_UNLINKED as i32);
    asm.jmp(leave);
    Stubs { enter, call_out, leave: leave_at, jump, unlinked }
}

/// A register's place among the saved ones.
fn saved(reg: Reg) -> Mem {
    let field = field!(saved);
    Mem { disp: field.disp + 8 * i32::from(reg.0), ..field }
}

/// Calls the function of the run loop over the saved registers; leaves if it gives anything but 0.
fn emit_call_out(asm: &mut Asm, leave: super::asm::Label) {
    let others = |reg: &Reg| *reg != Reg::RSP && *reg != STATE;
    let all = || (0..16).map(Reg).filter(others);
    for reg in all() {
        asm.store(W64, saved(reg), reg);
    }
    // The number of the site stands behind the call, in an instruction that does nothing.
    asm.load(W64, Reg::RAX, Mem::at(Reg::RSP, 0));
    asm.load(W32, Reg::RSI, Mem::at(Reg::RAX, 1));
    asm.load(W64, Reg::RDI, field!(links.argument));
    asm.alu_imm(Alu::Sub, W64, Reg::RSP, 8);
    asm.call_indirect(field!(links.function));
    asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    asm.test(W64, Reg::RAX, Reg::RAX);
    let leaves = asm.label();
    asm.jcc(Cc::NE, leaves);
    for reg in all() {
        asm.load(W64, reg, saved(reg));
    }
    asm.ret();
    asm.bind(leaves);
    // The return address is of no use any more.
    asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    asm.load(W64, COUNTDOWN, saved(COUNTDOWN));
    asm.mov_imm(Reg::RAX, EXIT_SITE);
    asm.jmp(leave);
}
