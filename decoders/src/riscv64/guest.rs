//! The hart's system state and its place in the engine: `impl Guest for Riscv64`.
//!
//! Integer and floating-point registers live in the vCPU's slots ([`super::regs`]); everything else a hart has
//! is in [`HartState`].

use super::board::VirtBoard;
use super::counters::Counter;
use super::pmp::{Pmp, PmpState};
use super::regs::{self, Privilege};
use super::spaces::SpaceKey;
use super::{decode, envcfg, float, float_env, helpers, irq, lift, mmu, names, satp, status, trap};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_block};
use c2w_engine::emit::{Emit, Slot, VectorExtract, VectorInsert, VectorOp};
use c2w_engine::guest::{Decoded, Guest, HelperId, HelperInfo, Mode, Trap};
use c2w_engine::ir::block::Block;
use c2w_engine::mem::spaces::Spaces;
use c2w_engine::mem::tlb::{Access, Translation};
use c2w_engine::record::record;
use serde::{Deserialize, Serialize};

/// Control and status registers and the privilege level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the registers of the specification, by their names there")]
pub struct HartState {
    pub hartid: u64,
    pub privilege: Privilege,
    pub mstatus: u64,
    pub medeleg: u64,
    pub mideleg: u64,
    pub mie: u64,
    /// The bits of `mip` that software writes.
    pub mip: u64,
    pub mtvec: u64,
    pub mcounteren: u64,
    pub mcountinhibit: u64,
    pub menvcfg: u64,
    pub mscratch: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    pub cycle: Counter,
    pub instret: Counter,
    pub stvec: u64,
    pub scounteren: u64,
    pub senvcfg: u64,
    pub sscratch: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    pub stimecmp: u64,
    pub satp: u64,
    pub pmp: PmpState,
    /// ECALL from S-mode goes to the built-in SBI instead of M-mode.
    pub builtin_sbi: bool,
}

impl HartState {
    /// A hart at reset (Priv. 3.4). Registers that the specification leaves open are zero.
    pub fn reset(hartid: u64) -> Self {
        Self {
            hartid,
            privilege: Privilege::Machine,
            mstatus: status::RESET,
            medeleg: 0,
            mideleg: 0,
            mie: 0,
            mip: 0,
            mtvec: 0,
            mcounteren: 0,
            mcountinhibit: 0,
            menvcfg: 0,
            mscratch: 0,
            mepc: 0,
            mcause: 0,
            mtval: 0,
            cycle: Counter::default(),
            instret: Counter::default(),
            stvec: 0,
            scounteren: 0,
            senvcfg: 0,
            sscratch: 0,
            sepc: 0,
            scause: 0,
            stval: 0,
            stimecmp: u64::MAX,
            satp: 0,
            pmp: PmpState::default(),
            builtin_sbi: false,
        }
    }

    /// Whether the supervisor timer is on: `stimecmp` drives STIP.
    pub fn has_stimecmp(&self) -> bool {
        self.menvcfg & envcfg::STCE != 0
    }

    /// The privilege of loads and stores.
    pub fn data_privilege(&self) -> Privilege {
        if self.privilege == Privilege::Machine && self.mstatus & status::MPRV != 0 {
            status::mpp(self.mstatus)
        } else {
            self.privilege
        }
    }
}

/// Why a saved hart cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saved hart has an impossible {register}")]
pub struct HartRestoreError {
    /// Name of the register.
    pub register: &'static str,
}

/// The system state of a hart, with what is derived from it. Saved as its [`HartState`]; a state that no running hart
/// could have had is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "HartState", try_from = "HartState")]
pub struct Riscv64 {
    /// The registers. [`HartState::pmp`] is up to date only in a saved state; see [`Riscv64::pmp`].
    pub state: HartState,
    /// Physical memory protection.
    pub pmp: Pmp,
    /// Space numbers of the TLB.
    pub spaces: Spaces<SpaceKey, (u32, bool)>,
    /// `time` has reached `stimecmp`.
    pub timer_pending: bool,
}

impl Riscv64 {
    /// A hart at reset.
    pub fn new(hartid: u64) -> Self {
        Self::of(HartState::reset(hartid))
    }

    fn of(state: HartState) -> Self {
        Self { pmp: Pmp::restore(&state.pmp), spaces: Spaces::default(), timer_pending: false, state }
    }
}

impl From<Riscv64> for HartState {
    fn from(hart: Riscv64) -> Self {
        Self { pmp: hart.pmp.save(), ..hart.state }
    }
}

impl TryFrom<HartState> for Riscv64 {
    type Error = HartRestoreError;

    fn try_from(state: HartState) -> Result<Self, HartRestoreError> {
        let checks = [
            ("mstatus", status::write_m(state.mstatus, state.mstatus) == state.mstatus),
            ("medeleg", state.medeleg & !trap::DELEGABLE == 0),
            ("mideleg", state.mideleg & !irq::SUPERVISOR == 0),
            ("mie", state.mie & !irq::ALL == 0),
            ("mip", state.mip & !irq::SUPERVISOR == 0),
            ("mtvec", state.mtvec & 2 == 0),
            ("stvec", state.stvec & 2 == 0),
            ("mepc", state.mepc & 1 == 0),
            ("sepc", state.sepc & 1 == 0),
            ("menvcfg", envcfg::write(0, state.menvcfg, Privilege::Machine) == state.menvcfg),
            ("senvcfg", envcfg::write(0, state.senvcfg, Privilege::Supervisor) == state.senvcfg),
            ("satp", satp::write(0, state.satp) == state.satp),
            ("pmp", Pmp::restore(&state.pmp).save() == state.pmp),
        ];
        match checks.into_iter().find(|(_, possible)| !possible) {
            Some((register, _)) => Err(HartRestoreError { register }),
            None => Ok(Self::of(state)),
        }
    }
}

/// Makes the vCPU agree with its hart's registers: after reset, restore or a change from outside the guest.
pub fn resume(cpu: &mut Cpu<Riscv64>) {
    float_env::settle(cpu);
    mmu::select_space(cpu);
    update_mode(cpu);
    let now_ns = cpu.now_ns();
    irq::tick(cpu, now_ns);
    cpu.recheck_interrupts();
}

/// Privilege, floating-point state, rounding mode or the data privilege changed.
pub fn update_mode(cpu: &mut Cpu<Riscv64>) {
    let state = &cpu.guest.state;
    let mode = regs::mode(state.privilege, status::fp(state.mstatus), float_env::rounding_mode(cpu));
    let fetch = mmu::fetch_context(state.privilege);
    let data = mmu::data_context(state.data_privilege(), state.mstatus);
    cpu.set_mode(mode, fetch, data);
}

/// The floating-point state becomes dirty: an instruction is about to write it.
pub fn mark_fp_dirty(cpu: &mut Cpu<Riscv64>) {
    cpu.guest.state.mstatus = status::with_fp_dirty(cpu.guest.state.mstatus);
    update_mode(cpu);
}

impl Guest for Riscv64 {
    type Insn = decode::Insn;
    type Board = VirtBoard;
    const CONTEXTS: usize = mmu::CONTEXTS;
    const SHARED_CONTEXTS: &'static [usize] = &[mmu::CONTEXT_S, mmu::CONTEXT_M];
    const HELPERS: &'static [HelperInfo] = &helpers::HELPERS;
    const FLOAT_ENVIRONMENT: Option<Slot> = Some(regs::FLOAT_ENVIRONMENT);

    fn decode(bytes: &[u8], mode: Mode) -> Option<Decoded<Self::Insn>> {
        decode::decode(bytes, mode)
    }

    #[inline(always)]
    fn lift<E: Emit>(e: &mut E, insn: &Self::Insn) -> Result<(), E::Stop> {
        lift::lift(e, insn)
    }

    #[inline(never)]
    fn run_block(
        cpu: &mut Cpu<Self>,
        block_pc: Gva,
        len_bytes: u64,
        insns: &[Self::Insn],
        offsets: &[u16],
    ) -> BlockEnd {
        run_block(cpu, block_pc, len_bytes, insns, offsets)
    }

    #[inline(never)]
    fn record(insns: &[Self::Insn], offsets: &[u16], len_bytes: u16, known: &[(Slot, u64)]) -> Block {
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
        gpa: Gpa,
        len_bytes: u64,
        access: Access,
        context: usize,
    ) -> Result<(), Trap> {
        let rights = cpu.guest.pmp.range(gpa, len_bytes, mmu::context_privilege(context));
        if rights.is_some_and(|rights| rights.allow(access)) {
            Ok(())
        } else {
            Err(trap::access_fault(gva, access))
        }
    }

    fn bus_error(gva: Gva, _gpa: Gpa, access: Access) -> Trap {
        trap::access_fault(gva, access)
    }

    fn misaligned_atomic(gva: Gva, access: Access) -> Option<Trap> {
        let cause = if access == Access::Read { trap::LOAD_MISALIGNED } else { trap::STORE_MISALIGNED };
        Some(Trap::new(cause, gva.0))
    }

    fn deliver(cpu: &mut Cpu<Self>, trap: Trap) {
        trap::deliver(cpu, trap);
    }

    fn interrupt(cpu: &mut Cpu<Self>) -> Option<Trap> {
        trap::interrupt(cpu)
    }

    fn wakes(cpu: &Cpu<Self>) -> bool {
        irq::pending(cpu) & cpu.guest.state.mie != 0
    }

    fn devices_can_wake(cpu: &Cpu<Self>) -> bool {
        cpu.guest.state.mie & (1 << irq::SEI | 1 << irq::MEI) != 0
    }

    fn restored(cpu: &mut Cpu<Self>) {
        resume(cpu);
    }

    fn tick(cpu: &mut Cpu<Self>, now_ns: u64) {
        irq::tick(cpu, now_ns);
    }

    fn deadline_ns(cpu: &Cpu<Self>) -> Option<u64> {
        irq::deadline_ns(cpu)
    }

    const STACK_POINTER: Slot = regs::x(2);

    fn is_user(mode: Mode) -> bool {
        regs::mode_privilege(mode) == Privilege::User
    }

    fn address_space(cpu: &Cpu<Self>) -> u64 {
        cpu.guest.state.satp
    }

    fn slot_name(slot: Slot) -> String {
        match slot {
            regs::SINK => "nowhere".into(),
            regs::FLOAT_ENVIRONMENT => "fflags and frm, as MXCSR has them".into(),
            regs::FRM => "frm".into(),
            Slot(number) if number < 32 || regs::f_number(slot).is_some() => names::register(slot).into(),
            Slot(number) => format!("slot {number}"),
        }
    }

    fn disassemble(insn: &Self::Insn, _bytes: &[u8], _pc: Gva, _mode: Mode) -> String {
        insn.to_string()
    }
}
