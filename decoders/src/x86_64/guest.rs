//! The vCPU's system state and its place in the engine: `impl Guest for X86_64`.
//!
//! General, vector and x87 registers, segment bases and flags live in the vCPU's slots ([`super::regs`]); everything
//! else is in [`State`].

use super::board::PcBoard;
use super::insn::Insn;
use super::restore::{self, StateError};
use super::spaces::{PCID_MASK, SpaceKey};
use super::state::State;
use super::{debug, decode, exception, float, helpers, interrupt, lift, mmu, mode, operand, regs, trap};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_block};
use c2w_engine::emit::{Emit, Slot, VectorExtract, VectorInsert, VectorOp};
use c2w_engine::guest::{Decoded, Guest, HelperId, HelperInfo, Mode, Trap};
use c2w_engine::ir::block::Block;
use c2w_engine::mem::spaces::Spaces;
use c2w_engine::mem::tlb::{Access, Translation};
use c2w_engine::record::record;
use core::ops::{Deref, DerefMut};
use serde::{Deserialize, Serialize};

/// The system state of a vCPU, with what is derived from it. Saved as its [`State`]; a state that no running vCPU could
/// have been in is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "State", try_from = "State")]
pub struct X86_64 {
    /// The registers.
    pub state: State,
    /// Space numbers of the TLB.
    pub spaces: Spaces<SpaceKey, u64>,
}

impl Deref for X86_64 {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for X86_64 {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl X86_64 {
    /// System state around registers.
    pub fn new(state: State) -> Self {
        Self { state, spaces: Spaces::default() }
    }
}

impl From<X86_64> for State {
    fn from(guest: X86_64) -> Self {
        guest.state
    }
}

impl TryFrom<State> for X86_64 {
    type Error = StateError;

    fn try_from(state: State) -> Result<Self, StateError> {
        restore::check(&state)?;
        Ok(Self::new(state))
    }
}

impl Guest for X86_64 {
    type Insn = Insn;
    type Board = PcBoard;
    const CONTEXTS: usize = mode::CONTEXTS;
    const SHARED_CONTEXTS: &'static [usize] = &[mode::SUPERVISOR];
    const HELPERS: &'static [HelperInfo] = &helpers::HELPERS;
    const VECTOR_SCRATCH: Option<Slot> = Some(regs::VECTOR_SCRATCH);
    const FLOAT_ENVIRONMENT: Option<Slot> = Some(regs::MXCSR);
    const KNOWN_SLOTS: &'static [Slot] = &[regs::CC_OP];
    const TRANSIENT_SLOTS: &'static [Slot] = &[regs::CC_OP, regs::CC_A, regs::CC_B, regs::CC_RES];
    const SMALL_SLOTS: &'static [Slot] = &[regs::CC_OP];

    fn decode(bytes: &[u8], mode: Mode) -> Option<Decoded<Insn>> {
        decode::decode(bytes, mode)
    }

    #[inline(always)]
    fn lift<E: Emit>(e: &mut E, insn: &Insn) -> Result<(), E::Stop> {
        lift::lift(e, insn)
    }

    #[inline(never)]
    fn run_block(
        cpu: &mut Cpu<Self>,
        block_pc: Gva,
        len_bytes: u64,
        insns: &[Insn],
        offsets: &[u16],
    ) -> BlockEnd {
        run_block(cpu, block_pc, len_bytes, insns, offsets)
    }

    #[inline(never)]
    fn record(insns: &[Insn], offsets: &[u16], len_bytes: u16, known: &[(Slot, u64)]) -> Block {
        record::<Self>(insns, offsets, len_bytes, known)
    }

    #[inline(always)]
    fn helper(cpu: &mut Cpu<Self>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
        helpers::call(cpu, id, args)
    }

    fn vector_float(cpu: &mut Cpu<Self>, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot) {
        float::run(cpu, op, imm, to, a, b);
    }

    fn vector_float_insert(cpu: &mut Cpu<Self>, op: VectorInsert, to: Slot, value: u64) {
        float::insert(cpu, op, to, value);
    }

    fn vector_float_extract(cpu: &mut Cpu<Self>, op: VectorExtract, a: Slot, b: Slot) -> u64 {
        float::extract(cpu, op, a, b)
    }

    fn walk(cpu: &mut Cpu<Self>, gva: Gva, access: Access, context: usize) -> Result<Translation, Trap> {
        mmu::walk(cpu, gva, access, context)
    }

    fn check_bytes(
        cpu: &mut Cpu<Self>,
        gva: Gva,
        _gpa: Gpa,
        len_bytes: u64,
        access: Access,
        context: usize,
    ) -> Result<(), Trap> {
        if context == mode::USER_ALIGNED && operand::is_misaligned(cpu, gva, len_bytes) {
            return Err(trap::plain(trap::ALIGNMENT));
        }
        debug::note_access(cpu, gva, len_bytes, access);
        Ok(())
    }

    /// Nothing on this board leaves an access without an answer; fetching from devices is not possible.
    fn bus_error(_gva: Gva, _gpa: Gpa, _access: Access) -> Trap {
        trap::protection(0)
    }

    fn misaligned_atomic(_gva: Gva, _access: Access) -> Option<Trap> {
        None
    }

    fn deliver(cpu: &mut Cpu<Self>, trap: Trap) {
        exception::deliver(cpu, trap);
    }

    fn interrupt(cpu: &mut Cpu<Self>) -> Option<Trap> {
        interrupt::pending(cpu)
    }

    fn wakes(cpu: &Cpu<Self>) -> bool {
        interrupt::wakes(cpu)
    }

    fn devices_can_wake(cpu: &Cpu<Self>) -> bool {
        interrupt::devices_can_wake(cpu)
    }

    fn restored(cpu: &mut Cpu<Self>) {
        restore::clear_unknown_bits(cpu);
        mmu::select_space(cpu);
        mode::refresh(cpu);
    }

    fn tick(cpu: &mut Cpu<Self>, now_ns: u64) {
        interrupt::tick(cpu, now_ns);
    }

    fn deadline_ns(cpu: &Cpu<Self>) -> Option<u64> {
        interrupt::deadline_ns(cpu)
    }

    const STACK_POINTER: Slot = regs::RSP;

    fn is_user(mode: Mode) -> bool {
        mode::ModeBits::of(mode).contains(mode::ModeBits::USER)
    }

    fn address_space(cpu: &Cpu<Self>) -> u64 {
        cpu.guest.cr3 & !PCID_MASK
    }

    fn slot_name(slot: Slot) -> String {
        regs::name(slot)
    }

    fn disassemble(_insn: &Insn, bytes: &[u8], pc: Gva, mode: Mode) -> String {
        decode::disassemble(bytes, pc, mode)
    }
}
