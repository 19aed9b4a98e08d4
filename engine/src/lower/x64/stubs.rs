//! Code that all regions share: entering and leaving, calling out, and looking an address up in the jump cache.

use super::asm::{Alu, Asm, Cc, Fixed, Label, Mem, Reg, Shift, Xmm};
use super::memory::{emit_compact_looks, emit_look};
use super::plan::FIRST_HOME;
use super::{BIAS, COUNTDOWN, STATE, field, slot};
use crate::addr::PAGE_MASK;
use crate::addr::Width::{W32, W64};
use crate::emit::Slot;
use crate::mem::jumps::{JUMP_DROP, JUMP_ENTRIES, JUMP_FACTOR, JumpEntry};
use crate::mem::tlb::{Entry, MAX_CONTEXTS, Tlb};
use crate::vcpu::{EXIT_COUNT, EXIT_JUMP, EXIT_SITE, EXIT_UNLINKED, Vcpu};
use core::mem::{offset_of, size_of};

/// Where each of them is in the code that [`emit`] writes, which stands at the start of the memory that all code is in.
#[derive(Clone, Copy, Debug)]
pub struct Stubs {
    /// A function of the System V ABI, of the address of a vCPU and that of code.
    pub enter: Fixed,
    /// What sites call.
    pub call_out: Fixed,
    /// What sites call where vector registers hold something.
    pub call_out_vectors: Fixed,
    /// What calls of helpers call; RCX is the number of the helper, and what it gives comes in RAX.
    pub helper: Fixed,
    /// Leaves; RAX says why.
    pub leave: Fixed,
    /// Goes on at the address in RAX.
    pub jump: Fixed,
    /// The same so far from the start of the page that is run as EAX, signed, says.
    pub jump_from_page: Fixed,
    /// Leaves for the run loop, which goes on at such a place.
    pub leave_from_page: Fixed,
    /// A function: RAX = where the code of the address in RAX is. It leaves where `jump` does.
    pub find: Fixed,
    /// The same of the address so far from the start of the page that is run as EAX, signed, says.
    pub find_from_page: Fixed,
    /// Leaves at the way out whose number is in RAX.
    pub unlinked: Fixed,
    /// Goes on at the address in RAX, where the way out leads whose number is in RCX; now and then leaves there.
    pub far: Fixed,
    /// Looks a load up at its page's other place in the TLB (`memory::emit_look`), for each context.
    pub look_read: [Fixed; MAX_CONTEXTS],
    /// The same for stores.
    pub look_write: [Fixed; MAX_CONTEXTS],
    /// Looks a load up in code that is to be small (`memory::emit_compact_looks`), for each context and length.
    pub compact_read: [[Fixed; LENGTHS]; MAX_CONTEXTS],
    /// The same for stores.
    pub compact_write: [[Fixed; LENGTHS]; MAX_CONTEXTS],
}

/// Ways out to other pages that are gone by the jump cache for each that is linked.
const FAR_JUMPS: i32 = 7;
/// Registers that functions keep, besides RSP.
const KEPT: [Reg; 6] = [Reg::RBX, Reg::RBP, Reg::R12, Reg::R13, Reg::R14, Reg::R15];
/// log2 of the size of an entry of the jump cache.
const JUMP_SHIFT: u8 = size_of::<JumpEntry>().trailing_zeros() as u8;
const _: () = assert!(size_of::<JumpEntry>() == 1 << JUMP_SHIFT);

/// How many lengths accesses have: 1, 2, 4, 8 and 16 bytes.
pub(super) const LENGTHS: usize = 5;

/// MXCSR as the ABI has it, while code that was compiled runs: nearest, all exceptions masked.
pub const FLOAT_ENVIRONMENT: u32 = 0x1f80;

impl Stubs {
    /// Where they are for a guest with this [`crate::guest::Guest::FLOAT_ENVIRONMENT`].
    pub fn of(float_environment: Option<Slot>) -> Self {
        emit(&mut Asm::default(), float_environment)
    }

    /// What sites call in code that has vectors in registers, or has none.
    pub(super) fn call_out(&self, has_vectors: bool) -> Fixed {
        if has_vectors { self.call_out_vectors } else { self.call_out }
    }

    /// What looks further for accesses in a context.
    pub(super) fn look(&self, context: usize, writes: bool) -> Fixed {
        if writes { self.look_write[context] } else { self.look_read[context] }
    }

    /// What looks up accesses of a length in a context, in code that is to be small.
    pub(super) fn compact_look(&self, context: usize, writes: bool, len_bytes: i32) -> Fixed {
        let looks = if writes { &self.compact_write } else { &self.compact_read };
        looks[context][len_bytes.trailing_zeros() as usize]
    }
}

/// Writes them. Where the guest has a floating-point environment, generated code runs under it, and all other code does not.
pub fn emit(asm: &mut Asm, float_environment: Option<Slot>) -> Stubs {
    let (leave, leave_settled) = (asm.label(), asm.label());
    let enter = here(asm);
    for reg in KEPT {
        asm.push(reg);
    }
    // Code runs with the stack aligned, as calls want it.
    asm.alu_imm(Alu::Sub, W64, Reg::RSP, 8);
    asm.lea(W64, STATE, Mem::at(Reg::RDI, BIAS as i32));
    asm.load(W64, COUNTDOWN, field!(countdown));
    enter_environment(asm, float_environment);
    asm.jmp_indirect(Reg::RSI);

    let leave_at = here(asm);
    asm.bind(leave);
    leave_environment(asm, float_environment);
    asm.bind(leave_settled);
    asm.store(W64, field!(exit), Reg::RAX);
    asm.store(W64, field!(countdown), COUNTDOWN);
    asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    for reg in KEPT.iter().rev() {
        asm.pop(*reg);
    }
    asm.ret();

    let call_out = here(asm);
    emit_call_out(asm, leave_settled, float_environment, false);
    let call_out_vectors = here(asm);
    emit_call_out(asm, leave_settled, float_environment, true);

    let helper = here(asm);
    emit_helper(asm, leave_settled, float_environment);

    let far = here(asm);
    let expired = asm.label();
    asm.alu_imm(Alu::Sub, W64, field!(far_left), 1);
    asm.jcc(Cc::S, expired);

    let look_up = asm.label();
    let jump = here(asm);
    asm.bind(look_up);
    emit_search(asm, Probe::Jump, leave);

    asm.bind(expired);
    asm.store_imm(W64, field!(far_left), FAR_JUMPS);
    asm.mov(Reg::RAX, Reg::RCX);
    let unlinked = here(asm);
    asm.alu_imm(Alu::Add, W64, Reg::RAX, EXIT_UNLINKED as i32);
    asm.jmp(leave);

    let jump_from_page = here(asm);
    emit_address(asm);
    asm.jmp(look_up);

    let find_from_page = here(asm);
    emit_address(asm);
    let find = here(asm);
    emit_search(asm, Probe::Find, leave);

    let leave_from_page = here(asm);
    emit_address(asm);
    asm.store(W64, field!(pc), Reg::RAX);
    asm.mov_imm(Reg::RAX, EXIT_COUNT);
    asm.jmp(leave);

    let mut looks = |tag: usize| {
        std::array::from_fn(|context| {
            let at = here(asm);
            emit_look(asm, context, tag);
            at
        })
    };
    let (look_read, look_write) = (looks(offset_of!(Entry, read)), looks(offset_of!(Entry, write)));
    let mut compact =
        |tag: usize| std::array::from_fn(|context| emit_compact_looks(asm, context, tag, call_out));
    let (compact_read, compact_write) = (compact(offset_of!(Entry, read)), compact(offset_of!(Entry, write)));
    Stubs {
        enter,
        call_out,
        call_out_vectors,
        helper,
        leave: leave_at,
        jump,
        jump_from_page,
        leave_from_page,
        find,
        find_from_page,
        unlinked,
        far,
        look_read,
        look_write,
        compact_read,
        compact_write,
    }
}

pub(super) fn here(asm: &Asm) -> Fixed {
    Fixed(asm.len() as u32)
}

/// RAX = the address so far from the start of the page that is run as EAX says.
fn emit_address(asm: &mut Asm) {
    asm.sext(W32, Reg::RAX, Reg::RAX);
    asm.alu(Alu::Add, W64, Reg::RAX, field!(page_base));
}

/// Goes on at the address in RAX if its own entry of the jump cache knows it. RAX stays; RCX and RDX do not.
pub(super) fn emit_quick_jump(asm: &mut Asm) {
    emit_place(asm);
    emit_probe(asm, Probe::Jump);
}

/// RDX = the distance of RAX's own entry in the jump cache, as `jump_place` numbers them.
fn emit_place(asm: &mut Asm) {
    asm.imul_imm(W32, Reg::RDX, Reg::RAX, JUMP_FACTOR as i32);
    asm.shift_imm(Shift::Shr, W32, Reg::RDX, JUMP_DROP as u8 - JUMP_SHIFT);
    asm.alu_imm(Alu::And, W32, Reg::RDX, (JUMP_ENTRIES as i32 - 1) << JUMP_SHIFT);
}

/// What becomes of what is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// It is jumped to.
    Jump,
    /// It is given to who called for it.
    Find,
}

/// Searches the jump cache for the address in RAX, and leaves if it is not there.
fn emit_search(asm: &mut Asm, what: Probe, leave: Label) {
    emit_place(asm);
    // Its own entry, then the other one.
    emit_probe(asm, what);
    asm.alu_imm(Alu::Xor, W32, Reg::RDX, size_of::<JumpEntry>() as i32);
    emit_probe(asm, what);
    asm.store(W64, field!(pc), Reg::RAX);
    asm.mov_imm(Reg::RAX, EXIT_JUMP);
    if what == Probe::Find {
        // The return address is of no use any more.
        asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    }
    asm.jmp(leave);
}

/// Does so with the address in RAX if the entry that RDX leads to knows it.
fn emit_probe(asm: &mut Asm, what: Probe) {
    let miss = asm.label();
    let entry = |field: usize| {
        Mem::sum(STATE, Reg::RDX, (offset_of!(Vcpu, tlb) + offset_of!(Tlb, jumps) + field - BIAS) as i32)
    };
    asm.alu(Alu::Cmp, W64, Reg::RAX, entry(offset_of!(JumpEntry, pc)));
    asm.jcc(Cc::NE, miss);
    asm.load(W64, Reg::RCX, field!(context_tag));
    asm.alu(Alu::Cmp, W64, Reg::RCX, entry(offset_of!(JumpEntry, tag)));
    asm.jcc(Cc::NE, miss);
    asm.alu_imm(Alu::And, W64, Reg::RAX, !(PAGE_MASK as i32));
    asm.store(W64, field!(page_base), Reg::RAX);
    match what {
        Probe::Jump => asm.jmp_indirect(entry(offset_of!(JumpEntry, code))),
        Probe::Find => {
            asm.load(W64, Reg::RAX, entry(offset_of!(JumpEntry, code)));
            asm.ret();
        }
    }
    asm.bind(miss);
}

/// The guest's floating-point environment becomes that of the processor.
fn enter_environment(asm: &mut Asm, environment: Option<Slot>) {
    if let Some(environment) = environment {
        asm.load_mxcsr(slot(environment));
    }
}

/// Keeps the guest's floating-point environment and leaves it.
fn leave_environment(asm: &mut Asm, environment: Option<Slot>) {
    if let Some(environment) = environment {
        asm.store_mxcsr(slot(environment));
        asm.load_mxcsr(field!(links.float_environment));
    }
}

/// A vector register's place among the saved ones.
fn saved_vector(reg: Xmm) -> Mem {
    let field = field!(saved_vectors);
    Mem { disp: field.disp + 16 * i32::from(reg.0), ..field }
}

/// A register's place among the saved ones.
pub(super) fn saved(reg: Reg) -> Mem {
    let field = field!(saved);
    Mem { disp: field.disp + 8 * i32::from(reg.0), ..field }
}

/// Registers that functions may change and code keeps over a call of a helper.
const CHANGED: [Reg; 7] = [Reg::RDX, Reg::RSI, Reg::RDI, Reg::R8, Reg::R9, Reg::R10, Reg::R11];

/// Calls the function of the run loop that runs helpers. Slots that a helper may touch are in memory.
fn emit_helper(asm: &mut Asm, leave: Label, environment: Option<Slot>) {
    for reg in CHANGED {
        asm.store(W64, saved(reg), reg);
    }
    asm.store(W64, field!(countdown), COUNTDOWN);
    leave_environment(asm, environment);
    asm.load(W64, Reg::RAX, Mem::at(Reg::RSP, 0));
    asm.load(W32, Reg::RSI, Mem::at(Reg::RAX, 1));
    asm.mov(Reg::RDX, Reg::RCX);
    asm.load(W64, Reg::RDI, field!(links.argument));
    asm.alu_imm(Alu::Sub, W64, Reg::RSP, 8);
    asm.call_indirect(field!(links.helper_function));
    asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    asm.load(W64, COUNTDOWN, field!(countdown));
    asm.test(W64, Reg::RDX, Reg::RDX);
    let leaves = asm.label();
    asm.jcc(Cc::NE, leaves);
    enter_environment(asm, environment);
    for reg in CHANGED {
        asm.load(W64, reg, saved(reg));
    }
    asm.ret();
    asm.bind(leaves);
    asm.alu_imm(Alu::Add, W64, Reg::RSP, 8);
    asm.mov_imm(Reg::RAX, EXIT_SITE);
    asm.jmp(leave);
}

/// Calls the function of the run loop over the saved registers; leaves if it gives anything but 0. `vectors` says that
/// registers that may be homes of vectors are saved, too.
fn emit_call_out(asm: &mut Asm, leave: Label, environment: Option<Slot>, vectors: bool) {
    let others = |reg: &Reg| *reg != Reg::RSP && *reg != STATE;
    let all = || (0..16).map(Reg).filter(others);
    for reg in all() {
        asm.store(W64, saved(reg), reg);
    }
    let homes = || (FIRST_HOME..16).map(Xmm).filter(|_| vectors);
    for reg in homes() {
        asm.sse(None, &[0x0f, 0x11], reg, saved_vector(reg));
    }
    leave_environment(asm, environment);
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
    enter_environment(asm, environment);
    for reg in homes() {
        asm.sse(None, &[0x0f, 0x10], reg, saved_vector(reg));
    }
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
